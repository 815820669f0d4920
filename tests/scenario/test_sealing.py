"""What ends while nobody knows the time is billed as soon as somebody does, and at the time when it was."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.charges import Charge, NewCdr, ReportKind, SessionRecord
from agent.core.account import Remark
from agent.errors import StoreError
from agent.model import EndReason
from agent.runtime.documents import Documents
from agent.runtime.sealing import LOOK_EVERY_S, Sealing
from agent.runtime.tariff_terms import read_tariff
from tests.scenario.ledger_books import DAY, EVSE, Books, Machine, books_in, written_by
from tests.scenario.virtual_time import in_virtual_time
from tests.unit.test_documents import BERLIN, PLACE, documents, element

SECOND = timedelta(seconds=1)


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    async with books_in(tmp_path) as books:
        yield books


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_charge_that_ends_by_an_unset_clock_is_told_to_nobody(books: Books) -> None:
    number = await books.charged()
    ended = await books.session(number)
    assert (ended.clock_known, ended.object, ended.no_cdr, ended.started_at.year) == (False, None, None, 1970)
    assert await books.state.sessions.due() == []
    assert [one.session for one in await books.state.sessions.unsealed()] == [ended]


async def test_charge_of_this_boot_is_sealed_at_the_very_time_when_it_was(books: Books) -> None:
    began = books.machine.true
    number = await books.charged(3600, wh=7000)
    books.machine.passes(12_345)
    books.machine.is_set = True
    await books.sealing().seal_all()
    sealed, cdr = await books.session(number), await books.cdr(number)
    assert (sealed.started_at, sealed.ended_at) == (began, began + timedelta(hours=1))
    assert (sealed.clock_known, sealed.no_cdr, sealed.changed_at) == (True, None, books.machine.true)
    assert (when(cdr["start_date_time"]), when(cdr["end_date_time"])) == (began, began + timedelta(hours=1))
    assert (cdr["total_energy"], cdr["total_time"], cdr["total_cost"]["excl_vat"]) == (7, 1, 2.1)
    assert (await books.charge(number)).authorization.ended_at == sealed.ended_at
    assert await books.remarks(number) == {Remark.CLOCK_CORRECTED}


async def test_sealed_charge_is_told_its_final_state_before_its_cdr(books: Books) -> None:
    await books.charged()
    books.machine.is_set = True
    await books.sealing().seal_all()
    final, bill = await books.state.sessions.due()
    assert (final.kind, bill.kind) == (ReportKind.SESSION, ReportKind.CDR)
    assert b'"status":"COMPLETED"' in final.object
    assert await books.state.sessions.unsealed() == []


async def test_charge_that_a_later_process_of_the_boot_seals_is_as_exact(books: Books) -> None:
    began = books.machine.true
    ledger = books.ledger()
    await books.begun(ledger)
    books.machine.passes(600)
    ledger.keep(books.machine.up_s, 51_000)
    await ledger.stop(9.0)
    [left] = await books.state.sessions.open()
    later = books.ledger()
    later.found(left)
    books.machine.passes(60)
    later.resume(books.machine.up_s)
    books.machine.passes(600)
    later.end(books.machine.up_s, 52_000, EndReason.UNPLUGGED)
    await later.settled()
    books.machine.is_set = True
    await books.sealing().seal_all()
    sealed = await books.session(left.authorization.id)
    assert (sealed.started_at, sealed.ended_at) == (began, began + timedelta(seconds=1260))


async def test_charge_of_an_earlier_boot_ends_when_this_one_began_and_says_so(books: Books) -> None:
    number = await books.charged(3600)
    books.machine.passes(50)
    books.machine.loses_power(1000)
    books.machine.is_set = True
    await books.sealing().seal_all()
    sealed, cdr = await books.session(number), await books.cdr(number)
    assert (sealed.ended_at, sealed.started_at) == (books.machine.began, books.machine.began - timedelta(hours=1))
    assert Remark.CLOCK_UNKNOWN in await books.remarks(number)
    assert "Date and time are not certain." in cdr["remark"]
    assert (cdr["total_energy"], cdr["total_time"]) == (7, 1)


async def test_charges_of_several_boots_keep_their_order_and_distance_and_never_overlap(books: Books) -> None:
    truly: list[tuple[datetime, datetime]] = []
    for pause_s in (40, 0, 700):
        for seconds in (1800, 600):
            began = books.machine.true
            await books.charged(seconds)
            truly.append((began, books.machine.true))
            books.machine.passes(30)
        books.machine.loses_power(pause_s)
    await books.charged(300)
    truly.append((books.machine.true - timedelta(seconds=300), books.machine.true))
    books.machine.is_set = True
    await books.sealing().seal_all()
    said = [await books.session(number) for number in range(1, 8)]
    times = [(one.started_at, one.ended_at) for one in said if one.ended_at is not None]
    assert [end - start for start, end in times] == [end - start for start, end in truly]
    assert [one[1] <= other[0] for one, other in pairwise(times)] == [True] * 6
    assert [times[place + 1][0] - times[place][1] for place in (0, 2, 4)] == [timedelta(seconds=30)] * 3
    assert times[-1] == truly[-1]


async def test_charge_that_a_power_cut_ended_before_the_clock_was_set_lasted_as_long_as_it_did(books: Books) -> None:
    ledger = books.ledger()
    await books.begun(ledger)
    books.machine.passes(3600)
    ledger.keep(books.machine.up_s, 57_000)
    await ledger.stop(9.0)
    books.machine.loses_power(500)
    [left] = await books.state.sessions.open()
    later = books.ledger()
    later.found(left)
    later.end(None, None, EndReason.OFF_TOO_LONG)
    await later.settled()
    books.machine.passes(100)
    books.machine.is_set = True
    await books.sealing().seal_all()
    sealed = await books.session(left.authorization.id)
    assert (sealed.ended_at, sealed.energy_wh) == (books.machine.began, 7000)
    assert sealed.started_at == books.machine.began - timedelta(hours=1)
    assert {Remark.CLOCK_UNKNOWN, Remark.END_UNSEEN} <= await books.remarks(left.authorization.id)


async def test_charge_that_a_power_cut_ended_is_billed_at_once_by_a_clock_that_is_set(books: Books) -> None:
    ledger = books.ledger()
    await books.begun(ledger)
    books.machine.passes(3600)
    ledger.keep(books.machine.up_s, 57_000)
    await ledger.stop(9.0)
    books.machine.loses_power(500)
    books.machine.is_set = True
    [left] = await books.state.sessions.open()
    later = books.ledger()
    later.found(left)
    later.end(None, None, EndReason.OFF_TOO_LONG)
    await later.settled()
    ended = await books.session(left.authorization.id)
    assert (ended.clock_known, ended.ended_at) == (True, books.machine.began)
    assert (await books.cdr(left.authorization.id))["total_energy"] == 7


async def test_times_that_were_true_stay_when_the_clock_is_lost_by_a_power_cut_and_set_again(books: Books) -> None:
    books.machine.is_set = True
    began = books.machine.true
    ledger = books.ledger()
    await books.begun(ledger)
    books.machine.passes(3600)
    ledger.keep(books.machine.up_s, 57_000)
    await ledger.stop(9.0)
    books.machine.loses_power(500)
    [left] = await books.state.sessions.open()
    later = books.ledger()
    later.found(left)
    books.machine.is_set = True  # while the start waits for the plug sensor
    later.end(None, None, EndReason.OFF_TOO_LONG)
    await later.settled()
    ended = await books.session(left.authorization.id)
    assert (ended.started_at, ended.ended_at) == (began, began + timedelta(hours=1))
    assert ended.changed_at <= books.machine.true
    assert (await books.cdr(left.authorization.id))["total_energy"] == 7


async def test_charge_is_sealed_by_the_tariff_that_it_began_with(books: Books) -> None:
    asked: list[tuple[str, bytes]] = []

    def papers(evse_uid: str, tariff: bytes) -> Documents | str:
        asked.append((evse_uid, tariff))
        return written_by(tariff)

    number = await books.charged()
    books.machine.is_set = True
    await books.sealing(papers).seal_all()
    assert asked == [(EVSE, DAY.tariff)]
    assert (await books.cdr(number))["tariffs"][0]["id"] == "DAY"


async def test_charge_that_can_not_be_billed_any_more_is_sealed_with_the_reason(books: Books) -> None:
    number = await books.charged()
    books.machine.is_set = True
    await books.sealing(lambda uid, _: f"EVSE {uid} is no longer configured").seal_all()
    sealed = await books.session(number)
    assert (sealed.no_cdr, sealed.object) == (f"EVSE {EVSE} is no longer configured", None)
    assert sealed.ended_at == books.machine.true
    assert await books.state.sessions.unsealed() == []


async def test_charge_that_delivered_nothing_by_a_fault_is_not_to_be_sealed(books: Books) -> None:
    ledger = books.ledger()
    number = await books.begun(ledger)
    ledger.end(books.machine.up_s, 50_000, EndReason.RELAY_FAULT)
    await ledger.settled()
    assert (await books.session(number)).no_cdr == "nothing was delivered: relay-fault after 0 s"
    assert await books.state.sessions.unsealed() == []


async def test_charge_that_will_never_be_billed_is_told_as_invalid(books: Books) -> None:
    books.machine.is_set = True
    ledger = books.ledger(documents(element({"type": "FLAT", "price": 1.5, "step_size": 1})))
    await books.begun(ledger)
    ledger.end(books.machine.up_s, 50_000, EndReason.RELAY_FAULT)
    await ledger.settled()
    [due] = await books.state.sessions.due()
    told = json.loads(due.object)
    assert (told["status"], "total_cost" in told) == ("INVALID", False)


class NoCdr(Documents):
    """Documents of something that fits into a session and not into a CDR."""

    def cdr(self, *_: object, **__: object) -> bytes:
        raise ValueError("remark: it is too long")


async def test_charge_whose_cdr_can_not_be_written_is_told_as_invalid(books: Books) -> None:
    books.machine.is_set = True
    ledger = books.ledger(NoCdr(party=("DE", "CPO"), place=PLACE, tariff=read_tariff(DAY.tariff), tz=BERLIN))
    number = await books.charged(ledger=ledger)
    [due] = await books.state.sessions.due()
    assert json.loads(due.object)["status"] == "INVALID"
    assert (await books.session(number)).no_cdr == "it can't be written as OCPI has it: remark: it is too long"


async def test_account_that_can_not_be_read_back_does_not_keep_the_others_waiting(books: Books) -> None:
    broken, good = await books.charged(), await books.charged()
    sql = "UPDATE session SET account = ? WHERE authorization_id = ?"
    await books.state.database.writer.write("break", sql, (b"{", broken))
    books.machine.is_set = True
    await books.sealing().seal_all()
    assert [one.session.authorization_id for one in await books.state.sessions.unsealed()] == [broken]
    assert (await books.cdr(good))["total_energy"] == 7


# The service.


@dataclass
class Kept:
    """Sessions in memory, on a disk with moods."""

    charges: list[Charge]
    refuses: bool = False
    sealed: list[SessionRecord] = field(default_factory=list)
    reads: int = 0

    def commits(self) -> int | None:
        return len(self.sealed)

    async def unsealed(self) -> list[Charge]:
        self.reads += 1
        done = {one.authorization_id for one in self.sealed}
        return [one for one in self.charges if one.session.authorization_id not in done]

    async def seal(self, session: SessionRecord, cdr: NewCdr | None) -> bool:
        if self.refuses:
            raise StoreError("state.db: disk full: free some space")
        self.sealed.append(session)
        return True


@pytest.fixture
async def charge(books: Books) -> Charge:
    """One that ended by an unset clock."""
    return await books.charge(await books.charged())


def served(kept: Kept, story: Coroutine[Any, Any, None], machine: Machine) -> None:
    async def play() -> None:
        service = asyncio.create_task(Sealing(kept, lambda *_: DAY, machine.clock).run())
        await story
        service.cancel()
        with suppress(asyncio.CancelledError):
            await service

    in_virtual_time(play)


async def test_service_waits_for_the_clock_and_seals_as_soon_as_it_is_set(charge: Charge) -> None:
    kept, machine = Kept([charge]), Machine(up_s=9000.0)

    async def story() -> None:
        await asyncio.sleep(10 * LOOK_EVERY_S)
        assert (kept.reads, kept.sealed) == (0, [])
        machine.is_set = True
        await asyncio.sleep(LOOK_EVERY_S)
        assert len(kept.sealed) == 1

    await asyncio.to_thread(served, kept, story(), machine)


async def test_service_tries_again_what_the_disk_refuses(charge: Charge) -> None:
    kept, machine = Kept([charge], refuses=True), Machine(up_s=9000.0, is_set=True)

    async def story() -> None:
        await asyncio.sleep(5 * LOOK_EVERY_S)
        assert kept.sealed == []
        kept.refuses = False
        await asyncio.sleep(LOOK_EVERY_S)
        assert len(kept.sealed) == 1

    await asyncio.to_thread(served, kept, story(), machine)


async def test_service_reads_nothing_where_nothing_has_changed(charge: Charge) -> None:
    kept, machine = Kept([charge]), Machine(up_s=9000.0, is_set=True)

    async def story() -> None:
        await asyncio.sleep(100 * LOOK_EVERY_S)
        assert kept.reads == 2  # and once more after its own change
        kept.charges.append(replace(charge, session=replace(charge.session, authorization_id=2)))
        kept.sealed.append(charge.session)
        await asyncio.sleep(LOOK_EVERY_S)
        assert kept.sealed[-1].authorization_id == 2

    await asyncio.to_thread(served, kept, story(), machine)
