"""Brings a peer's tokens into the whitelist: full and delta syncs that survive a kill, one at a time.

OCPI 2.2.1 mod_tokens, Pull model. What a page holds is `agent.ocpi`'s business, what storing it means the store's,
and when to sync `sync_schedule`'s.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from agent.errors import PeerError
from agent.model import Outcome
from agent.ocpi.client import Failure, Page
from agent.ocpi.tokens import Token
from agent.runtime.room import FreeBytes, free_bytes, lack_of_room
from agent.runtime.sync_lock import alone
from agent.store.token_rows import LaidOut, TokenFields
from agent.store.whitelist import LastSync, Swept, SyncKind, SyncProgress

log = logging.getLogger(__name__)

OnProgress = Callable[[SyncProgress, int | None], None]
"""Called after each page with the state of things and with how many tokens the peer says there are, if it does."""

_RESUMABLE_FOR = timedelta(days=1)
"""An older sync starts over: the peer's pages have shifted, and its offsets mean something else by now."""

_LOST = frozenset({Outcome.UNKNOWN, Outcome.REJECTED, Outcome.MALFORMED})
"""What a saved address may come to when it means nothing to the peer any more."""

_EMPTY_AT_END = 3
"""Some peers link on for ever, from one empty page to the next. So many in a row with nothing missing are the end."""

_EMPTY_AT_MOST = 100
"""So many empty pages in a row with tokens still missing, and the peer is broken rather than sparing."""

_WARNINGS = 20
"""Skipped objects that are named in the log, a run: a broken peer has a million, and the log a disk to fill."""

_MOST_RESUMES = 3
"""So many attempts in a row to go on from one place, each without a page, and the place is taken for lost."""


class SyncPausedError(PeerError):
    """A run's time is up. What it brought is stored, and the next run goes on from there."""


class TokenList(Protocol):
    """What a sync needs of an OCPI client: `agent.ocpi.client.OcpiClient` has it."""

    async def list_url(self, *, limit: int, date_from: datetime | None = None) -> str | Failure:
        """Where the list begins."""
        ...

    async def page(
        self, url: str, *, correlation_id: str | None = None, give_way: Callable[[], Awaitable[None]]
    ) -> Page | Failure:
        """One page of it; `give_way` is called between the steps of reading it."""
        ...


class SyncStore(Protocol):
    """What a sync needs of the whitelist. Each method is one transaction; StoreError means that nothing changed."""

    async def progress(self, peer: str) -> SyncProgress | None:
        """The peer's unfinished sync."""
        ...

    async def last_sync(self, peer: str) -> LastSync | None:
        """The peer's last complete sync."""
        ...

    async def start(
        self, peer: str, kind: SyncKind, next_url: str, *, reference: datetime, started_at: datetime
    ) -> SyncProgress:
        """Begin a sync, in place of an unfinished one."""
        ...

    async def resume(self, progress: SyncProgress) -> SyncProgress:
        """Note that an unfinished sync is taken up again."""
        ...

    async def give_way(self) -> None:
        """Let taps go first: called between the steps of what would keep them waiting."""
        ...

    async def lay_out(self, progress: SyncProgress, tokens: Sequence[TokenFields]) -> LaidOut:
        """Bring a page's tokens into the form that `store_page` takes: outside its transaction, so ahead of its turn.

        `progress` is the sync's at any of its pages.
        """
        ...

    async def store_page(
        self,
        progress: SyncProgress,
        tokens: LaidOut,
        *,
        unreadable: Sequence[tuple[str, str, str, str]] = (),
        skipped: int = 0,
        next_url: str,
        promised: int = 0,
        doubt: str = "",
    ) -> SyncProgress:
        """Take a page's tokens in, and note where the list goes on; `unreadable` tokens are known to be still there."""
        ...

    async def complete(self, progress: SyncProgress, *, completed_at: datetime) -> Swept:
        """End a sync; a full one without a doubt withdraws what neither it nor the one before brought."""
        ...

    async def abandon(self, peer: str) -> None:
        """Forget an unfinished sync; what it brought stays."""
        ...


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a complete sync came to. Counts are of the whole sync, an earlier run's pages included."""

    peer: str
    kind: SyncKind
    pages: int
    tokens: int
    skipped: int
    withdrawn: int
    resumed: bool
    missed: int = 0
    """Tokens that this full sync was the first not to bring. They are kept; the next full one decides."""
    doubt: str = ""
    """Why this may not have been the whole list: nothing is withdrawn then. Empty without a doubt."""


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How a peer's tokens are pulled."""

    full_every: timedelta = timedelta(days=1)
    overlap: timedelta = timedelta(minutes=10)
    """How far a delta sync reaches back behind the one before: for changes that were being written at that moment."""
    page_size: int = 1000
    most_pages: int = 100_000
    most_tokens: int = 5_000_000
    """Objects in a sync: five times the largest list known, and about 2 GB."""
    run_limit_s: float = 1800.0
    """Then the next peer gets its turn. A run may take longer by one page and one wait."""
    page_limit_s: float = 300.0
    """A full page over a bad mobile connection takes a minute; a peer that sends byte by byte takes for ever."""
    most_waits: int = 5
    """How often a run does as Retry-After asks."""
    most_wait_s: float = 300.0
    """A longer Retry-After fails the run."""


