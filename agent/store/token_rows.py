"""How a token lies in the table `token`: the statements, and the way between a row and the value.

When they run, and in which transaction, is `whitelist`'s business.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from itertools import chain
from operator import itemgetter
from typing import Protocol

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
_OPTIONAL = frozenset(
    (
        *("uid", "country_code", "party_id", "visual_number", "group_id", "language", "default_profile_type"),
        *("supplier_name", "supplier_contract_id", "counts_as"),
    )
)
_ABSENT = 0
"""Stands for None in the parameter of an optional column, none of which can hold the number 0. For None, as for a bool,
Python's sqlite3 looks for an adapter, and raises and swallows an exception over it: at eleven a token that was a
quarter of what storing a page took, with the interpreter lock held all the while."""

_LAST_UPDATED = len(_KEY) + _CONTENT.index("last_updated")
_COUNTS_AS = len(_KEY) + _CONTENT.index("counts_as")
_COLUMNS = ", ".join((*_KEY, *_CONTENT))
_VALUES = {name: f"nullif(?, {_ABSENT})" if name in _OPTIONAL else "?" for name in (*_KEY, *_CONTENT)}
_IS_KEY = " AND ".join(f"{name} = ?" for name in _KEY)
FUTURE_US = 86_400_000_000
"""A `last_updated` further ahead than a day is no clock that is a little fast, but a mistake or a claim to be newer
than everybody: it counts as the time at which it came in, so that what is updated after that comes through."""

CHUNK = 250
"""Tokens in one statement. After each, the writer's thread waits for the interpreter lock, which the event loop has for
the page that follows."""

_AT_ONCE = 50
"""Tokens that are converted in one go: a tenth of a millisecond, then others may go first."""

_UID_KEY = itemgetter(_KEY.index("uid_key"))

_COUNTS_AT_ONCE = (CHUNK, 10, 1)
"""For how many tokens there is a statement. One for every number of tokens left over would cost 12 MB: SQLite keeps
128 of them prepared, and a peer's pages may have any length."""

AT_MOST = 16
"""Tokens of one uid that are looked at: real cards have one owner, and a tap has a deadline to read them in."""

# Which of two rows is the newer one, with `excluded` for the one that comes in and two `?` for the time up to which
# a `last_updated` is none from the future by now. What two rows of one peer count as is of no matter where both claim
# a future, or where it has come true. Another peer has to be newer, not just as new: else two peers that list the same
# token would take it from each other all the time, and neither could ever withdraw it.
_NOT_OLDER = (
    "excluded.last_updated >= iif(excluded.counts_as IS NULL AND token.last_updated > ?,"
    " coalesce(token.counts_as, token.last_updated), token.last_updated)"
)
_NEWER = (
    "coalesce(excluded.counts_as, excluded.last_updated) > iif(token.last_updated > ?,"
    " coalesce(token.counts_as, token.last_updated), token.last_updated)"
    " AND (excluded.counts_as IS NULL OR excluded.last_updated > token.last_updated)"
)

# A pushed token counts as seen by the sync that its peer has running, else that one's end would withdraw it.
_GENERATION_OF_PEER = "(SELECT generation FROM peer WHERE id = ?)"

# ruff: noqa: S608 - every text below is made of the column names above
CREATED, CHANGED = 1, 2
"""What `PUSH` leaves in `pushed`, which stands for true in either case: all that tells one statement's ways apart."""

PUSH = (
    f"INSERT INTO token (pushed, {_COLUMNS})"
    f" VALUES ({CREATED}, {', '.join(_VALUES[name] for name in (*_KEY, *_CONTENT[:-1]))}, {_GENERATION_OF_PEER})"
    f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CONTENT)},"
    f" pushed = {CHANGED}, withdrawn = 0"
    f" WHERE withdrawn OR CASE WHEN token.peer_id = excluded.peer_id THEN {_NOT_OLDER} ELSE {_NEWER} END"
    " RETURNING pushed"
)
"""Takes `pushed_row`; returns CREATED or CHANGED, and no row when a newer token is there that is not withdrawn."""

