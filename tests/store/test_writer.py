"""The one writer: groups, cancelled callers, and a disk that fails and recovers."""

import asyncio
import resource
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import aiosqlite
import pytest

from agent.errors import StoreError
from agent.store.database import Database, Schema

SCHEMA = Schema(
    "test", 4711, ("CREATE TABLE item (id INTEGER PRIMARY KEY, text TEXT NOT NULL CHECK (text <> 'bad'));",)
)
ADD = "INSERT INTO item (text) VALUES (?) RETURNING id"
ALL = "SELECT text FROM item ORDER BY id"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "test.db", SCHEMA)
    yield opened
    await opened.close()


def in_file(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [text for (text,) in connection.execute(ALL)]


class Gate:
    """A transaction that keeps the writer busy until it is opened, so that changes gather behind it."""

    def __init__(self, database: Database) -> None:
        self._inside, self._opened = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(database.writer.transaction("wait", self._wait))

    async def _wait(self, connection: aiosqlite.Connection) -> None:
        self._inside.set()
        await self._opened.wait()

    async def closed(self) -> None:
        await self._inside.wait()

    async def open(self) -> None:
        self._opened.set()
        await self._task


async def gathered(database: Database, *texts: str) -> tuple[Gate, list[asyncio.Task[list[tuple[int]]]]]:
    """Changes that wait together behind a gate."""
    gate = Gate(database)
    await gate.closed()
    tasks = [asyncio.create_task(database.writer.write("add", ADD, (text,))) for text in texts]
    await asyncio.sleep(0)  # each task has now handed its change over
    return gate, tasks


async def wal_commits(database: Database) -> int:
    """Commits in the write-ahead log: frames that carry the size of the file (sqlite.org/fileformat2, 4.1)."""
    log = database.path.with_name(database.path.name + "-wal").read_bytes()
    frames = range(32, len(log), 24 + 4096)
    return sum(log[start + 4 : start + 8] != bytes(4) for start in frames)


async def test_changes_that_gather_are_committed_together_in_their_order(database: Database) -> None:
    before = await wal_commits(database)
    gate, tasks = await gathered(database, *"abcdefgh")
    await gate.open()
    ids = [(await task)[0][0] for task in tasks]
    assert ids == [1, 2, 3, 4, 5, 6, 7, 8]
    assert in_file(database.path) == list("abcdefgh")
    assert await wal_commits(database) == before + 1


async def test_bad_change_in_a_group_fails_alone(database: Database) -> None:
    gate, tasks = await gathered(database, "a", "bad", "c")
    await gate.open()
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert first == [(1,)]
    assert isinstance(second, StoreError)
    assert third == [(2,)]
    assert in_file(database.path) == ["a", "c"]


async def test_change_that_no_column_holds_fails_alone(database: Database) -> None:
    gate, tasks = await gathered(database, "a", "\ud800", "c")
    await gate.open()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [list, StoreError, list]
    assert in_file(database.path) == ["a", "c"]


async def test_cancelled_caller_in_a_group_takes_nothing_from_the_others(database: Database) -> None:
    gate, tasks = await gathered(database, "a", "b", "c")
    tasks[1].cancel()
    await gate.open()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [list, asyncio.CancelledError, list]
    assert in_file(database.path) == ["a", "b", "c"]


async def test_cancelled_caller_alone_has_still_handed_over(database: Database) -> None:
    task = asyncio.create_task(database.writer.write("add", ADD, ("a",)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.writer.write("add", ADD, ("b",))
    assert in_file(database.path) == ["a", "b"]


async def test_cancelled_caller_of_a_transaction_has_it_made_whole(database: Database) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def work(connection: aiosqlite.Connection) -> None:
        await connection.execute_fetchall(ADD, ("a",))
        inside.set()
        await go_on.wait()
        await connection.execute_fetchall(ADD, ("b",))

    task = asyncio.create_task(database.writer.transaction("add", work))
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert in_file(database.path) == []
    go_on.set()
    await database.close()
    assert in_file(database.path) == ["a", "b"]


async def test_transaction_that_raises_leaves_nothing_and_the_writer_usable(database: Database) -> None:
    async def work(connection: aiosqlite.Connection) -> None:
        await connection.execute_fetchall(ADD, ("a",))
        raise LookupError("in the middle")

    with pytest.raises(LookupError):
        await database.writer.transaction("add", work)
    assert await database.writer.write("add", ADD, ("b",)) == [(1,)]
    assert in_file(database.path) == ["b"]


async def test_open_transaction_does_not_keep_a_reader_waiting(database: Database) -> None:
    await database.writer.write("add", ADD, ("a",))
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def work(connection: aiosqlite.Connection) -> None:
        await connection.execute_fetchall(ADD, ("b",))
        inside.set()
        await go_on.wait()

    task = asyncio.create_task(database.writer.transaction("add", work))
    await inside.wait()
    async with asyncio.timeout(30):
        assert await database.read("look", ALL) == [("a",)]
    go_on.set()
    await task
    assert await database.read("look", ALL) == [("a",), ("b",)]


async def test_closing_finishes_what_was_handed_over(database: Database) -> None:
    gate, tasks = await gathered(database, "a", "b")
    closing_it = asyncio.create_task(database.close())
    await gate.open()
    await closing_it
    assert [await task for task in tasks] == [[(1,)], [(2,)]]
    assert in_file(database.path) == ["a", "b"]


async def test_closed_writer_refuses(database: Database) -> None:
    await database.close()
    with pytest.raises(StoreError, match="is closed"):
        await database.writer.write("add", ADD, ("a",))
    with pytest.raises(StoreError):
        await database.read("look", ALL)


async def test_file_locked_by_another_process_is_told_and_works_again_later(database: Database) -> None:
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"database is locked .* another process"):
            await database.writer.write("add", ADD, ("a",))
    await database.writer.write("add", ADD, ("b",))
    assert in_file(database.path) == ["b"]


async def test_full_disk_fails_the_whole_group_and_works_again_with_space(small_disk: Path) -> None:
    database = await Database.open(small_disk / "test.db", SCHEMA)
    await database.writer.write("add", ADD, ("first",))
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(1_000_000))
    gate, tasks = await gathered(database, "a" * 9000, "b")
    await gate.open()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [StoreError, StoreError]
    assert "free space" in str(results[0])
    ballast.unlink()
    assert await database.writer.write("add", ADD, ("c",)) == [(2,)]
    await database.close()
    assert in_file(small_disk / "test.db") == ["first", "c"]


async def test_write_past_the_file_limit_fails_and_works_again_without_it(database: Database) -> None:
    await database.writer.write("add", ADD, ("first",))
    log_size = database.path.with_name("test.db-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log_size, hard))  # Python ignores SIGXFSZ: the write fails with EFBIG
    try:
        with pytest.raises(StoreError, match=r"test\.db: can't add: .*"):
            await database.writer.write("add", ADD, ("a",))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await database.writer.write("add", ADD, ("b",)) == [(2,)]
    assert in_file(database.path) == ["first", "b"]


async def test_deleted_folder_is_told_before_anything_is_acknowledged(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    database = await Database.open(tmp_path / "folder" / "test.db", SCHEMA)
    shutil.rmtree(tmp_path / "folder")
    with pytest.raises(StoreError, match="deleted or replaced while in use"):
        await database.writer.write("add", ADD, ("a",))
    await database.close()


async def test_reading_a_deleted_file_does_not_bring_it_back_empty(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    database = await Database.open(path, SCHEMA)
    path.unlink()
    with pytest.raises(StoreError, match="unable to open"):
        await database.read_aside("look", ALL)
    await database.close()
    assert not path.exists()


async def test_relaxed_file_flushes_changes_and_not_transactions(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "test.db", SCHEMA, relaxed_transactions=True)

    async def synchronous(connection: aiosqlite.Connection) -> list[object]:
        return list(await connection.execute_fetchall("PRAGMA synchronous"))

    await database.writer.write("add", ADD, ("a",))
    after_change = await synchronous(database.writer._connection)
    in_transaction = await database.writer.transaction("look", synchronous)
    await database.close()
    assert (after_change, in_transaction) == ([(2,)], [(1,)])


async def test_changes_that_gather_in_a_relaxed_file_are_flushed(tmp_path: Path) -> None:
    """Each notes in which mode it was made: 2 is FULL, what outlives a power cut."""
    opened = await Database.open(tmp_path / "test.db", SCHEMA, relaxed_transactions=True)
    note = "INSERT INTO item (text) SELECT synchronous FROM pragma_synchronous RETURNING text"
    for _ in range(2):
        gate = Gate(opened)
        await gate.closed()
        tasks = [asyncio.create_task(opened.writer.write("add", note)) for _ in range(3)]
        await asyncio.sleep(0)
        await gate.open()
        await asyncio.gather(*tasks)
    await opened.close()
    assert in_file(tmp_path / "test.db") == ["2"] * 6


async def test_change_after_a_relaxed_transaction_is_made_though_its_caller_is_cancelled(tmp_path: Path) -> None:
    opened = await Database.open(tmp_path / "test.db", SCHEMA, relaxed_transactions=True)

    async def nothing(connection: aiosqlite.Connection) -> None:
        del connection

    await opened.writer.transaction("relax", nothing)
    task = asyncio.create_task(opened.writer.write("add", ADD, ("a",)))
    await asyncio.sleep(0)  # it is now handed over
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await opened.close()
    assert in_file(tmp_path / "test.db") == ["a"]


async def test_folder_moved_away_and_back_works_again(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    database = await Database.open(folder / "test.db", SCHEMA)
    folder.rename(elsewhere)
    with pytest.raises(StoreError):
        await database.writer.write("add", ADD, ("a",))
    elsewhere.rename(folder)
    await database.writer.write("add", ADD, ("b",))
    await database.close()
    assert in_file(folder / "test.db") == ["b"]


async def test_commit_of_anybody_changes_the_number_of_commits_and_nothing_else_does(database: Database) -> None:
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        numbers = [database.commits(), database.commits()]
        await database.writer.write("add", ADD, ("a",))
        numbers += [database.commits(), database.commits()]
        other.execute(ADD, ("b",)).fetchall()
        numbers += [database.commits(), database.commits()]
    first, second, third = numbers[::2]
    assert numbers == [first, first, second, second, third, third]
    assert len({first, second, third, None}) == 4


async def test_number_of_commits_of_a_closed_file_can_not_be_told(database: Database) -> None:
    await database.close()
    assert database.commits() is None
