"""One SQLite file of ours: opened in the right version and mode, read beside its writer.

What the tables mean belongs to the modules that own them.
"""

import asyncio
import errno
import logging
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import aiosqlite

from agent.errors import NewerSchemaError, StoreError
from agent.store.failures import BUSY_S, explain, explained
from agent.store.writer import Row, Writer, fetch, turned

log = logging.getLogger(__name__)

SWITCH_S = 0.0001
"""How long one thread may keep Python's interpreter lock from another that waits for it.

Each connection has a thread, and every statement takes the lock back several times. With Python's own 5 ms a loop that
is busy with a page of tokens kept each of them waiting so long: a lookup of 0.1 ms took 15, and the writer of the page
before lost a third of its time.
"""

COMPANIONS = ("", "-wal", "-shm")
"""What a database consists of on disk: the file, its write-ahead log and the log's index."""

FILE_MODE = 0o600
"""A card's uid is as good as the card, and an authorization is somebody's whereabouts."""

STATE_ID = 0x43504153
"""`CPAS` in the file's header."""

STATE_PAGE = 1024
"""Bytes a page: what a tap changes is written in whole pages, to an SD card that wears with each."""

_ROOM = 16 << 20
"""Bytes that a disk must have left beside a copy: for the journal, for dpkg, for whatever helps."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(instant: datetime) -> int:
    """Microseconds since 1970, exactly. A datetime without a zone is UTC, as OCPI 2.2.1 types, DateTime says."""
    return ((instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> datetime:
    """The aware instant that `to_us` made the number from."""
    return _EPOCH + timedelta(microseconds=microseconds)


def statements(script: str) -> tuple[str, ...]:
    """Split a script where SQLite sees a statement's end: a `;` in a trigger, a string or a comment is none."""
    found: list[str] = []
    part = ""
    *pieces, rest = script.split(";")
    for piece in pieces:
        part += piece + ";"
        if sqlite3.complete_statement(part):
            found.append(part.strip())
            part = ""
    if any(line.strip() and not line.lstrip().startswith("--") for line in (part + rest).splitlines()):
        raise ValueError(f"SQL script ends within a statement: {(part + rest).strip()[:60]!r}")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file looks like in each version, and how it gets from one to the next."""

    name: str
    application_id: int
    """Ours, in SQLite's header: a database of somebody else is never touched."""
    full: tuple[str, ...]
    """The whole script of version 1, 2, …: a new file gets the last one."""
    migrations: tuple[str, ...] = ()
    """From 1 to 2, from 2 to 3, …"""
    keeps_old: bool = False
    """Whether a file is kept as it was when it is brought to a newer version: the way back to the older program."""

    @classmethod
    def load(cls, name: str, application_id: int, *, keeps_old: bool = False) -> Self:
        """Read `schema/<name>_v1.sql`, `_v2.sql`, … and `<name>_to_v2.sql`, … from the package."""
        folder = files("agent.store") / "schema"
        full: list[str] = []
        while (script := folder / f"{name}_v{len(full) + 1}.sql").is_file():
            full.append(script.read_text("utf-8"))
        steps = tuple((folder / f"{name}_to_v{n}.sql").read_text("utf-8") for n in range(2, len(full) + 1))
        return cls(name, application_id, tuple(full), steps, keeps_old)

    @property
    def newest(self) -> int:
        """The version that this program reads and writes."""
        return len(self.full)

    def steps_from(self, version: int) -> tuple[str, ...]:
        """The statements that bring a file of `version` to the newest; 0 is an empty file."""
        if version == 0:
            return statements(self.full[-1])
        return tuple(sql for script in self.migrations[version - 1 :] for sql in statements(script))


def _create(path: Path, mode: int) -> None:
    """Create a missing file with its mode from the first instant on.

    An existing file is never opened here: closing it would drop the POSIX locks of every other connection of this
    process to it (sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        if not path.is_file():
            raise StoreError(f"{path}: can't open: it is not a file; move it away or configure another path") from None
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(None, "no permission to write, or a read-only file system") from None
    else:
        os.fchmod(descriptor, mode)  # the umask may have taken more away
        os.close(descriptor)


@contextmanager
def _owned(path: Path) -> Iterator[None]:
    """Turn what the file system refuses inside into a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: can't open: {error.strerror}; {_remedy(path, error)}") from error


