"""What one EVSE wants done. The caller carries the effects of a step out in their order, before the next step.

Switching is synchronous and happens within the step's turn; records go to disk in their order, in the background
where need be. Every `at` is monotonic seconds, energy the meter's total register in Wh.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from agent.core.evse_state import (
    Authorizing,
    Available,
    Charging,
    Device,
    Evse,
    Faulted,
    Plug,
    Suspended,
    Timer,
    WaitingForPlug,
    WaitingForUnplug,
)
from agent.model import EndReason, Tap


class Period(StrEnum):
    """What a session's time is spent on: OCPI 2.2.1 mod_cdrs, TIME and PARKING_TIME."""

    CHARGING = "charging"
    PARKING = "parking"


class Refusal(StrEnum):
    """Why the machine refuses a card without a decision."""

    IN_USE = "evse-in-use"
    OUT_OF_ORDER = "out-of-order"


class Text(StrEnum):
    """What the driver is told; the wording is elsewhere. A decision's own words go with the text that follows it."""

    IDLE = "idle"
    TAP_CARD = "tap-card"
    """A car is plugged in and waits for a card."""
    ASKING = "asking"
    REFUSED = "refused"
    NOT_RECORDED = "not-recorded"
    TOO_LATE = "too-late"
    PLUG_IN = "plug-in"
    CHARGING = "charging"
    CHARGING_WITHOUT_READER = "charging-without-reader"
    SUSPENDED = "suspended"
    IN_USE = "in-use"
    CANCELLED = "cancelled"
    """The driver's card again, before the cable was plugged in."""
    STOPPED = "stopped"
    STOPPED_LATE = "stopped-late"
    STOPPED_BY_OPERATOR = "stopped-by-operator"
    UNPLUGGED = "unplugged"
    """The charge ended because the cable was taken out."""
    UNPLUG = "unplug"
    """The charge is over, the cable is loose."""
    CONNECTION_TIMEOUT = "connection-timeout"
    OUT_OF_ORDER = "out-of-order"
    RESTARTING = "restarting"
    """The agent stops in good order, as for an update, and is soon back."""
    RESUMED = "resumed"
    """After a power cut."""
    POWER_LOST = "power-lost"
    """The charge, or the wait for the plug, ended with a power cut."""


class Alarm(StrEnum):
    """What a person must see to."""

    READER_LOST = "reader-lost"
    RELAY_LOST = "relay-lost"
    PLUG_LOST = "plug-lost"
    METER_LOST = "meter-lost"
    METER_WENT_BACK = "meter-went-back"
    STORAGE = "storage"


@dataclass(frozen=True, slots=True)
class AskDecision:
    """Decide the card by its deadline, record that, and hand in exactly one decision."""

    tap: Tap


@dataclass(frozen=True, slots=True)
class LookUpGroups:
    """Hand the tap in again, with the groups of its card."""

    tap: Tap


@dataclass(frozen=True, slots=True)
class RecordRefusal:
    """Take down a card that is refused without a decision."""

    tap: Tap
    because: Refusal
    lost: frozenset[Device] = frozenset()


@dataclass(frozen=True, slots=True)
class EndAuthorization:
    """Note the end of an authorization without a session, and in one transaction the tap that brought it."""

    authorization_id: int
    because: EndReason
    tap: Tap | None = None


@dataclass(frozen=True, slots=True)
class StartSession:
    """Begin the session of an authorization: it is now active. None: no reading yet, or no meter."""

    authorization_id: int
    at: float
    energy_wh: int | None


@dataclass(frozen=True, slots=True)
class ResumeSession:
    """Note that a session goes on after the agent was away."""

    authorization_id: int
    at: float


@dataclass(frozen=True, slots=True)
class BeginPeriod:
    """What the session's time is spent on from here; it begins with CHARGING."""

    authorization_id: int
    at: float
    period: Period
    energy_wh: int | None


@dataclass(frozen=True, slots=True)
class AddReading:
    """Add to the session. None: from here on the meter is silent."""

    authorization_id: int
    at: float
    energy_wh: int | None


@dataclass(frozen=True, slots=True)
class EndSession:
    """End a session, its authorization, and note the tap that brought it, in one transaction."""

    authorization_id: int
    at: float | None
    """None: at the last persisted reading, for the end was not seen."""
    energy_wh: int | None
    because: EndReason
    tap: Tap | None = None


@dataclass(frozen=True, slots=True)
class JoinReference:
    """The authorization's reference is now this one, whether it still runs or not."""

    authorization_id: int
    reference: str


@dataclass(frozen=True, slots=True)
class CloseRelay:
    """Let current flow. A relay that does not obey is `DeviceLost`, before any other event."""


@dataclass(frozen=True, slots=True)
class OpenRelay:
    """Cut the current. A relay that does not obey is `DeviceLost`."""


@dataclass(frozen=True, slots=True)
class LockCable:
    """Hold the cable; nothing to do where no lock is fitted."""


@dataclass(frozen=True, slots=True)
class UnlockCable:
    """Let the cable go."""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Hand in `TimerFired` once, after so long."""

    timer: Timer
    after_s: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Drop the timer, even if it has fired and its event still waits to be handed in."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Show:
    """Tell the driver; after a while `standing_text` comes back by itself."""

    text: Text


@dataclass(frozen=True, slots=True)
class RaiseAlarm:
    """Tell the operator."""

    alarm: Alarm


Effect = (
    AskDecision
    | LookUpGroups
    | RecordRefusal
    | EndAuthorization
    | StartSession
    | ResumeSession
    | BeginPeriod
    | AddReading
    | EndSession
    | JoinReference
    | CloseRelay
    | OpenRelay
    | LockCable
    | UnlockCable
    | SetTimer
    | CancelTimer
    | Show
    | RaiseAlarm
)


def standing_text(evse: Evse) -> Text:  # noqa: PLR0911  one line a phase
    """What the display shows when nothing has just happened."""
    match evse.phase:
        case Available():
            return Text.TAP_CARD if evse.plug is Plug.IN else Text.IDLE
        case Authorizing():
            return Text.ASKING
        case WaitingForPlug():
            return Text.PLUG_IN
        case Charging():
            return Text.CHARGING_WITHOUT_READER if Device.READER in evse.lost else Text.CHARGING
        case Suspended():
            return Text.CHARGING_WITHOUT_READER if Device.READER in evse.lost else Text.SUSPENDED
        case WaitingForUnplug():
            return Text.UNPLUG
        case Faulted():
            return Text.RESTARTING if evse.stopping else Text.OUT_OF_ORDER
        case never:
            assert_never(never)
