"""The two databases, opened so that nothing beside them changes: no log, no index, no mode."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from agent.diagnosis.finding import Finding, bad, good, warning
from agent.store.database import STATE_ID, Schema
from agent.store.failures import BUSY_S, explained
from agent.store.whitelist import WHITELIST_ID

REBUILT = "the agent sets it aside when it starts, and synchronises the tokens again"
RESTORED = "check the disk; restore it from a backup, or move it away: without it the agent refuses every card"


def read_only_uri(path: Path) -> str:
    """How SQLite is to open a file that is only looked at.

    A read-only connection in WAL mode makes an index file, and leaves it behind. Where nobody has the database open
    and its log is empty, the file alone is all there is to read.
    """
    log, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    is_closed = not index.exists() and not (log.exists() and log.stat().st_size)
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if is_closed else ''}"


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing. Raises StoreError."""
    with explained(path, "read"), closing(sqlite3.connect(read_only_uri(path), uri=True, timeout=BUSY_S)) as connection:
        yield connection


def database_findings(folder: Path) -> list[Finding]:
    """Both files: there, of this program's version, and whole. Raises StoreError."""
    return [
        _finding(folder / "state.db", Schema.load("state", STATE_ID), RESTORED),
        _finding(folder / "whitelist.db", Schema.load("whitelist", WHITELIST_ID), REBUILT),
    ]


def _finding(path: Path, schema: Schema, when_broken: str) -> Finding:
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError:
        return good(path.name, "not there yet; the agent makes it when it first runs")
    except OSError as error:
        owner = "give it and its folder to the user that runs the agent"
        return bad(path.name, f"{path} can't be read: {error.strerror}", owner)
    try:
        with closing(sqlite3.connect(read_only_uri(path), uri=True, timeout=BUSY_S)) as connection:
            return _looked_into(connection, path, schema, when_broken)
    except sqlite3.OperationalError as error:
        return bad(path.name, f"{path} can't be read: {error}", "end whatever keeps it locked, and check the disk")
    except sqlite3.DatabaseError as error:
        return bad(path.name, f"{path} is damaged: {error}", when_broken)


def _looked_into(connection: sqlite3.Connection, path: Path, schema: Schema, when_broken: str) -> Finding:
    [[application]] = connection.execute("PRAGMA application_id")
    [[version]] = connection.execute("PRAGMA user_version")
    [[tables]] = connection.execute("SELECT count(*) FROM sqlite_schema")
    if application != schema.application_id:
        if application or version or tables:
            return bad(path.name, f"{path} is the database of another program", "another storage.directory")
        return good(path.name, "empty; the agent sets it up when it first runs")
    if version > schema.newest:
        said = f"has schema version {version}, and this program knows up to {schema.newest}"
        return bad(path.name, said, "install the newer version of this program again, which wrote it")
    [[said]] = connection.execute("PRAGMA quick_check(1)")
    if said != "ok":
        return bad(path.name, f"{path} is damaged: {said}", when_broken)
    if version < schema.newest:
        newer = f"whole, of schema version {version}; the agent brings it to {schema.newest} when it starts"
        return warning(path.name, newer)
    return good(path.name, f"whole, {path.stat().st_size >> 10} KiB, schema version {version}")
