"""The one writer of a file: what comes at the same time is committed together, and nothing is acknowledged before."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from agent.errors import StoreError
from agent.store.failures import explained

Row = tuple[Any, ...]
T = TypeVar("T")

GROUP = 64
"""Changes in one transaction at most: far more than EVSEs at one controller, and still a short one."""

_BREAKS_A_RULE = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    ValueError,
    OverflowError,
)
"""What one change does wrong by itself; everything else is the file's trouble, and the same for all."""


async def fetch(connection: aiosqlite.Connection, sql: str, parameters: Sequence[Any]) -> list[Row]:
    """Run one statement and return its rows, in one round trip to the connection's thread."""
    # fetchall in the connection's own thread: no cursor is left for which closing would cost another round trip.
    rows: Iterable[Any] = await connection.execute_fetchall(sql, parameters)
    return list(rows)


async def turned(connection: aiosqlite.Connection) -> None:
    """Return once the connection's thread has done what it has been given so far; at once for one that is closed."""
    with suppress(sqlite3.Error, ValueError):  # whatever it says, it turns
        await fetch(connection, "SELECT 1", ())


@dataclass(slots=True, eq=False)
class _Change:
    """One statement, a transaction by itself: triggers bring along what belongs to it."""

    doing: str
    sql: str
    parameters: Sequence[Any]
    done: asyncio.Future[list[Row]]

    def succeed(self, rows: list[Row]) -> None:
        if not self.done.done():  # else its caller was cancelled; the change is made all the same
            self.done.set_result(rows)

    def fail(self, error: StoreError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Writer:
    """The only writer of a file in this process: makes changes in the order in which they were handed over.

    What comes while a commit runs goes together into the next one: of eight taps at once the last waits for two
    commits, not for eight. Once handed over, a change is made even when its caller is cancelled.
    """

    def __init__(self, path: Path, connection: aiosqlite.Connection, *, relaxed_transactions: bool = False) -> None:
        """`relaxed_transactions`: a power cut may undo what `transaction` did, whole and never in part.

        The connection is then to be opened with synchronous NORMAL, else with FULL.
        """
        self.path = path
        self._connection = connection
        self._relaxed_transactions = relaxed_transactions
        self._identity = _identity(path)
        self._turn = asyncio.Lock()
        self._queue: deque[_Change] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._transactions: set[asyncio.Task[Any]] = set()
        self._relaxed = relaxed_transactions
        self._closed = False

    async def write(self, doing: str, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Make one change durable and return its rows (`RETURNING`). Raises StoreError with nothing changed."""
        self._check_open(doing)
        if not (self._queue or self._turn.locked() or self._relaxed or self._connection.in_transaction):
            return await self._at_once(doing, sql, parameters)
        change = _Change(doing, sql, parameters, asyncio.get_running_loop().create_future())
        self._queue.append(change)
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain(), name=f"writer of {self.path.name}")
        return await change.done

    async def transaction(self, doing: str, work: Callable[[aiosqlite.Connection], Awaitable[T]]) -> T:
        """Run `work` in one transaction: all of it, or nothing. Raises StoreError, and what `work` raises."""
        return await self._to_its_end(doing, lambda: self._whole(work), relaxed=self._relaxed_transactions)

    async def batch(self, doing: str, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """`transaction` in one round trip: `work` runs in the connection's thread, and knows nothing of the loop.

        A round trip waits for whatever else the event loop does; a page of a sync would make five of them. What is
        `durable` no power cut undoes, whatever the writer's own rule.
        """
        relaxed = self._relaxed_transactions and not durable
        return await self._to_its_end(doing, lambda: self._whole_in_thread(work), relaxed=relaxed)

    async def pulse(self) -> None:
        """Return once the writer's thread has turned, behind the statement that it is at; see `agent.ports.Pulsing`."""
        await turned(self._connection)

    async def close(self) -> None:
        """Finish what was handed over, then close the connection. May be called twice."""
        self._closed = True
        if unfinished := {*self._transactions, *([self._draining] if self._draining else [])}:
            await asyncio.wait(unfinished)
        async with self._turn:
            with explained(self.path, "close"):
                await self._connection.close()

    def _check_open(self, doing: str) -> None:
        if self._closed:
            raise StoreError(f"{self.path}: can't {doing}: it is closed")

    async def _at_once(self, doing: str, sql: str, parameters: Sequence[Any]) -> list[Row]:
        # Nobody else is here: no task and no future in between. Cancelled, the thread still does what it was given, and
        # nothing is waited for before it is: the connection is ready.
        async with self._turn:
            with explained(self.path, doing):
                await self._get_ready(relaxed=False)
                return await fetch(self._connection, sql, parameters)

    async def _drain(self) -> None:
        group: list[_Change] = []
        try:
            while self._queue:
                async with self._turn:
                    group = [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
                    await self._make(group)
        finally:
            # Somebody still waits here only when the event loop ends or this class has a fault.
            for change in (*group, *self._queue):
                change.fail(StoreError(f"{self.path}: can't {change.doing}: the writer was stopped"))
            self._queue.clear()

    async def _make(self, group: Sequence[_Change]) -> None:
        try:
            rows = await self._commit(group)
        except StoreError as error:
            if len(group) > 1 and isinstance(error.__cause__, _BREAKS_A_RULE):
                for change in group:  # the others must not suffer for the one that does not fit
                    await self._make([change])
            else:
                for change in group:
                    change.fail(_retold(error))
        else:
            for change, returned in zip(group, rows, strict=True):
                change.succeed(returned)

    async def _commit(self, group: Sequence[_Change]) -> list[list[Row]]:
        def each(connection: sqlite3.Connection) -> list[list[Row]]:
            return [connection.execute(change.sql, change.parameters).fetchall() for change in group]

        with explained(self.path, group[0].doing):
            await self._get_ready(relaxed=False)
            return await self._whole_in_thread(each)

    async def _to_its_end(self, doing: str, whole: Callable[[], Awaitable[T]], *, relaxed: bool) -> T:
        self._check_open(doing)
        task = asyncio.create_task(
            self._in_turn(doing, whole, relaxed=relaxed), name=f"transaction in {self.path.name}"
        )
        self._transactions.add(task)
        task.add_done_callback(self._transactions.discard)
        return await asyncio.shield(task)

    async def _in_turn(self, doing: str, whole: Callable[[], Awaitable[T]], *, relaxed: bool) -> T:
        async with self._turn:
            with explained(self.path, doing):
                await self._get_ready(relaxed=relaxed)
                return await whole()

    async def _whole_in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection

        def whole() -> T:
            raw: sqlite3.Connection = connection._conn  # noqa: SLF001 - as below
            raw.execute("BEGIN IMMEDIATE")
            try:
                result = work(raw)
                raw.execute("COMMIT")
            except BaseException:
                if raw.in_transaction:
                    with suppress(sqlite3.OperationalError):  # SQLite has already done so by itself
                        raw.execute("ROLLBACK")
                raise
            return result

        # aiosqlite has no public way to run several statements in one round trip to its thread.
        done: T = await connection._execute(whole)  # type: ignore[no-untyped-call]  # noqa: SLF001 - see above
        return done

    async def _whole(self, work: Callable[[aiosqlite.Connection], Awaitable[T]]) -> T:
        await self._connection.execute_fetchall("BEGIN IMMEDIATE")
        try:
            result = await work(self._connection)
            await self._connection.execute_fetchall("COMMIT")
        except BaseException:
            await self._roll_back()
            raise
        return result

    async def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.OperationalError):  # SQLite has already done so by itself
                await self._connection.execute_fetchall("ROLLBACK")

    async def _get_ready(self, *, relaxed: bool) -> None:
        if _identity(self.path) != self._identity:
            # SQLite would go on writing into the nameless file, and every record of it would be gone at the next start.
            raise StoreError(f"{self.path}: was deleted or replaced while in use; put it back, or restart the agent")
        await self._roll_back()  # a transaction that was left open would swallow the next change
        if relaxed != self._relaxed:
            await self._connection.execute_fetchall(f"PRAGMA synchronous = {'NORMAL' if relaxed else 'FULL'}")
            self._relaxed = relaxed


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _retold(error: StoreError) -> StoreError:
    """The same error for one more caller: a traceback grows with every task that raises it."""
    again = type(error)(*error.args)
    again.__cause__ = error.__cause__
    return again
