"""The world around one EVSE machine: a disk, a relay, a lock, timers and a cable, which hold it to its promises.

`World` is what a step leaves: the machine's state, and what is true outside of it. `events` says what may come
next, `play` plays it and checks what must hold at every moment. A world without a state is one without power.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from agent.core.evse_effects import (
    AddReading,
    AskDecision,
    BeginPeriod,
    CancelTimer,
    CloseRelay,
    Effect,
    EndAuthorization,
    EndSession,
    LockCable,
    LookUpGroups,
    OpenRelay,
    ResumeSession,
    SetTimer,
    Show,
    StartSession,
    UnlockCable,
)
from agent.core.evse_events import (
    Accepted,
    DeviceBack,
    DeviceLost,
    Event,
    LateReference,
    LateRefused,
    Plugged,
    Reading,
    RecordedTooLate,
    RecordFailed,
    Refused,
    Restarted,
    Running,
    SessionUnrecorded,
    ShutDown,
    StopCommanded,
    Tapped,
    TimerFired,
    Unplugged,
)
from agent.core.evse_state import (
    START,
    Authorizing,
    Available,
    Charging,
    Device,
    Evse,
    Faulted,
    Plug,
    Settings,
    Suspended,
    Timer,
    WaitingForPlug,
    WaitingForUnplug,
)
from agent.model import EndReason, Tap, Uid

Machine = Callable[[Evse, Event, Settings], tuple[Evse, tuple[Effect, ...]]]

STEP_S = 1.0
"""What passes between two events; `Moment` passes more."""
LATER_S = 10.0
"""Longer than `stop_after_s`."""
CARDS = {Uid("A1"): "DE-ABC G", Uid("B2"): None}
"""Two cards, and the group that each one's decision names."""
GROUPS = (None, frozenset[str](), frozenset({"DE-ABC G"}))
"""What a tap may say of its card's groups: any card may turn out to be listed in the group."""
SOME_ID = 0
"""An authorization that is long over."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Time passes, and nothing happens."""


@dataclass(frozen=True, slots=True)
class CableMoved:
    """The cable is plugged in, or out, and no sensor sees it."""


@dataclass(frozen=True, slots=True)
class PowerCut:
    """The power goes. Between the effects of a step it may go as well: see `cuts`."""


Happening = Event | Moment | CableMoved | PowerCut


@dataclass(frozen=True, slots=True)
class World:
    """Everything that is true at one moment."""

    evse: Evse | None = None
    """None without power."""
    now: float = 0.0
    cable_in: bool = False
    relay_closed: bool = False
    cable_locked: bool = False
    timers: frozenset[Timer] = frozenset()
    open: tuple[Running, ...] = ()
    """Accepted authorizations on disk without an end, with whether their session has begun."""
    last_id: int = 0
    ended: tuple[int, ...] = ()
    """Sessions that have ended."""

    @property
    def sessions(self) -> tuple[int, ...]:
        """Those that have begun and not ended."""
        return tuple(entry.authorization_id for entry in self.open if entry.session_started)


class BrokenPromise(AssertionError):  # noqa: N818  named by what happened
    """What must never happen, has."""


def check(promise: object, text: str) -> None:
    """Raise unless the promise is kept: `python -O` must not switch a search off."""
    if not promise:
        raise BrokenPromise(text)


def happenings(world: World, settings: Settings) -> Iterator[Happening]:
    """All that the world can produce now, but for what the caller of the machine promises never to send."""
    at, evse = world.now, world.evse
    if evse is None:
        yield from _starts(world, settings)
        return
    for uid in CARDS:
        for groups in GROUPS:
            yield Tapped(at, Tap(uid, at, "left"), groups)
    yield from _decisions(world, evse)
    yield RecordedTooLate(at, world.last_id + 1)
    for known in (*(entry.authorization_id for entry in world.open), SOME_ID):
        yield SessionUnrecorded(at, known)
        yield LateRefused(at, known)
        yield LateReference(at, known, "REF")
    yield StopCommanded(at)
    yield StopCommanded(at, EndReason.AGENT_FAULT)
    for timer in sorted(world.timers):
        yield TimerFired(at, timer)
    for device in _devices(settings):
        yield DeviceLost(at, device)
        yield DeviceBack(at, device)
    yield from _reports(world, settings)
    yield ShutDown(at)
    yield PowerCut()
    yield Moment()


def _decisions(world: World, evse: Evse) -> Iterator[Happening]:
    at = world.now
    if isinstance(evse.phase, Authorizing):
        yield Accepted(at, world.last_id + 1, CARDS[evse.phase.tap.uid])
        yield Refused(at)
        yield RecordFailed(at)
        yield RecordFailed(at, too_late=True)


