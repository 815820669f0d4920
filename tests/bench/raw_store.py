"""What SQLite alone takes for a tap: one lookup and one durable commit, plain sqlite3 in one thread. The floor."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import aiosqlite

from agent.store.database import Database
from agent.store.journal import Journal
from agent.store.token_rows import FIND
from tests.bench.rig import Rig

_PRAGMAS = ("synchronous", "wal_autocheckpoint", "cache_size", "mmap_size", "temp_store", "foreign_keys")
"""What a connection is set to; page size and WAL mode are the file's own."""


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds."""

    lookup_s: float
    commit_s: float

    @property
    def whole_s(self) -> float:
        """Both, as a tap needs both."""
        return self.lookup_s + self.commit_s


class RawStore:
    """The same files and the same statements, with the same pragmas, and nothing of ours around them."""

    def __init__(self, whitelist: sqlite3.Connection, state: sqlite3.Connection, records: sqlite3.Connection) -> None:
        """`records` is the agent's `state.db`: the floor writes the very rows that the agent wrote."""
        self._whitelist = whitelist
        self._state = state
        self._records = records
        width = len(records.execute("SELECT * FROM authorization LIMIT 0").description)
        self._insert = f"INSERT INTO authorization VALUES ({', '.join('?' * width)}) RETURNING id"

    @classmethod
    async def beside(cls, rig: Rig, folder: Path) -> Self:
        """A floor for this agent, with a `state.db` of its own that the agent's code has laid out."""
        state = folder / "floor.db"
        await (await Journal.open(state)).close()
        whitelist, journal = rig.agent.stores.whitelist._database, rig.agent.stores.journal._database
        return cls(
            await _like(whitelist._reader, whitelist.path),
            await _like(_writer(journal), state),
            sqlite3.connect(journal.path, isolation_level=None),
        )

    def close(self) -> None:
        """Close all three."""
        for connection in (self._whitelist, self._state, self._records):
            connection.close()

    def row(self, authorization_id: int) -> Sequence[Any]:
        """A record of the agent's, as it lies in its file."""
        [row] = self._records.execute("SELECT * FROM authorization WHERE id = ?", (authorization_id,)).fetchall()
        return tuple(row)

    def tap(self, uid: str, row: Sequence[Any]) -> Took:
        """Look the card up and commit the row."""
        began = perf_counter()
        self._whitelist.execute(FIND, (uid,)).fetchall()
        found = perf_counter()
        self._state.execute(self._insert, row).fetchall()
        return Took(found - began, perf_counter() - found)

    def end(self, authorization_id: int) -> None:
        """End the authorization as the agent ends its own between taps, so that both logs grow alike."""
        end = "UPDATE authorization SET ended_at = tapped_at, ended_because = 'operator' WHERE id = ?"
        self._state.execute(end, (authorization_id,))


def _writer(database: Database) -> aiosqlite.Connection:
    return database.writer._connection


async def _like(connection: aiosqlite.Connection, path: Path) -> sqlite3.Connection:
    raw = sqlite3.connect(path, isolation_level=None)
    for name in _PRAGMAS:
        for (value,) in await connection.execute_fetchall(f"PRAGMA {name}"):
            raw.execute(f"PRAGMA {name} = {value}")
    return raw
