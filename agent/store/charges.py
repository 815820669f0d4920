"""Sessions and CDRs with what became of them, for who only looks: commands beside the agent, and the agent itself."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from agent.charges import CdrRecord, Charge
from agent.store.charge_rows import CDRS, CHARGES, RUNNING_ONLY, cdr_record, charge
from agent.store.database import Database, ReadOnlyDatabase, look_at_state
from agent.store.entry_rows import late_answers

T = TypeVar("T")

SHORTEST_NAME = 8
"""Characters of an id's beginning that name it: with fewer a mistyped number could hit."""

_NO_NUMBER = 2**63 - 1
_LAST_CHARACTER = "\U0010ffff"
_DIGITS = 18
"""Of the greatest number that a command is taken at its word for; SQLite's have 19."""


class Charges:
    """Sessions and CDRs with what became of them, to be read."""

    def __init__(self, kept: Database | ReadOnlyDatabase) -> None:
        """Use an open `state.db`, which the caller closes."""
        self._kept = kept

    @staticmethod
    async def open_read_only(path: Path) -> "Charges":
        """Open the file without changing anything of it, for these readings alone. Raises StoreError."""
        return Charges(await look_at_state(path))

    async def close(self) -> None:
        """Finish what is being written and close the file."""
        await self._kept.close()

    async def recent(
        self, limit: int, *, before: int | None = None, evse_uid: str | None = None, running: bool = False
    ) -> list[Charge]:
        """The newest sessions first, at most `limit`, with authorization ids below `before`. Raises StoreError."""
        condition = "session.authorization_id < ? AND (? IS NULL OR session.evse_uid = ?)"
        parameters = (_NO_NUMBER if before is None else before, evse_uid, evse_uid, limit)
        if running:
            condition += " AND session.ended_at IS NULL"
        newest = "ORDER BY session.authorization_id DESC LIMIT ?"
        return await self._charges(f"WHERE {condition} {newest}", parameters, index=RUNNING_ONLY if running else "")

    async def find(self, name: str) -> Charge | None:
        """The session of an authorization (`12`, `#12`), or with this session id.

        Of the id its beginning will do, from SHORTEST_NAME characters on and where no other begins so. Raises
        StoreError.
        """
        if (number := _number(name)) is not None and (found := await self.of([number])):
            return found[number]
        if len(name) < SHORTEST_NAME:
            return None
        begins = "WHERE session.session_id >= ? AND session.session_id < ? ORDER BY session.session_id LIMIT 2"
        return _named(name, {one.session.session_id: one for one in await self._charges(begins, _span(name))})

    async def of(self, authorization_ids: Sequence[int]) -> dict[int, Charge]:
        """The sessions of these authorizations; those that have none are left out. Raises StoreError."""
        condition = "WHERE session.authorization_id IN (SELECT value FROM json_each(?))"
        found = await self._charges(condition, (json.dumps(list(authorization_ids)),))
        return {one.session.authorization_id: one for one in found}

    async def cdrs(
        self, limit: int, *, before: int | None = None, pending: bool = False, parked: bool = False
    ) -> list[CdrRecord]:
        """The newest CDRs first, at most `limit`, with numbers below `before`. Raises StoreError.

        `pending`: only those that are still to be sent; `parked`: only those that a peer rejected; both: either.
        """
        kinds = [flag for flag, wanted in ((0, pending), (1, parked)) if wanted]
        wanted = "cdr.number IN (SELECT number FROM cdr_due WHERE parked IN (SELECT value FROM json_each(?)))"
        condition = f"cdr.number < ?{f' AND {wanted}' if kinds else ''} ORDER BY cdr.number DESC LIMIT ?"
        before = _NO_NUMBER if before is None else before
        return await self._cdrs(f"WHERE {condition}", (before, *([json.dumps(kinds)] if kinds else []), limit))

    async def cdr(self, name: str) -> CdrRecord | None:
        """The CDR of this number (`12`, `#12`), or with this id, or a beginning of it, as in `find`.

        Where nothing but its credit begins as it does, it is the CDR that is meant. Raises StoreError.
        """
        if (number := _number(name)) is not None and (found := await self._cdrs("WHERE cdr.number = ?", (number,))):
            return found[0]
        if len(name) < SHORTEST_NAME:
            return None
        found = await self._cdrs("WHERE cdr.cdr_id >= ? AND cdr.cdr_id < ? ORDER BY cdr.cdr_id LIMIT 3", _span(name))
        meant = [one for one in found if one.cdr.credits is None] or found
        return _named(name, {one.cdr.cdr_id: one for one in meant})

    async def _charges(self, condition: str, parameters: Sequence[Any], *, index: str = "") -> list[Charge]:
        rows = await self._kept.read_aside("read sessions", f"{CHARGES.format(index=index)} {condition}", parameters)
        bare = [charge(row) for row in rows]
        ids = [one.session.authorization_id for one in bare]
        late = await late_answers(self._kept, ids)
        cdrs: dict[int, list[CdrRecord]] = {}
        of_these = "WHERE cdr.authorization_id IN (SELECT value FROM json_each(?)) ORDER BY cdr.number"
        for record in await self._cdrs(of_these, (json.dumps(ids),)):
            cdrs.setdefault(record.cdr.authorization_id, []).append(record)
        return [
            replace(
                one, authorization=replace(one.authorization, late=late.get(key, ())), cdrs=tuple(cdrs.get(key, ()))
            )
            for key, one in zip(ids, bare, strict=True)
        ]

    async def _cdrs(self, condition: str, parameters: Sequence[Any]) -> list[CdrRecord]:
        return [cdr_record(row) for row in await self._kept.read_aside("read CDRs", f"{CDRS} {condition}", parameters)]


def _number(name: str) -> int | None:
    digits = name.removeprefix("#")
    # A number has no leading zero, while an id may begin with nothing but digits.
    return (
        int(digits) if digits.isascii() and digits.isdigit() and digits[0] != "0" and len(digits) <= _DIGITS else None
    )


def _span(beginning: str) -> tuple[str, str]:
    return beginning, beginning + _LAST_CHARACTER


def _named(name: str, found: dict[str, T]) -> T | None:
    """The one with this very id, or the only one that begins so."""
    for identity, one in found.items():
        if len(found) == 1 or identity.casefold() == name.casefold():
            return one
    return None
