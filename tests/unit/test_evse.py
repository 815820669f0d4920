"""What cards, plug and meter mean to one EVSE; that nothing ever breaks is `test_evse_search`."""

from agent.core.evse_effects import (
    AddReading,
    Alarm,
    AskDecision,
    BeginPeriod,
    CancelTimer,
    CloseRelay,
    EndAuthorization,
    EndSession,
    LockCable,
    LookUpGroups,
    OpenRelay,
    Period,
    RaiseAlarm,
    RecordRefusal,
    Refusal,
    SetTimer,
    Show,
    StartSession,
    Text,
    UnlockCable,
    standing_text,
)
from agent.core.evse_events import (
    Accepted,
    DeviceLost,
    Plugged,
    Reading,
    RecordedTooLate,
    RecordFailed,
    Refused,
    Restarted,
    Running,
    StopCommanded,
    Tapped,
    TimerFired,
    Unplugged,
)
from agent.core.evse_state import (
    Available,
    Charging,
    Device,
    Faulted,
    Plug,
    Settings,
    Timer,
    Unlock,
    WaitingForPlug,
    WaitingForUnplug,
)
from agent.model import EndReason, Tap, Uid
from tests.unit.evse_story import GROUP, PLUG_AND_METER, SIMPLE, Story, charging, story, tapped

# From tap to tap


def test_start_opens_the_relay_unlocks_the_cable_and_asks_for_a_card() -> None:
    assert story(SIMPLE).effects == (OpenRelay(), UnlockCable(), Show(Text.IDLE))


def test_card_is_decided() -> None:
    tap = Tap(Uid("A1"), 1.0, "left")
    assert story(SIMPLE, Tapped(1.0, tap)).effects == (AskDecision(tap), Show(Text.ASKING))


def test_accepted_card_without_a_plug_sensor_starts_its_session_and_then_closes_the_relay() -> None:
    told = charging(SIMPLE).effects
    assert told == (StartSession(1, 12.0, None), LockCable(), CloseRelay(), Show(Text.CHARGING))


def test_refused_card_leaves_the_charge_point_free() -> None:
    evse = story(SIMPLE, tapped("A1", 1.0), Refused(2.0))
    assert evse.effects == (Show(Text.REFUSED),)
    assert evse.is_in(Available)


def test_unwritten_record_is_told_to_the_driver_and_the_operator() -> None:
    evse = story(SIMPLE, tapped("A1", 1.0), RecordFailed(2.0))
    assert evse.effects == (RaiseAlarm(Alarm.STORAGE), Show(Text.NOT_RECORDED))


def test_record_that_is_written_after_its_time_is_ended() -> None:
    evse = story(SIMPLE, tapped("A1", 1.0), RecordFailed(2.0, too_late=True), RecordedTooLate(9.0, 1))
    assert evse.shown[-1] is Text.TOO_LATE
    assert evse.effects == (EndAuthorization(1, EndReason.TOO_LATE),)


def test_same_card_again_opens_the_relay_first_and_ends_the_session() -> None:
    evse = charging(SIMPLE)
    tap = tapped("A1", 20.0)
    end = EndSession(1, 20.0, None, EndReason.SAME_CARD, tap.tap)
    assert evse.then(tap) == (OpenRelay(), end, UnlockCable(), Show(Text.STOPPED))
    assert evse.is_in(Available)


def test_same_card_right_after_the_verdict_is_still_the_same_tap() -> None:
    evse = charging(SIMPLE)
    assert evse.then(tapped("A1", 14.9)) == (Show(Text.CHARGING),)
    assert evse.is_in(Charging)


def test_same_card_right_after_it_stopped_begins_nothing() -> None:
    evse = charging(SIMPLE)
    evse.then(tapped("A1", 20.0))
    assert evse.then(tapped("A1", 22.9)) == (Show(Text.STOPPED),)
    evse.then(tapped("A1", 23.0))
    assert isinstance(evse.effects[0], AskDecision)


