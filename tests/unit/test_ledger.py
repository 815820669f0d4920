"""The books of one EVSE: what is persisted, what is told, and what a kill can cost; in virtual time."""

import asyncio
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from agent.charges import Open
from agent.core.account import Pricing, Remark, from_json
from agent.core.evse_effects import Period
from agent.model import Answer, EndReason, Entry, LateAnswer, Outcome, Reason, Recorded, Source, Verdict
from agent.runtime.clock import Clock
from agent.runtime.ledger import UNRECORDED_S, Ledger, LedgerSettings
from agent.runtime.records_queue import MOST_REFUSALS, RETRY_S
from tests.scenario.charging import papers
from tests.scenario.memory_disk import MemoryJournal, MemorySessions
from tests.scenario.stage import EVSE
from tests.scenario.virtual_time import NOW, WallClock, played

BOOKS = LedgerSettings(has_meter=True, persist_energy_wh=100, persist_every_s=120.0, report_energy_wh=1000)


def entry(**changes: Any) -> Entry:
    """An accepted card that the peer allowed."""
    fields: dict[str, Any] = {
        "evse_uid": EVSE,
        "uid": "A1",
        "reader": "left",
        "tapped_at": NOW,
        "verdict": Verdict.ACCEPTED,
        "reason": Reason.ALLOWED,
        "source": Source.REALTIME,
        "detail": "",
        "text": "",
        "relay_closed": True,
        "latency_ms": 1.0,
        "deadline_ms": 5000.0,
        "correlation_id": "c",
        "peer": "acme",
        "country_code": "DE",
        "party_id": "ABC",
        "contract_id": "DE-ABC-A1",
        "authorization_reference": "REF-1",
    }
    return Entry(**fields | changes)


REFUSED = {"verdict": Verdict.REFUSED, "reason": Reason.IN_USE, "source": Source.LOCAL, "relay_closed": False}


