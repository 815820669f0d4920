"""Brings a peer's tokens into the whitelist: full and delta syncs that survive a kill, one at a time.

OCPI 2.2.1 mod_tokens, Pull model. What a page holds is `agent.ocpi`'s business, what storing it means the store's,
and when to sync `sync_schedule`'s.
"""

import asyncio
import fcntl
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from agent import model
from agent.errors import BusyError, PeerError, StoreError
from agent.model import Outcome
from agent.ocpi.client import Failure, Page
from agent.ocpi.tokens import Token, to_model
from agent.store.whitelist import LastSync, SyncKind, SyncProgress

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

_AT_ONCE = 1000
"""Tokens that are converted before the taps get their turn: about a millisecond's worth."""


class TokenList(Protocol):
    """What a sync needs of an OCPI client: `agent.ocpi.client.OcpiClient` has it."""

    async def list_url(self, *, limit: int, date_from: datetime | None = None) -> str | Failure:
        """Where the list begins."""
        ...

    async def page(self, url: str, *, correlation_id: str | None = None) -> Page | Failure:
        """One page of it."""
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

    async def store_page(
        self,
        progress: SyncProgress,
        tokens: Sequence[model.Token],
        *,
        unreadable: Sequence[tuple[str, str, str, str]] = (),
        skipped: int = 0,
        next_url: str,
    ) -> SyncProgress:
        """Take a page's tokens in, and note where the list goes on; `unreadable` tokens are known to be still there."""
        ...

    async def complete(self, progress: SyncProgress, *, completed_at: datetime) -> int:
        """End a sync; a full one withdraws what it did not bring. Returns how many those are."""
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


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How a peer's tokens are pulled."""

    full_every: timedelta = timedelta(days=1)
    overlap: timedelta = timedelta(minutes=10)
    """How far a delta sync reaches back behind the one before: for changes that were being written at that moment."""
    page_size: int = 1000
    most_pages: int = 100_000
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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`owners`: the only `(country_code, party_id)` whose tokens are taken; None takes everybody's, as from a hub.

        `lock_file` is the same for all that sync into one whitelist, in whatever process.
        """
        self.peer = peer
        self._tokens = tokens
        self._whitelist = whitelist
        self._lock_file = lock_file
        self._settings = settings
        self._owners = owners and frozenset((country.upper(), party.upper()) for country, party in owners)
        self._now = now
        self._sleep = sleep

    async def run_once(self, kind: SyncKind | None = None, on_progress: OnProgress | None = None) -> SyncReport:
        """Bring the whitelist up to date with the peer, going on where an interrupted sync ended.

        Without `kind`: full when there was none for `full_every`, else delta. Raises PeerError when the list can't
        be had to its end, BusyError when another sync is running, StoreError. Cancelling keeps the pages stored.
        """
        with _alone(self._lock_file):
            run = _Run(str(uuid4()), on_progress or _nobody)
            wanted, date_from = await self._wanted(kind)
            progress, page = await self._resume(run, wanted, any_full=kind is None)
            resumed = progress is not None
            if progress is None:
                progress, page = await self._start(run, wanted, date_from)
            if page is not None:
                progress = await self._walk(run, progress, page)
            withdrawn = await self._whitelist.complete(progress, completed_at=self._now())
        return SyncReport(
            self.peer, progress.kind, progress.pages, progress.tokens, progress.skipped, withdrawn, resumed
        )

    async def _wanted(self, kind: SyncKind | None) -> tuple[SyncKind, datetime | None]:
        """The kind of sync, and from when on a delta reaches. A delta needs something to build on."""
        last = await self._whitelist.last_sync(self.peer)
        if last is None or last.last_full_at is None or kind is SyncKind.FULL:
            return SyncKind.FULL, None
        age = self._now() - last.last_full_at
        # A clock that was set back makes it negative: nobody knows how old the list is then.
        if kind is None and not timedelta() <= age < self._settings.full_every:
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
        page = await self._page(progress.next_url, run.correlation_id)
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
        page = self._expect(await self._page(url, run.correlation_id))
        # The peer's own clock where it shows it: that is the one which `last_updated` comes from.
        reference = page.date or started_at
        progress = await self._whitelist.start(self.peer, kind, url, reference=reference, started_at=started_at)
        return progress, page

    async def _walk(self, run: "_Run", progress: SyncProgress, page: Page) -> SyncProgress:
        """Store `page` and all that follow. The next page is on its way while one is being stored."""
        run.seen.add(hash(progress.next_url))
        while True:
            try:
                following = self._following(run, progress, page)
            except PeerError:
                # Its tokens are good, but going on from here would lead to the same place every time.
                await self._store(run, progress, page, progress.next_url)
                await self._whitelist.abandon(self.peer)
                raise
            if following is None:
                return await self._store(run, progress, page, "")
            async with self._ahead(following, run.correlation_id) as ahead:
                progress = await self._store(run, progress, page, following)
                page = self._expect(await ahead)

    def _following(self, run: "_Run", progress: SyncProgress, page: Page) -> str | None:
        """The next page's address, None at the end. Raises PeerError for a list that has none or is not whole."""
        objects = progress.tokens + progress.skipped + page.objects
        missing = page.total is not None and objects < page.total
        following = page.next_url
        if following is None:
            full = page.objects >= min(page.limit or self._settings.page_size, self._settings.page_size)
            # Only of the first page: a peer that has linked once knows how to, and means the end.
            if missing and full and not progress.pages:
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
        run.seen.add(hash(following))
        return following

    async def _store(self, run: "_Run", progress: SyncProgress, page: Page, following: str) -> SyncProgress:
        for bad in page.unreadable:
            self._skip(run, progress, f"object {bad.index}", bad.reason)
        wanted = [token for token in page.tokens if self._is_wanted(token)]
        if len(wanted) < len(page.tokens):
            foreign = sorted({f"{t.country_code}-{t.party_id}" for t in page.tokens if not self._is_wanted(t)})
            self._skip(run, progress, f"{len(page.tokens) - len(wanted)} tokens", f"of {', '.join(foreign[:5])}")
        tokens: list[model.Token] = []
        for at in range(0, len(wanted), _AT_ONCE):
            tokens += to_model(wanted[at : at + _AT_ONCE])
            await asyncio.sleep(0)
        progress = await self._whitelist.store_page(
            progress,
            tokens,
            unreadable=[bad.key for bad in page.unreadable if bad.key.uid],
            skipped=page.objects - len(tokens),
            next_url=following,
        )
        run.on_progress(progress, page.total)
        return progress

    def _is_wanted(self, token: Token) -> bool:
        return self._owners is None or (token.country_code.upper(), token.party_id.upper()) in self._owners

    def _skip(self, run: "_Run", progress: SyncProgress, what: str, reason: str) -> None:
        run.warned += 1
        if run.warned <= _WARNINGS:
            log.warning("peer %s: page %d, %s skipped: %s", self.peer, progress.pages + 1, what, reason)
        elif run.warned == _WARNINGS + 1:
            log.warning("peer %s: more objects are skipped, which are only counted from here on", self.peer)

    @asynccontextmanager
    async def _ahead(self, url: str, correlation_id: str) -> AsyncIterator[asyncio.Task[Page | Failure]]:
        task = asyncio.get_running_loop().create_task(self._page(url, correlation_id))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _page(self, url: str, correlation_id: str) -> Page | Failure:
        """One page, after as many waits as the peer asks for within bounds."""
        for _ in range(self._settings.most_waits):
            reply = await self._fetch(url, correlation_id)
            wait_s = reply.retry_after_s if isinstance(reply, Failure) else None
            if wait_s is None or wait_s > self._settings.most_wait_s:
                return reply
            log.info("peer %s asks to wait %g s", self.peer, wait_s)
            await self._sleep(wait_s)
        return await self._fetch(url, correlation_id)

    async def _fetch(self, url: str, correlation_id: str) -> Page | Failure:
        limit_s = self._settings.page_limit_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._tokens.page(url, correlation_id=correlation_id)
        except TimeoutError:
            return Failure(Outcome.TIMEOUT, f"a page took longer than {limit_s:g} s")

    def _expect(self, page: Page | Failure) -> Page:
        if isinstance(page, Failure):
            raise self._error(page)
        return page

    def _error(self, failure: Failure) -> PeerError:
        wait = f" (it asks to wait {failure.retry_after_s:g} s)" if failure.retry_after_s is not None else ""
        return PeerError(f"peer {self.peer}: the list of tokens can't be pulled: {failure.detail}{wait}")

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
    seen: set[int] = field(default_factory=set)
    """Hashes of the addresses: a list of a million tokens has many."""
    empty_in_a_row: int = 0
    warned: int = 0


def _nobody(_progress: SyncProgress, _total: int | None) -> None:
    """Nobody watches."""


@contextmanager
def _alone(lock_file: Path) -> Iterator[None]:
    """Hold the right to sync, which the kernel takes back when the process dies. Raises BusyError, StoreError."""
    try:
        handle = lock_file.open("a")
    except OSError as error:
        raise StoreError(f"{lock_file}: can't be opened to lock it: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another sync is running (it holds {lock_file}): wait for it to end") from None
        yield
