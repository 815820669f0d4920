"""One behaviour of the tap loop each, with every port played in memory."""

import asyncio

from agent.model import (
    Answer,
    EndReason,
    LateRefusal,
    Outcome,
    Policy,
    Reason,
    Source,
    Target,
    UnknownTokens,
    Verdict,
    WhitelistType,
)
from tests.scenario.stage import Stage, token
from tests.scenario.virtual_time import in_virtual_time

ALWAYS = {"A1": (token("A1", WhitelistType.ALWAYS, group_id="G"),)}
GROUP = {**ALWAYS, "A2": (token("A2", WhitelistType.ALWAYS, group_id="g"),)}
OFFLINE = {"A1": (token("A1", WhitelistType.ALLOWED_OFFLINE),)}
NEVER = {"A1": (token("A1", WhitelistType.NEVER),)}


def test_whitelisted_card_closes_the_relay_after_its_record() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        settled = await stage.tap("A1")
        assert (settled.entry.verdict, settled.entry.source) == (Verdict.ACCEPTED, Source.WHITELIST)
        assert stage.relay.contact_closed
        assert stage.relay.unrecorded == 0
        assert stage.backend.asked == []
        await stage.stop()

    in_virtual_time(story)


def test_refused_card_leaves_the_relay_open_and_a_record() -> None:
    async def story() -> None:
        stage = Stage()
        stage.backend.outcome = Outcome.BLOCKED
        settled = await stage.tap("F1")
        assert (settled.entry.verdict, settled.entry.reason) == (Verdict.REFUSED, Reason.BLOCKED)
        assert not stage.relay.contact_closed
        assert stage.journal.committed[1].reason is Reason.BLOCKED
        await stage.stop()

    in_virtual_time(story)


def test_same_card_again_opens_the_relay_and_ends_the_authorization() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        await stage.tap("A1")
        settled = await stage.tap("A1")
        assert settled.entry.reason is Reason.STOPPED_SAME_CARD
        assert not stage.relay.contact_closed
        assert stage.journal.ended == {1: EndReason.SAME_CARD}
        await stage.stop()

    in_virtual_time(story)


def test_card_of_the_same_group_ends_the_charge() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = GROUP
        await stage.tap("A1")
        settled = await stage.tap("A2")
        assert settled.entry.reason is Reason.STOPPED_GROUP_CARD
        assert not stage.relay.contact_closed
        assert stage.journal.ended == {1: EndReason.GROUP_CARD}
        await stage.stop()

    in_virtual_time(story)


def test_another_card_while_charging_is_refused_and_recorded() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        await stage.tap("A1")
        settled = await stage.tap("C9")
        assert settled.entry.reason is Reason.IN_USE
        assert stage.relay.contact_closed
        assert stage.journal.committed[2].verdict is Verdict.REFUSED
        assert stage.journal.running() == {1}
        await stage.stop()

    in_virtual_time(story)


def test_card_tapped_while_it_is_being_decided_joins_its_decision() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = OFFLINE
        stage.backend.late_after_s = 100.0
        stage.present("A1")
        await asyncio.sleep(1.0)
        stage.present("A1")
        await stage.next_settled()
        await asyncio.sleep(20.0)
        assert len(stage.journal.committed) == 1
        assert stage.relay.contact_closed
        await stage.stop()

    in_virtual_time(story)


def test_second_card_during_a_decision_is_decided_after_it() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = {**NEVER, "B1": (token("B1", WhitelistType.ALWAYS),)}
        stage.backend.late_after_s = 100.0
        stage.present("A1")
        await asyncio.sleep(1.0)
        stage.present("B1")
        first = await stage.next_settled()
        second = await stage.next_settled()
        assert (first.entry.uid, first.entry.verdict) == ("A1", Verdict.REFUSED)
        assert (second.entry.uid, second.entry.verdict) == ("B1", Verdict.ACCEPTED)
        assert stage.relay.contact_closed
        await stage.stop()

    in_virtual_time(story)


def test_silent_peer_is_given_up_at_the_deadline_less_the_reserve() -> None:
    async def story() -> None:
        stage = Stage(policy=Policy(deadline_s=4.0, reserve_s=0.5))
        stage.whitelist.rows = OFFLINE
        stage.backend.late_after_s = 100.0
        settled = await stage.tap("A1")
        assert settled.switched_at - settled.tap.at == 3.5
        assert (settled.entry.source, settled.entry.reason) == (Source.FALLBACK, Reason.TIMEOUT)
        await stage.stop()

    in_virtual_time(story)


