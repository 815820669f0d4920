"""The books of one EVSE and what comes between: late references, a disk that refuses, a start in the middle."""

import asyncio
import logging

import pytest

from agent.charges import Open
from agent.core.account import Remark, from_json
from agent.model import Answer, EndReason, LateAnswer, Outcome, Recorded, Source
from agent.runtime.ledger import UNRECORDED_S
from agent.runtime.records_queue import MOST_REFUSALS, RETRY_S
from tests.scenario.virtual_time import NOW, in_virtual_time, played
from tests.unit.ledger_books import BOOKS, REFUSED, Books, entry

# ---- late references


def late(number: int, reference: str = "REF-LATE") -> LateAnswer:
    return LateAnswer(number, NOW, Answer("acme", Outcome.ALLOWED, authorization_reference=reference), joined=True)


@played
async def test_late_reference_of_another_authorization_changes_nothing() -> None:
    books = Books()
    await books.begin()
    persisted = books.journal.sessions[1]
    books.ledger.join(77, late(77))
    await books.ledger.settled()
    assert books.journal.sessions[1] is persisted
    await books.close()


@played
async def test_late_reference_is_in_what_is_told_next() -> None:
    books = Books()
    number = await books.begin(authorization_reference=None, source=Source.FALLBACK)
    books.ledger.join(number, late(number))
    await books.ledger.settled()
    assert [b"REF-LATE" in (told.object or b"") for told in books.journal.told] == [False, True]
    assert books.ledger.facts(number).authorization_reference == "REF-LATE"
    await books.close()


# ---- a disk that refuses


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]


@played
async def test_session_that_can_not_be_recorded_is_reported_after_a_while() -> None:
    books = Books()
    number = await books.accept()
    books.journal.refuses = True
    books.ledger.start(number, books.now, 10_000)
    await asyncio.sleep(UNRECORDED_S - RETRY_S)
    assert books.unrecorded == []
    await asyncio.sleep(2 * RETRY_S)
    assert set(books.unrecorded) == {number}
    books.ledger.abandon(EndReason.STORAGE_FAULT)
    books.journal.refuses = False
    await books.ledger.settled()
    await books.close()


@played
async def test_session_that_the_disk_does_not_answer_for_is_reported_after_a_while() -> None:
    books = Books()
    number = await books.accept()
    books.journal.stalls_s = 10 * UNRECORDED_S
    books.ledger.start(number, books.now, 10_000)
    await asyncio.sleep(UNRECORDED_S - 1.0)
    assert books.unrecorded == []
    await asyncio.sleep(2.0)
    assert books.unrecorded == [number]
    books.ledger.abandon(EndReason.STORAGE_FAULT)
    await books.ledger.settled()
    assert books.journal.ended == {number: EndReason.STORAGE_FAULT}
    await books.close()


@played
async def test_session_that_ended_before_the_disk_answered_is_not_reported() -> None:
    books = Books()
    number = await books.accept()
    books.journal.stalls_s = 2 * UNRECORDED_S
    books.ledger.start(number, books.now, 10_000)
    books.ledger.end(books.now, 10_000, EndReason.UNPLUGGED)
    await asyncio.sleep(10 * UNRECORDED_S)
    assert books.unrecorded == []
    assert books.journal.ended == {number: EndReason.UNPLUGGED}
    await books.close()


@played
async def test_session_that_is_on_disk_once_is_not_reported() -> None:
    books = Books()
    await books.begin()
    books.journal.refuses = True
    await books.read(20_000)
    await asyncio.sleep(10 * UNRECORDED_S)
    assert books.unrecorded == []
    books.journal.refuses = False
    await books.ledger.settled()
    assert books.persisted_wh() == 10_000
    await books.close()


def test_session_that_the_disk_does_not_take_on_raises_one_alarm(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        books = Books()
        await books.begin()
        books.journal.refuses = True
        await books.read(20_000)
        await asyncio.sleep(BOOKS.persist_every_s - RETRY_S)
        assert alarms(caplog) == []
        await asyncio.sleep(10 * BOOKS.persist_every_s)
        books.journal.refuses = False
        await books.close()

    in_virtual_time(story)
    [alarm] = alarms(caplog)
    assert "session 1 could not be recorded for 122 s" in alarm


def test_disk_that_fails_again_raises_another_alarm(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        books = Books()
        await books.begin()
        for register_wh in (20_000, 30_000):
            books.journal.refuses = True
            await books.read(register_wh)
            await asyncio.sleep(2 * BOOKS.persist_every_s)
            books.journal.refuses = False
            await books.ledger.settled()
        await books.close()

    in_virtual_time(story)
    assert len(alarms(caplog)) == 2


@played
async def test_refused_cards_that_wait_for_the_disk_are_bounded() -> None:
    books = Books()
    books.journal.refuses = True
    for _ in range(2 * MOST_REFUSALS):
        books.ledger.take_down(entry(**REFUSED))
    await asyncio.sleep(2 * RETRY_S)
    books.journal.refuses = False
    await books.ledger.settled()
    assert len(books.journal.committed) == MOST_REFUSALS
    await books.close()


@played
async def test_card_that_ends_something_always_gets_its_place_in_the_queue() -> None:
    books = Books()
    number = await books.accept()
    books.journal.refuses = True
    for _ in range(MOST_REFUSALS):
        books.ledger.take_down(entry(**REFUSED))
    books.ledger.take_down(entry(**REFUSED, ends=number, end_reason=EndReason.SAME_CARD))
    books.journal.refuses = False
    await books.ledger.settled()
    assert books.journal.ended == {number: EndReason.SAME_CARD}
    await books.close()


@played
async def test_stop_gives_the_disk_a_bounded_time_and_leaves_the_rest_to_the_next_start() -> None:
    books = Books()
    await books.begin()
    books.journal.refuses = True
    done = books.ledger.end(books.now, 10_500, EndReason.SHUTDOWN)
    before = books.now
    await books.ledger.stop(3.0)
    assert books.now - before == pytest.approx(3.0)
    assert done.cancelled()
    assert books.journal.running() == {1}


# ---- what the last start left


def left(books: Books, number: int = 1) -> Open:
    return Open(Recorded(number, books.journal.committed[number]), books.journal.sessions[number])


@played
async def test_found_session_that_goes_on_counts_from_the_persisted_register() -> None:
    before = Books()
    await before.begin()
    await before.read(11_000)
    await before.ledger.settled()
    after = Books(journal=before.journal.after_power_cut(), wall=before.wall)
    after.ledger.found(left(after))
    await before.ledger.stop(0.0)
    await asyncio.sleep(10.0)
    after.ledger.resume(after.now)
    await after.read(11_500)
    after.ledger.end(after.now, 11_500, EndReason.UNPLUGGED)
    await after.ledger.settled()
    assert after.persisted_wh() == 1500
    assert Remark.POWER_CUT in from_json(after.journal.sessions[1].account).remarks
    await after.close()


@played
async def test_found_session_that_ends_keeps_its_last_persisted_moment_and_energy() -> None:
    before = Books()
    await before.begin()
    await before.read(11_000, after_s=600.0)
    await before.ledger.settled()
    until = from_json(before.journal.sessions[1].account).until
    after = Books(journal=before.journal.after_power_cut(), wall=before.wall)
    after.ledger.found(left(after))
    await before.ledger.stop(0.0)
    await asyncio.sleep(3600.0)
    after.ledger.end(None, 11_000, EndReason.OFF_TOO_LONG)
    await after.ledger.settled()
    session = after.journal.sessions[1]
    assert (session.ended_at, session.energy_wh) == (until, 1000)
    assert session.changed_at > until
    await after.close()