def test_other_card_is_looked_up_only_where_a_group_could_stop() -> None:
    evse = charging(SIMPLE)
    assert evse.then(tapped("B2", 20.0)) == (LookUpGroups(Tap(Uid("B2"), 20.0, "left")),)
    alone = story(SIMPLE, tapped("A1", 1.0), Accepted(2.0, 1, None))
    alone.then(tapped("B2", 20.0))
    assert alone.deeds == (RecordRefusal(Tap(Uid("B2"), 20.0, "left"), Refusal.IN_USE),)


def test_card_of_the_group_ends_the_session() -> None:
    evse = charging(SIMPLE)
    tap = tapped("B2", 20.0, frozenset({"NL-TNM X", GROUP}))
    evse.then(tap)
    assert evse.deeds == (OpenRelay(), EndSession(1, 20.0, None, EndReason.GROUP_CARD, tap.tap), UnlockCable())


def test_card_of_another_group_is_refused_and_recorded() -> None:
    evse = charging(SIMPLE)
    tap = tapped("B2", 20.0, frozenset({"NL-TNM G"}))
    assert evse.then(tap) == (RecordRefusal(tap.tap, Refusal.IN_USE), Show(Text.IN_USE))
    assert evse.evse.relay_closed


def test_card_that_is_being_decided_joins_itself() -> None:
    evse = story(SIMPLE, tapped("A1", 1.0), tapped("A1", 2.0))
    assert evse.effects == (Show(Text.ASKING),)
    evse.then(Refused(3.0))
    assert evse.is_in(Available)


def test_second_card_is_decided_after_a_refusal() -> None:
    evse = story(SIMPLE, tapped("A1", 1.0), tapped("B2", 2.0), Refused(3.0))
    assert evse.deeds == (AskDecision(Tap(Uid("B2"), 2.0, "left")),)
    assert evse.shown[-2:] == [Text.REFUSED, Text.ASKING]


def test_second_card_finds_the_evse_in_use_after_an_acceptance() -> None:
    evse = story(SIMPLE, tapped("A1", 1.0), tapped("B2", 2.0), Accepted(3.0, 1))
    assert evse.shown[-2:] == [Text.CHARGING, Text.IN_USE]
    assert RecordRefusal(Tap(Uid("B2"), 2.0, "left"), Refusal.IN_USE) in evse.effects


def test_more_cards_than_may_wait_are_dropped() -> None:
    evse = story(Settings(most_waiting=1), tapped("A1", 1.0), tapped("B2", 2.0), tapped("C3", 2.5), Refused(3.0))
    evse.then(Refused(4.0))
    assert evse.is_in(Available)


def test_operator_ends_the_session() -> None:
    evse = charging(SIMPLE)
    evse.then(StopCommanded(20.0))
    assert EndSession(1, 20.0, None, EndReason.OPERATOR) in evse.effects
    assert evse.shown[-1] is Text.STOPPED_BY_OPERATOR


def test_operator_ends_nothing_where_nothing_runs() -> None:
    assert story(SIMPLE, StopCommanded(20.0)).effects == ()


# With a plug sensor


def test_accepted_card_waits_for_the_plug_with_the_relay_open() -> None:
    evse = story(PLUG_AND_METER, tapped("A1", 1.0), Accepted(2.0, 1))
    assert evse.effects == (SetTimer(Timer.CONNECTION, 60.0), Show(Text.PLUG_IN))


def test_plug_after_the_card_starts_the_session() -> None:
    evse = charging(PLUG_AND_METER)
    assert evse.effects == (
        StartSession(1, 12.0, None),
        CancelTimer(Timer.CONNECTION),
        LockCable(),
        CloseRelay(),
        Show(Text.CHARGING),
    )


def test_plug_before_the_card_asks_for_it_and_starts_with_the_decision() -> None:
    evse = story(PLUG_AND_METER, Plugged(1.0))
    assert evse.effects == (Show(Text.TAP_CARD),)
    evse.then(tapped("A1", 2.0), Accepted(3.0, 1))
    assert evse.deeds == (StartSession(1, 3.0, None), LockCable(), CloseRelay())


