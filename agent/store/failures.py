"""What SQLite's errors mean to the person who must act: which file, what failed, what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import CorruptError, StoreError

BUSY_S = 2.0
"""How long a write waits for another process (a command beside the agent): less than a tap's deadline."""

_OWNER = "give it and its folder to the user that runs the agent"
_ADVICE = {
    sqlite3.SQLITE_FULL: "free space on its file system",
    sqlite3.SQLITE_READONLY: f"{_OWNER}, and check how its file system is mounted",
    sqlite3.SQLITE_BUSY: f"another process has kept it locked for {BUSY_S:g} s: end that process",
    sqlite3.SQLITE_LOCKED: "restart the agent",
    sqlite3.SQLITE_PERM: _OWNER,
    sqlite3.SQLITE_CANTOPEN: _OWNER,
    sqlite3.SQLITE_IOERR: "check the free space, the kernel's log and the SD card",
    sqlite3.SQLITE_CORRUPT: "check the SD card, then restore the file or move it away",
    sqlite3.SQLITE_NOTADB: "check the configured path, or move the file away",
}


def explain(error: Exception, path: Path, doing: str) -> StoreError:
    """Say what failed, in which file, and what to do about it; the result is to be raised `from error`."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind = CorruptError if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} else StoreError
    advice = _ADVICE.get(code, "this is a fault of the program, please report it")
    return kind(f"{path}: can't {doing}: {error} ({name}); {advice}")


@contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Turn what SQLite, or aiosqlite with a closed connection, raises inside into a StoreError."""
    try:
        yield
    except (sqlite3.Error, ValueError, OverflowError) as error:
        raise explain(error, path, doing) from error
