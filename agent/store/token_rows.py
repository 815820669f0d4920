"""How a token lies in the table `token`: the statements, and the way between a row and the value.

When they run, and in which transaction, is `whitelist`'s business.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Protocol

from agent.model import EnergyContract, ListedToken, Token, TokenType, WhitelistType
from agent.store.database import from_us, to_us
from agent.store.writer import Row

# What the numbers in the columns `type` and `whitelist` mean: written to files, so only ever appended to.
_TYPES = (TokenType.AD_HOC_USER, TokenType.APP_USER, TokenType.OTHER, TokenType.RFID)
_WHITELISTS = (WhitelistType.ALWAYS, WhitelistType.ALLOWED, WhitelistType.ALLOWED_OFFLINE, WhitelistType.NEVER)
TYPE_NUMBERS = {kind.value: number for number, kind in enumerate(_TYPES)}
_WHITELIST_NUMBERS = {kind.value: number for number, kind in enumerate(_WHITELISTS)}


class ContractFields(Protocol):
    """What a row needs of an EnergyContract."""

    @property
    def supplier_name(self) -> str: ...
    @property
    def contract_id(self) -> str | None: ...


class TokenFields(Protocol):
    """What a row needs of a token: `agent.model.Token` has it, and so has one as it came over the wire.

    A sync brings a million tokens, and makes no values of the model that nobody would look at. All as in OCPI; `type`
    and `whitelist` are texts that the model's enums know.
    """

    @property
    def country_code(self) -> str: ...
    @property
    def party_id(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def contract_id(self) -> str: ...
    @property
    def issuer(self) -> str: ...
    @property
    def valid(self) -> bool: ...
    @property
    def whitelist(self) -> str: ...
    @property
    def last_updated(self) -> datetime: ...
    @property
    def visual_number(self) -> str | None: ...
    @property
    def group_id(self) -> str | None: ...
    @property
    def language(self) -> str | None: ...
    @property
    def default_profile_type(self) -> str | None: ...
    @property
    def energy_contract(self) -> ContractFields | None: ...


_KEY = ("uid_key", "type", "country_key", "party_key")
_CONTENT = (
    *("uid", "country_code", "party_id", "contract_id", "issuer", "valid", "whitelist", "last_updated"),
    *("visual_number", "group_id", "language", "default_profile_type", "supplier_name", "supplier_contract_id"),
    *("counts_as", "peer_id", "generation"),
)
_LAST_UPDATED = len(_KEY) + _CONTENT.index("last_updated")
_COUNTS_AS = len(_KEY) + _CONTENT.index("counts_as")
_COUNTS = "coalesce(counts_as, last_updated)"
_COLUMNS = ", ".join((*_KEY, *_CONTENT))
_IS_KEY = " AND ".join(f"{name} = ?" for name in _KEY)
FUTURE_US = 86_400_000_000
"""A `last_updated` further ahead than a day is no clock that is a little fast, but a mistake or a claim to be newer
than everybody: it counts as the time at which it came in, so that what is updated after that comes through."""

CHUNK = 100
"""Tokens in one statement, and converted in one go: a fifth of a millisecond, then the event loop gets its turn."""

AT_MOST = 16
"""Tokens of one uid that are looked at: real cards have one owner, and a tap has a deadline to read them in."""

# A pushed token counts as seen by the sync that its peer has running, else that one's end would withdraw it.
_GENERATION_OF_PEER = "(SELECT generation FROM peer WHERE id = ?)"

# ruff: noqa: S608 - every text below is made of the column names above
CREATED, CHANGED = 1, 2
"""What `PUSH` leaves in `pushed`, which stands for true in either case: all that tells one statement's ways apart."""

PUSH = (
    f"INSERT INTO token (pushed, {_COLUMNS})"
    f" VALUES ({CREATED}, {', '.join('?' * len((*_KEY, *_CONTENT[:-1])))}, {_GENERATION_OF_PEER})"
    f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CONTENT)},"
    f" pushed = {CHANGED}, withdrawn = 0 WHERE {_COUNTS} <= iif("
    "peer_id = excluded.peer_id, excluded.last_updated, coalesce(excluded.counts_as, excluded.last_updated))"
    " RETURNING pushed"
)
"""Takes `pushed_row`; returns CREATED or CHANGED, and no row when a newer token is there."""

