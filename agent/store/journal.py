"""The durable record of every decided tap: who, where, why, and how it ended.

What a record says is decided elsewhere; here it is kept, byte by byte, and never changed but for its end and for an
authorization reference that came late. What an authorization became is kept in `agent.store.sessions`.
"""

import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from agent.model import EndReason, Entry, LateAnswer, Recorded
from agent.ports import Journal as JournalPort
from agent.ports import Pulsing
from agent.store.database import Database, ReadOnlyDatabase, look_at_state, open_state, to_us
from agent.store.entry_rows import (
    ADD_LATE,
    END,
    OPEN,
    RECORD,
    RECORDED,
    SETTLE,
    entry_row,
    late_answers,
    late_row,
    recorded,
)

_SELECT = f"SELECT {', '.join(RECORDED)} FROM authorization"  # noqa: S608 - our own field names
_CLOSE_OPEN = f"UPDATE authorization SET ended_at = ?, ended_because = ? WHERE {OPEN} RETURNING id"  # noqa: S608 - our own words


class Records:
    """What was taken down, to be read."""

    def __init__(self, kept: Database | ReadOnlyDatabase) -> None:
        """Use an open `state.db`, which the caller closes."""
        self._kept = kept

    @staticmethod
    async def open_read_only(path: Path) -> "Records":
        """Open the file without changing anything of it, for these records alone. Raises StoreError."""
        return Records(await look_at_state(path))

    async def close(self) -> None:
        """Finish what is being written and close the file."""
        await self._kept.close()

    async def recent(self, limit: int, *, before: int | None = None, evse_uid: str | None = None) -> list[Recorded]:
        """The newest records first, at most `limit` of them with ids below `before`. Raises StoreError."""
        return await self._select(
            "WHERE (? IS NULL OR id < ?) AND (? IS NULL OR evse_uid = ?) ORDER BY id DESC LIMIT ?",
            (before, before, evse_uid, evse_uid, limit),
        )

    async def get(self, authorization_id: int) -> Recorded | None:
        """One record, or None. Raises StoreError."""
        for found in await self._select("WHERE id = ?", (authorization_id,)):
            return found
        return None

    async def _select(self, condition: str, parameters: tuple[Any, ...]) -> list[Recorded]:
        rows = await self._kept.read_aside("read records", f"{_SELECT} {condition}", parameters)
        late = await late_answers(self._kept, [row[0] for row in rows])
        return [recorded(row, late.get(row[0], ())) for row in rows]


class Journal(Records):
    """A tap is one statement, and so one transaction: the schema's triggers bring along what belongs to it."""

    def __init__(self, database: Database) -> None:
        """Use an open `state.db`, which the caller closes."""
        super().__init__(database)
        self._database = database

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the file for this journal alone; `close` closes it. Raises StoreError."""
        return cls(await open_state(path))

    async def record(self, entry: Entry) -> int:
        """Take down a decided tap, and end the authorization that it ends, in one transaction. Returns its id.

        Ids rise and are never given twice. Cancelling does not take back what was handed over. Raises StoreError.
        """
        [[authorization_id]] = await self._database.writer.write("record a tap", RECORD, entry_row(entry))
        return int(authorization_id)

    async def end(self, authorization_id: int, at: datetime, because: EndReason) -> None:
        """Note that an accepted authorization is over. Ending it twice keeps the first end. Raises StoreError."""
        await self._database.writer.write("end an authorization", END, (to_us(at), because, authorization_id))

    async def add_late(self, late: LateAnswer) -> None:
        """Add an answer that came after the decision; with `joined` its reference becomes the authorization's.

        Raises StoreError, also for an authorization that is not there.
        """
        await self._database.writer.write("add a late answer", ADD_LATE, late_row(late))

    async def pulse(self) -> None:
        """As `Database.pulse`, for the whole file: what keeps the sessions and the peers uses the same threads."""
        await self._database.pulse()

    async def settle_open_check(self) -> None:
        """Remember up to which id every authorization has its end, so that the next start looks only at later ones.

        It may be called at any time; after what a start found open has been ended or goes on is a good one. Nothing is
        written where nothing changed. Raises StoreError.
        """
        await self._database.writer.write("note which authorizations are over", SETTLE)

    async def close_open(self, at: datetime, because: EndReason = EndReason.RESTART) -> int:
        """End every authorization whose relay was closed and that has no end; returns how many. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> int:
            ended = connection.execute(_CLOSE_OPEN, (to_us(at), because)).fetchall()
            connection.execute(SETTLE)
            return len(ended)

        return await self._database.writer.batch("end open authorizations", work)


def _fits(journal: Journal) -> tuple[JournalPort, Pulsing]:
    return journal, journal