def _remedy(path: Path, error: OSError) -> str:
    owner = f"check that {path.parent} exists and belongs to the user that runs the agent (uid {os.getuid()})"
    if error.errno != errno.EROFS:
        return owner
    return f"the disk is worn out, or the service's unit lets it write elsewhere only (ReadWritePaths=); else {owner}"


def _correct_mode(path: Path, mode: int) -> None:
    for part in (path.with_name(path.name + suffix) for suffix in COMPANIONS):
        with suppress(FileNotFoundError):
            found = stat.S_IMODE(part.stat().st_mode)
            if found != mode:
                part.chmod(mode)
                log.warning("%s: mode was %04o, corrected to %04o", part, found, mode)


def _version(path: Path, schema: Schema, application_id: int, version: int, tables: int) -> int:
    if application_id == schema.application_id:
        if version > schema.newest:
            raise NewerSchemaError(
                f"{path}: has schema version {version}, this program knows up to {schema.newest}: "
                "a newer version wrote it; install that version again, or move the file away"
            )
        return version
    if application_id or version or tables:
        raise StoreError(f"{path}: is the database of another program; configure another path")
    return 0


async def _read_version(connection: aiosqlite.Connection, path: Path, schema: Schema) -> int:
    [row] = await connection.execute_fetchall(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)"
        " FROM pragma_application_id, pragma_user_version"
    )
    return _version(path, schema, *row)


async def _keep(connection: aiosqlite.Connection, path: Path, version: int) -> None:
    """Leave a whole copy of the file beside it, as `state.db.v1`: the older program can go on from there."""
    kept = path.with_name(f"{path.name}.v{version}")
    part = kept.with_name(f"{kept.name}.part")
    with _owned(part):
        _forget(part)  # of an attempt that was cut off
        await _check_room(connection, path)
        _create(part, FILE_MODE)
        try:
            await connection.execute_fetchall("VACUUM INTO ?", (str(part),))
            _sync(part)
            part.replace(kept)
        except BaseException:
            _forget(part)
            raise
        _sync(kept.parent)
    log.warning("%s: is brought to a newer version; as it was, it is kept in %s", path, kept.name)


async def _check_room(connection: aiosqlite.Connection, path: Path) -> None:
    """Raises StoreError where the copy would fill the disk."""
    [[pages, size]] = await connection.execute_fetchall(
        "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size"
    )
    lacking = pages * size + _ROOM - shutil.disk_usage(path.parent).free
    if lacking > 0:
        raise StoreError(
            f"{path}: has to be kept as it was before it is brought to a newer version, and its disk has "
            f"{(lacking >> 20) + 1:,} MiB too little for that: make room, or install the version from before again"
        )


