"""The durable record of every decided tap: who, where, why, and how it ended.

What a record says is decided elsewhere; here it is kept, byte by byte, and never changed but for its end and for an
authorization reference that came late.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, astuple, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import aiosqlite

from agent.model import (
    Answer,
    DisplayText,
    EndReason,
    EnergyContract,
    Entry,
    LateAnswer,
    Outcome,
    Reason,
    Recorded,
    Source,
    Token,
    TokenType,
    Verdict,
    WhitelistType,
)
from agent.ports import Journal as JournalPort
from agent.store.database import Database, ReadOnlyDatabase, from_us, look_at_state, open_state, to_us
from agent.store.writer import Row

_ENTRY = tuple(field.name for field in fields(Entry))
_LATE = (
    "authorization_id, answered_at, joined, peer, outcome, detail, token, authorization_reference,"
    " info_language, info_text, elapsed_s"
)

# Column by column in the order of `Entry`; a column that it has and the schema has not fails at the first record.
_RECORD = f"INSERT INTO authorization ({', '.join(_ENTRY)}) VALUES ({', '.join('?' * len(_ENTRY))}) RETURNING id"  # noqa: S608 - our own field names
_ADD_LATE = f"INSERT INTO late_answer ({_LATE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own column names
_SELECT = f"SELECT id, ended_at, ended_because, {', '.join(_ENTRY)} FROM authorization"  # noqa: S608 - our own field names
_END = "UPDATE authorization SET ended_at = ?, ended_because = ? WHERE id = ? AND ended_at IS NULL"
_CLOSE_OPEN = (
    "UPDATE authorization SET ended_at = ?, ended_because = ?"
    " WHERE id > (SELECT up_to FROM open_check) AND relay_closed = 1 AND ended_at IS NULL RETURNING id"
)
_ALL_CLOSED = "UPDATE open_check SET up_to = (SELECT coalesce(max(id), 0) FROM authorization)"


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
        for recorded in await self._select("WHERE id = ?", (authorization_id,)):
            return recorded
        return None

    async def _select(self, condition: str, parameters: tuple[Any, ...]) -> list[Recorded]:
        rows = await self._kept.read_aside("read records", f"{_SELECT} {condition}", parameters)
        late = await self._late([row[0] for row in rows])
        return [_recorded(row, late.get(row[0], ())) for row in rows]

    async def _late(self, ids: list[int]) -> dict[int, tuple[LateAnswer, ...]]:
        rows = await self._kept.read_aside(
            "read late answers",
            f"SELECT {_LATE} FROM late_answer"  # noqa: S608 - our own column names
            " WHERE authorization_id IN (SELECT value FROM json_each(?)) ORDER BY id",
            (json.dumps(ids),),
        )
        return _by_authorization(_late_answer(row) for row in rows)


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
        [[authorization_id]] = await self._database.writer.write("record a tap", _RECORD, _entry_row(entry))
        return int(authorization_id)

    async def end(self, authorization_id: int, at: datetime, because: EndReason) -> None:
        """Note that an accepted authorization is over. Ending it twice keeps the first end. Raises StoreError."""
        await self._database.writer.write("end an authorization", _END, (to_us(at), because, authorization_id))

    async def add_late(self, late: LateAnswer) -> None:
        """Add an answer that came after the decision; with `joined` its reference becomes the authorization's.

        Raises StoreError, also for an authorization that is not there.
        """
        await self._database.writer.write("add a late answer", _ADD_LATE, _late_row(late))

    async def close_open(self, at: datetime, because: EndReason = EndReason.RESTART) -> int:
        """End every authorization whose relay was closed and that has no end; returns how many. Raises StoreError."""

        async def work(connection: aiosqlite.Connection) -> int:
            ended = list(await connection.execute_fetchall(_CLOSE_OPEN, (to_us(at), because)))
            await connection.execute_fetchall(_ALL_CLOSED)
            return len(ended)

        return await self._database.writer.transaction("end open authorizations", work)


def _entry_row(entry: Entry) -> Row:
    row = {name: getattr(entry, name) for name in _ENTRY}
    row["tapped_at"] = to_us(entry.tapped_at)
    return tuple(row.values())


def _recorded(row: Row, late: tuple[LateAnswer, ...]) -> Recorded:
    authorization_id, ended_at, ended_because, *columns = row
    values = dict(zip(_ENTRY, columns, strict=True))
    values["tapped_at"] = from_us(values["tapped_at"])
    values["verdict"] = Verdict(values["verdict"])
    values["reason"] = Reason(values["reason"])
    values["source"] = Source(values["source"])
    values["relay_closed"] = bool(values["relay_closed"])
    values["end_reason"] = EndReason(values["end_reason"]) if values["end_reason"] else None
    return Recorded(
        id=authorization_id,
        entry=Entry(**values),
        ended_at=None if ended_at is None else from_us(ended_at),
        ended_because=EndReason(ended_because) if ended_because else None,
        late=late,
    )


def _late_row(late: LateAnswer) -> Row:
    answer = late.answer
    return (
        late.authorization_id,
        to_us(late.answered_at),
        late.joined,
        answer.peer,
        answer.outcome,
        answer.detail,
        None if answer.token is None else _token_json(answer.token),
        answer.authorization_reference,
        *(astuple(answer.info) if answer.info else (None, None)),
        answer.elapsed_s,
    )


def _late_answer(row: Row) -> LateAnswer:
    authorization_id, answered_at, joined, peer, outcome, detail, token, reference, language, text, elapsed_s = row
    answer = Answer(
        peer=peer,
        outcome=Outcome(outcome),
        detail=detail,
        token=None if token is None else _token(token),
        authorization_reference=reference,
        info=None if language is None else DisplayText(language, text),
        elapsed_s=elapsed_s,
    )
    return LateAnswer(authorization_id, from_us(answered_at), answer, bool(joined))


def _by_authorization(answers: Iterable[LateAnswer]) -> dict[int, tuple[LateAnswer, ...]]:
    found: dict[int, tuple[LateAnswer, ...]] = {}
    for late in answers:
        found[late.authorization_id] = (*found.get(late.authorization_id, ()), late)
    return found


def _token_json(token: Token) -> str:
    return json.dumps({**asdict(token), "last_updated": to_us(token.last_updated)})


def _token(text: str) -> Token:
    values = json.loads(text)
    contract = values.pop("energy_contract")
    return Token(
        **values
        | {
            "type": TokenType(values["type"]),
            "whitelist": WhitelistType(values["whitelist"]),
            "last_updated": from_us(values["last_updated"]),
            "energy_contract": EnergyContract(**contract) if contract else None,
        }
    )


def _fits(journal: Journal) -> JournalPort:
    return journal
