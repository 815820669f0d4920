"""What each event means in each phase, as a table of functions: records, texts and alarms, but no outputs.

The relay, the lock and the timers follow from the state, in `agent.core.evse`.
"""

from dataclasses import replace
from typing import assert_never

from agent.core.evse_effects import (
    AddReading,
    Alarm,
    AskDecision,
    BeginPeriod,
    Effect,
    EndAuthorization,
    EndSession,
    JoinReference,
    LookUpGroups,
    Period,
    RaiseAlarm,
    RecordRefusal,
    Refusal,
    ResumeSession,
    Show,
    StartSession,
    Text,
    standing_text,
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
    SessionUnrecorded,
    ShutDown,
    StopCommanded,
    Tapped,
    TimerFired,
    UnexpectedEvent,
    Unplugged,
)
from agent.core.evse_state import (
    Authorization,
    Authorizing,
    Available,
    Charging,
    Device,
    Evse,
    Faulted,
    LastStop,
    Plug,
    Settings,
    Suspended,
    Timer,
    WaitingForPlug,
    WaitingForUnplug,
)
from agent.model import EndReason, LateRefusal, Tap

Outcome = tuple[Evse, tuple[Effect, ...]]

_ALARMS = {
    Device.READER: Alarm.READER_LOST,
    Device.RELAY: Alarm.RELAY_LOST,
    Device.PLUG: Alarm.PLUG_LOST,
    Device.METER: Alarm.METER_LOST,
}
_DEMAND_OPEN = {Device.RELAY: EndReason.RELAY_FAULT, Device.PLUG: EndReason.PLUG_FAULT}
"""Without them nobody can say that the current is where it belongs."""
_FORBID_START = {**_DEMAND_OPEN, Device.METER: EndReason.METER_FAULT}
"""A charge that runs goes on without its meter, for the register counts on; one that can't be billed does not begin."""


def react(evse: Evse, event: Event, settings: Settings) -> Outcome:  # noqa: C901, PLR0911, PLR0912  a table
    _check_fitted(evse, event, settings)
    match event:
        case Tapped():
            return _tapped(evse, event, settings)
        case Accepted() | Refused() | RecordFailed():
            return _decided(evse, event, settings)
        case RecordedTooLate():
            return _recorded_too_late(evse, event)
        case SessionUnrecorded():
            return _session_unrecorded(evse, event)
        case Plugged():
            return _plugged(evse, event)
        case Unplugged():
            return _unplugged(evse, event)
        case Reading():
            return _read(evse, event, settings)
        case TimerFired():
            return _fired(evse, event)
        case LateReference():
            return evse, (JoinReference(event.authorization_id, event.reference),)
        case LateRefused():
            return _refused_late(evse, event, settings)
        case StopCommanded():
            return _commanded(evse, event)
        case DeviceLost():
            return _lost(evse, event)
        case DeviceBack():
            return _back(evse, event)
        case ShutDown():
            return _shut_down(evse, event, settings)
        case Restarted():
            return _restarted(evse, event, settings)
        case never:
            assert_never(never)


def _check_fitted(evse: Evse, event: Event, settings: Settings) -> None:
    """What is not fitted can't report."""
    match event:
        case Plugged() | Unplugged() | DeviceLost(device=Device.PLUG) | DeviceBack(device=Device.PLUG):
            fitted = settings.has_plug_sensor
        case Reading() | DeviceLost(device=Device.METER) | DeviceBack(device=Device.METER):
            fitted = settings.has_meter
        case _:
            fitted = True
    if not fitted:
        raise UnexpectedEvent(evse, event)


def _tapped(evse: Evse, event: Tapped, settings: Settings) -> Outcome:
    tap = event.tap
    match evse.phase:
        case Available() | WaitingForUnplug():
            if evse.has_just_stopped(tap, settings):
                return evse, (Show(Text.STOPPED),)
            return replace(evse, phase=Authorizing(tap)), (AskDecision(tap), Show(Text.ASKING))
        case Authorizing() as phase:
            return replace(evse, phase=_queued(evse, phase, tap, settings)), (Show(Text.ASKING),)
        case WaitingForPlug(authorization) | Charging(authorization) | Suspended(authorization):
            return _tapped_in_use(evse, authorization, event, settings)
        case Faulted():
            refusal = RecordRefusal(tap, Refusal.OUT_OF_ORDER, evse.lost)
            return evse, (refusal, Show(Text.OUT_OF_ORDER))
        case never:
            assert_never(never)