def _forget(part: Path) -> None:
    for suffix in ("", "-journal"):
        part.with_name(part.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _migrate(connection: aiosqlite.Connection, path: Path, schema: Schema) -> None:
    """Bring the file to the newest version in one transaction: all of it, or nothing."""
    before = await _read_version(connection, path, schema)
    if before == schema.newest:
        return
    if before and schema.keeps_old:
        await _keep(connection, path, before)
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    try:
        # Once more, behind the lock: another process may just have done it.
        version = await _read_version(connection, path, schema)
        for sql in schema.steps_from(version):
            await connection.execute_fetchall(sql)
        await connection.execute_fetchall(f"PRAGMA application_id = {schema.application_id}")
        await connection.execute_fetchall(f"PRAGMA user_version = {schema.newest}")
        await connection.execute_fetchall("COMMIT")
    finally:
        if connection.in_transaction:
            await connection.execute_fetchall("ROLLBACK")


def _connect(path: Path, how: str = "mode=rw") -> aiosqlite.Connection:
    # At DEBUG aiosqlite logs every statement with its values: card uids among them.
    logging.getLogger("aiosqlite").setLevel(logging.INFO)
    return aiosqlite.connect(_uri(path, how), uri=True, isolation_level=None, timeout=BUSY_S)


def _uri(path: Path, how: str = "mode=rw") -> str:
    # mode=rw: a file that was deleted meanwhile must not come back empty.
    return f"{path.absolute().as_uri()}?{how}"


async def open_database(
    path: Path, schema: Schema, *, synchronous: str, mode: int, page_size: int = 4096, wal_pages: int = 1000
) -> aiosqlite.Connection:
    """A connection in autocommit and WAL mode to a file of the newest version, created or migrated as needed.

    `wal_pages`: how far the write-ahead log grows before it goes into the file, in pages of `page_size` bytes, though
    a file that is there already may have others. Raises NewerSchemaError or CorruptError with the file left as it was,
    StoreError for everything else.
    """
    with _owned(path):
        _create(path, mode)
    with explained(path, "open"):
        connection = await _connect(path)
        try:
            await _read_version(connection, path, schema)  # before anything is changed: it may not be ours
            with _owned(path):
                _correct_mode(path, mode)
            await connection.execute_fetchall(f"PRAGMA page_size = {page_size}")
            [[journal_mode]] = await connection.execute_fetchall("PRAGMA journal_mode = WAL")
            if journal_mode != "wal":
                raise StoreError(f"{path}: can't open: its file system has no shared memory; use a local disk")  # noqa: TRY301 - the connection must be closed on this way too
            await connection.execute_fetchall(f"PRAGMA synchronous = {synchronous}")
            [[actual_size]] = await connection.execute_fetchall("PRAGMA page_size")
            await connection.execute_fetchall(f"PRAGMA wal_autocheckpoint = {wal_pages * page_size // actual_size}")
            # Twice as much, for the transaction that goes over it: what one great one leaves is given back.
            await connection.execute_fetchall(f"PRAGMA journal_size_limit = {2 * wal_pages * page_size}")
            await connection.execute_fetchall(f"PRAGMA cache_size = -{CACHE_KIB}")
            await _migrate(connection, path, schema)
            await connection.execute_fetchall("PRAGMA foreign_keys = ON")
        except BaseException:
            await connection.close()
            raise
    return connection


async def open_reader(path: Path) -> aiosqlite.Connection:
    """A further connection to an open database, which can't change it and is never kept waiting by its writer."""
    with explained(path, "open"):
        connection = await _connect(path)
        try:
            await connection.execute_fetchall("PRAGMA query_only = ON")
            await connection.execute_fetchall(f"PRAGMA cache_size = -{CACHE_KIB}")
        except BaseException:
            await connection.close()
            raise
    return connection


CACHE_KIB = 256
"""Pages that a connection keeps for itself. SQLite's 2 MiB, times four connections, would be a sixth of the agent's
memory; what falls out of these is still in the kernel's cache."""


class Database:
    """One open file: its writer, and a reader that never waits for the writer."""

    def __init__(self, path: Path, reader: aiosqlite.Connection, writer: Writer) -> None:
        self.path = path
        self.writer = writer
        self._reader = reader
        # A busy file is not waited for: this one is asked in the event loop's own thread.
        self._watch = sqlite3.connect(_uri(path), uri=True, isolation_level=None, timeout=0)

    @classmethod
    async def open(
        cls,
        path: Path,
        schema: Schema,
        *,
        relaxed_transactions: bool = False,
        page_size: int = 4096,
        wal_pages: int = 1000,
    ) -> Self:
        """Open or create the file, readable by its owner alone. Raises as `open_database` does.

        From the first one on, the process's threads change over after `SWITCH_S`.
        """
        sys.setswitchinterval(min(SWITCH_S, sys.getswitchinterval()))
        connection = await open_database(
            path,
            schema,
            synchronous="NORMAL" if relaxed_transactions else "FULL",
            mode=FILE_MODE,
            page_size=page_size,
            wal_pages=wal_pages,
        )
        writer = Writer(path, connection, relaxed_transactions=relaxed_transactions)
        try:
            reader = await open_reader(path)
        except BaseException:
            await writer.close()
            raise
        return cls(path, reader, writer)

    async def read(self, doing: str, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """What is committed; one round trip to the reader's thread. Raises StoreError."""
        try:
            return await fetch(self._reader, sql, parameters)
        except (sqlite3.Error, ValueError) as error:
            raise explain(error, self.path, doing) from error

    def commits(self) -> int | None:
        """Another number after every commit to the file, in whatever process; None when that can't be told at once.

        SQLite has it in memory that all connections share: it takes microseconds, and no trip to another thread.
        """
        try:
            [[number]] = self._watch.execute("PRAGMA data_version")
        except sqlite3.Error:
            return None
        return int(number)

    async def read_aside(self, doing: str, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The same through a connection for this once: long queries go here, for a tap must not wait for them."""
        connection = await open_reader(self.path)
        try:
            with explained(self.path, doing):
                return await fetch(connection, sql, parameters)
        finally:
            await connection.close()

    async def pulse(self) -> None:
        """Return once the threads of the reader and of the writer have turned; see `agent.ports.Pulsing`.

        Each answers behind what it is doing: a disk that takes seconds for a commit holds the pulse up for so long.
        """
        await asyncio.gather(turned(self._reader), self.writer.pulse())

    async def close(self) -> None:
        """Finish what was handed over and close the file. May be called twice."""
        try:
            with explained(self.path, "close"):
                self._watch.close()  # first, so that it is the writer's thread that clears up the file's log
                await self._reader.close()
        finally:
            await self.writer.close()


class ReadOnlyDatabase:
    """An open file that is only looked at: nothing of it, its mode included, is changed, and nobody is kept waiting."""

    def __init__(self, path: Path, connection: aiosqlite.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    async def open(cls, path: Path, schema: Schema) -> Self:
        """Open a file of the newest version. Raises StoreError."""
        _check_readable(path)
        with explained(path, "open"):
            try:
                return cls(path, await _look_at(path, schema, "mode=ro"))
            except sqlite3.OperationalError:
                # In WAL mode readers share an index file. Where it is missing and can't be made, nobody has the
                # database open, and SQLite needs to be told so.
                if path.with_name(f"{path.name}-shm").exists():
                    raise
            connection = await _look_at(path, schema, "mode=ro&immutable=1")
        if _size(path.with_name(f"{path.name}-wal")):
            log.warning("%s: its log can't be read from a read-only file system: the newest changes are missing", path)
        return cls(path, connection)

    async def read_aside(self, doing: str, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """As `Database.read_aside`. Raises StoreError."""
        with explained(self.path, doing):
            return await fetch(self._connection, sql, parameters)

    async def close(self) -> None:
        """Close the file. May be called twice."""
        with explained(self.path, "close"):
            await self._connection.close()


async def _look_at(path: Path, schema: Schema, how: str) -> aiosqlite.Connection:
    connection = await _connect(path, how)
    try:
        version = await _read_version(connection, path, schema)
        if version < schema.newest:
            remedy = "the agent brings it up to date when it starts"
            raise StoreError(f"{path}: has schema version {version}, this program reads {schema.newest}; {remedy}")  # noqa: TRY301 - the connection must be closed on this way too
    except BaseException:
        await connection.close()
        raise
    return connection


def _check_readable(path: Path) -> None:
    with _owned(path):
        if not path.exists():
            raise StoreError(f"{path}: not there yet; the agent makes it when it first runs")
        if not os.access(path, os.R_OK):
            raise PermissionError(None, "no permission to read")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


async def open_state(path: Path) -> Database:
    """`state.db`: every change is on the disk when its call returns. Raises as `open_database` does."""
    return await Database.open(path, Schema.load("state", STATE_ID, keeps_old=True), page_size=STATE_PAGE)


async def look_at_state(path: Path) -> ReadOnlyDatabase:
    """`state.db` as it is, on a disk that can't be written as well. Raises StoreError."""
    return await ReadOnlyDatabase.open(path, Schema.load("state", STATE_ID))
