"""What is kept of a charge: persists, ends, what is open at start, and the outbox."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.charges import CdrRecord, Charge, Open, Report, ReportKind
from agent.errors import StoreError
from agent.model import EndReason, Recorded
from tests.store.charge_samples import State, cdr, opened, over, session, stop
from tests.store.samples import NOON, at, entry, late, refused


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with opened(tmp_path / "state.db") as state:
        yield state


async def charge(state: State, authorization_id: int) -> Charge:
    return (await state.sessions.of([authorization_id]))[authorization_id]


async def kinds(state: State) -> list[tuple[ReportKind, int]]:
    return [(one.kind, one.authorization_id) for one in await state.sessions.due()]


# Persisting.


async def test_begun_session_reads_back_as_it_was_put(state: State) -> None:
    begun = session(1, energy_wh=0, register_wh=123456, no_cdr="nobody owns the card", clock_known=False)
    await state.journal.record(entry())
    await state.sessions.put(begun, tell=False)
    assert await charge(state, 1) == Charge(begun, Recorded(1, entry()))


async def test_session_without_owner_reads_back_as_it_was_put(state: State) -> None:
    await state.journal.record(entry(peer=None))
    await state.sessions.put(session(1, peer=None, object=None), tell=True)
    assert await charge(state, 1) == Charge(session(1, peer=None, object=None), Recorded(1, entry(peer=None)))


@pytest.mark.parametrize("length", [0, 1, 63, 127, 128, 129, 1000, 5000])
async def test_next_persist_replaces_the_one_before_byte_by_byte(state: State, length: int) -> None:
    await state.begun(account=b"a" * 700, object=b"o" * 1200)
    later = session(1, account=b"\0 " * length, object=b" \0" * length, changed_at=at(500), monotonic_s=77.0)
    await state.sessions.put(later, tell=False)
    assert (await charge(state, 1)).session == later


async def test_corrected_clock_changes_the_start(state: State) -> None:
    await state.begun(started_at=at(-1e9), clock_known=False)
    await state.sessions.put(session(1), tell=False)
    assert (await charge(state, 1)).session == session(1)


async def test_session_of_no_authorization_is_refused(state: State) -> None:
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        await state.sessions.put(session(7), tell=True)
    assert await state.sessions.recent(9) == []
    assert await state.sessions.due() == []


async def test_ended_session_is_not_changed_any_more(state: State) -> None:
    await state.billed()
    before = await charge(state, 1)
    await state.sessions.put(session(1, account=b"{}"), tell=True)
    assert await charge(state, 1) == before
    assert await state.sessions.due() == []


async def test_put_does_not_end_a_session(state: State) -> None:
    await state.begun()
    await state.sessions.put(over(1), tell=False)
    assert [one.session for one in await state.sessions.open()] == [replace(over(1), ended_at=None, ended_because=None)]


async def test_persist_that_the_disk_does_not_take_changes_nothing(state: State) -> None:
    await state.begun()
    await state.database.writer.write("fill up", "PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="free space"):
        await state.sessions.put(session(1, account=b"a" * 100_000), tell=True)
    assert (await charge(state, 1)).session == session(1)
    assert await state.sessions.due() == []


# Ending.


async def test_end_writes_session_authorization_cdr_and_tap_at_once(state: State) -> None:
    await state.begun()
    tap = await state.sessions.end(over(1), cdr(1), stop(1))
    assert tap == 2
    ended = Recorded(1, entry(), ended_at=at(61), ended_because=EndReason.SAME_CARD)
    assert await charge(state, 1) == Charge(over(1), ended, (CdrRecord(1, cdr(1)),), untold=True)
    assert await state.journal.get(2) == Recorded(2, stop(1))


async def test_end_of_a_session_that_was_never_persisted_keeps_it_whole(state: State) -> None:
    await state.journal.record(entry())
    assert await state.sessions.end(over(1), cdr(1), None) is None
    assert (await charge(state, 1)).session == over(1)
    assert await kinds(state) == [(ReportKind.SESSION, 1), (ReportKind.CDR, 1)]


async def test_end_without_cdr_keeps_the_reason_and_tells_the_final_state(state: State) -> None:
    await state.begun()
    await state.sessions.end(over(1, no_cdr="nobody owns the card"), None, None)
    assert (await charge(state, 1)).session.no_cdr == "nobody owns the card"
    assert await kinds(state) == [(ReportKind.SESSION, 1)]


async def test_end_that_can_not_be_written_whole_changes_nothing(state: State) -> None:
    await state.begun()
    before = await charge(state, 1)
    with pytest.raises(StoreError, match="CHECK constraint"):
        await state.sessions.end(over(1), cdr(1), entry(ends=1, end_reason=None))
    assert await charge(state, 1) == before
    assert await state.sessions.due() == []
    assert await state.sessions.cdrs(9) == []


async def test_second_end_keeps_the_first_and_still_takes_down_the_tap(state: State) -> None:
    await state.finished()
    before = await charge(state, 1)
    later = over(1, ended_at=at(500), ended_because=EndReason.OPERATOR)
    assert await state.sessions.end(later, cdr(1, cdr_id="another-cdr"), stop(1)) == 2
    assert await charge(state, 1) == before
    assert await kinds(state) == [(ReportKind.SESSION, 1), (ReportKind.CDR, 1)]


async def test_end_of_an_authorization_that_is_over_keeps_its_end(state: State) -> None:
    await state.begun()
    await state.journal.end(1, at(5), EndReason.UNPLUGGED)
    await state.sessions.end(over(1), None, None)
    found = await charge(state, 1)
    assert (found.authorization.ended_at, found.session.ended_at) == (at(5), at(61))


async def test_end_without_an_instant_is_a_fault_of_the_caller(state: State) -> None:
    await state.begun()
    with pytest.raises(ValueError, match="has no end"):
        await state.sessions.end(session(1), None, None)
    assert (await charge(state, 1)).session == session(1)


# At start.


async def test_start_finds_what_is_open_oldest_first(state: State) -> None:
    await state.finished()
    await state.journal.record(refused())
    waiting = await state.journal.record(entry())
    running = await state.begun()
    await state.journal.add_late(late(running, authorization_reference=None))
    answered = Recorded(running, entry(), late=(late(running, authorization_reference=None),))
    assert await state.sessions.open() == [Open(Recorded(waiting, entry()), None), Open(answered, session(running))]


async def test_start_finds_what_runs_although_an_older_start_settled_all_that_was_over(state: State) -> None:
    await state.finished()
    running = await state.begun()
    await state.finished()
    await state.journal.settle_open_check()
    assert [one.authorization.id for one in await state.sessions.open()] == [running]
    since = await state.begun()
    await state.journal.settle_open_check()
    assert [one.authorization.id for one in await state.sessions.open()] == [running, since]


async def test_start_finds_a_running_session_whose_authorization_is_over(state: State) -> None:
    running = await state.begun()
    await state.journal.end(running, at(5), EndReason.RESTART)
    await state.journal.settle_open_check()
    assert [one.session for one in await state.sessions.open()] == [session(running)]


async def test_start_of_an_empty_file_finds_nothing(state: State) -> None:
    assert await state.sessions.open() == []


# The outbox: sessions.


async def test_state_to_be_told_is_due_with_its_document(state: State) -> None:
    await state.begun(tell=True)
    told = Report(ReportKind.SESSION, 1, "emsp", session(1).object or b"", 1, at(1))
    assert await state.sessions.due() == [told]
    assert (await charge(state, 1)).untold


async def test_persist_that_is_not_to_be_told_is_not_due(state: State) -> None:
    await state.begun(tell=False)
    assert await state.sessions.due() == []
    assert not (await charge(state, 1)).untold


async def test_told_state_is_not_due_any_more(state: State) -> None:
    await state.begun(tell=True)
    await state.sessions.told(1, 1)
    assert await state.sessions.due() == []
    assert not (await charge(state, 1)).untold


async def test_newer_state_stays_due_when_an_older_one_was_told(state: State) -> None:
    await state.begun(tell=True)
    await state.sessions.put(session(1, object=b"newer", changed_at=at(99)), tell=True)
    await state.sessions.told(1, 1)
    assert await state.sessions.due() == [Report(ReportKind.SESSION, 1, "emsp", b"newer", 2, at(1))]


async def test_revisions_rise_with_each_state_to_be_told_and_with_no_other(state: State) -> None:
    await state.begun(tell=True)
    await state.sessions.told(1, 1)
    await state.sessions.put(session(1), tell=False)
    await state.sessions.put(session(1), tell=True)
    assert [one.revision for one in await state.sessions.due()] == [2]


async def test_session_that_nobody_is_told_of_is_never_due(state: State) -> None:
    await state.begun(tell=True, peer=None)
    await state.begun(tell=True, object=None)
    await state.sessions.end(over(1, peer=None), None, None)
    await state.sessions.end(over(2, object=None), None, None)
    assert await state.sessions.due() == []


async def test_session_that_lost_its_document_is_not_due_any_more(state: State) -> None:
    await state.begun(tell=True)
    await state.sessions.end(over(1, object=None), None, None)
    assert await state.sessions.due() == []


async def test_rejected_state_is_not_due_and_says_why_until_another_is_told(state: State) -> None:
    await state.begun(tell=True)
    await state.sessions.session_rejected(1, 1, "OCPI 2001: no such location")
    assert await state.sessions.due() == []
    rejected = await charge(state, 1)
    assert (rejected.untold, rejected.problem) == (False, "OCPI 2001: no such location")
    await state.sessions.put(session(1), tell=True)
    await state.sessions.told(1, 2)
    assert (await charge(state, 1)).problem is None


async def test_rejected_state_leaves_a_newer_one_due(state: State) -> None:
    await state.begun(tell=True)
    await state.sessions.put(session(1), tell=True)
    await state.sessions.session_rejected(1, 1, "OCPI 2001")
    assert [one.revision for one in await state.sessions.due()] == [2]


# The outbox: CDRs.


async def test_cdr_is_due_after_the_final_state_of_its_session(state: State) -> None:
    await state.finished()
    final, sealed = await state.sessions.due()
    assert final == Report(ReportKind.SESSION, 1, "emsp", over(1).object or b"", 1, at(61))
    assert sealed == Report(ReportKind.CDR, 1, "emsp", cdr(1).object, 1, at(61))


async def test_acknowledged_cdr_is_not_due_and_says_where_it_is(state: State) -> None:
    await state.finished()
    await state.sessions.acknowledged(1, at(99), "https://emsp.example/cdrs/1")
    assert await kinds(state) == [(ReportKind.SESSION, 1)]
    taken = CdrRecord(1, cdr(1), acknowledged_at=at(99), url="https://emsp.example/cdrs/1")
    assert await state.sessions.cdr("1") == taken


async def test_parked_cdr_is_not_due_and_says_why(state: State) -> None:
    await state.finished()
    await state.sessions.park(1, "OCPI 2001: no such tariff")
    assert await kinds(state) == [(ReportKind.SESSION, 1)]
    assert await state.sessions.cdr("1") == CdrRecord(1, cdr(1), problem="OCPI 2001: no such tariff", parked=True)


async def test_parked_cdr_is_due_again_when_somebody_says_so(state: State) -> None:
    await state.finished()
    await state.sessions.park(1, "OCPI 2001: no such tariff")
    assert await state.sessions.resend(1, at(500))
    assert await state.sessions.cdr("1") == CdrRecord(1, cdr(1))
    assert (await state.sessions.due())[-1] == Report(ReportKind.CDR, 1, "emsp", cdr(1).object, 1, at(500))


async def test_acknowledged_cdr_that_is_due_again_is_the_very_same_document(state: State) -> None:
    await state.billed()
    assert await state.sessions.resend(1, at(500))
    assert await state.sessions.due() == [Report(ReportKind.CDR, 1, "emsp", cdr(1).object, 1, at(500))]
    assert await state.sessions.cdr("1") == CdrRecord(1, cdr(1))


async def test_cdr_that_is_not_there_is_not_due_again(state: State) -> None:
    assert not await state.sessions.resend(7, NOON)
    assert await state.sessions.due() == []


@pytest.mark.parametrize("place", [0, 1])
async def test_problem_of_a_report_is_on_record_and_goes_with_it(state: State, place: int) -> None:
    await state.finished()
    await state.sessions.problem((await state.sessions.due())[place], "no route to host")
    assert (await state.sessions.due())[place].problem == "no route to host"
    await state.sessions.told(1, 1)
    await state.sessions.acknowledged(1, at(99), None)
    found = await charge(state, 1)
    assert (found.problem, found.cdrs[0].problem) == (None, None)


@pytest.mark.parametrize("place", [0, 1])
async def test_same_problem_again_writes_nothing(state: State, place: int) -> None:
    await state.finished()
    failing = (await state.sessions.due())[place]
    await state.sessions.problem(failing, "no route to host")
    before = state.sessions.commits()
    await state.sessions.problem(failing, "no route to host")
    assert state.sessions.commits() == before
    await state.sessions.problem(failing, "timeout")
    assert state.sessions.commits() != before


async def test_due_gives_each_peer_the_sessions_that_waited_longest(state: State) -> None:
    for peer in ("a", "a", "b", "a", "b"):
        authorization_id = await state.begun(peer=peer)
        sealed = cdr(authorization_id, peer=peer)
        await state.sessions.end(over(authorization_id, peer=peer), sealed, None)
    both = [ReportKind.SESSION, ReportKind.CDR]
    assert [(one.kind, one.authorization_id) for one in await state.sessions.due(most=2)] == [
        (kind, authorization_id) for authorization_id in (1, 2, 3, 5) for kind in both
    ]


async def test_due_does_not_count_what_is_parked(state: State) -> None:
    for number in (1, 2):
        await state.finished()
        await state.sessions.told(number, 1)
    await state.sessions.park(1, "OCPI 2001")
    assert [(one.kind, one.authorization_id) for one in await state.sessions.due(most=1)] == [(ReportKind.CDR, 2)]


# An operator's wish.


async def test_stop_request_is_found_answered_and_told(state: State) -> None:
    number = await state.sessions.request_stop("EVSE 1", at(5))
    [asked] = await state.sessions.stop_requests()
    assert (asked.number, asked.evse_uid, asked.asked_at) == (number, "EVSE 1", at(5))
    assert await state.sessions.stop_outcome(number) is None
    await state.sessions.stopped(number, "stopped")
    await state.sessions.stopped(number, "taken back")
    assert await state.sessions.stop_requests() == []
    assert await state.sessions.stop_outcome(number) == "stopped"


async def test_answered_stop_requests_go_after_a_day_and_numbers_go_on(state: State) -> None:
    for number in (1, 2, 3):
        assert await state.sessions.request_stop("EVSE 1", at(number)) == number
    await state.sessions.stopped(1, "stopped")
    await state.sessions.stopped(3, "stopped")
    assert await state.sessions.request_stop("EVSE 1", at(90_000)) == 4
    assert await state.sessions.stop_outcome(1) is None
    assert await state.sessions.stop_outcome(3) is None
    assert [one.number for one in await state.sessions.stop_requests()] == [2, 4]