REPLACE = (
    f"UPDATE token SET {', '.join(f'{name} = {_VALUES[name]}' for name in _CONTENT[:-1])},"
    f" generation = {_GENERATION_OF_PEER}, pushed = {CHANGED}, withdrawn = 0"
    f" FROM (SELECT ? AS peer_id, ? AS last_updated, {_VALUES['counts_as']} AS counts_as) AS excluded"
    f" WHERE {_IS_KEY} AND CASE WHEN token.peer_id = excluded.peer_id THEN {_NOT_OLDER} ELSE {_NEWER} END"
    f" AND {' AND '.join(f'token.{name} IS {_VALUES[name]}' for name in _CONTENT[: _CONTENT.index('counts_as')])}"
    " RETURNING pushed"
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


_owner_key = lru_cache(maxsize=1024)(key)
"""The same for countries and parties, of which a list has few. A uid is kept in no cache."""


def token_key(token: TokenFields) -> tuple[str, int, str, str]:
    """The columns `_KEY` of a token."""
    return key(token.uid), TYPE_NUMBERS[token.type], _owner_key(token.country_code), _owner_key(token.party_id)


def token_row(token: TokenFields, peer_id: int, generation: int, now_us: int) -> Row:
    """A token as `upsert` takes it: _ABSENT for None, and no bool."""
    uid, kind, country, party = token_key(token)
    contract = token.energy_contract
    last_updated = to_us(token.last_updated)
    return (
        uid,
        kind,
        country,
        party,
        _ABSENT if token.uid == uid else token.uid,
        _ABSENT if token.country_code == country else token.country_code,
        _ABSENT if token.party_id == party else token.party_id,
        token.contract_id,
        token.issuer,
        1 if token.valid else 0,
        _WHITELIST_NUMBERS[token.whitelist],
        last_updated,
        _given(token.visual_number),
        _given(token.group_id),
        _given(token.language),
        _given(token.default_profile_type),
        _ABSENT if contract is None else contract.supplier_name,
        _ABSENT if contract is None else _given(contract.contract_id),
        now_us if last_updated > now_us + FUTURE_US else _ABSENT,
        peer_id,
        generation,
    )


def _given(text: str | None) -> str | int:
    return _ABSENT if text is None else text


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A page's tokens as they go into the table."""

    tokens: Sequence[TokenFields]
    peer_id: int
    generation: int
    rows: tuple[tuple[int, list[Row]], ...]
    """For some counts, what `upsert` of that count takes."""

    def __len__(self) -> int:
        return len(self.tokens)


async def laid_out(
    tokens: Sequence[TokenFields],
    peer_id: int,
    generation: int,
    now_us: int,
    give_way: Callable[[], Awaitable[None]],
) -> LaidOut:
    """Convert a page's tokens, and let others go first in between."""
    ordered: list[Row] = []
    for start in range(0, len(tokens), _AT_ONCE):
        ordered += [token_row(token, peer_id, generation, now_us) for token in tokens[start : start + _AT_ONCE]]
        await give_way()
    # In the order of the index, so that neighbours go into one of its pages while that is at hand.
    ordered.sort(key=_UID_KEY)
    soon, done = _soon(now_us), 0
    rows: list[tuple[int, list[Row]]] = []
    for count in _COUNTS_AT_ONCE:
        chunks: list[Row] = []
        for start in range(done, len(ordered) - count + 1, count):
            chunks.append((*chain.from_iterable(ordered[start : start + count]), *soon))
            if count == CHUNK:
                await give_way()
        rows.append((count, chunks))
        done += count * len(chunks)
    return LaidOut(tokens, peer_id, generation, tuple(rows))


@cache
def upsert(count: int, *, newest_wins: bool = False) -> str:
    """Stores `count` tokens of a peer's list, each given by `token_row`, and at the end `_soon`.

    The list wins over what the same peer's earlier lists brought, whatever `last_updated` says: a wrong one must be
    correctable. A newer token stays when it was pushed or is twice on this list, and with `newest_wins` always; one of
    another peer stays unless it is older, and what claims to come from the future is newer than nothing that comes
    after it.

    One statement for many: it runs without Python's interpreter lock, where `executemany` takes the lock back after
    every row, before a waiting event loop can have it.
    """
    row = f"({', '.join(_VALUES.values())})"
    listed_anew = "" if newest_wins else "token.withdrawn OR token.generation < excluded.generation AND NOT pushed OR "
    return (
        f"INSERT INTO token ({_COLUMNS}) VALUES {', '.join([row] * count)} ON CONFLICT ({', '.join(_KEY)})"
        f" DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CONTENT)}, pushed = 0, withdrawn = 0"
        f" WHERE CASE WHEN token.peer_id = excluded.peer_id THEN {listed_anew}{_NOT_OLDER}"
        f" ELSE withdrawn OR {_NEWER} END"
    )


def _soon(now_us: int) -> Row:
    """What `_NOT_OLDER` and `_NEWER` take."""
    return now_us + FUTURE_US, now_us + FUTURE_US


def pushed_row(token: Token, peer_id: int, now_us: int) -> Row:
    """A token as `PUSH` takes it."""
    return *token_row(token, peer_id, peer_id, now_us), *_soon(now_us)


def replaced_row(token: Token, instead_of: Token, peer_id: int, now_us: int) -> Row:
    """A token as `REPLACE` takes it."""
    row = token_row(token, peer_id, peer_id, now_us)
    expected = token_row(instead_of, peer_id, peer_id, now_us)[len(_KEY) : _COUNTS_AS]
    compared = peer_id, row[_LAST_UPDATED], row[_COUNTS_AS]
    return *row[len(_KEY) :], *compared, *row[: len(_KEY)], *_soon(now_us), *expected


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
