"""What goes wrong around one EVSE: devices, late answers, power, and a caller that breaks its promises."""

from collections.abc import Sequence

import pytest

from agent.core.evse import step
from agent.core.evse_effects import (
    AddReading,
    Alarm,
    CloseRelay,
    EndAuthorization,
    EndSession,
    JoinReference,
    LockCable,
    OpenRelay,
    RaiseAlarm,
    RecordRefusal,
    Refusal,
    ResumeSession,
    Show,
    Text,
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
    Refused,
    Restarted,
    Running,
    SessionUnrecorded,
    ShutDown,
    TimerFired,
    UnexpectedEvent,
    Unplugged,
)
from agent.core.evse_state import START, Available, Device, Faulted, Plug, Settings, Timer
from agent.model import EndReason, Tap, Uid
from tests.unit.evse_story import GROUP, PLUG_AND_METER, SIMPLE, STOPPING, Story, charging, story, tapped

RUNNING = Running(7, Uid("A1"), GROUP, session_started=True, energy_wh=500)


# Faults


def test_relay_that_does_not_obey_ends_the_session_and_is_told() -> None:
    evse = charging(SIMPLE)
    assert evse.then(DeviceLost(12.0, Device.RELAY)) == (
        OpenRelay(),
        RaiseAlarm(Alarm.RELAY_LOST),
        EndSession(1, 12.0, None, EndReason.RELAY_FAULT),
        UnlockCable(),
        Show(Text.OUT_OF_ORDER),
    )


def test_card_at_a_faulted_evse_is_refused_and_recorded_with_the_devices() -> None:
    evse = story(SIMPLE, DeviceLost(1.0, Device.RELAY), tapped("A1", 2.0))
    refusal = RecordRefusal(Tap(Uid("A1"), 2.0, "left"), Refusal.OUT_OF_ORDER, frozenset({Device.RELAY}))
    assert evse.effects == (refusal, Show(Text.OUT_OF_ORDER))


def test_faulted_evse_is_free_again_when_the_last_device_is_back() -> None:
    evse = story(SIMPLE, DeviceLost(1.0, Device.RELAY), DeviceLost(2.0, Device.READER))
    evse.then(DeviceBack(3.0, Device.READER))
    assert evse.is_in(Faulted)
    evse.then(DeviceBack(4.0, Device.RELAY))
    assert evse.is_in(Available)
    assert evse.shown[-1] is Text.IDLE


def test_device_that_is_said_to_be_lost_or_back_twice_is_told_once() -> None:
    evse = story(SIMPLE, DeviceLost(1.0, Device.RELAY))
    assert evse.then(DeviceLost(2.0, Device.RELAY)) == ()
    evse.then(DeviceBack(3.0, Device.RELAY))
    assert evse.then(DeviceBack(4.0, Device.RELAY)) == ()


def test_lost_plug_sensor_ends_the_session() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(DeviceLost(20.0, Device.PLUG))
    assert EndSession(1, 20.0, None, EndReason.PLUG_FAULT) in evse.effects
    assert evse.evse.plug is Plug.UNKNOWN


def test_lost_reader_lets_the_charge_go_on_and_the_cable_go() -> None:
    evse = charging(PLUG_AND_METER)
    assert evse.then(DeviceLost(20.0, Device.READER)) == (
        RaiseAlarm(Alarm.READER_LOST),
        UnlockCable(),
        Show(Text.CHARGING_WITHOUT_READER),
    )
    assert evse.then(DeviceBack(30.0, Device.READER)) == (LockCable(), Show(Text.CHARGING))


def test_session_whose_start_can_not_be_written_ends() -> None:
    evse = charging(SIMPLE)
    evse.then(SessionUnrecorded(20.0, 1))
    assert evse.deeds[:2] == (OpenRelay(), EndSession(1, 20.0, None, EndReason.STORAGE_FAULT))
    assert RaiseAlarm(Alarm.STORAGE) in evse.effects


# Late answers


def test_late_reference_joins_whatever_the_evse_does() -> None:
    assert charging(SIMPLE).then(LateReference(20.0, 1, "REF")) == (JoinReference(1, "REF"),)
    assert story(SIMPLE, LateReference(20.0, 1, "REF")).effects == (JoinReference(1, "REF"),)


def test_late_refusal_keeps_the_charge_by_default() -> None:
    assert charging(SIMPLE).then(LateRefused(20.0, 1)) == ()


def test_late_refusal_stops_the_charge_where_the_policy_says_so() -> None:
    evse = charging(STOPPING)
    evse.then(LateRefused(20.0, 1))
    assert EndSession(1, 20.0, None, EndReason.LATE_REFUSAL) in evse.effects
    assert evse.shown[-1] is Text.STOPPED_LATE


