"""What a start finds open: kept for the EVSE that can go on with it, or ended and billed as it was last persisted."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.books import housekeeping_of, left_open, sealing_of
from agent.config import Config, parse
from agent.model import EndReason
from agent.runtime.housekeeping import STEADY_S
from agent.storage import Stores, stores_of
from tests.scenario.charge_world import PLACE
from tests.scenario.ledger_books import EVSE, Books, Machine
from tests.store.charge_samples import State
from tests.store.samples import entry

HANG_S = 60


def configured(folder: Path, *evses: str) -> Config:
    tables = "".join(
        f"""
        [[evse]]
        uid = "{uid}"
        id = "{uid}"
        readers = ["front"]
        relay = {{ gpio = {17 + number} }}
        connector = {{ id = "1", standard = "IEC_62196_T2", format = "SOCKET", power_type = "AC_3_PHASE" }}
        """
        for number, uid in enumerate(evses)
    )
    text = f"""
        [party]
        country_code = "DE"
        party_id = "EXA"
        [location]
        id = "LOC1"
        {PLACE}
        [storage]
        directory = "{folder}"
        keep_days = 30
        [clock]
        trusted = true
        [[reader]]
        name = "front"
        kind = "rdm6300"
        port = "/dev/null"
        {tables}
    """
    return parse(text, folder / "config.toml")


class Start:
    """A charge point that was off, with its EVSE's books of before."""

    def __init__(self, folder: Path, stores: Stores) -> None:
        self.folder = folder
        self.stores = stores
        self.machine = Machine(is_set=True)
        database = stores.journal._database
        self.books = Books(folder / "state.db", State(database, stores.journal, stores.sessions), self.machine)

    async def running(self, evse_uid: str = EVSE) -> int:
        """A session that nobody has ended, with 3.5 kWh persisted."""
        ledger = self.books.ledger(evse_uid=evse_uid)
        number = await self.books.begun(ledger, evse_uid=evse_uid)
        self.machine.passes(1800)
        ledger.keep(self.machine.up_s, 53_500)
        await ledger.stop(HANG_S)
        return number

    async def found(self, *evses: str) -> dict[str, int]:
        config = configured(self.folder, *(evses or (EVSE,)))
        left = await left_open(config, self.stores, self.machine.clock)
        return {uid: one.authorization.id for uid, one in left.items()}

    async def spoil(self, number: int) -> None:
        await self.stores.journal._database.writer.write(
            "spoil", "UPDATE session SET account = x'7b7d' WHERE authorization_id = ?", (number,)
        )

    async def settled_up_to(self) -> int:
        [(up_to,)] = await self.stores.journal._database.read("look", "SELECT up_to FROM open_check")
        return int(up_to)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with stores_of(configured(tmp_path, EVSE)) as stores:
        yield Start(tmp_path, stores)


async def test_session_of_a_configured_evse_is_left_to_it(start: Start) -> None:
    number = await start.running()
    assert await start.found() == {EVSE: number}
    assert (await start.books.session(number)).ended_at is None


async def test_session_of_an_evse_that_is_gone_is_ended_and_says_why_it_is_not_billed(start: Start) -> None:
    number = await start.running()
    assert await start.found("ANOTHER") == {}
    ended = await start.books.session(number)
    assert (ended.ended_because, ended.energy_wh) == (EndReason.RESTART, 3500)
    assert ended.no_cdr == f"EVSE {EVSE} is no longer configured"
    assert await start.stores.sessions.open() == []


async def test_older_of_two_sessions_at_one_evse_is_ended_and_billed(start: Start) -> None:
    older, newer = await start.running(), await start.running()
    assert await start.found() == {EVSE: newer}
    cdr = await start.books.cdr(older)
    assert (cdr["total_energy"], cdr["cdr_location"]["evse_uid"], cdr["tariffs"][0]["id"]) == (3.5, EVSE, "DAY")
    assert (await start.books.session(newer)).ended_at is None


async def test_session_of_an_evse_that_is_gone_whose_account_can_not_be_read_is_ended_unbilled(start: Start) -> None:
    gone = await start.running("GONE")
    await start.spoil(gone)
    assert await start.found() == {}
    ended = await start.books.session(gone)
    assert (ended.ended_because, ended.energy_wh) == (EndReason.RESTART, 3500)
    assert (ended.no_cdr or "").startswith("its account can't be read: ")
    assert await start.stores.sessions.open() == []


async def test_session_before_a_newer_authorization_had_ended_and_is_not_resumed_for_its_driver(start: Start) -> None:
    running = await start.running()
    accepted = await start.stores.journal.record(entry(evse_uid=EVSE))
    assert await start.found() == {EVSE: accepted}
    assert (await start.books.session(running)).ended_because is EndReason.RESTART
    assert (await start.books.cdr(running))["total_energy"] == 3.5


async def test_next_start_looks_only_at_what_came_after_what_is_over(start: Start) -> None:
    await start.books.charged()
    running = await start.running()
    await start.found()
    assert await start.settled_up_to() == running - 1


async def test_disk_that_refuses_does_not_keep_the_agent_from_starting(start: Start) -> None:
    gone, running = await start.running("GONE"), await start.running()
    await start.stores.journal._database.writer.write("wear out", "PRAGMA query_only = ON")
    async with asyncio.timeout(HANG_S):
        assert await start.found() == {EVSE: running}
    assert [one.authorization.id for one in await start.stores.sessions.open()] == [gone, running]


async def test_what_ended_before_the_clock_was_set_is_billed_where_nothing_new_is(start: Start) -> None:
    start.machine.is_set = False
    number = await start.books.charged()
    start.machine.is_set = True
    await sealing_of(configured(start.folder, EVSE), start.stores, start.machine.clock).seal_all()
    assert (await start.books.cdr(number))["total_energy"] == 7


async def test_what_ended_before_the_clock_was_set_at_an_evse_that_is_gone_says_so(start: Start) -> None:
    start.machine.is_set = False
    number = await start.books.charged()
    start.machine.is_set = True
    await sealing_of(configured(start.folder, "ANOTHER"), start.stores, start.machine.clock).seal_all()
    assert (await start.books.session(number)).no_cdr == f"EVSE {EVSE} is no longer configured"


async def test_housekeeping_deletes_what_is_older_than_keep_days(start: Start) -> None:
    await refused(start)
    start.machine.passes(31 * 86_400)
    new = [await refused(start) for _ in range(3)]
    assert await tidied(start)
    assert [one.id for one in await start.stores.journal.recent(9)] == [*reversed(new)]


async def test_housekeeping_by_a_clock_that_is_years_ahead_deletes_nothing(start: Start) -> None:
    cards = [await refused(start) for _ in range(5)]
    start.machine.true = start.machine.true.replace(year=2036)
    assert await tidied(start)
    assert [one.id for one in await start.stores.journal.recent(9)] == [*reversed(cards)]


async def refused(start: Start) -> int:
    """A card is refused; its record is settled at once."""
    return await start.stores.journal.record(entry(relay_closed=False, tapped_at=start.machine.true))


async def tidied(start: Start) -> bool:
    """Whether it is tidy once the clock has run for long enough."""
    housekeeping = housekeeping_of(configured(start.folder, EVSE), start.stores, start.machine.clock)
    await housekeeping.tidy()
    start.machine.passes(STEADY_S)
    return await housekeeping.tidy()
