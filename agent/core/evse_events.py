"""What can happen to one EVSE. Everything but what a docstring rules out may come at any moment.

Every `at` is now, in monotonic seconds; events are handed in one at a time, in the order of their `at`.
"""

from dataclasses import dataclass

from agent.core.evse_state import Device, Evse, Plug, Timer
from agent.model import EndReason, Tap, Uid


@dataclass(frozen=True, slots=True)
class Tapped:
    """A card was held to the reader; `at` is now, `tap.at` when the reader had it."""

    at: float
    tap: Tap
    groups: frozenset[str] | None = None
    """The groups of the card as listed; None when nobody has looked yet: the machine asks if it must know."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The card is accepted, and that is durably on record."""

    at: float
    authorization_id: int
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The card is refused, on record or as well as the disk allows."""

    at: float


@dataclass(frozen=True, slots=True)
class RecordFailed:
    """The decision is not on disk: the disk refused it, or has not taken it by the deadline."""

    at: float
    too_late: bool = False


@dataclass(frozen=True, slots=True)
class RecordedTooLate:
    """A record that failed for time is on disk after all, and accepts somebody."""

    at: float
    authorization_id: int


@dataclass(frozen=True, slots=True)
class SessionUnrecorded:
    """The record of a session's start can't be written; whoever sends it has tried for long enough."""

    at: float
    authorization_id: int


@dataclass(frozen=True, slots=True)
class Plugged:
    """The sensor sees a car; may be said twice."""

    at: float


@dataclass(frozen=True, slots=True)
class Unplugged:
    """The sensor sees none; may be said twice."""

    at: float


@dataclass(frozen=True, slots=True)
class Reading:
    """The meter was read."""

    at: float
    energy_wh: int
    power_w: float | None = None


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that was set, and not cancelled since."""

    at: float
    timer: Timer


@dataclass(frozen=True, slots=True)
class LateReference:
    """A late answer brought the `authorization_reference`; OCPI: passed on unchanged."""

    at: float
    authorization_id: int
    reference: str


@dataclass(frozen=True, slots=True)
class LateRefused:
    """A late answer refuses what the fallback had accepted."""

    at: float
    authorization_id: int


@dataclass(frozen=True, slots=True)
class StopCommanded:
    """Somebody who is not the driver ends what runs: the operator, or the agent that failed at it."""

    at: float
    because: EndReason = EndReason.OPERATOR


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """A device does not answer, or did not obey; may be said twice."""

    at: float
    device: Device


@dataclass(frozen=True, slots=True)
class DeviceBack:
    """It works; may be said of one that was never lost. A relay is back when it is known to be open."""

    at: float
    device: Device


@dataclass(frozen=True, slots=True)
class ShutDown:
    """The agent stops in good order; the last event but for a decision that is on its way."""

    at: float


@dataclass(frozen=True, slots=True)
class Running:
    """The accepted authorization that is on disk without an end."""

    authorization_id: int
    uid: Uid
    group: str | None
    session_started: bool
    energy_wh: int | None = None
    """The last persisted reading."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The agent starts. Of several running authorizations on disk, the caller has ended all but one with a session."""

    at: float
    running: Running | None = None
    plug: Plug = Plug.UNKNOWN
    off_for_s: float | None = None
    """Since the last sign of life on disk; None when the clock can't say."""


Event = (
    Tapped
    | Accepted
    | Refused
    | RecordFailed
    | RecordedTooLate
    | SessionUnrecorded
    | Plugged
    | Unplugged
    | Reading
    | TimerFired
    | LateReference
    | LateRefused
    | StopCommanded
    | DeviceLost
    | DeviceBack
    | ShutDown
    | Restarted
)


class UnexpectedEvent(Exception):  # noqa: N818  named by what happened
    """The caller sent what it has promised not to: a fault of the program, not of the world. Nothing has changed."""

    def __init__(self, evse: Evse, event: Event) -> None:
        """Say which event came in which state, without the card's uid."""
        came, phase = type(event).__name__, type(evse.phase).__name__
        super().__init__(f"{came} can't come in {phase}: its docstring in agent.core.evse_events says when it can")