def _reports(world: World, settings: Settings) -> Iterator[Happening]:
    at = world.now
    if settings.has_meter:
        for power_w in (None, 0.0, 7000.0):
            yield Reading(at, 1000, power_w)
    if settings.has_plug_sensor:
        yield Plugged(at)
        yield Unplugged(at)
        yield CableMoved()


def _devices(settings: Settings) -> Iterator[Device]:
    yield from (Device.READER, Device.RELAY)
    if settings.has_plug_sensor:
        yield Device.PLUG
    if settings.has_meter:
        yield Device.METER


def _starts(world: World, settings: Settings) -> Iterator[Happening]:
    seen = Plug.IN if world.cable_in else Plug.OUT
    running = next((entry for entry in world.open if entry.session_started), next(iter(world.open), None))
    for plug in (seen, Plug.UNKNOWN) if settings.has_plug_sensor else (Plug.UNKNOWN,):
        for off_for_s in (1.0, settings.resume_within_s + 1, -1.0, None):
            yield Restarted(world.now, running, plug, off_for_s)
    if settings.has_plug_sensor:
        yield CableMoved()


def play(
    world: World, happening: Happening, settings: Settings, machine: Machine
) -> tuple[World, tuple[Effect, ...], tuple[World, ...]]:
    """What follows: the next world, the effects on the way, and where a power cut between them would have led."""
    match happening:
        case Moment():
            return replace(world, now=world.now + LATER_S), (), ()
        case CableMoved():
            return replace(world, cable_in=not world.cable_in), (), ()
        case PowerCut():
            return cut(world), (), ()
        case _:
            return _step(world, happening, settings, machine)


def _step(
    world: World, event: Event, settings: Settings, machine: Machine
) -> tuple[World, tuple[Effect, ...], tuple[World, ...]]:
    before = START if world.evse is None else world.evse
    evse, effects = machine(before, event, settings)
    reached = replace(_beforehand(world, event), evse=evse, now=world.now + STEP_S)
    cuts = [cut(reached)]
    for effect in effects:
        reached = _carried_out(reached, effect)
        cuts.append(cut(reached))
    check_moment(reached, settings)
    check_told(before, event, effects, evse)
    return reached, effects, tuple(dict.fromkeys(cuts))


def cut(world: World) -> World:
    """Without power: the relay falls open, a motor lock stays where it is, and the disk is as it was."""
    return replace(world, evse=None, relay_closed=False, timers=frozenset())


def _beforehand(world: World, event: Event) -> World:
    """What is true before the machine hears of it."""
    match event:
        case Accepted(authorization_id=number) | RecordedTooLate(authorization_id=number):
            uid = _uid_in(world)
            entry = Running(number, uid, CARDS[uid], session_started=False)
            return replace(world, open=(*world.open, entry), last_id=number)
        case TimerFired():
            return replace(world, timers=world.timers - {event.timer})
        case Plugged():
            return replace(world, cable_in=True)
        case Unplugged():
            return replace(world, cable_in=False)
        case Restarted():
            kept = () if event.running is None else (event.running,)
            return replace(world, open=kept)  # the caller ends the others on record
        case _:
            return world


def _uid_in(world: World) -> Uid:
    phase = world.evse.phase if world.evse else None
    return phase.tap.uid if isinstance(phase, Authorizing) else next(iter(CARDS))


def _carried_out(world: World, effect: Effect) -> World:  # noqa: C901, PLR0911  a table
    """The world enforces of each effect what the real one would."""
    match effect:
        case StartSession(number):
            check(not world.sessions, "a second session on one EVSE")
            check(number in _ids(world), "a session without a running authorization")
            return replace(world, open=tuple(_started(entry, number) for entry in world.open))
        case ResumeSession(number) | BeginPeriod(number) | AddReading(number):
            check(number in world.sessions, "something is added to a session that does not run")
            return world
        case EndSession(number):
            check(number in world.sessions, "a session that does not run is ended")
            check(not world.relay_closed, "a session ends before the relay opens")
            return replace(world, open=_without(world, number), ended=(*world.ended, number))
        case EndAuthorization(number):
            check(number in _ids(world), "an authorization that does not run is ended")
            check(number not in world.sessions, "a session is left behind by its authorization")
            return replace(world, open=_without(world, number))
        case CloseRelay():
            check(world.sessions, "the relay closes without a session of an authorization on disk")
            return replace(world, relay_closed=True)
        case OpenRelay():
            return replace(world, relay_closed=False)
        case LockCable():
            return replace(world, cable_locked=True)
        case UnlockCable():
            check(not world.relay_closed or _is_loose(world), "the cable comes loose before the relay opens")
            return replace(world, cable_locked=False)
        case SetTimer(timer):
            check(timer not in world.timers, "a timer is set twice")
            return replace(world, timers=world.timers | {timer})
        case CancelTimer(timer):
            check(timer in world.timers, "a timer is cancelled that does not run")
            return replace(world, timers=world.timers - {timer})
        case _:
            return world