def test_plug_that_goes_while_the_card_is_decided_is_waited_for() -> None:
    evse = story(PLUG_AND_METER, Plugged(1.0), tapped("A1", 2.0), Unplugged(2.5), Accepted(3.0, 1))
    assert evse.is_in(WaitingForPlug)


def test_driver_who_does_not_plug_in_is_told_and_the_authorization_ends() -> None:
    evse = story(PLUG_AND_METER, tapped("A1", 1.0), Accepted(2.0, 1), TimerFired(62.0, Timer.CONNECTION))
    assert evse.effects == (EndAuthorization(1, EndReason.CONNECTION_TIMEOUT), Show(Text.CONNECTION_TIMEOUT))
    assert evse.is_in(Available)


def test_same_card_before_the_plug_cancels() -> None:
    tap = tapped("A1", 20.0)
    evse = story(PLUG_AND_METER, tapped("A1", 1.0), Accepted(2.0, 1), tap)
    assert evse.deeds == (EndAuthorization(1, EndReason.SAME_CARD, tap.tap), CancelTimer(Timer.CONNECTION))
    assert evse.shown[-1] is Text.CANCELLED


def test_card_held_again_right_after_plugging_in_does_not_stop() -> None:
    evse = story(PLUG_AND_METER, tapped("A1", 1.0), Accepted(2.0, 1), Plugged(20.0), tapped("A1", 21.0))
    assert evse.is_in(Charging)


def test_unplugging_ends_the_session() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(Unplugged(20.0))
    assert evse.deeds == (OpenRelay(), EndSession(1, 20.0, None, EndReason.UNPLUGGED), UnlockCable())
    assert evse.is_in(Available)


def test_stopped_charge_waits_for_the_cable_to_be_taken_out() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(tapped("A1", 20.0))
    assert evse.is_in(WaitingForUnplug)
    assert standing_text(evse.evse) is Text.UNPLUG
    assert evse.then(Unplugged(30.0)) == (Show(Text.IDLE),)


def test_card_begins_again_without_unplugging() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(tapped("A1", 20.0), tapped("A1", 30.0), Accepted(31.0, 2))
    assert evse.evse.relay_closed


# The meter


def test_reading_goes_to_the_session_and_nowhere_else() -> None:
    evse = story(PLUG_AND_METER, Reading(1.0, 400))
    assert not evse.effects
    evse.then(tapped("A1", 10.0), Accepted(11.0, 1), Plugged(12.0))
    assert StartSession(1, 12.0, 400) in evse.effects
    assert evse.then(Reading(13.0, 450)) == (AddReading(1, 13.0, 450),)
    evse.then(Unplugged(14.0))
    assert EndSession(1, 14.0, 450, EndReason.UNPLUGGED) in evse.effects


def test_next_session_does_not_count_from_a_reading_of_the_one_before() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(Reading(13.0, 450), Unplugged(14.0), tapped("B2", 15.0), Accepted(16.0, 2), Plugged(17.0))
    assert StartSession(2, 17.0, None) in evse.effects
    assert evse.then(Reading(18.0, 460)) == (AddReading(2, 18.0, 460),)
    evse.then(Unplugged(19.0))
    assert EndSession(2, 19.0, 460, EndReason.UNPLUGGED) in evse.effects


def test_next_session_counts_from_what_was_read_in_between() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(Reading(13.0, 450), Unplugged(14.0), Reading(14.5, 460), tapped("B2", 15.0), Accepted(16.0, 2))
    evse.then(Plugged(17.0))
    assert StartSession(2, 17.0, 460) in evse.effects


def test_session_that_is_over_before_the_meter_is_read_ends_without_a_reading_of_the_one_before() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(Reading(13.0, 450), Unplugged(14.0), tapped("B2", 15.0), Accepted(16.0, 2), Plugged(17.0))
    evse.then(Unplugged(18.0))
    assert EndSession(2, 18.0, None, EndReason.UNPLUGGED) in evse.effects