def test_late_reference_joins_the_running_authorization() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = OFFLINE
        stage.backend.late_after_s = 2.0
        await stage.tap("A1")
        await asyncio.sleep(5.0)
        assert [(late.authorization_id, late.joined) for late in stage.journal.late] == [(1, True)]
        assert stage.relay.contact_closed
        await stage.stop()

    in_virtual_time(story)


def test_late_refusal_keeps_the_charge_by_default() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = OFFLINE
        stage.backend.late_after_s, stage.backend.late_outcome = 2.0, Outcome.BLOCKED
        await stage.tap("A1")
        await asyncio.sleep(5.0)
        assert [late.joined for late in stage.journal.late] == [False]
        assert stage.relay.contact_closed
        await stage.stop()

    in_virtual_time(story)


def test_late_refusal_stops_the_charge_where_the_policy_says_so() -> None:
    async def story() -> None:
        stage = Stage(policy=Policy(late_refusal=LateRefusal.STOP, stop_after_s=0.0))
        stage.whitelist.rows = OFFLINE
        stage.backend.late_after_s, stage.backend.late_outcome = 2.0, Outcome.BLOCKED
        await stage.tap("A1")
        await asyncio.sleep(5.0)
        assert not stage.relay.contact_closed
        assert stage.journal.ended == {1: EndReason.LATE_REFUSAL}
        await stage.stop()

    in_virtual_time(story)


def test_late_refusal_does_not_stop_the_next_drivers_charge() -> None:
    async def story() -> None:
        stage = Stage(policy=Policy(late_refusal=LateRefusal.STOP, stop_after_s=0.0))
        stage.whitelist.rows = {**OFFLINE, "B1": (token("B1", WhitelistType.ALWAYS),)}
        stage.backend.late_after_s, stage.backend.late_outcome = 10.0, Outcome.BLOCKED
        await stage.tap("A1")
        await stage.tap("A1")
        await stage.tap("B1")
        await asyncio.sleep(20.0)
        assert stage.relay.contact_closed
        assert stage.journal.running() == {3}
        await stage.stop()

    in_virtual_time(story)


def test_unwritable_disk_refuses_the_driver_with_its_own_text() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        stage.journal.refuses = True
        settled = await stage.tap("A1")
        assert (settled.entry.verdict, settled.entry.reason) == (Verdict.REFUSED, Reason.STORAGE_FAULT)
        assert not stage.relay.closings
        assert "Out of order" in stage.display.shown[-1]
        await stage.stop()

    in_virtual_time(story)


def test_disk_that_works_again_accepts_the_next_tap() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        stage.journal.refuses = True
        await stage.tap("A1")
        stage.journal.refuses = False
        settled = await stage.tap("A1")
        assert settled.entry.verdict is Verdict.ACCEPTED
        assert stage.relay.contact_closed
        await stage.stop()

    in_virtual_time(story)


def test_stalled_disk_does_not_make_the_driver_wait_past_the_deadline() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        stage.journal.stalls_s = 60.0
        settled = await stage.tap("A1")
        assert settled.switched_at - settled.tap.at == stage.policy.deadline_s
        assert settled.entry.reason is Reason.TOO_LATE
        assert not stage.relay.closings
        await asyncio.sleep(200.0)
        assert stage.journal.ended == {1: EndReason.TOO_LATE}
        assert not stage.relay.closings
        await stage.stop()

    in_virtual_time(story)


def test_relay_that_does_not_obey_is_told_to_the_driver_and_ended_on_record() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        stage.relay.faulty = True
        settled = await stage.tap("A1")
        assert settled.entry.reason is Reason.RELAY_FAULT
        await asyncio.sleep(1.0)
        assert stage.journal.ended == {1: EndReason.RELAY_FAULT}
        assert stage.evse.active_authorization is None
        await stage.stop()

    in_virtual_time(story)


def test_end_that_the_disk_refused_is_recorded_once_it_works_again() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        await stage.tap("A1")
        stage.journal.refuses = True
        await stage.tap("A1")
        assert not stage.relay.contact_closed
        assert stage.journal.running() == {1}
        stage.journal.refuses = False
        await asyncio.sleep(10.0)
        assert stage.journal.ended == {1: EndReason.SAME_CARD}
        await stage.stop()

    in_virtual_time(story)