def _tapped_in_use(evse: Evse, authorization: Authorization, event: Tapped, settings: Settings) -> Outcome:
    """The card that began it ends it, at once; so does one of its group; any other is refused."""
    tap = event.tap
    if tap.uid == authorization.uid:
        if tap.at - authorization.since < settings.stop_after_s:
            return evse, (Show(standing_text(evse)),)
        return _end_by_card(evse, event, EndReason.SAME_CARD)
    if authorization.group is not None and event.groups is None:
        return evse, (LookUpGroups(tap),)
    if authorization.group in (event.groups or ()):
        return _end_by_card(evse, event, EndReason.GROUP_CARD)
    return evse, (RecordRefusal(tap, Refusal.IN_USE), Show(Text.IN_USE))


def _end_by_card(evse: Evse, event: Tapped, because: EndReason) -> Outcome:
    return _end(evse, event.at, because, Text.STOPPED if evse.relay_closed else Text.CANCELLED, event.tap)


def _queued(evse: Evse, phase: Authorizing, tap: Tap, settings: Settings) -> Authorizing:
    """A card that is being decided, or waits to be, joins itself."""
    joins = any(tap.uid == other.uid for other in (phase.tap, *phase.waiting))
    if joins or evse.has_just_stopped(tap, settings) or len(phase.waiting) >= settings.most_waiting:
        return phase
    return replace(phase, waiting=(*phase.waiting, tap))


def _decided(evse: Evse, event: Accepted | Refused | RecordFailed, settings: Settings) -> Outcome:
    if not isinstance(evse.phase, Authorizing):
        raise UnexpectedEvent(evse, event)
    tap, waiting = evse.phase.tap, evse.phase.waiting
    match event:
        case Accepted():
            authorization = Authorization(event.authorization_id, tap.uid, event.group, event.at)
            after, told = _accepted(evse, authorization, settings)
        case Refused():
            after, told = _vacated(evse), (Show(Text.REFUSED),)
        case RecordFailed(too_late=True):
            after, told = _vacated(evse), (RaiseAlarm(Alarm.STORAGE), Show(Text.TOO_LATE))
        case RecordFailed():
            after, told = _vacated(evse), (RaiseAlarm(Alarm.STORAGE), Show(Text.NOT_RECORDED))
        case never:
            assert_never(never)
    for other in waiting:
        after, more = _tapped(after, Tapped(event.at, other), settings)
        told = (*told, *more)
    return after, told


def _accepted(evse: Evse, authorization: Authorization, settings: Settings) -> Outcome:
    because = EndReason.SHUTDOWN if evse.stopping else _worst(evse, _FORBID_START)
    if because is not None:
        return _vacated(evse), (EndAuthorization(authorization.id, because), Show(Text.OUT_OF_ORDER))
    evse = replace(evse, last_stop=None)
    if settings.has_plug_sensor and evse.plug is not Plug.IN:
        return replace(evse, phase=WaitingForPlug(authorization)), (Show(Text.PLUG_IN),)
    return _start(evse, authorization, authorization.since)


def _start(evse: Evse, authorization: Authorization, at: float) -> Outcome:
    """`since` is set anew: who plugs in and then holds the card to the reader again does not mean to stop."""
    after = replace(evse, phase=Charging(replace(authorization, since=at)))
    return after, (StartSession(authorization.id, at, evse.register_wh), Show(standing_text(after)))


def _recorded_too_late(evse: Evse, event: RecordedTooLate) -> Outcome:
    authorization = evse.running
    if authorization and authorization.id == event.authorization_id:
        raise UnexpectedEvent(evse, event)
    return evse, (EndAuthorization(event.authorization_id, EndReason.TOO_LATE),)


def _session_unrecorded(evse: Evse, event: SessionUnrecorded) -> Outcome:
    if not evse.runs(event.authorization_id) or not evse.relay_closed:
        return evse, ()
    after, told = _end(evse, event.at, EndReason.STORAGE_FAULT, Text.OUT_OF_ORDER)
    return after, (*told, RaiseAlarm(Alarm.STORAGE))


def _plugged(evse: Evse, event: Plugged) -> Outcome:
    plugged_at = evse.plugged_at if evse.plug is Plug.IN else event.at
    now = replace(evse, plug=Plug.IN, plugged_at=plugged_at)
    match evse.phase:
        case WaitingForPlug(authorization):
            return _start(now, authorization, event.at)
        case Available():
            return now, (Show(Text.TAP_CARD),)
        case Authorizing() | Charging() | Suspended() | WaitingForUnplug() | Faulted():
            return now, ()
        case never:
            assert_never(never)