class TokenSync:
    """Syncs one peer's tokens. Pages are stored as they come, so that a kill at any point costs one page."""

    def __init__(
        self,
        peer: str,
        tokens: TokenList,
        whitelist: SyncStore,
        *,
        lock_file: Path,
        settings: SyncSettings = SyncSettings(),
        owners: frozenset[tuple[str, str]] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        free_bytes: FreeBytes = free_bytes,
    ) -> None:
        """`owners`: the only `(country_code, party_id)` whose tokens are taken; None takes everybody's, as from a hub.

        `lock_file` is the same for all that sync into one whitelist, in whatever process, and beside it: the room
        that `free_bytes` finds in its folder is the whitelist's. `clock` counts seconds, the running loop's unless
        given.
        """
        self.peer = peer
        self._tokens = tokens
        self._whitelist = whitelist
        self._lock_file = lock_file
        self._settings = settings
        self._owners = owners and frozenset((country.upper(), party.upper()) for country, party in owners)
        self._now = now
        self._clock = clock
        self._sleep = sleep
        self._free_bytes = free_bytes

    async def run_once(self, kind: SyncKind | None = None, on_progress: OnProgress | None = None) -> SyncReport:
        """Bring the whitelist up to date with the peer, going on where an interrupted sync ended.

        Without `kind`: full when there was none for `full_every` or the last one asks for it, else delta. Raises
        PeerError when the list can't be had to its end or the disk is too full, SyncPausedError when the run's time is
        up, BusyError when another sync is running, StoreError. Cancelling keeps the pages stored.
        """
        clock = self._clock or asyncio.get_running_loop().time
        with alone(self._lock_file):
            self._check_room()
            run = _Run(str(uuid4()), on_progress or _nobody, clock, clock() + self._settings.run_limit_s)
            wanted, date_from = await self._wanted(kind)
            progress, page = await self._resume(run, wanted, any_full=kind is None)
            resumed = progress is not None
            if progress is None:
                progress, page = await self._start(run, wanted, date_from)
            if page is not None:
                progress = await self._walk(run, progress, page)
            swept = await self._whitelist.complete(progress, completed_at=self._now())
        if progress.doubt:
            log.warning(
                "peer %s: its list of tokens may not be whole: %s. Nothing is withdrawn; the peer's operator has to "
                "mend its paging",
                *(self.peer, progress.doubt),
            )
        return SyncReport(
            *(self.peer, progress.kind, progress.pages, progress.tokens, progress.skipped, swept.withdrawn, resumed),
            missed=swept.missed,
            doubt=progress.doubt,
        )

    async def _wanted(self, kind: SyncKind | None) -> tuple[SyncKind, datetime | None]:
        """The kind of sync, and from when on a delta reaches. A delta needs something to build on."""
        last = await self._whitelist.last_sync(self.peer)
        if last is None or last.last_full_at is None or kind is SyncKind.FULL:
            return SyncKind.FULL, None
        age = self._now() - last.last_full_at
        # A clock that was set back makes it negative: nobody knows how old the list is then.
        if kind is None and (last.again or not timedelta() <= age < self._settings.full_every):
            return SyncKind.FULL, None
        return SyncKind.DELTA, last.reference - self._settings.overlap

    async def _resume(
        self, run: "_Run", wanted: SyncKind, *, any_full: bool
    ) -> tuple[SyncProgress | None, Page | None]:
        """An unfinished sync that serves as well, with its next page; the page is None when only the end is missing."""
        progress = await self._whitelist.progress(self.peer)
        if progress is None:
            return None, None
        serves = progress.kind is wanted or (any_full and progress.kind is SyncKind.FULL)
        if not serves or abs(self._now() - progress.started_at) > _RESUMABLE_FOR:
            return None, None
        if not progress.next_url:
            return progress, None
        if progress.resumes >= _MOST_RESUMES:
            log.info(
                "peer %s: the interrupted sync can't go on after %d attempts, it starts over", self.peer, _MOST_RESUMES
            )
            return None, None
        progress = await self._whitelist.resume(progress)
        page = await self._page(run, progress.next_url)
        if isinstance(page, Failure) and page.outcome in _LOST:
            log.info("peer %s: the interrupted sync can't go on (%s), it starts over", self.peer, page.detail)
            await self._whitelist.abandon(self.peer)
            return None, None
        return progress, self._expect(page)

    async def _start(self, run: "_Run", kind: SyncKind, date_from: datetime | None) -> tuple[SyncProgress, Page]:
        url = await self._tokens.list_url(limit=self._settings.page_size, date_from=date_from)
        if isinstance(url, Failure):
            raise self._error(url)
        started_at = self._now()
        page = self._expect(await self._page(run, url))
        # The peer's own clock where it shows it: that is the one which `last_updated` comes from. Never ahead of ours,
        # though: a proxy's wrong Date would hide all that changes until then, where an early one only costs bytes.
        reference = min(page.date or started_at, started_at)
        progress = await self._whitelist.start(self.peer, kind, url, reference=reference, started_at=started_at)
        return progress, page

    async def _walk(self, run: "_Run", progress: SyncProgress, page: Page) -> SyncProgress:
        """Store `page` and all that follow. The next page is fetched and read while one is being stored."""
        run.seen.add(hash(progress.next_url))
        batch = await self._read(progress, page)
        while True:
            try:
                following = self._following(run, progress, batch.page)
            except PeerError:
                # Its tokens are good, but going on from here would lead to the same place every time.
                await self._store(run, progress, batch, progress.next_url)
                await self._whitelist.abandon(self.peer)
                raise
            if following is None:
                return await self._store(run, progress, batch, "", self._doubt(progress, batch.page))
            if run.left_s <= 0:
                await self._store(run, progress, batch, following)
                raise self._paused()
            async with self._ahead(run, progress, following) as ahead:
                progress = await self._store(run, progress, batch, following)
                batch = await ahead

    def _following(self, run: "_Run", progress: SyncProgress, page: Page) -> str | None:
        """The next page's address, None at the end. Raises PeerError for a list that has none or is not whole."""
        objects = _objects(progress, page)
        missing = page.total is not None and objects < page.total
        following = page.next_url
        if following is None:
            if missing and self._is_full_first(progress, page):
                raise self._broken(f"it breaks off after {objects} of {page.total} tokens, without a Link to go on")
            return None
        run.empty_in_a_row = 0 if page.objects else run.empty_in_a_row + 1
        if run.empty_in_a_row >= _EMPTY_AT_END and page.total is not None and not missing:
            return None
        if run.empty_in_a_row >= _EMPTY_AT_MOST:
            raise self._broken(f"{run.empty_in_a_row} pages in a row are empty, and there is always a Link to a next")
        if hash(following) in run.seen:
            raise self._broken(f"the Link on page {progress.pages + 1} leads back to a page that was read already")
        if progress.pages + 1 >= self._settings.most_pages:
            raise self._broken(f"it has more than {self._settings.most_pages} pages")
        if objects >= self._settings.most_tokens:
            raise self._broken(f"it has more than {self._settings.most_tokens} tokens")
        run.seen.add(hash(following))
        return following

    def _doubt(self, progress: SyncProgress, page: Page) -> str:
        """Why the list may go on behind its last page, or have shifted under the pages; empty if all is well."""
        objects, promised = _objects(progress, page), max(progress.promised, page.total or 0)
        if objects < promised:
            return f"it ended after {objects} tokens, and X-Total-Count was {promised}"
        if page.total is None and self._is_full_first(progress, page):
            return f"its only page is full with {objects} tokens, and has neither a Link nor X-Total-Count"
        return ""

    def _is_full_first(self, progress: SyncProgress, page: Page) -> bool:
        # Only of the first page: a peer that has linked once knows how to, and means the end.
        asked = self._settings.page_size
        return not progress.pages and page.objects >= min(page.limit or asked, asked)

    async def _store(
        self, run: "_Run", progress: SyncProgress, batch: "_Batch", following: str, doubt: str = ""
    ) -> SyncProgress:
        self._check_room()
        page, tokens = batch.page, batch.tokens
        for bad in page.unreadable:
            self._skip(run, progress, f"object {bad.index}", bad.reason)
        if batch.foreign:
            self._skip(run, progress, f"{len(page.tokens) - len(tokens)} tokens", f"of {', '.join(batch.foreign[:5])}")
        progress = await self._whitelist.store_page(
            progress,
            tokens,
            unreadable=[bad.key for bad in page.unreadable if bad.key.uid],
            skipped=page.objects - len(tokens),
            next_url=following,
            promised=page.total or 0,
            doubt=doubt,
        )
        run.pages += 1
        run.on_progress(progress, page.total)
        return progress

    async def _read(self, progress: SyncProgress, page: Page) -> "_Batch":
        """A page's tokens as the store takes them, without those of owners that are not wanted."""
        wanted = page.tokens if self._owners is None else [token for token in page.tokens if self._is_wanted(token)]
        foreign: set[str] = set()
        if len(wanted) < len(page.tokens):
            foreign = {f"{t.country_code}-{t.party_id}" for t in page.tokens if not self._is_wanted(t)}
        return _Batch(page, await self._whitelist.lay_out(progress, wanted), sorted(foreign))

    def _is_wanted(self, token: Token) -> bool:
        return self._owners is None or (token.country_code.upper(), token.party_id.upper()) in self._owners

    def _skip(self, run: "_Run", progress: SyncProgress, what: str, reason: str) -> None:
        run.warned += 1
        if run.warned <= _WARNINGS:
            log.warning("peer %s: page %d, %s skipped: %s", self.peer, progress.pages + 1, what, reason)
        elif run.warned == _WARNINGS + 1:
            log.warning("peer %s: more objects are skipped, which are only counted from here on", self.peer)

    @asynccontextmanager
    async def _ahead(self, run: "_Run", progress: SyncProgress, url: str) -> AsyncIterator[asyncio.Task["_Batch"]]:
        async def bring() -> _Batch:
            await asyncio.sleep(0)  # the writer, for which a sync waits longest, gets its page before a request is made
            return await self._read(progress, self._expect(await self._page(run, url)))

        task = asyncio.get_running_loop().create_task(bring())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _page(self, run: "_Run", url: str) -> Page | Failure:
        """One page, after as many waits as the peer asks for within bounds."""
        for _ in range(self._settings.most_waits):
            reply = await self._fetch(url, run.correlation_id)
            wait_s = reply.retry_after_s if isinstance(reply, Failure) else None
            if wait_s is None or wait_s > self._settings.most_wait_s:
                return reply
            if wait_s > run.left_s:
                if run.pages:
                    raise self._paused()
                return reply
            log.info("peer %s asks to wait %g s", self.peer, wait_s)
            await self._sleep(wait_s)
        return await self._fetch(url, run.correlation_id)

    async def _fetch(self, url: str, correlation_id: str) -> Page | Failure:
        limit_s = self._settings.page_limit_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._tokens.page(url, correlation_id=correlation_id, give_way=self._whitelist.give_way)
        except TimeoutError:
            return Failure(Outcome.TIMEOUT, f"a page took longer than {limit_s:g} s")

    def _expect(self, page: Page | Failure) -> Page:
        if isinstance(page, Failure):
            raise self._error(page)
        return page

    def _error(self, failure: Failure) -> PeerError:
        wait = f" (it asks to wait {failure.retry_after_s:g} s)" if failure.retry_after_s is not None else ""
        return PeerError(f"peer {self.peer}: the list of tokens can't be pulled: {failure.detail}{wait}")

    def _paused(self) -> SyncPausedError:
        limit_s = self._settings.run_limit_s
        return SyncPausedError(
            f"peer {self.peer}: the list of tokens is not read to its end within {limit_s:g} s. What was read is "
            "stored, and it goes on at its next turn"
        )

    def _check_room(self) -> None:
        if lack := lack_of_room(self._lock_file.parent, self._free_bytes):
            raise PeerError(
                f"peer {self.peer}: no more tokens are taken in: {lack}; make room, or look whether the list is really "
                "that long"
            )

    def _broken(self, detail: str) -> PeerError:
        return PeerError(
            f"peer {self.peer}: the list of tokens can't be read to its end: {detail}. What was read is stored, "
            "nothing is withdrawn; the peer's operator has to mend its paging"
        )


@dataclass(slots=True)
class _Run:
    """What one run remembers."""

    correlation_id: str
    on_progress: OnProgress
    clock: Callable[[], float]
    until: float
    seen: set[int] = field(default_factory=set)
    """Hashes of the addresses: a list of a million tokens has many."""
    empty_in_a_row: int = 0
    warned: int = 0
    pages: int = 0
    """That this run has stored."""

    @property
    def left_s(self) -> float:
        return self.until - self.clock()


@dataclass(frozen=True, slots=True)
class _Batch:
    """A page, and what of it is to be stored."""

    page: Page
    tokens: LaidOut
    foreign: list[str]
    """The owners of those that are not."""


def _objects(progress: SyncProgress, page: Page) -> int:
    """How many there have been with `page`."""
    return progress.tokens + progress.skipped + page.objects


def _nobody(_progress: SyncProgress, _total: int | None) -> None:
    """Nobody watches."""