def test_unreadable_whitelist_asks_the_peers_instead() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.broken = True
        settled = await stage.tap("A1")
        assert settled.entry.source is Source.REALTIME
        assert stage.relay.contact_closed
        await stage.stop()

    in_virtual_time(story)


def test_stop_of_the_agent_opens_the_relay_and_ends_the_authorization() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        await stage.tap("A1")
        await stage.stop()
        assert not stage.relay.contact_closed
        assert stage.journal.ended == {1: EndReason.SHUTDOWN}

    in_virtual_time(story)


def test_stop_while_a_record_is_being_written_never_closes_the_relay() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        stage.journal.stalls_s = 1.0
        stage.present("A1")
        await asyncio.sleep(0.5)
        await stage.stop()
        assert not stage.relay.closings
        assert stage.journal.ended == {1: EndReason.SHUTDOWN}

    in_virtual_time(story)


def test_operator_ends_a_charge() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        await stage.tap("A1")
        assert await stage.evse.end(EndReason.OPERATOR)
        assert not stage.relay.contact_closed
        assert stage.journal.ended == {1: EndReason.OPERATOR}
        assert not await stage.evse.end(EndReason.OPERATOR)
        await stage.stop()

    in_virtual_time(story)


def test_display_goes_back_to_what_stands_there_between_taps() -> None:
    async def story() -> None:
        stage = Stage()
        stage.backend.outcome = Outcome.BLOCKED
        await stage.tap("F1")
        await asyncio.sleep(10.0)
        idle = stage.display.shown[0]
        assert stage.display.shown[-1] == idle
        await stage.stop()

    in_virtual_time(story)


def test_charge_point_without_its_reader_is_out_of_order() -> None:
    async def story() -> None:
        stage = Stage()
        await asyncio.sleep(1.0)
        stage.evse.reader_is("left", missing=True)
        assert "Out of order" in stage.display.shown[-1]
        stage.evse.reader_is("left", missing=False)
        assert "Out of order" not in stage.display.shown[-1]
        await stage.stop()

    in_virtual_time(story)


def test_one_reader_of_two_is_enough_to_ask_for_a_card() -> None:
    async def story() -> None:
        stage = Stage()
        await asyncio.sleep(1.0)
        stage.evse.reader_is("left", missing=True)
        stage.evse.reader_is("right", missing=False)
        assert "Out of order" not in stage.display.shown[-1]
        await stage.stop()

    in_virtual_time(story)


def test_stop_of_the_agent_while_a_charge_is_being_ended_records_that_end() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        await stage.tap("A1")
        stage.journal.stalls_s = 1.0
        stage.present("A1")
        await asyncio.sleep(0.5)
        await stage.stop()
        assert stage.journal.ended == {1: EndReason.SAME_CARD}

    in_virtual_time(story)


def test_stop_of_the_agent_while_a_refusal_is_being_recorded_ends_nothing() -> None:
    async def story() -> None:
        stage = Stage()
        stage.backend.outcome = Outcome.BLOCKED
        stage.journal.stalls_s = 1.0
        stage.present("F1")
        await asyncio.sleep(0.5)
        await stage.stop()
        assert stage.journal.committed[1].reason is Reason.BLOCKED
        assert stage.journal.ended == {}

    in_virtual_time(story)


def test_same_card_right_after_the_verdict_is_still_the_same_tap() -> None:
    async def story() -> None:
        stage = Stage(policy=Policy(stop_after_s=3.0))
        stage.whitelist.rows = ALWAYS
        await stage.tap("A1")
        await asyncio.sleep(2.9)
        stage.present("A1")
        await asyncio.sleep(1.0)
        assert stage.relay.contact_closed
        assert len(stage.journal.committed) == 1
        await stage.tap("A1")
        assert stage.journal.ended == {1: EndReason.SAME_CARD}
        await stage.stop()

    in_virtual_time(story)


def test_card_that_ends_the_charge_opens_the_relay_ahead_of_every_queue() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        await stage.tap("A1")
        stage.journal.stalls_s = 60.0
        stage.present("C9")
        await asyncio.sleep(0.1)
        stage.present("A1")
        assert not stage.relay.contact_closed
        stage.journal.stalls_s = 0.0
        await asyncio.sleep(100.0)
        assert stage.journal.ended == {1: EndReason.SAME_CARD}
        await stage.stop()

    in_virtual_time(story)