def test_session_after_one_that_was_not_resumed_does_not_count_from_what_was_persisted() -> None:
    evse = Story(PLUG_AND_METER)
    evse.then(Restarted(0.0, Running(1, Uid("A1"), None, session_started=True, energy_wh=450), Plug.OUT, 5.0))
    evse.then(tapped("B2", 1.0), Accepted(2.0, 2), Plugged(3.0))
    assert StartSession(2, 3.0, None) in evse.effects


def test_session_that_was_resumed_ends_as_last_persisted_where_nothing_is_read() -> None:
    evse = Story(PLUG_AND_METER)
    evse.then(Restarted(0.0, Running(1, Uid("A1"), None, session_started=True, energy_wh=450), Plug.IN, 5.0))
    evse.then(Unplugged(1.0))
    assert EndSession(1, 1.0, 450, EndReason.UNPLUGGED) in evse.effects


def test_meter_that_goes_back_after_a_session_raises_an_alarm() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(Reading(13.0, 450), Unplugged(14.0), Reading(15.0, 10))
    assert evse.effects == (RaiseAlarm(Alarm.METER_WENT_BACK),)


def test_meter_that_goes_back_raises_an_alarm() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(Reading(13.0, 450), Reading(14.0, 10))
    assert evse.effects == (RaiseAlarm(Alarm.METER_WENT_BACK), AddReading(1, 14.0, 10))


def test_car_that_draws_nothing_for_a_while_is_suspended() -> None:
    evse = charging(PLUG_AND_METER)
    assert evse.then(Reading(13.0, 450, 99.9)) == (AddReading(1, 13.0, 450), SetTimer(Timer.SUSPEND, 60.0))
    assert evse.then(TimerFired(73.0, Timer.SUSPEND)) == (
        BeginPeriod(1, 73.0, Period.PARKING, 450),
        Show(Text.SUSPENDED),
    )
    assert evse.evse.relay_closed


def test_car_that_draws_again_in_time_is_not_suspended() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(Reading(13.0, 450, 0.0), Reading(14.0, 450, 100.0))
    assert evse.deeds == (AddReading(1, 14.0, 450), CancelTimer(Timer.SUSPEND))


def test_suspended_car_that_draws_again_charges() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(Reading(13.0, 450, 0.0), TimerFired(73.0, Timer.SUSPEND), Reading(80.0, 460, 7000.0))
    assert evse.deeds == (AddReading(1, 80.0, 460), BeginPeriod(1, 80.0, Period.CHARGING, 460))


def test_cable_of_a_suspended_car_comes_loose_where_the_operator_says_so() -> None:
    settings = Settings(has_plug_sensor=True, has_meter=True, unlock=Unlock.WHEN_SUSPENDED)
    evse = charging(settings)
    evse.then(Reading(13.0, 450, 0.0), TimerFired(73.0, Timer.SUSPEND))
    assert UnlockCable() in evse.effects
    evse.then(Reading(80.0, 460, 7000.0))
    assert LockCable() in evse.effects


def test_lost_meter_lets_the_charge_go_on_and_the_session_says_so() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(DeviceLost(20.0, Device.METER))
    assert evse.deeds == (RaiseAlarm(Alarm.METER_LOST), AddReading(1, 20.0, None))
    assert evse.evse.relay_closed


def test_lost_meter_bills_no_parking() -> None:
    evse = charging(PLUG_AND_METER)
    evse.then(Reading(13.0, 450, 0.0), TimerFired(73.0, Timer.SUSPEND), DeviceLost(80.0, Device.METER))
    assert BeginPeriod(1, 80.0, Period.CHARGING, 450) in evse.effects


def test_no_charge_begins_without_its_meter() -> None:
    evse = story(PLUG_AND_METER, tapped("A1", 1.0), DeviceLost(1.5, Device.METER), Accepted(2.0, 1))
    assert evse.effects == (EndAuthorization(1, EndReason.METER_FAULT), Show(Text.OUT_OF_ORDER))
    assert evse.is_in(Faulted)