REPLACE = (
    f"UPDATE token SET {', '.join(f'{name} = ?' for name in _CONTENT[:-1])}, generation = {_GENERATION_OF_PEER},"
    f" pushed = {CHANGED}, withdrawn = 0 WHERE {_IS_KEY} AND {_COUNTS} <= iif(peer_id = ?, ?, ?)"
    f" AND {' AND '.join(f'{name} IS ?' for name in _CONTENT[: _CONTENT.index('counts_as')])} RETURNING pushed"
)
"""Takes `replaced_row`; returns CHANGED, and no row when a newer token is there, or another one than was expected."""

SEEN = f"UPDATE token SET generation = ?, pushed = 0, withdrawn = 0 WHERE {_IS_KEY} AND peer_id = ? AND generation < ?"
"""Takes `seen_rows`. A token that was pushed before this sync has held out against one list, and is like any other."""

UNREADABLE = (
    "UPDATE token SET generation = ?"
    " WHERE uid_key = ? AND (? IS NULL OR type = ?) AND country_key = ? AND party_key = ? AND peer_id = ?"
)
"""Takes `unreadable_rows`; a type that is not known stands for every type."""

_SELECT = (
    "SELECT coalesce(country_code, country_key), coalesce(party_id, party_key), coalesce(uid, uid_key), type,"
    " contract_id, issuer, valid, whitelist, last_updated, visual_number, group_id, language, default_profile_type,"
    " supplier_name, supplier_contract_id,"
    " peer.name, last_sync.completed_at, withdrawn"
    " FROM token JOIN peer ON peer.id = token.peer_id LEFT JOIN last_sync ON last_sync.peer_id = token.peer_id"
)
FIND = (
    f"{_SELECT} WHERE uid_key = ? AND type = {TYPE_NUMBERS[TokenType.RFID]}"
    f" ORDER BY country_key, party_key LIMIT {AT_MOST}"
)
GET = f"{_SELECT} WHERE {_IS_KEY}"
LIST = (
    f"{_SELECT} WHERE (uid_key, type, country_key, party_key) > (?, ?, ?, ?) AND (? IS NULL OR peer.name = ?)"
    " AND (? IS NULL OR country_key || '-' || party_key = ?) ORDER BY uid_key, type, country_key, party_key LIMIT ?"
)


def key(text: str) -> str:
    """What OCPI's CiString compares: without regard to case."""
    return text.strip().upper()


def _uid_key(token: TokenFields) -> str:
    return key(token.uid)


_owner_key = lru_cache(maxsize=1024)(key)
"""The same for countries and parties, of which a list has few. A uid is kept in no cache."""


def token_key(token: TokenFields) -> tuple[str, int, str, str]:
    """The columns `_KEY` of a token."""
    return key(token.uid), TYPE_NUMBERS[token.type], _owner_key(token.country_code), _owner_key(token.party_id)


def token_row(token: TokenFields, peer_id: int, generation: int, now_us: int) -> Row:
    """A token as `upsert` takes it."""
    uid, kind, country, party = token_key(token)
    contract = token.energy_contract
    last_updated = to_us(token.last_updated)
    return (
        uid,
        kind,
        country,
        party,
        None if token.uid == uid else token.uid,
        None if token.country_code == country else token.country_code,
        None if token.party_id == party else token.party_id,
        token.contract_id,
        token.issuer,
        token.valid,
        _WHITELIST_NUMBERS[token.whitelist],
        last_updated,
        token.visual_number,
        token.group_id,
        token.language,
        token.default_profile_type,
        contract and contract.supplier_name,
        contract and contract.contract_id,
        now_us if last_updated > now_us + FUTURE_US else None,
        peer_id,
        generation,
    )


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A page's tokens as they go into the table: parameters for `upsert(CHUNK)`, and for what is left over."""

    tokens: Sequence[TokenFields]
    peer_id: int
    generation: int
    chunks: list[Row]
    rest: Row
    """Of `len(self) % CHUNK` tokens."""

    def __len__(self) -> int:
        return len(self.tokens)