def test_relay_that_does_not_open_is_told_again_until_it_does() -> None:
    async def story() -> None:
        stage = Stage()
        stage.whitelist.rows = ALWAYS
        await stage.tap("A1")
        stage.relay.jammed = True
        await stage.tap("A1")
        settled = await stage.tap("C9")
        assert settled.entry.reason is Reason.RELAY_FAULT
        await asyncio.sleep(10.0)
        assert "Out of order" in stage.display.shown[-1]
        stage.relay.jammed = False
        await asyncio.sleep(1.0)
        assert not stage.relay.contact_closed
        assert (await stage.tap("A1")).entry.verdict is Verdict.ACCEPTED
        await stage.stop()

    in_virtual_time(story)


def test_what_nobody_foresaw_refuses_the_driver_with_text_and_record() -> None:
    async def story() -> None:
        stage = Stage()
        stage.backend.breaks = True
        settled = await stage.tap("F1")
        assert (settled.entry.verdict, settled.entry.reason) == (Verdict.REFUSED, Reason.AGENT_FAULT)
        assert stage.journal.committed[1].reason is Reason.AGENT_FAULT
        stage.backend.breaks = False
        assert (await stage.tap("F1")).entry.verdict is Verdict.ACCEPTED
        await stage.stop()

    in_virtual_time(story)


def test_unreadable_whitelist_accepts_nobody_on_silence() -> None:
    async def story() -> None:
        stage = Stage(policy=Policy(unknown_offline=Verdict.ACCEPTED, unknown_tokens=UnknownTokens.REFUSE))
        stage.whitelist.broken = True
        stage.backend.late_after_s = 100.0
        settled = await stage.tap("A1")
        assert (settled.entry.verdict, settled.entry.source) == (Verdict.REFUSED, Source.FALLBACK)
        assert "could not be read" in settled.entry.detail
        await stage.stop()

    in_virtual_time(story)


def test_late_answer_of_another_owner_behind_the_same_hub_means_nothing() -> None:
    async def story() -> None:
        stage = Stage(policy=Policy(late_refusal=LateRefusal.STOP))
        stage.whitelist.rows = OFFLINE
        stage.backend.late_after_s = 1.0
        other = Target("acme", "NL", "TNM")
        stage.backend.late = [
            Answer("acme", Outcome.ALLOWED, authorization_reference="REF-OTHER", target=other),
            Answer("acme", Outcome.BLOCKED, target=other),
        ]
        await stage.tap("A1")
        await asyncio.sleep(10.0)
        assert [late.joined for late in stage.journal.late] == [False, False]
        assert stage.relay.contact_closed
        await stage.stop()

    in_virtual_time(story)


def test_unknown_card_accepted_on_silence_takes_the_first_late_allowed_and_no_later_refusal() -> None:
    async def story() -> None:
        policy = Policy(unknown_offline=Verdict.ACCEPTED, late_refusal=LateRefusal.STOP)
        stage = Stage(policy=policy)
        stage.backend.late_after_s = 1.0
        stage.backend.late = [
            Answer("alpha", Outcome.BLOCKED),
            Answer("beta", Outcome.ALLOWED, authorization_reference="PAY-ME"),
            Answer("gamma", Outcome.BLOCKED),
        ]
        await stage.tap("F1")
        await asyncio.sleep(20.0)
        assert [late.joined for late in stage.journal.late] == [False, True, False]
        assert stage.relay.contact_closed
        await stage.stop()

    in_virtual_time(story)


def test_unknown_card_accepted_on_silence_stops_when_all_who_answer_refuse() -> None:
    async def story() -> None:
        policy = Policy(unknown_offline=Verdict.ACCEPTED, late_refusal=LateRefusal.STOP)
        stage = Stage(policy=policy)
        stage.backend.late_after_s = 1.0
        stage.backend.late = [Answer("alpha", Outcome.BLOCKED), Answer("beta", Outcome.UNKNOWN)]
        await stage.tap("F1")
        await asyncio.sleep(20.0)
        assert not stage.relay.contact_closed
        assert stage.journal.ended == {1: EndReason.LATE_REFUSAL}
        await stage.stop()

    in_virtual_time(story)
