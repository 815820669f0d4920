"""The states of one EVSE, its settings, and the words that its events and effects share.

`agent.core.evse` is the machine. Every `at` is monotonic seconds of the caller's clock; energy is the meter's total
register in Wh, never a difference.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from agent.model import LateRefusal, Tap, Uid


class Plug(StrEnum):
    """Whether a car is connected. UNKNOWN without a sensor, while it is lost, and until it has reported."""

    IN = "in"
    OUT = "out"
    UNKNOWN = "unknown"


class Device(StrEnum):
    """What may be lost. READER is lost when no reader of the EVSE is left."""

    READER = "reader"
    RELAY = "relay"
    PLUG = "plug"
    METER = "meter"


class Timer(StrEnum):
    """The timers of the machine; at most one of each runs."""

    CONNECTION = "connection"
    """An accepted driver has not plugged in."""
    SUSPEND = "suspend"
    """The car draws next to nothing."""


class Unlock(StrEnum):
    """When the cable of a running session comes loose. It always does at the end, and while no card can be read."""

    AT_END = "at-end"
    WHEN_SUSPENDED = "when-suspended"
    """So that a neighbour may take the cable of a car that is full."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the EVSE is fitted, and the operator's choices."""

    has_plug_sensor: bool = False
    """Without one a session goes from tap to tap."""
    has_meter: bool = False
    connection_timeout_s: float = 60.0
    stop_after_s: float = 3.0
    """For so long after it began or ended a charge a card is still the same tap."""
    suspended_below_w: float = 100.0
    """A car that is full still draws a few watts for itself; none charges with less than 6 A, some 1,400 W."""
    suspended_after_s: float = 60.0
    """Cars pause for seconds while they check the line or switch phases: that is not yet parking."""
    resume_within_s: float = 300.0
    """A longer power cut ends the session; 0 ends it always."""
    late_refusal: LateRefusal = LateRefusal.KEEP
    unlock: Unlock = Unlock.AT_END
    most_waiting: int = 16
    """Cards that may wait behind the one being decided; more than a handful is somebody playing with the reader."""

    @property
    def can_resume(self) -> bool:
        """Without a plug sensor nobody can say whether it is still the same car."""
        return self.has_plug_sensor and self.resume_within_s > 0


@dataclass(frozen=True, slots=True)
class Authorization:
    """An accepted one that is on disk and runs."""

    id: int
    uid: Uid
    group: str | None
    """Names the owner and the group, so that equal means the same group; see `decide.group_of`."""
    since: float


@dataclass(frozen=True, slots=True)
class Available:
    """A card may begin a charge."""


@dataclass(frozen=True, slots=True)
class Authorizing:
    """A decision is on its way, and comes."""

    tap: Tap
    waiting: tuple[Tap, ...] = ()
    """Other cards, in their order: what they come to hangs on the decision."""


@dataclass(frozen=True, slots=True)
class WaitingForPlug:
    """Accepted, and the cable is still to be plugged in."""

    authorization: Authorization


@dataclass(frozen=True, slots=True)
class Charging:
    """The relay is closed and a session runs."""

    authorization: Authorization
    low: bool = False
    """The car draws next to nothing, not yet for long."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """A session runs with the relay closed, and the car takes nothing."""

    authorization: Authorization


@dataclass(frozen=True, slots=True)
class WaitingForUnplug:
    """The charge is over and the car still connected. A card may begin another."""


@dataclass(frozen=True, slots=True)
class Faulted:
    """Nothing can begin: a device is lost, or the agent stops."""


Phase = Available | Authorizing | WaitingForPlug | Charging | Suspended | WaitingForUnplug | Faulted


@dataclass(frozen=True, slots=True)
class LastStop:
    """The tap that ended the last charge."""

    uid: Uid
    at: float


@dataclass(frozen=True, slots=True)
class Evse:
    """The state: a phase, and what is known of the world in every phase."""

    phase: Phase = Available()
    plug: Plug = Plug.UNKNOWN
    plugged_at: float = 0.0
    """Since when the plug is in, if it is."""
    energy_wh: int | None = None
    """The last reading; None before the first."""
    energy_is_old: bool = False
    """A session has ended since that reading, and may have drawn more by then."""
    lost: frozenset[Device] = frozenset()
    started: bool = False
    stopping: bool = False
    last_stop: LastStop | None = None

    @property
    def running(self) -> Authorization | None:
        """The authorization that runs, with or without a session."""
        match self.phase:
            case WaitingForPlug(authorization) | Charging(authorization) | Suspended(authorization):
                return authorization
            case Available() | Authorizing() | WaitingForUnplug() | Faulted():
                return None
            case never:
                assert_never(never)

    def runs(self, authorization_id: int) -> bool:
        """Whether this is the authorization that runs."""
        authorization = self.running
        return authorization is not None and authorization.id == authorization_id

    @property
    def register_wh(self) -> int | None:
        """What a session may be counted from and to; None where that would bill the one before to this one."""
        return None if self.energy_is_old else self.energy_wh

    @property
    def relay_closed(self) -> bool:
        """Whether current may flow: as long as a session runs, and no longer."""
        return isinstance(self.phase, Charging | Suspended)

    def has_just_stopped(self, tap: Tap, settings: Settings) -> bool:
        """Whether this is still the tap that ended the last charge: an impatient driver must not begin another."""
        last = self.last_stop
        return last is not None and last.uid == tap.uid and tap.at - last.at < settings.stop_after_s


START = Evse()
"""Before the first event, which is `Restarted`."""
