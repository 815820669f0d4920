"""The tokens of all peers on the device, and how far each peer's list is synced.

Fetching pages and deciding when to sync is somebody else's work; so is deciding what a token means for a driver.
Everything here can be synced again: a damaged file is set aside, and an empty one takes its place.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Self

import aiosqlite

from agent.errors import BusyError, CorruptError, StoreError
from agent.model import ListedToken, Token, TokenType, Uid
from agent.ports import Pulsing
from agent.ports import Whitelist as WhitelistPort
from agent.store.database import COMPANIONS, Database, Schema, from_us, to_us
from agent.store.right_of_way import RightOfWay
from agent.store.token_rows import (
    CREATED,
    FIND,
    GET,
    LIST,
    PUSH,
    REPLACE,
    SEEN,
    TYPE_NUMBERS,
    UNREADABLE,
    LaidOut,
    TokenFields,
    key,
    laid_out,
    listed,
    pushed_row,
    replaced_row,
    seen_rows,
    token_key,
    unreadable_rows,
    upsert,
)
from agent.store.writer import Row, fetch

log = logging.getLogger(__name__)

WHITELIST_ID = 0x43504157
"""`CPAW` in the file's header."""

PAGE_SIZE = 1024
"""Bytes. A card's place in the index is random, so that every token changes a page of its own there, and a page is
written whole: measured with a first full sync of 1,000,000 tokens, 5.7 GB reach the disk, and 8.1 with pages of 4 KB.
A pushed token costs a quarter. A file that is there already keeps its size."""

WAL_PAGES = 16_000
"""16 MB of write-ahead log: a first full sync hits the index at random, and the log gathers what hits a page twice."""

_SLICE = 5000
"""Rows that are withdrawn at once: a tenth of the log, and a push waits for no more."""

_DOUBTED, _MISSED = 1, 2
"""Why a full sync asks for another one, in `last_sync.again`. One that was asked for asks for no further one but for
the better reason: a list that always lies, or that loses a token every hour, would be pulled in full every time."""

_COUNT = (
    "SELECT name, count(token.id), coalesce(sum(valid AND NOT withdrawn), 0), coalesce(sum(withdrawn), 0)"
    " FROM peer LEFT JOIN token ON token.peer_id = peer.id GROUP BY name ORDER BY name"
)
_PEER_ID = "INSERT INTO peer (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET name = name RETURNING id"
_LAST_SYNC = (
    "SELECT name, kind, reference, completed_at, last_full_at, tokens, skipped, missed, again OR relist"
    " FROM last_sync JOIN peer ON peer.id = peer_id WHERE ? IS NULL OR name = ?"
)
_GO_ON = (
    "UPDATE sync_progress SET next_url = ?, pages = ?, tokens = ?, skipped = ?, promised = ?, doubt = ?, resumes = 0"
    " WHERE peer_id = ? AND generation = ? RETURNING 1"
)
_COMPLETE = (
    "INSERT INTO last_sync (peer_id, kind, reference, completed_at, last_full_at, tokens, skipped, missed, again)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (peer_id) DO UPDATE SET kind = excluded.kind,"
    " reference = iif(?, reference, excluded.reference), completed_at = excluded.completed_at,"
    " last_full_at = coalesce(excluded.last_full_at, last_full_at),"
    " tokens = excluded.tokens, skipped = excluded.skipped,"
    " missed = iif(excluded.last_full_at IS NULL, missed, excluded.missed),"
    " again = iif(excluded.last_full_at IS NULL, again, iif(excluded.again > again, excluded.again, 0))"
)
_UNSEEN = (
    "SELECT count(*), coalesce(sum(token.generation < full_generation), 0) FROM token JOIN peer ON peer.id = peer_id"
    " WHERE peer_id = ? AND token.generation < ? AND NOT withdrawn"
)
_WITHDRAW = (
    "UPDATE token SET withdrawn = 1 WHERE peer_id = ? AND NOT withdrawn"
    " AND generation < (SELECT full_generation FROM peer WHERE id = ?)"
)
_WITHDRAW_SLICE = (
    "UPDATE token SET withdrawn = 1 WHERE id BETWEEN ? AND ? AND NOT withdrawn"
    " AND peer_id = (SELECT id FROM peer WHERE name = ?)"
)
_SHADOWED = "UPDATE peer SET shadowed = 1 WHERE id = ? AND NOT shadowed"
_RELIST = "UPDATE peer SET relist = (SELECT max(generation) FROM peer) WHERE shadowed AND id <> ?"
_RELIST_ALL = "UPDATE peer SET relist = (SELECT max(generation) FROM peer) WHERE name <> ?"
_RELISTED = "UPDATE peer SET relist = 0 WHERE id = ? AND relist AND relist < ? RETURNING 1"
_FORGET_PROGRESS = "DELETE FROM sync_progress WHERE peer_id = (SELECT id FROM peer WHERE name = ?)"
_FORGET_LAST_SYNC = "DELETE FROM last_sync WHERE peer_id = (SELECT id FROM peer WHERE name = ?)"