def _is_loose(world: World) -> bool:
    """Whether the cable may be loose while current flows: nobody can ask for it, or anybody may take it."""
    evse = world.evse
    return evse is not None and (Device.READER in evse.lost or isinstance(evse.phase, Suspended))


def _ids(world: World) -> tuple[int, ...]:
    return tuple(entry.authorization_id for entry in world.open)


def _started(entry: Running, number: int) -> Running:
    return replace(entry, session_started=True) if entry.authorization_id == number else entry


def _without(world: World, number: int) -> tuple[Running, ...]:
    return tuple(entry for entry in world.open if entry.authorization_id != number)


def check_moment(world: World, settings: Settings) -> None:
    """What holds whenever a step is done."""
    evse = world.evse
    assert evse is not None
    check(len(set(world.ended)) == len(world.ended), "a session has ended twice")
    check(len(world.sessions) <= 1, "two sessions run on one EVSE")
    charging = isinstance(evse.phase, Charging | Suspended)
    check(world.relay_closed == charging, "the relay is not where the phase is")
    if world.relay_closed:
        check(len(world.sessions) == 1, "the relay is closed without a session on record")
        check(not evse.lost & {Device.RELAY, Device.PLUG}, "the relay is closed in spite of a fault that demands open")
        check(not evse.stopping, "the relay is closed while the agent stops")
        check(not settings.has_plug_sensor or evse.plug is Plug.IN, "the relay is closed and no car is plugged in")
    known = () if evse.running is None else (evse.running.id,)
    left_open = world.sessions if evse.stopping and settings.can_resume else ()
    check(_ids(world) == (known or left_open), "what runs on record is not what the machine runs")
    check(not world.cable_locked or (world.relay_closed and Device.READER not in evse.lost), "a cable is locked in")
    check((Timer.CONNECTION in world.timers) == isinstance(evse.phase, WaitingForPlug), "the connection timer is off")
    check(Timer.SUSPEND not in world.timers or isinstance(evse.phase, Charging), "a timer runs that nobody handles")
    if isinstance(evse.phase, Available | WaitingForUnplug):
        check(not evse.lost and not evse.stopping, "a card is asked for in vain")
    if isinstance(evse.phase, WaitingForUnplug):
        check(evse.plug is Plug.IN, "the driver is to unplug what is not plugged in")


def check_told(before: Evse, event: Event, effects: tuple[Effect, ...], after: Evse) -> None:
    """The driver is told, and asked about, whatever concerns him."""
    shown = any(isinstance(effect, Show) for effect in effects)
    looked_up = any(isinstance(effect, LookUpGroups) for effect in effects)
    if isinstance(event, Tapped | Refused | RecordFailed):
        check(shown or looked_up, f"{type(event).__name__} shows nothing")
    if type(before.phase) is not type(after.phase):
        check(shown, f"{type(before.phase).__name__} to {type(after.phase).__name__} shows nothing")
    if isinstance(event, LateRefused | SessionUnrecorded) and not before.runs(event.authorization_id):
        check(not effects, f"{type(event).__name__} of another authorization does something")
    asked = sum(isinstance(effect, AskDecision) for effect in effects)
    fresh = isinstance(after.phase, Authorizing) and (
        not isinstance(before.phase, Authorizing) or before.phase.tap != after.phase.tap
    )
    check(asked == int(fresh), "a decision is not asked for exactly when one is waited for")


def abstracted(world: World, settings: Settings) -> World:
    """The same world as far as any future goes: times as ages, numbers from 1, no energy and no history."""
    first = 1
    renumbered = {entry.authorization_id: first + n for n, entry in enumerate(world.open)}
    entries = tuple(replace(entry, authorization_id=renumbered[entry.authorization_id]) for entry in world.open)
    evse = world.evse and _abstracted_evse(world.evse, world.now, renumbered, settings)
    return replace(world, evse=evse, now=0.0, open=entries, last_id=len(entries), ended=())


def _abstracted_evse(evse: Evse, now: float, renumbered: dict[int, int], settings: Settings) -> Evse:
    last = evse.last_stop
    if last is not None:
        last = replace(last, at=0.0) if now - last.at < settings.stop_after_s else None
    phase = evse.phase
    match phase:
        case WaitingForPlug(running) | Charging(running) | Suspended(running):
            young = now - running.since < settings.stop_after_s
            since = 0.0 if young else -settings.stop_after_s
            running = replace(running, id=renumbered[running.id], since=since)
            phase = replace(phase, authorization=running)
        case Authorizing():
            waiting = tuple(replace(tap, at=0.0) for tap in phase.waiting)
            phase = Authorizing(replace(phase.tap, at=0.0), waiting)
        case Available() | WaitingForUnplug() | Faulted():
            pass
    return replace(evse, phase=phase, plugged_at=0.0, energy_wh=None, energy_is_old=False, last_stop=last)