def _unplugged(evse: Evse, event: Unplugged) -> Outcome:
    now = replace(evse, plug=Plug.OUT)
    match evse.phase:
        case Charging() | Suspended():
            return _end(now, event.at, EndReason.UNPLUGGED, Text.UNPLUGGED)
        case Available() | WaitingForUnplug():
            return replace(now, phase=Available()), (Show(Text.IDLE),)
        case Authorizing() | WaitingForPlug() | Faulted():
            return now, ()
        case never:
            assert_never(never)


def _read(evse: Evse, event: Reading, settings: Settings) -> Outcome:
    went_back = evse.energy_wh is not None and event.energy_wh < evse.energy_wh
    alarm = (RaiseAlarm(Alarm.METER_WENT_BACK),) if went_back else ()
    now = replace(evse, energy_wh=event.energy_wh, energy_is_old=False)
    authorization = evse.running
    if authorization is None or not evse.relay_closed:
        return now, alarm
    after, told = _watched(now, authorization, event, settings)
    return after, (*alarm, AddReading(authorization.id, event.at, event.energy_wh), *told)


def _watched(evse: Evse, authorization: Authorization, event: Reading, settings: Settings) -> Outcome:
    """Whether the car takes anything; a meter that does not tell its power changes nothing."""
    if event.power_w is None:
        return evse, ()
    low = event.power_w < settings.suspended_below_w
    match evse.phase:
        case Suspended() if not low:
            return _flowing(evse, authorization, event.at)
        case Charging():
            return replace(evse, phase=Charging(authorization, low=low)), ()
        case _:
            return evse, ()


def _flowing(evse: Evse, authorization: Authorization, at: float) -> Outcome:
    after = replace(evse, phase=Charging(authorization))
    period = BeginPeriod(authorization.id, at, Period.CHARGING, evse.register_wh)
    return after, (period, Show(standing_text(after)))


def _fired(evse: Evse, event: TimerFired) -> Outcome:
    match (event.timer, evse.phase):
        case (Timer.CONNECTION, WaitingForPlug()):
            return _end(evse, event.at, EndReason.CONNECTION_TIMEOUT, Text.CONNECTION_TIMEOUT)
        case (Timer.SUSPEND, Charging(authorization, low=True)):
            after = replace(evse, phase=Suspended(authorization))
            period = BeginPeriod(authorization.id, event.at, Period.PARKING, evse.register_wh)
            return after, (period, Show(standing_text(after)))
        case _:
            raise UnexpectedEvent(evse, event)


def _refused_late(evse: Evse, event: LateRefused, settings: Settings) -> Outcome:
    if settings.late_refusal is LateRefusal.KEEP or not evse.runs(event.authorization_id):
        return evse, ()
    return _end(evse, event.at, EndReason.LATE_REFUSAL, Text.STOPPED_LATE)


def _commanded(evse: Evse, event: StopCommanded) -> Outcome:
    if evse.running is None:
        return evse, ()
    text = Text.STOPPED_BY_OPERATOR if event.because is EndReason.OPERATOR else Text.OUT_OF_ORDER
    return _end(evse, event.at, event.because, text)


def _lost(evse: Evse, event: DeviceLost) -> Outcome:
    if event.device in evse.lost:
        return evse, ()
    plug = Plug.UNKNOWN if event.device is Device.PLUG else evse.plug
    now = replace(evse, lost=evse.lost | {event.device}, plug=plug)
    alarm = RaiseAlarm(_ALARMS[event.device])
    after, told = _without(now, event)
    return after, (alarm, *told)


def _without(evse: Evse, event: DeviceLost) -> Outcome:
    """What a loss that is new means for the phase."""
    match evse.phase:
        case Charging() | Suspended() if event.device in _DEMAND_OPEN:
            return _end(evse, event.at, _DEMAND_OPEN[event.device], Text.OUT_OF_ORDER)
        case Charging(authorization) | Suspended(authorization) if event.device is Device.METER:
            return _unmetered(evse, authorization, event.at)
        case WaitingForPlug() if event.device in _FORBID_START:
            return _end(evse, event.at, _FORBID_START[event.device], Text.OUT_OF_ORDER)
        case Available() | WaitingForUnplug():
            return replace(evse, phase=Faulted()), (Show(Text.OUT_OF_ORDER),)
        case Charging() | Suspended() | WaitingForPlug():
            return evse, (Show(standing_text(evse)),)
        case Authorizing() | Faulted():
            return evse, ()
        case never:
            assert_never(never)


