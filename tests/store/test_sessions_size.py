"""What a call costs in a file with many sessions, in SQLite's own steps and in bytes written: never in time."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import aiosqlite
import pytest

from agent.store.charge_rows import ADD_CDR, CDR_IS_DUE, END_SESSION, PUT, TELL, cdr_row, session_row
from agent.store.database import STATE_PAGE, ReadOnlyDatabase, to_us
from agent.store.entry_rows import END, RECORD, entry_row
from agent.store.sessions import SessionStore
from tests.store.charge_samples import cdr, opened, over, session
from tests.store.samples import NOON, at, entry

FEW, MANY = 50, 3000
FRAME = STATE_PAGE + 24
"""What a page takes in the write-ahead log: SQLite's file format, 4.1."""


def fill(path: Path, finished: int, *, undelivered: int = 0) -> None:
    """That many sessions that are over, of which the last are still to be told, and then two that run."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for number in range(1, finished + 3):
            connection.execute(RECORD, entry_row(entry())).fetchall()
            connection.execute(PUT, session_row(session(number), tell=False)).fetchall()
        for number in range(1, finished + 1):
            done = over(number)
            connection.execute(END_SESSION, session_row(done, tell=True)).fetchall()
            connection.execute(END, (to_us(done.changed_at), done.ended_because, number))
            connection.execute(ADD_CDR, cdr_row(cdr(number))).fetchall()
        for number in range(finished - undelivered + 1, finished + 1):
            connection.execute(TELL, (number, "emsp", to_us(at(number)), 1))
            connection.execute(CDR_IS_DUE, (to_us(at(number)), number)).fetchall()
        connection.execute("COMMIT")


@dataclass(slots=True)
class Counted:
    """A store that only reads, and the steps that SQLite's machine made for it."""

    store: SessionStore
    steps: int = 0

    async def of(self, call: Callable[[SessionStore], Awaitable[object]]) -> int:
        self.steps = 0
        await call(self.store)
        return self.steps


@asynccontextmanager
async def counted(path: Path, finished: int) -> AsyncIterator[Counted]:
    async with opened(path) as state:
        fill(path, finished, undelivered=3)
        await state.journal.settle_open_check()
    connection = await aiosqlite.connect(f"{path.as_uri()}?mode=ro", uri=True)
    looked_at = ReadOnlyDatabase(path, connection)
    counting = Counted(SessionStore(looked_at))  # type: ignore[arg-type]  # it is asked for nothing but its reading

    def step() -> int:
        counting.steps += 1
        return 0

    await connection.set_progress_handler(step, 1)
    try:
        yield counting
    finally:
        await looked_at.close()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store: store.recent(20), id="recent"),
        pytest.param(lambda store: store.recent(20, before=40), id="recent-before"),
        pytest.param(lambda store: store.recent(20, running=True), id="recent-running"),
        pytest.param(lambda store: store.find("00000007-0b1c"), id="find"),
        pytest.param(lambda store: store.of([3, 7]), id="of"),
        pytest.param(lambda store: store.cdrs(20), id="cdrs"),
        pytest.param(lambda store: store.cdrs(20, pending=True), id="cdrs-pending"),
        pytest.param(lambda store: store.cdr("00000007-c0de"), id="cdr"),
        pytest.param(lambda store: store.open(), id="open"),
        pytest.param(lambda store: store.due(), id="due"),
    ],
)
async def test_reading_costs_the_same_with_many_sessions(
    tmp_path: Path, call: Callable[[SessionStore], Awaitable[object]]
) -> None:
    async with counted(tmp_path / "few.db", FEW) as few, counted(tmp_path / "many.db", MANY) as many:
        assert 0 < await many.of(call) <= 1.25 * await few.of(call)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store: store.sessions_of("emsp", NOON, None, 0, 20), id="sessions"),
        pytest.param(lambda store: store.cdrs_of("emsp", NOON, None, 0, 20), id="cdrs"),
    ],
)
async def test_page_for_a_peer_costs_only_the_count_of_what_matches(
    tmp_path: Path, call: Callable[[SessionStore], Awaitable[object]]
) -> None:
    # X-Total-Count (OCPI 2.2.1 transport_and_format, Pagination): to count and order in the index is a few steps each.
    async with counted(tmp_path / "few.db", FEW) as few, counted(tmp_path / "many.db", MANY) as many:
        assert await many.of(call) <= await few.of(call) + 25 * (MANY - FEW)


async def test_due_holds_little_after_weeks_without_a_network(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.db") as state:
        fill(tmp_path / "state.db", MANY, undelivered=MANY)
        due = await state.sessions.due()
        assert [one.authorization_id for one in due[::2]] == list(range(1, 101))
        assert len(due) == 200


async def test_persist_of_a_running_session_writes_few_pages(tmp_path: Path) -> None:
    log = tmp_path / "state.db-wal"
    async with opened(tmp_path / "state.db") as state:
        await state.begun(energy_wh=1000, register_wh=100_000, account=b"a" * 700, object=b"o" * 1200)
        await state.sessions.put(session(1, energy_wh=1000, register_wh=100_000, account=b"a" * 720), tell=False)
        before = log.stat().st_size
        for number in range(1, 41):
            persisted = session(
                1,
                energy_wh=1000 + 137 * number,
                register_wh=100_000 + 137 * number,
                account=bytes([number]) * (700 + number % 7),
                object=bytes([number]) * (1200 + number % 11),
                monotonic_s=60.01 * number,
            )
            await state.sessions.put(persisted, tell=False)
        written = log.stat().st_size - before
    assert written <= 40 * 3.5 * FRAME


async def test_account_of_a_session_that_grows_costs_no_more_than_its_pages(tmp_path: Path) -> None:
    log = tmp_path / "state.db-wal"
    async with opened(tmp_path / "state.db") as state:
        await state.begun()
        before = log.stat().st_size
        for number in range(1, 41):
            await state.sessions.put(session(1, account=b"a" * (700 + 10 * number), energy_wh=number), tell=False)
        written = log.stat().st_size - before
    assert written <= 40 * 4.5 * FRAME