class Books:
    """A ledger on a disk in memory."""

    def __init__(
        self,
        settings: LedgerSettings = BOOKS,
        journal: MemoryJournal | None = None,
        wall: WallClock | None = None,
        **changes: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.journal = journal or MemoryJournal()
        self.wall = wall or WallClock()
        self.unrecorded: list[int] = []
        self.ledger = Ledger(
            EVSE,
            journal=self.journal,
            sessions=MemorySessions(self.journal),
            documents=papers(),
            pricing=Pricing(None, UTC),
            clock=Clock(self.wall.now, loop.time, "boot"),
            settings=settings,
            on_unrecorded=self.unrecorded.append,
            **changes,
        )

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def accept(self, **changes: Any) -> int:
        """A card is accepted, on record."""
        accepted = entry(**changes)
        number = await self.journal.record(accepted)
        self.ledger.accepted(number, accepted)
        return number

    async def begin(self, register_wh: int | None = 10_000, **changes: Any) -> int:
        """A session begins, on record."""
        number = await self.accept(**changes)
        self.ledger.start(number, self.now, register_wh)
        await self.ledger.settled()
        return number

    async def read(self, register_wh: int | None, after_s: float = 1.0) -> None:
        """The meter is read."""
        await asyncio.sleep(after_s)
        self.ledger.reading(self.now, register_wh)

    def persisted_wh(self, number: int = 1) -> int | None:
        """What a power cut now would leave."""
        return self.journal.sessions[number].energy_wh

    @property
    def persisted_at(self) -> float:
        """The moment up to which the session is accounted on disk."""
        until = from_json(self.journal.sessions[1].account).until
        return self.now - (self.wall.now() - until).total_seconds()

    async def close(self) -> None:
        """Stop, with books that balance."""
        await self.ledger.stop(3.0)
        self.journal.check()


# ---- how often is persisted and told


@played
async def test_energy_is_persisted_before_more_than_configured_could_be_lost() -> None:
    books = Books()
    await books.begin()
    for step in range(1, 31):
        await books.read(10_000 + 10 * step)
        await books.ledger.settled()
        lost = 10 * step - (books.persisted_wh() or 0)
        assert lost + 10 <= BOOKS.persist_energy_wh
    await books.close()


@played
async def test_little_energy_is_not_persisted_at_every_reading() -> None:
    books = Books()
    await books.begin()
    await books.read(10_010)
    await books.read(10_020)
    await books.ledger.settled()
    assert books.persisted_wh() == 0
    await books.close()


@played
async def test_time_is_persisted_without_any_reading() -> None:
    books = Books()
    await books.begin()
    await asyncio.sleep(BOOKS.persist_every_s + 1.0)
    account = from_json(books.journal.sessions[1].account)
    assert (account.until - account.started_at).total_seconds() == pytest.approx(BOOKS.persist_every_s)
    await books.close()


@played
async def test_slow_energy_is_persisted_by_time() -> None:
    books = Books()
    await books.begin()
    for step in range(1, 14):
        await books.read(10_000 + step, after_s=10.0)
    await books.ledger.settled()
    assert (books.persisted_wh() or 0) >= 11
    await books.close()


@played
async def test_session_that_ended_is_persisted_by_time_no_more() -> None:
    books = Books()
    await books.begin()
    books.ledger.end(books.now, 10_000, EndReason.UNPLUGGED)
    await books.ledger.settled()
    ended = books.journal.sessions[1]
    await asyncio.sleep(10 * BOOKS.persist_every_s)
    assert books.journal.sessions[1] is ended
    await books.close()


@played
async def test_long_silence_between_reports_is_broken_after_the_configured_time() -> None:
    books = Books(replace(BOOKS, report_every_s=300.0))
    await books.begin()
    await asyncio.sleep(1000.0)
    assert len(books.journal.told) == 3
    await books.close()


@played
async def test_many_changes_while_the_disk_is_busy_are_written_once() -> None:
    books = Books()
    await books.begin()
    books.journal.stalls_s = 5.0
    for step in range(1, 11):
        await books.read(10_000 + 500 * step, after_s=0.1)
    books.journal.stalls_s = 0.0
    await books.ledger.settled()
    assert books.persisted_wh() == 5000
    assert len(books.journal.told) == 2
    await books.close()


@played
async def test_change_of_what_the_time_is_spent_on_is_persisted_and_told_at_once() -> None:
    books = Books()
    await books.begin()
    await asyncio.sleep(10.0)
    books.ledger.turn(books.now, Period.PARKING, 10_005)
    await books.ledger.settled()
    assert books.persisted_wh() == 5
    assert len(books.journal.told) == 2
    await books.close()


# ---- ends


@played
async def test_end_is_one_write_with_its_cdr_and_the_tap_that_brought_it() -> None:
    books = Books()
    number = await books.begin()
    await books.read(10_500)
    stop = entry(**REFUSED, ends=number, end_reason=EndReason.SAME_CARD)
    done = books.ledger.end(books.now, 10_600, EndReason.SAME_CARD, stop)
    assert await done == 2
    assert books.persisted_wh() == 600
    assert [made.authorization_id for made in books.journal.cdrs] == [1]
    assert books.journal.committed[2] == stop
    await books.close()


@played
async def test_end_while_a_change_waits_for_the_disk_is_the_last_word() -> None:
    books = Books()
    await books.begin()
    books.journal.stalls_s = 2.0
    await books.read(11_000)
    await books.read(12_000)
    books.ledger.end(books.now, 12_500, EndReason.UNPLUGGED)
    books.journal.stalls_s = 0.0
    await books.ledger.settled()
    session = books.journal.sessions[1]
    assert (session.ended_because, session.energy_wh) == (EndReason.UNPLUGGED, 2500)
    assert books.journal.cdrs[0].changed_at == session.changed_at
    await books.close()


@played
async def test_end_that_the_disk_refuses_is_tried_until_it_is_on_disk() -> None:
    books = Books()
    await books.begin()
    books.journal.refuses = True
    done = books.ledger.end(books.now, 10_100, EndReason.UNPLUGGED)
    await asyncio.sleep(10 * RETRY_S)
    assert (done.cancelled(), books.ledger.is_refused, books.journal.running()) == (True, True, {1})
    books.journal.refuses = False
    await books.ledger.settled()
    assert (books.ledger.is_refused, books.journal.ended) == (False, {1: EndReason.UNPLUGGED})
    await books.close()


@played
async def test_fault_of_ours_before_anything_was_delivered_is_billed_to_nobody() -> None:
    books = Books()
    await books.begin()
    await asyncio.sleep(30.0)
    books.ledger.end(books.now, 10_000, EndReason.RELAY_FAULT)
    await books.ledger.settled()
    assert books.journal.cdrs == []
    assert books.journal.sessions[1].no_cdr == "nothing was delivered: relay-fault after 30 s"
    await books.close()


@played
async def test_fault_of_ours_after_something_was_delivered_is_billed() -> None:
    books = Books()
    await books.begin()
    await asyncio.sleep(30.0)
    books.ledger.end(books.now, 10_001, EndReason.RELAY_FAULT)
    await books.ledger.settled()
    assert len(books.journal.cdrs) == 1
    await books.close()


@played
async def test_drivers_end_with_nothing_delivered_is_billed() -> None:
    books = Books()
    await books.begin()
    books.ledger.end(books.now, 10_000, EndReason.SAME_CARD)
    await books.ledger.settled()
    assert len(books.journal.cdrs) == 1
    await books.close()


@played
async def test_card_without_an_owner_gets_a_reason_instead_of_a_cdr() -> None:
    books = Books()
    await books.begin(peer=None, country_code=None, party_id=None, contract_id=None)
    books.ledger.end(books.now, 10_100, EndReason.SAME_CARD)
    await books.ledger.settled()
    assert books.journal.cdrs == []
    assert books.journal.sessions[1].no_cdr
    assert books.journal.told == []
    await books.close()


# ---- what the machine's failure leaves


@played
async def test_abandoned_session_ends_with_its_cdr() -> None:
    books = Books()
    await books.begin()
    await books.read(10_500)
    books.ledger.abandon(EndReason.AGENT_FAULT)
    await books.ledger.settled()
    assert books.journal.sessions[1].ended_because is EndReason.AGENT_FAULT
    assert len(books.journal.cdrs) == 1
    await books.close()


@played
async def test_abandoned_authorization_without_a_session_ends() -> None:
    books = Books()
    await books.accept()
    books.ledger.abandon(EndReason.AGENT_FAULT)
    await books.ledger.settled()
    assert books.journal.ended == {1: EndReason.AGENT_FAULT}
    await books.close()


@played
async def test_nothing_to_abandon_writes_nothing() -> None:
    books = Books()
    await books.begin()
    books.ledger.end(books.now, 10_000, EndReason.UNPLUGGED)
    books.ledger.abandon(EndReason.AGENT_FAULT)
    await books.ledger.settled()
    assert books.journal.ended == {1: EndReason.UNPLUGGED}
    await books.close()


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