def _unmetered(evse: Evse, authorization: Authorization, at: float) -> Outcome:
    """The charge goes on, and nobody is billed for parking that nobody can see."""
    silence = AddReading(authorization.id, at, None)
    if isinstance(evse.phase, Suspended):
        after, told = _flowing(evse, authorization, at)
        return after, (silence, *told)
    return replace(evse, phase=Charging(authorization)), (silence,)


def _back(evse: Evse, event: DeviceBack) -> Outcome:
    now = replace(evse, lost=evse.lost - {event.device})
    if isinstance(evse.phase, Faulted) and not now.lost and not now.stopping:
        now = replace(now, phase=Available())
    return now, (Show(standing_text(now)),) if event.device in evse.lost else ()


def _shut_down(evse: Evse, event: ShutDown, settings: Settings) -> Outcome:
    """What can be resumed stays open on record; everything else ends."""
    now = replace(evse, stopping=True)
    told: tuple[Effect, ...]
    match evse.phase:
        case Charging(authorization) | Suspended(authorization) if settings.can_resume:
            told = (AddReading(authorization.id, event.at, evse.register_wh), Show(Text.RESTARTING))
            return replace(now, phase=Faulted()), told
        case WaitingForPlug():
            return _end(now, event.at, EndReason.SHUTDOWN, Text.RESTARTING)
        case Charging() | Suspended():
            return _end(now, event.at, EndReason.SHUTDOWN, Text.STOPPED)
        case Available() | WaitingForUnplug():
            return replace(now, phase=Faulted()), (Show(Text.RESTARTING),)
        case Authorizing() | Faulted():
            return now, ()
        case never:
            assert_never(never)


def _restarted(evse: Evse, event: Restarted, settings: Settings) -> Outcome:
    plug = event.plug if settings.has_plug_sensor else Plug.UNKNOWN
    now = replace(evse, started=True, plug=plug, plugged_at=event.at)
    found = event.running
    if found is None:
        return now, (Show(standing_text(now)),)
    now = replace(now, energy_wh=found.energy_wh, energy_is_old=True)
    if not found.session_started:
        return now, (EndAuthorization(found.authorization_id, EndReason.RESTART), Show(Text.POWER_LOST))
    because = _not_resumed(event, settings)
    if because is not None:
        end = EndSession(found.authorization_id, None, found.energy_wh, because)
        return now, (end, Show(Text.POWER_LOST))
    authorization = Authorization(found.authorization_id, found.uid, found.group, event.at)
    resumed = replace(now, phase=Charging(authorization), energy_is_old=False)
    return resumed, (ResumeSession(found.authorization_id, event.at), Show(Text.RESUMED))


def _not_resumed(event: Restarted, settings: Settings) -> EndReason | None:
    """Why a session that was running does not go on; None when it does."""
    if not settings.has_plug_sensor or event.plug is Plug.UNKNOWN:
        return EndReason.RESTART
    if event.plug is Plug.OUT:
        return EndReason.UNPLUGGED_WHILE_OFF
    known = event.off_for_s is not None and 0 <= event.off_for_s <= settings.resume_within_s
    return None if known and settings.can_resume else EndReason.OFF_TOO_LONG


def _end(evse: Evse, at: float, because: EndReason, text: Text, tap: Tap | None = None) -> Outcome:
    """End what runs."""
    authorization, had_session = evse.running, evse.relay_closed
    assert authorization is not None
    end: Effect
    if had_session:
        end = EndSession(authorization.id, at, evse.register_wh, because, tap)
    else:
        end = EndAuthorization(authorization.id, because, tap)
    last_stop = LastStop(tap.uid, tap.at) if tap else None
    after = _vacated(replace(evse, last_stop=last_stop, energy_is_old=evse.energy_is_old or had_session))
    if isinstance(after.phase, Available) and evse.plug is Plug.IN:
        after = replace(after, phase=WaitingForUnplug())
    return after, (end, Show(text))


def _vacated(evse: Evse) -> Evse:
    """Nothing runs any more, or nothing came of it."""
    return replace(evse, phase=Faulted() if evse.lost or evse.stopping else Available())


def _worst(evse: Evse, faults: dict[Device, EndReason]) -> EndReason | None:
    return next((because for device, because in faults.items() if device in evse.lost), None)