def test_late_refusal_does_not_stop_the_next_drivers_charge() -> None:
    evse = charging(STOPPING)
    evse.then(Unplugged(20.0), tapped("B2", 30.0), Accepted(31.0, 2), Plugged(32.0))
    assert evse.then(LateRefused(40.0, 1)) == ()
    assert evse.evse.relay_closed


# Power cuts


def restarted(settings: Settings, **what: object) -> Story:
    begun = Story(settings)
    begun.then(Restarted(0.0, RUNNING, **what))  # type: ignore[arg-type]
    return begun


def test_session_goes_on_after_a_short_power_cut_with_the_car_still_there() -> None:
    evse = restarted(PLUG_AND_METER, plug=Plug.IN, off_for_s=300.0)
    assert evse.effects == (ResumeSession(7, 0.0), LockCable(), CloseRelay(), Show(Text.RESUMED))


@pytest.mark.parametrize(
    ("plug", "off_for_s", "because"),
    [
        (Plug.IN, 300.1, EndReason.OFF_TOO_LONG),
        (Plug.IN, -1.0, EndReason.OFF_TOO_LONG),
        (Plug.IN, None, EndReason.OFF_TOO_LONG),
        (Plug.OUT, 1.0, EndReason.UNPLUGGED_WHILE_OFF),
        (Plug.UNKNOWN, 1.0, EndReason.RESTART),
    ],
)
def test_session_ends_at_its_last_persisted_reading_otherwise(plug: Plug, off_for_s: float, because: EndReason) -> None:
    evse = restarted(PLUG_AND_METER, plug=plug, off_for_s=off_for_s)
    end = EndSession(7, None, 500, because)
    assert evse.effects == (OpenRelay(), end, UnlockCable(), Show(Text.POWER_LOST))


def test_session_without_a_plug_sensor_never_survives_a_restart() -> None:
    evse = restarted(SIMPLE, plug=Plug.IN, off_for_s=1.0)
    assert EndSession(7, None, 500, EndReason.RESTART) in evse.effects


def test_authorization_without_a_session_ends_at_a_restart() -> None:
    evse = Story(PLUG_AND_METER)
    evse.then(Restarted(0.0, Running(7, Uid("A1"), None, session_started=False), Plug.IN, 1.0))
    assert evse.deeds == (OpenRelay(), EndAuthorization(7, EndReason.RESTART), UnlockCable())


def test_orderly_stop_leaves_a_session_to_be_resumed() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(Reading(13.0, 450), ShutDown(20.0))
    assert evse.deeds == (OpenRelay(), AddReading(1, 20.0, 450), UnlockCable())


def test_orderly_stop_ends_a_session_that_could_not_be_resumed() -> None:
    evse = charging(SIMPLE)
    evse.then(ShutDown(20.0))
    assert EndSession(1, 20.0, None, EndReason.SHUTDOWN) in evse.effects


def test_card_that_is_accepted_while_the_agent_stops_charges_nothing() -> None:
    evse = story(SIMPLE, tapped("A1", 1.0), ShutDown(1.5), Accepted(2.0, 1))
    assert evse.effects == (EndAuthorization(1, EndReason.SHUTDOWN), Show(Text.OUT_OF_ORDER))


# What can't come


UNEXPECTED: Sequence[tuple[Settings, Event]] = (
    (SIMPLE, Accepted(1.0, 1)),
    (SIMPLE, Refused(1.0)),
    (SIMPLE, TimerFired(1.0, Timer.CONNECTION)),
    (SIMPLE, TimerFired(1.0, Timer.SUSPEND)),
    (SIMPLE, Restarted(1.0)),
    (SIMPLE, Plugged(1.0)),
    (SIMPLE, Reading(1.0, 0)),
    (SIMPLE, DeviceLost(1.0, Device.PLUG)),
    (SIMPLE, DeviceBack(1.0, Device.METER)),
)


@pytest.mark.parametrize(("settings", "event"), UNEXPECTED, ids=str)
def test_event_that_can_not_come_raises(settings: Settings, event: Event) -> None:
    evse = story(settings)
    with pytest.raises(UnexpectedEvent, match=f"{type(event).__name__} can't come in Available"):
        evse.then(event)


def test_event_before_the_start_raises() -> None:
    with pytest.raises(UnexpectedEvent):
        step(START, ShutDown(0.0), SIMPLE)


def test_running_authorization_can_not_have_been_recorded_too_late() -> None:
    with pytest.raises(UnexpectedEvent):
        charging(SIMPLE).then(RecordedTooLate(20.0, 1))