class SyncKind(StrEnum):
    """What a sync asks a peer for."""

    FULL = "full"
    """The whole list: what two in a row do not bring is withdrawn."""
    DELTA = "delta"
    """What changed since the last sync: OCPI 2.2.1 mod_tokens, `date_from`."""


class Put(StrEnum):
    """What became of a pushed token."""

    CREATED = "created"
    UPDATED = "updated"
    STALE = "stale"
    """A newer one is here, or another one than was expected; nothing was changed."""


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """An unfinished sync: where to go on."""

    peer: str
    kind: SyncKind
    generation: int
    """Marks what this sync has seen; rises with every sync of any peer."""
    next_url: str
    reference: datetime
    """The peer's clock when the sync began."""
    started_at: datetime
    pages: int = 0
    tokens: int = 0
    skipped: int = 0
    promised: int = 0
    """The highest total that the peer has named."""
    doubt: str = ""
    """Why the end that was reached may not be the end of the list; empty without a doubt."""
    resumes: int = 0
    """How often it was taken up again since its last page was stored."""


@dataclass(frozen=True, slots=True)
class LastSync:
    """The last complete sync with a peer."""

    kind: SyncKind
    reference: datetime
    """The peer's clock when it began: what the next `date_from` counts from."""
    completed_at: datetime
    last_full_at: datetime | None
    """The end of the last full one."""
    tokens: int
    skipped: int
    missed: int = 0
    """Tokens that the last full one was the first not to bring: the next full one decides about them."""
    again: bool = False
    """The next one is to be a full one: this one missed a token or raised a doubt, and was not itself asked for on
    that account; or tokens of another peer were withdrawn, which may have stood for those that this one lists, too."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What the end of a sync did to the tokens that it did not bring."""

    withdrawn: int = 0
    """The full sync before had not brought them either."""
    missed: int = 0
    """They are kept for this once."""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How many tokens a peer has brought."""

    total: int
    valid: int
    """Valid to their owner, and not withdrawn."""
    withdrawn: int


class Whitelist:
    """`whitelist.db`: every change is whole or not there, and none keeps a lookup waiting."""

    def __init__(self, path: Path, database: Database, now: Callable[[], datetime]) -> None:
        """Use an open file; see `open`."""
        self._path = path
        self._database = database
        self._now = now
        self._peer_ids: dict[str, int] = {}
        self._naming = asyncio.Lock()
        self._rebuilding = asyncio.Lock()
        self._lookups = RightOfWay()

    @classmethod
    async def open(
        cls, path: Path, *, shared: bool = False, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> Self:
        """Open or create the file; a damaged one is set aside and begun anew. Raises StoreError for everything else.

        `shared`: an agent may have it open, too. A damaged file is then left to that one and raises CorruptError:
        whoever sets it aside under a running agent leaves that agent with a file that nobody else sees.
        """
        try:
            database = await _open(path)
        except CorruptError as error:
            if shared:
                raise
            _set_aside(path, str(error))
            database = await _open(path)
        return cls(path, database, now)

    async def rebuild(self) -> None:
        """Set the file aside and begin with an empty one, after a CorruptError. Raises StoreError.

        Several at once make one. A sync that runs meanwhile meets BusyError and has to start again.
        """
        damaged = self._database
        async with self._rebuilding:
            if self._database is not damaged:
                return
            with suppress(StoreError):
                await damaged.close()
            _set_aside(self._path, "rebuilt on request")
            self._peer_ids.clear()
            self._database = await _open(self._path)

    async def pulse(self) -> None:
        """As `Database.pulse`. A file that is being set aside has no threads that could hang."""
        await self._database.pulse()

    async def close(self) -> None:
        """Finish what is being written and close the file. May be called twice."""
        await self._database.close()

    async def find(self, uid: Uid) -> tuple[ListedToken, ...]:
        """Every RFID token of any owner with this uid, without regard to case, in the order of their owners.

        Of more than `AT_MOST` (16) owners the first ones. Raises StoreError, and CorruptError where `rebuild` helps.
        """
        with self._lookups:
            rows = await self._database.read("look up a token", FIND, (key(uid),))
        return tuple([listed(row) for row in rows])

    async def get(self, country_code: str, party_id: str, uid: str, kind: TokenType) -> ListedToken | None:
        """One token, or None. Raises StoreError."""
        columns = (key(uid), TYPE_NUMBERS[kind], key(country_code), key(party_id))
        for row in await self._database.read("read a token", GET, columns):
            return listed(row)
        return None

    async def list_tokens(
        self, *, peer: str | None = None, owner: str | None = None, after: ListedToken | None = None, limit: int = 100
    ) -> list[ListedToken]:
        """At most `limit` tokens in the order of their uids, those after `after`. `owner` as in `DE-ABC`.

        Raises StoreError.
        """
        start = ("", -1, "", "") if after is None else token_key(after.token)
        chosen = owner and key(owner)
        rows = await self._database.read_aside("list tokens", LIST, (*start, peer, peer, chosen, chosen, limit))
        return [listed(row) for row in rows]

    async def count(self) -> dict[str, TokenCount]:
        """By peer, how many tokens there are. Raises StoreError."""
        return {name: TokenCount(*counts) for name, *counts in await self._database.read_aside("count tokens", _COUNT)}

    async def put(self, token: Token, peer: str, *, instead_of: Token | None = None) -> Put:
        """Take over a token that a peer pushed; durable when it returns. Raises StoreError.

        A newer one stays, and so does one of another peer that is just as new, unless it is withdrawn.
        With `instead_of` only in place of exactly that, else the answer is STALE: whoever has made one token out of
        another must not undo what became of that one meanwhile, in this process or in another.
        """
        peer_id, now_us = await self._peer_id(peer), to_us(self._now())
        if instead_of is None:
            sql, row = PUSH, pushed_row(token, peer_id, now_us)
        else:
            sql, row = REPLACE, replaced_row(token, instead_of, peer_id, now_us)
        for (how,) in await self._database.writer.write("store a token", sql, row):
            return Put.CREATED if how == CREATED else Put.UPDATED
        return Put.STALE

    async def progress(self, peer: str) -> SyncProgress | None:
        """The sync with this peer that is not finished, or None. Raises StoreError."""
        rows = await self._database.read(
            "read a sync's progress",
            "SELECT kind, sync_progress.generation, next_url, reference, started_at,"
            " pages, tokens, skipped, promised, doubt, resumes"
            " FROM sync_progress JOIN peer ON peer.id = peer_id WHERE name = ?",
            (peer,),
        )
        for kind, generation, next_url, reference, started_at, *counts in rows:
            return SyncProgress(
                peer, SyncKind(kind), generation, next_url, from_us(reference), from_us(started_at), *counts
            )
        return None

    async def last_sync(self, peer: str) -> LastSync | None:
        """The last complete sync with this peer, or None. Raises StoreError."""
        rows = await self._database.read("read the last sync", _LAST_SYNC, (peer, peer))
        return _last_syncs(rows).get(peer)

    async def sync_states(self) -> dict[str, LastSync]:
        """By peer, the last complete sync; a peer without one is not there. Raises StoreError."""
        return _last_syncs(await self._database.read("read the last syncs", _LAST_SYNC, (None, None)))

    async def start(
        self, peer: str, kind: SyncKind, next_url: str, *, reference: datetime, started_at: datetime
    ) -> SyncProgress:
        """Begin a sync in place of an unfinished one. Raises StoreError."""
        peer_id = await self._peer_id(peer)

        async def work(connection: aiosqlite.Connection) -> int:
            new = (
                "UPDATE peer SET generation = (SELECT max(generation) + 1 FROM peer) WHERE id = ? RETURNING generation"
            )
            [[generation]] = await fetch(connection, new, (peer_id,))
            await fetch(
                connection,
                "INSERT OR REPLACE INTO sync_progress (peer_id, kind, generation, next_url, reference, started_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (peer_id, kind, generation, next_url, to_us(reference), to_us(started_at)),
            )
            return int(generation)

        generation = await self._database.writer.transaction("start a sync", work)
        return SyncProgress(peer, kind, generation, next_url, reference, started_at)

    async def resume(self, progress: SyncProgress) -> SyncProgress:
        """Note that an unfinished sync is taken up again.

        Raises StoreError, and BusyError for a sync that another one replaced.
        """
        peer_id = await self._peer_id(progress.peer)
        resumes = progress.resumes + 1
        again = "UPDATE sync_progress SET resumes = ? WHERE peer_id = ? AND generation = ? RETURNING 1"
        _require(
            await self._database.writer.write("resume a sync", again, (resumes, peer_id, progress.generation)), progress
        )
        return replace(progress, resumes=resumes)

    async def give_way(self) -> None:
        """Let what the event loop has waiting go first, and lookups to their end: see RightOfWay."""
        await self._lookups.give_way()

    async def lay_out(self, progress: SyncProgress, tokens: Sequence[TokenFields]) -> LaidOut:
        """What `store_page` takes as well as the tokens, made while the page before is being stored.

        Raises StoreError.
        """
        peer_id = await self._peer_id(progress.peer)
        return await laid_out(tokens, peer_id, progress.generation, to_us(self._now()), self.give_way)

    async def store_page(
        self,
        progress: SyncProgress,
        tokens: Sequence[TokenFields] | LaidOut,
        *,
        unreadable: Sequence[tuple[str, str, str, str]] = (),
        skipped: int = 0,
        next_url: str,
        promised: int = 0,
        doubt: str = "",
        newest_wins: bool = False,
    ) -> SyncProgress:
        """Store a page and how to go on after it, in one transaction; returns the new progress.

        The list wins over the peer's earlier ones; what was pushed since, and what other peers brought, only gives way
        to what is newer, but counts as seen where it is this peer's. So does what `unreadable` names by country, party,
        uid and type: it is on the list, though its object could not be used. `promised` and `doubt` are as in
        SyncProgress. With `newest_wins` everything gives way only to what is no older: for a list of unknown age.
        Once begun, a page is stored even when the caller is cancelled.

        Raises StoreError, and BusyError for a sync that another one replaced.
        """
        page = tokens if isinstance(tokens, LaidOut) else await self.lay_out(progress, tokens)
        after = replace(
            progress,
            next_url=next_url,
            pages=progress.pages + 1,
            tokens=progress.tokens + len(page),
            skipped=progress.skipped + skipped,
            promised=max(progress.promised, promised),
            doubt=doubt,
            resumes=0,
        )
        counts = (after.pages, after.tokens, after.skipped, after.promised)

        def work(connection: sqlite3.Connection) -> None:
            went_on = (next_url, *counts, doubt, page.peer_id, progress.generation)
            _require(connection.execute(_GO_ON, went_on).fetchall(), progress)
            _mark(connection, page, unreadable, newest_wins=newest_wins)

        await self._database.writer.batch("store a page of tokens", work)
        return after

    async def complete(self, progress: SyncProgress, *, completed_at: datetime) -> Swept:
        """Finish a sync; a full one without a doubt withdraws what neither it nor the one before has seen.

        A delta with a doubt leaves the reference where it was: what it may not have brought is asked for again.
        Raises StoreError, and BusyError for a sync that another one replaced.
        """
        peer_id = await self._peer_id(progress.peer)
        full = progress.kind is SyncKind.FULL

        async def work(connection: aiosqlite.Connection) -> Swept:
            current = await fetch(
                connection,
                "DELETE FROM sync_progress WHERE peer_id = ? AND generation = ? RETURNING 1",
                (peer_id, progress.generation),
            )
            _require(current, progress)
            at = to_us(completed_at)
            swept = Swept()
            relisted = full and bool(await fetch(connection, _RELISTED, (peer_id, progress.generation)))
            if full and not progress.doubt:
                swept = await _sweep(connection, peer_id, progress.generation)
            if swept.withdrawn and not relisted:  # else two peers would have each other pulled in full for ever
                await fetch(connection, _RELIST, (peer_id,))
            again = _DOUBTED if progress.doubt else _MISSED if swept.missed else 0
            counts = (progress.tokens, progress.skipped, swept.missed, again)
            last = (peer_id, progress.kind, to_us(progress.reference), at, at if full else None, *counts)
            await fetch(connection, _COMPLETE, (*last, bool(progress.doubt) and not full))
            return swept

        return await self._database.writer.transaction("complete a sync", work)

    async def abandon(self, peer: str) -> None:
        """Forget an unfinished sync; its pages stay. Raises StoreError."""
        await self._database.writer.write("abandon a sync", _FORGET_PROGRESS, (peer,))

    async def withdraw_peer(self, peer: str) -> int:
        """Forget how far this peer's list was synced, and withdraw every token that it brought; durable at the end.

        Goes by slices, so that others get their turn and the log stays short: a caller that it fails, or that does not
        live to see its end, repeats it. Returns how many tokens were withdrawn now: 0 for a peer that is not known, or
        the second time. A later sync or push brings its tokens back, and the next sync of every other peer is a full
        one, for what it lists as well. A sync with it that is under way meets BusyError. Raises StoreError.
        """
        doing = "withdraw a peer's tokens"

        def forget(connection: sqlite3.Connection) -> int:
            connection.execute(_FORGET_PROGRESS, (peer,))
            connection.execute(_FORGET_LAST_SYNC, (peer,))
            [[last]] = connection.execute("SELECT coalesce(max(id), 0) FROM token").fetchall()
            return int(last)

        def withdraw(connection: sqlite3.Connection, first: int) -> int:
            here = connection.execute(_WITHDRAW_SLICE, (first, first + _SLICE - 1, peer)).rowcount
            if here:
                connection.execute(_RELIST_ALL, (peer,))
            return here

        writer, withdrawn = self._database.writer, 0
        last = await writer.batch(doing, forget)
        for first in range(1, last + 1, _SLICE):
            withdrawn += await writer.batch(doing, partial(withdraw, first=first))
        # A driver must not be let in again after a power cut by a peer that is gone.
        await writer.batch(doing, forget, durable=True)
        return withdrawn

    async def _peer_id(self, name: str) -> int:
        if (known := self._peer_ids.get(name)) is not None:
            return known
        async with self._naming:  # a thousand pushes at once ask for it once
            if name not in self._peer_ids:
                [[peer_id]] = await self._database.writer.write("remember a peer", _PEER_ID, (name,))
                self._peer_ids[name] = peer_id
            return self._peer_ids[name]


async def _open(path: Path) -> Database:
    schema = Schema.load("whitelist", WHITELIST_ID)
    return await Database.open(path, schema, relaxed_transactions=True, page_size=PAGE_SIZE, wal_pages=WAL_PAGES)


def _set_aside(path: Path, why: str) -> None:
    """Rename the file with its log, for whoever wants to look at it. Only the last one is kept: a disk is finite."""
    for earlier in path.parent.glob(f"{path.name}.corrupt-*"):
        earlier.unlink()
    aside = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    for suffix in COMPANIONS:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    log.warning("%s set aside as %s, the tokens are to be synced again: %s", path, aside.name, why)


def _require(current: list[Row], progress: SyncProgress) -> None:
    if not current:
        raise BusyError(f"the {progress.kind} sync with {progress.peer} was replaced by another one; start it again")


def _mark(
    connection: sqlite3.Connection,
    page: LaidOut,
    unreadable: Sequence[tuple[str, str, str, str]],
    *,
    newest_wins: bool,
) -> None:
    changes = connection.total_changes
    for count, rows in page.rows:
        connection.executemany(upsert(count, newest_wins=newest_wins), rows)
    if connection.total_changes - changes < len(page):  # some gave way to what is here
        connection.executemany(SEEN, seen_rows(page.tokens, page.peer_id, page.generation))
    if connection.total_changes - changes < len(page):  # and that is another peer's, or from twice on a page
        connection.execute(_SHADOWED, (page.peer_id,))
    if unreadable:
        connection.executemany(UNREADABLE, unreadable_rows(unreadable, page.peer_id, page.generation))


async def _sweep(connection: aiosqlite.Connection, peer_id: int, generation: int) -> Swept:
    """Withdraw what the last complete full sync has not seen either: one that misses a token may just be unlucky."""
    [[unseen, twice]] = await fetch(connection, _UNSEEN, (peer_id, generation))
    if twice:
        await fetch(connection, _WITHDRAW, (peer_id, peer_id))
    await fetch(connection, "UPDATE peer SET full_generation = ? WHERE id = ?", (generation, peer_id))
    return Swept(twice, unseen - twice)


def _last_syncs(rows: list[Row]) -> dict[str, LastSync]:
    return {
        name: LastSync(
            SyncKind(kind),
            from_us(reference),
            from_us(completed_at),
            None if last_full_at is None else from_us(last_full_at),
            *counts,
        )
        for name, kind, reference, completed_at, last_full_at, *counts in rows
    }


def _fits(whitelist: Whitelist) -> tuple[WhitelistPort, Pulsing]:
    return whitelist, whitelist
