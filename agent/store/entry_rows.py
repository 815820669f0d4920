"""Authorizations as rows of `state.db`, for the rooms of the store that keep or read them; no connection of its own."""

import json
from collections.abc import Iterable
from dataclasses import asdict, astuple, fields
from typing import Any

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
from agent.store.database import Database, ReadOnlyDatabase, from_us, to_us
from agent.store.writer import Row

ENTRY = tuple(field.name for field in fields(Entry))
RECORDED = ("id", "ended_at", "ended_because", *ENTRY)
"""The columns that `recorded` reads."""
_LATE = (
    "authorization_id, answered_at, joined, peer, outcome, detail, token, authorization_reference,"
    " info_language, info_text, elapsed_s"
)

# Column by column in the order of `Entry`; a column that it has and the schema has not fails at the first record.
RECORD = f"INSERT INTO authorization ({', '.join(ENTRY)}) VALUES ({', '.join('?' * len(ENTRY))}) RETURNING id"  # noqa: S608 - our own field names
END = "UPDATE authorization SET ended_at = ?, ended_because = ? WHERE id = ? AND ended_at IS NULL"
ADD_LATE = f"INSERT INTO late_answer ({_LATE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own column names
OPEN = "id > (SELECT up_to FROM open_check) AND relay_closed = 1 AND ended_at IS NULL"
"""Which authorizations were accepted and have no end, without looking through those that were seen to have theirs."""
SETTLE = f"""
    WITH settled (up_to) AS (
        SELECT coalesce((SELECT min(id) - 1 FROM authorization WHERE {OPEN}), (SELECT max(id) FROM authorization), 0)
    )
    UPDATE open_check SET up_to = (SELECT up_to FROM settled) WHERE up_to <> (SELECT up_to FROM settled)
"""  # noqa: S608 - our own words
"""Remember up to which id all have their end."""


def entry_row(entry: Entry) -> Row:
    """The values for RECORD."""
    row = {name: getattr(entry, name) for name in ENTRY}
    row["tapped_at"] = to_us(entry.tapped_at)
    return tuple(row.values())


def recorded(row: Row, late: tuple[LateAnswer, ...] = ()) -> Recorded:
    """What the columns RECORDED say."""
    values: dict[str, Any] = dict(zip(RECORDED, row, strict=True))
    authorization_id, ended_at, ended_because = (values.pop(name) for name in ("id", "ended_at", "ended_because"))
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


async def late_answers(
    kept: Database | ReadOnlyDatabase, authorization_ids: Iterable[int]
) -> dict[int, tuple[LateAnswer, ...]]:
    """The late answers to these authorizations, as they came; those that got none are left out. Raises StoreError."""
    rows = await kept.read_aside(
        "read late answers",
        f"SELECT {_LATE} FROM late_answer"  # noqa: S608 - our own column names
        " WHERE authorization_id IN (SELECT value FROM json_each(?)) ORDER BY id",
        (json.dumps(list(authorization_ids)),),
    )
    found: dict[int, tuple[LateAnswer, ...]] = {}
    for late in map(_late_answer, rows):
        found[late.authorization_id] = (*found.get(late.authorization_id, ()), late)
    return found


def late_row(late: LateAnswer) -> Row:
    """The values for ADD_LATE."""
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