async def laid_out(tokens: Sequence[TokenFields], peer_id: int, generation: int, now_us: int) -> LaidOut:
    """Convert a page's tokens; the event loop gets its turn in between."""
    # In the order of the index, so that neighbours go into one of its pages while that is at hand.
    ordered = sorted(tokens, key=_uid_key)
    await asyncio.sleep(0)
    chunks: list[Row] = []
    for start in range(0, len(ordered), CHUNK):
        chunk: list[Any] = []
        for token in ordered[start : start + CHUNK]:
            chunk += token_row(token, peer_id, generation, now_us)
        chunks.append(tuple(chunk))
        await asyncio.sleep(0)
    rest = chunks.pop() if len(ordered) % CHUNK else ()
    return LaidOut(tokens, peer_id, generation, chunks, rest)


@cache
def upsert(count: int) -> str:
    """Stores `count` tokens of a peer's list, each given by `token_row`.

    The list wins over what the same peer's earlier lists brought, whatever `last_updated` says: a wrong one must be
    correctable. A newer token stays when it was pushed or is twice on this list; one of another peer stays when it
    is newer, too, and what claims to come from the future is newer than nothing that comes after it.

    One statement for many: it runs without Python's interpreter lock, where `executemany` takes the lock back after
    every row, before a waiting event loop can have it.
    """
    row = f"({', '.join('?' * len((*_KEY, *_CONTENT)))})"
    return (
        f"INSERT INTO token ({_COLUMNS}) VALUES {', '.join([row] * count)} ON CONFLICT ({', '.join(_KEY)})"
        f" DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CONTENT)}, pushed = 0, withdrawn = 0"
        " WHERE withdrawn OR CASE WHEN peer_id = excluded.peer_id"
        f" THEN generation < excluded.generation AND NOT pushed OR excluded.last_updated >= {_COUNTS}"
        f" ELSE coalesce(excluded.counts_as, excluded.last_updated) >= {_COUNTS} END"
    )


def pushed_row(token: Token, peer_id: int, now_us: int) -> Row:
    """A token as `PUSH` takes it."""
    return token_row(token, peer_id, peer_id, now_us)


def replaced_row(token: Token, instead_of: Token, peer_id: int, now_us: int) -> Row:
    """A token as `REPLACE` takes it."""
    row = token_row(token, peer_id, peer_id, now_us)
    last_updated, counts_as = row[_LAST_UPDATED], row[_COUNTS_AS]
    counts = last_updated if counts_as is None else counts_as
    expected = token_row(instead_of, peer_id, peer_id, now_us)[len(_KEY) : _COUNTS_AS]
    return *row[len(_KEY) :], *row[: len(_KEY)], peer_id, last_updated, counts, *expected


def seen_rows(tokens: Sequence[TokenFields], peer_id: int, generation: int) -> Iterator[Row]:
    """What `SEEN` takes."""
    for token in tokens:
        yield generation, *token_key(token), peer_id, generation


def unreadable_rows(unreadable: Sequence[tuple[str, str, str, str]], peer_id: int, generation: int) -> Iterator[Row]:
    """What `UNREADABLE` takes, from country, party, uid and type."""
    for country_code, party_id, uid, kind in unreadable:
        number = TYPE_NUMBERS.get(key(kind))
        yield generation, key(uid), number, number, key(country_code), key(party_id), peer_id


def listed(row: Row) -> ListedToken:
    """The token from the columns of `FIND`, `GET` and `LIST`."""
    country_code, party_id, uid, kind, contract_id, issuer, valid, whitelist, last_updated, *others = row
    visual_number, group_id, language, profile, supplier, supplier_contract_id, peer, synced_at, withdrawn = others
    token = Token(
        country_code,
        party_id,
        uid,
        _TYPES[kind],
        contract_id,
        issuer,
        bool(valid),
        _WHITELISTS[whitelist],
        from_us(last_updated),
        visual_number,
        group_id,
        language,
        profile,
        None if supplier is None else EnergyContract(supplier, supplier_contract_id),
    )
    return ListedToken(token, peer, None if synced_at is None else from_us(synced_at), bool(withdrawn))
