"""Syncing a peer's tokens into a real whitelist, over real HTTP: whole, in part, interrupted, and with bad lists."""

import asyncio
import fcntl
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.errors import BusyError, PeerError, StoreError
from agent.model import Outcome, Uid
from agent.ocpi.client import Failure, OcpiClient, Page
from agent.ocpi.tokens import Token, TokenType, WhitelistType
from agent.runtime.token_sync import SyncPausedError, SyncReport, SyncSettings, TokenSync
from agent.store.whitelist import SyncKind, SyncProgress, Whitelist
from fakes.emsp import FakeEmsp, Kind, Link, ListFaults, Part, Request, held, populated_uid, rate_limited, server_error
from tests.ocpi.conftest import THEM, UID, US

Syncer = Callable[..., TokenSync]

PAGES_OF_TEN = SyncSettings(page_size=10)
PAGES_OF_TWO = SyncSettings(page_size=2)


class Clock:
    """The device's wall clock; sleeping moves it."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.at

    def seconds(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def syncer(client: OcpiClient, whitelist: Whitelist, tmp_path: Path, clock: Clock) -> Syncer:
    def make(settings: SyncSettings = PAGES_OF_TEN, owners: frozenset[tuple[str, str]] | None = None) -> TokenSync:
        return TokenSync(
            "abc",
            client,
            whitelist,
            lock_file=tmp_path / "sync.lock",
            settings=settings,
            owners=owners,
            now=clock.now,
            sleep=clock.sleep,
        )

    return make


async def is_valid(whitelist: Whitelist, uid: str) -> bool:
    return any(listed.valid for listed in await whitelist.find(Uid(uid)))


async def valid_count(whitelist: Whitelist) -> int:
    counts = await whitelist.count()
    return counts["abc"].valid if "abc" in counts else 0


def offsets(emsp: FakeEmsp) -> list[int]:
    return [offset(request) for request in emsp.requests if request.part is Part.LIST]


def offset(request: Request) -> int:
    return int(request.query.get("offset", 0))


# ---- full and delta


async def test_the_first_sync_takes_in_the_whole_list(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.populate(25)
    seen: list[tuple[int, int, int | None]] = []
    report = await syncer().run_once(on_progress=lambda now, total: seen.append((now.pages, now.tokens, total)))
    assert report == SyncReport("abc", SyncKind.FULL, pages=3, tokens=25, skipped=0, withdrawn=0, resumed=False)
    assert seen == [(1, 10, 25), (2, 20, 25), (3, 25, 25)]
    assert await valid_count(whitelist) == 25
    assert await whitelist.progress("abc") is None
    assert "date_from" not in emsp.requests[0].query


async def test_an_empty_list_is_a_whole_list(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    report = await syncer().run_once()
    assert (report.pages, report.tokens) == (1, 0)
    assert await whitelist.last_sync("abc") is not None


async def test_the_next_sync_asks_only_for_changes(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.clock_skew = timedelta(days=-3)
    emsp.card(UID)
    await syncer().run_once()
    last = await whitelist.last_sync("abc")
    assert last is not None
    emsp.card(UID, valid=False)
    report = await syncer().run_once()
    assert (report.kind, report.tokens) == (SyncKind.DELTA, 1)
    # By the peer's clock, and ten minutes back.
    assert emsp.requests[-1].query["date_from"] == (last.reference - timedelta(minutes=10)).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    assert timedelta(days=2) < datetime.now(UTC) - last.reference
    assert not await is_valid(whitelist, UID)


async def test_a_delta_withdraws_nothing(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.card(UID, last_updated=datetime(2024, 1, 1, tzinfo=UTC))
    await syncer().run_once()
    emsp.card(UID, listed=False)
    assert (await syncer().run_once()).withdrawn == 0
    assert await is_valid(whitelist, UID)


async def test_two_full_syncs_withdraw_what_is_gone(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.populate(3)
    emsp.card(UID)
    await syncer().run_once()
    emsp.card(UID, listed=False)
    report = await syncer().run_once(SyncKind.FULL)
    assert (report.tokens, report.withdrawn, report.missed) == (3, 0, 1)
    assert await is_valid(whitelist, UID)
    report = await syncer().run_once(SyncKind.FULL)
    assert (report.tokens, report.withdrawn, report.missed) == (3, 1, 0)
    assert not await is_valid(whitelist, UID)
    assert await is_valid(whitelist, populated_uid(2))


async def test_a_full_sync_that_missed_something_is_followed_by_another(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer
) -> None:
    emsp.card(UID)
    await syncer().run_once()
    emsp.card(UID, listed=False)
    await syncer().run_once(SyncKind.FULL)
    report = await syncer().run_once()
    assert (report.kind, report.withdrawn) == (SyncKind.FULL, 1)
    assert (await syncer().run_once()).kind is SyncKind.DELTA


@pytest.mark.parametrize("later", [timedelta(days=1), timedelta(days=-1)])
async def test_a_list_of_old_or_unknown_age_is_pulled_whole(syncer: Syncer, clock: Clock, later: timedelta) -> None:
    await syncer().run_once()
    clock.at += later
    assert (await syncer().run_once()).kind is SyncKind.FULL


async def test_a_delta_that_was_asked_for_needs_a_full_one_before(syncer: Syncer) -> None:
    assert (await syncer().run_once(SyncKind.DELTA)).kind is SyncKind.FULL
    assert (await syncer().run_once(SyncKind.DELTA)).kind is SyncKind.DELTA


async def test_all_pages_of_a_sync_have_one_correlation(emsp: FakeEmsp, syncer: Syncer) -> None:
    emsp.populate(40)
    await syncer().run_once()
    assert len({request.headers["x-correlation-id"] for request in emsp.requests}) == 1


# ---- interrupted


async def test_a_sync_that_failed_goes_on_where_it_ended(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.populate(60)

    def fail_after_two(progress: SyncProgress, _total: int | None) -> None:
        if progress.pages == 2:
            emsp.set_weather(server_error(500))

    with pytest.raises(PeerError, match="the list of tokens can't be pulled: HTTP 500"):
        await syncer().run_once(on_progress=fail_after_two)
    saved = await whitelist.progress("abc")
    assert saved is not None
    assert saved.pages >= 2
    assert await valid_count(whitelist) == saved.tokens
    asked = len(emsp.requests)
    emsp.set_weather(Kind.FINE)
    report = await syncer().run_once()
    assert offsets(emsp)[asked] == saved.tokens
    assert (report.resumed, report.pages, report.tokens) == (True, 6, 60)
    assert await valid_count(whitelist) == 60


async def test_a_sync_that_was_killed_goes_on_where_it_ended(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer
) -> None:
    emsp.populate(300)
    for _ in range(4):
        stuck = asyncio.Event()

        def stop_answering(_progress: SyncProgress, _total: int | None, stuck: asyncio.Event = stuck) -> None:
            emsp.set_weather(held(asyncio.Event()))
            stuck.set()

        run = asyncio.create_task(syncer().run_once(on_progress=stop_answering))
        await stuck.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        emsp.set_weather(Kind.FINE)
    report = await syncer().run_once()
    assert (report.resumed, report.pages, report.tokens, report.withdrawn) == (True, 30, 300, 0)
    assert await valid_count(whitelist) == 300


SYNC = "import tests.ocpi.test_token_sync as test; test.sync_and_tell(*test.sys.argv[1:])"


def sync_and_tell(folder: str, tokens_url: str, credentials_token: str) -> None:
    """A full sync as a process of its own, which says so whenever a page is stored."""

    async def sync() -> None:
        whitelist = await Whitelist.open(Path(folder) / "whitelist.db")
        client = OcpiClient("abc", token=credentials_token, us=US, them=THEM, tokens_url=tokens_url)
        syncing = TokenSync("abc", client, whitelist, lock_file=Path(folder) / "sync.lock", settings=PAGES_OF_TEN)
        await syncing.run_once(on_progress=lambda progress, _total: print(progress.pages, flush=True))

    asyncio.run(sync())


@pytest.mark.parametrize("_kill", range(3))
async def test_a_process_that_is_killed_in_a_sync_costs_a_page_or_two(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer, tmp_path: Path, _kill: int
) -> None:
    pages = 200
    emsp.populate(10 * pages)
    dies_after = random.randint(1, pages // 2)
    arguments = ("-c", SYNC, str(tmp_path), emsp.tokens_url, emsp.credentials_token)
    child = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    for _ in range(dies_after):
        await child.stdout.readline()
    child.kill()
    assert await child.wait() == -signal.SIGKILL
    stored = await valid_count(whitelist)
    assert stored >= 10 * dies_after
    report = await syncer().run_once()
    # What the dead process had sent may be read late: a run is known by its correlation, not by when it arrived.
    run = emsp.requests[-1].headers["x-correlation-id"]
    first = [offset(request) for request in emsp.requests if request.headers["x-correlation-id"] != run]
    rest = [offset(request) for request in emsp.requests if request.headers["x-correlation-id"] == run]
    assert (report.resumed, report.pages, report.tokens, report.doubt) == (True, pages, 10 * pages, "")
    assert rest == list(range(stored, 10 * pages, 10))
    assert len(set(first) & set(rest)) <= 2
    assert await valid_count(whitelist) == 10 * pages


async def test_a_sync_killed_before_its_last_step_only_takes_that_step(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer, clock: Clock
) -> None:
    progress = await whitelist.start("abc", SyncKind.FULL, emsp.tokens_url, reference=clock.at, started_at=clock.at)
    await whitelist.store_page(progress, [], next_url="")
    assert (await syncer().run_once()).resumed
    assert emsp.requests == []
    assert await whitelist.last_sync("abc") is not None


async def test_an_interrupted_sync_of_yesterday_starts_over(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer, clock: Clock
) -> None:
    emsp.populate(20)
    before = clock.at - timedelta(days=1, seconds=1)
    await whitelist.start(
        "abc", SyncKind.FULL, f"{emsp.tokens_url}?offset=10&limit=10", reference=before, started_at=before
    )
    report = await syncer().run_once()
    assert (report.resumed, report.tokens) == (False, 20)


async def test_an_interrupted_delta_does_not_stand_in_for_a_full_sync(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer, clock: Clock
) -> None:
    emsp.populate(20)
    url = f"{emsp.tokens_url}?offset=10&limit=10"
    await whitelist.start("abc", SyncKind.DELTA, url, reference=clock.at, started_at=clock.at)
    report = await syncer().run_once()
    assert (report.resumed, report.kind, report.tokens) == (False, SyncKind.FULL, 20)


async def test_an_interrupted_full_sync_serves_where_a_delta_would_do(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer, clock: Clock
) -> None:
    emsp.populate(20)
    await syncer().run_once()
    url = f"{emsp.tokens_url}?offset=0&limit=10"
    await whitelist.start("abc", SyncKind.FULL, url, reference=clock.at, started_at=clock.at)
    report = await syncer().run_once()
    assert (report.resumed, report.kind, report.tokens) == (True, SyncKind.FULL, 20)


@pytest.mark.parametrize("gone", ["/ocpi/emsp/2.2.1/tokens/cursor-7", "//elsewhere.invalid/tokens"])
async def test_a_saved_address_that_leads_nowhere_starts_over(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer, clock: Clock, gone: str
) -> None:
    emsp.populate(20)
    url = f"http:{gone}" if gone.startswith("//") else emsp.base_url + gone
    await whitelist.start("abc", SyncKind.FULL, url, reference=clock.at, started_at=clock.at)
    report = await syncer().run_once()
    assert (report.resumed, report.tokens) == (False, 20)
    emsp.complaints.clear()


# ---- bad lists


async def test_a_bad_object_is_skipped_named_and_counted(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer, caplog: pytest.LogCaptureFixture
) -> None:
    emsp.populate(25)
    await syncer().run_once()
    emsp.lists = ListFaults(bad_object_every=12)
    report = await syncer().run_once(SyncKind.FULL)
    assert (report.tokens, report.skipped, report.withdrawn) == (23, 2, 0)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "peer abc: page 2, object 1 skipped: Object missing required field `contract_id`",
        "peer abc: page 3, object 3 skipped: Object missing required field `contract_id`",
    ]
    assert populated_uid(11) not in caplog.text
    # It is on the list, if in a form that can't be used: what is known of it stays good.
    assert await is_valid(whitelist, populated_uid(11))


async def test_a_list_of_bad_objects_does_not_fill_the_log(
    emsp: FakeEmsp, syncer: Syncer, caplog: pytest.LogCaptureFixture
) -> None:
    emsp.populate(50)
    emsp.lists = ListFaults(bad_object_every=1)
    report = await syncer().run_once()
    assert (report.tokens, report.skipped) == (0, 50)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 21


async def test_tokens_of_every_owner_are_taken_from_a_hub(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.card("01", country_code="FR", party_id="XYZ")
    emsp.card("02")
    assert (await syncer().run_once()).tokens == 2
    assert await is_valid(whitelist, "01")


async def test_tokens_of_owners_that_are_not_wanted_are_skipped(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer, caplog: pytest.LogCaptureFixture
) -> None:
    emsp.card("01", country_code="FR", party_id="XYZ")
    emsp.card("02")
    report = await syncer(owners=frozenset({("de", "abc")})).run_once()
    assert (report.tokens, report.skipped) == (1, 1)
    assert not await whitelist.find(Uid("01"))
    assert "peer abc: page 1, 1 tokens skipped: of FR-XYZ" in caplog.text


async def test_a_list_that_shifts_while_it_is_read_is_read_whole(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer
) -> None:
    emsp.populate(35)
    emsp.lists = ListFaults(shift_after_pages=2)
    await syncer().run_once()
    assert await is_valid(whitelist, populated_uid(34))
    assert await valid_count(whitelist) == 35


async def test_an_empty_page_with_a_link_is_not_the_end(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.populate(60)
    emsp.lists = ListFaults(withheld_pages=frozenset({1, 2, 3, 4}))
    report = await syncer().run_once()
    assert (report.pages, report.tokens) == (6, 20)
    assert await is_valid(whitelist, populated_uid(59))


@pytest.mark.parametrize("total", ["0", "3", "99999", "", "many"])
async def test_totals_that_lie_do_not_matter(emsp: FakeEmsp, syncer: Syncer, total: str) -> None:
    emsp.populate(25)
    emsp.lists = ListFaults(total=total, limit="7")
    assert (await syncer().run_once()).tokens == 25


async def test_a_peer_that_links_on_for_ever_is_read_to_its_end(emsp: FakeEmsp, syncer: Syncer) -> None:
    emsp.populate(25)
    emsp.lists = ListFaults(link=Link.ENDLESS)
    assert (await syncer().run_once()).tokens == 25
    assert len(offsets(emsp)) < 10


async def test_a_peer_that_links_on_for_ever_without_a_total_is_given_up(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer
) -> None:
    emsp.populate(25)
    emsp.lists = ListFaults(link=Link.ENDLESS, total="")
    with pytest.raises(PeerError, match="100 pages in a row are empty"):
        await syncer().run_once()
    assert await valid_count(whitelist) == 25
    assert await whitelist.last_sync("abc") is None


async def test_a_link_to_its_own_page_ends_the_sync_without_withdrawing(
    emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer
) -> None:
    emsp.card(UID)
    await syncer().run_once()
    emsp.card(UID, listed=False)
    emsp.populate(25)
    emsp.lists = ListFaults(link=Link.ITSELF)
    with pytest.raises(PeerError, match="leads back to a page that was read already"):
        await syncer().run_once(SyncKind.FULL)
    assert await is_valid(whitelist, populated_uid(0))
    assert await is_valid(whitelist, UID)
    assert await whitelist.progress("abc") is None


async def test_a_list_that_breaks_off_withdraws_nothing(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.populate(25)
    await syncer().run_once()
    emsp.lists = ListFaults(link=Link.MISSING)
    with pytest.raises(PeerError, match="it breaks off after 10 of 25 tokens"):
        await syncer().run_once(SyncKind.FULL)
    assert await valid_count(whitelist) == 25


async def test_a_link_to_another_server_is_not_followed(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.populate(25)
    async with FakeEmsp() as other:
        emsp.lists = ListFaults(link=Link.FOREIGN, foreign_origin=other.base_url)
        with pytest.raises(PeerError, match="the next page is on another server"):
            await syncer().run_once()
        assert other.requests == []
    assert await whitelist.last_sync("abc") is None


async def test_a_list_has_a_bound(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.populate(50)
    with pytest.raises(PeerError, match="it has more than 3 pages"):
        await syncer(SyncSettings(page_size=10, most_pages=3)).run_once()
    assert await valid_count(whitelist) == 30


async def test_a_page_that_takes_for_ever_is_given_up(emsp: FakeEmsp, syncer: Syncer) -> None:
    emsp.set_weather(Kind.SILENT)
    with pytest.raises(PeerError, match=r"a page took longer than 0\.05 s"):
        await syncer(SyncSettings(page_limit_s=0.05)).run_once()


async def test_a_list_has_a_bound_of_tokens(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.populate(50)
    with pytest.raises(PeerError, match="it has more than 30 tokens"):
        await syncer(SyncSettings(page_size=10, most_tokens=30)).run_once()
    assert await valid_count(whitelist) == 30
    assert await whitelist.last_sync("abc") is None


async def test_a_list_as_long_as_the_bound_is_taken_whole(emsp: FakeEmsp, syncer: Syncer) -> None:
    emsp.populate(30)
    assert (await syncer(SyncSettings(page_size=10, most_tokens=30)).run_once()).tokens == 30


# ---- lists that may not be whole


class Listing:
    """A peer with offset paging, two tokens a page. Its world side: what it lists, and what goes wrong."""

    def __init__(self, clock: Clock) -> None:
        self.uids = ["A1", "B1", "C1", "D1", "E1", "F1"]
        self.page_size = 2
        self.asked: list[int] = []
        self.from_dates: list[datetime | None] = []
        self.has_total = True
        self.breaks_off_at: int | None = None
        self.failing_at: int | None = None
        self.removed_after_page_one: str | None = None
        self.date: datetime | None = None
        self.page_takes_s = 0.0
        self.wait_s: float | None = None
        self._clock = clock
        self._waited = False

    async def list_url(self, *, limit: int, date_from: datetime | None = None) -> str:
        del limit
        self.from_dates.append(date_from)
        return "0"

    async def page(
        self, url: str, *, correlation_id: str | None = None, give_way: Callable[[], Awaitable[None]]
    ) -> Page | Failure:
        del correlation_id
        await give_way()
        offset = int(url)
        self.asked.append(offset)
        self._clock.at += timedelta(seconds=self.page_takes_s)
        if offset == self.failing_at:
            return Failure(Outcome.SERVER_ERROR, "HTTP 500")
        if offset and self.wait_s is not None and not self._waited:
            self._waited = True
            return Failure(Outcome.RATE_LIMITED, "HTTP 429", retry_after_s=self.wait_s)
        self._waited = False
        end = offset + self.page_size
        is_last = end >= len(self.uids) or offset == self.breaks_off_at
        page = Page(
            [listed_token(uid) for uid in self.uids[offset:end]],
            next_url=None if is_last else str(end),
            total=len(self.uids) if self.has_total else None,
            date=self.date,
        )
        if self.removed_after_page_one:
            self.uids.remove(self.removed_after_page_one)
            self.removed_after_page_one = None
        return page


def listed_token(uid: str) -> Token:
    return Token(
        country_code="DE",
        party_id="ABC",
        uid=uid,
        type=TokenType.RFID,
        contract_id=f"C-{uid}",
        issuer="An issuer",
        valid=True,
        whitelist=WhitelistType.ALLOWED,
        last_updated=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
def listing(clock: Clock) -> Listing:
    return Listing(clock)


@pytest.fixture
def lister(listing: Listing, whitelist: Whitelist, tmp_path: Path, clock: Clock) -> Syncer:
    def make(settings: SyncSettings = PAGES_OF_TWO, free: int = 1 << 40) -> TokenSync:
        return TokenSync(
            "abc",
            listing,
            whitelist,
            lock_file=tmp_path / "sync.lock",
            settings=settings,
            now=clock.now,
            clock=clock.seconds,
            sleep=clock.sleep,
            free_bytes=lambda _folder: free,
        )

    return make


async def test_a_list_that_shrinks_while_it_is_read_withdraws_nothing(
    listing: Listing, whitelist: Whitelist, lister: Syncer, caplog: pytest.LogCaptureFixture
) -> None:
    await lister().run_once()
    listing.removed_after_page_one = "A1"
    report = await lister().run_once(SyncKind.FULL)
    assert (report.tokens, report.withdrawn, report.missed) == (5, 0, 0)
    assert report.doubt == "it ended after 5 tokens, and X-Total-Count was 6"
    assert f"peer abc: its list of tokens may not be whole: {report.doubt}. Nothing is withdrawn" in caplog.text
    assert await valid_count(whitelist) == 6


async def test_a_token_that_a_shift_hid_is_kept_and_found_by_the_next_sync(
    listing: Listing, whitelist: Whitelist, lister: Syncer
) -> None:
    await lister().run_once()
    listing.has_total = False
    listing.removed_after_page_one = "A1"
    report = await lister().run_once(SyncKind.FULL)
    assert (report.withdrawn, report.missed, report.doubt) == (0, 1, "")
    assert await is_valid(whitelist, "C1")
    assert (await lister().run_once()).missed == 1
    assert (await lister().run_once(SyncKind.FULL)).withdrawn == 1
    assert [uid for uid in ("A1", "C1") if await is_valid(whitelist, uid)] == ["C1"]


@pytest.mark.parametrize("breaks_off_at", [2, 4])
async def test_a_list_that_loses_its_link_withdraws_nothing_however_often(
    listing: Listing, whitelist: Whitelist, lister: Syncer, breaks_off_at: int
) -> None:
    listing.uids += ["G1", "H1"]
    await lister().run_once()
    listing.breaks_off_at = breaks_off_at
    for _ in range(3):
        report = await lister().run_once(SyncKind.FULL)
        assert report.doubt == f"it ended after {breaks_off_at + 2} tokens, and X-Total-Count was 8"
    assert await valid_count(whitelist) == 8


async def test_a_list_that_is_cut_short_at_another_size_than_asked_withdraws_nothing(
    listing: Listing, whitelist: Whitelist, lister: Syncer
) -> None:
    await lister().run_once()
    listing.breaks_off_at = 0
    for _ in range(3):
        assert (await lister(SyncSettings(page_size=1000)).run_once(SyncKind.FULL)).doubt
    assert await valid_count(whitelist) == 6


async def test_a_full_page_without_link_and_total_may_not_be_the_whole_list(
    listing: Listing, whitelist: Whitelist, lister: Syncer
) -> None:
    await lister().run_once()
    listing.has_total, listing.breaks_off_at = False, 0
    for _ in range(3):
        report = await lister().run_once(SyncKind.FULL)
        assert report.doubt == "its only page is full with 2 tokens, and has neither a Link nor X-Total-Count"
    assert await valid_count(whitelist) == 6


async def test_a_peer_whose_list_is_empty_once_keeps_its_tokens(
    listing: Listing, whitelist: Whitelist, lister: Syncer
) -> None:
    await lister().run_once()
    uids, listing.uids = listing.uids, []
    report = await lister().run_once(SyncKind.FULL)
    assert (report.tokens, report.withdrawn, report.missed) == (0, 0, 6)
    assert await valid_count(whitelist) == 6
    listing.uids = uids
    assert (await lister().run_once()).missed == 0
    listing.uids = []
    await lister().run_once(SyncKind.FULL)
    assert (await lister().run_once()).withdrawn == 6


async def test_a_doubt_outlives_a_kill_before_the_last_step(
    listing: Listing, whitelist: Whitelist, lister: Syncer
) -> None:
    await lister().run_once()
    listing.breaks_off_at = 2

    def die(progress: SyncProgress, _total: int | None) -> None:
        if not progress.next_url:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await lister().run_once(SyncKind.FULL, on_progress=die)
    report = await lister().run_once()
    assert (report.resumed, report.missed) == (True, 0)
    assert report.doubt == "it ended after 4 tokens, and X-Total-Count was 6"


async def test_a_delta_that_may_not_be_whole_is_asked_for_again(
    listing: Listing, whitelist: Whitelist, lister: Syncer, clock: Clock
) -> None:
    await lister().run_once()
    first = await whitelist.last_sync("abc")
    assert first is not None
    clock.at += timedelta(hours=6)
    listing.breaks_off_at = 2
    assert (await lister().run_once()).doubt == "it ended after 4 tokens, and X-Total-Count was 6"
    last = await whitelist.last_sync("abc")
    assert last is not None
    assert (last.kind, last.reference) == (SyncKind.DELTA, first.reference)
    listing.breaks_off_at = None
    await lister().run_once()
    assert listing.from_dates[-2:] == [first.reference - SyncSettings().overlap] * 2


async def test_a_full_sync_that_may_not_be_whole_is_followed_by_one_more(listing: Listing, lister: Syncer) -> None:
    listing.breaks_off_at = 2
    kinds = [(await lister().run_once()).kind for _ in range(4)]
    assert kinds == [SyncKind.FULL, SyncKind.FULL, SyncKind.DELTA, SyncKind.DELTA]


async def test_a_list_that_always_loses_tokens_is_pulled_whole_twice_a_day(
    listing: Listing, lister: Syncer, clock: Clock
) -> None:
    await lister().run_once()
    listing.uids = [f"{number:04}" for number in range(20)]
    await lister().run_once(SyncKind.FULL)
    kinds = []
    for _ in range(9):
        clock.at += timedelta(hours=6)
        listing.uids.pop()
        kinds.append((await lister().run_once()).kind[0])
    assert "".join(kinds) == "fdddffddd"


async def test_a_date_ahead_of_our_clock_hides_no_change(
    listing: Listing, whitelist: Whitelist, lister: Syncer, clock: Clock
) -> None:
    listing.date = clock.at + timedelta(days=1)
    await lister().run_once()
    last = await whitelist.last_sync("abc")
    assert last is not None
    assert last.reference == clock.at


# ---- peers that take long, and disks that are full


async def test_a_run_ends_with_its_time_and_the_next_goes_on(
    listing: Listing, whitelist: Whitelist, lister: Syncer
) -> None:
    listing.page_takes_s = 60
    settings = SyncSettings(page_size=2, run_limit_s=90)
    with pytest.raises(SyncPausedError, match="not read to its end within 90 s"):
        await lister(settings).run_once()
    assert await valid_count(whitelist) == 4
    report = await lister(settings).run_once()
    assert (report.resumed, report.tokens) == (True, 6)
    assert listing.asked == [0, 2, 4]


async def test_a_wait_that_outlasts_the_run_ends_it(listing: Listing, lister: Syncer, clock: Clock) -> None:
    listing.wait_s = 200
    with pytest.raises(SyncPausedError):
        await lister(SyncSettings(page_size=2, run_limit_s=300)).run_once()
    assert clock.slept == [200]


async def test_a_wait_that_outlasts_a_run_without_a_page_is_a_failure(emsp: FakeEmsp, syncer: Syncer) -> None:
    emsp.set_weather(rate_limited(200))
    with pytest.raises(PeerError, match="HTTP 429") as raised:
        await syncer(SyncSettings(run_limit_s=100)).run_once()
    assert not isinstance(raised.value, SyncPausedError)


async def test_a_sync_that_can_not_go_on_three_times_starts_over(
    listing: Listing, whitelist: Whitelist, lister: Syncer
) -> None:
    listing.failing_at = 4
    for _ in range(5):
        with pytest.raises(PeerError, match="HTTP 500"):
            await lister().run_once()
    assert listing.asked == [0, 2, 4, 4, 4, 4, 0, 2, 4]
    listing.failing_at = None
    assert (await lister().run_once()).resumed
    assert await valid_count(whitelist) == 6


async def test_a_page_forgets_the_attempts_before_it(listing: Listing, lister: Syncer) -> None:
    for offset in (2, 4):
        listing.failing_at = offset
        for _ in range(3):
            with pytest.raises(PeerError):
                await lister().run_once()
    assert listing.asked == [0, 2, 2, 2, 2, 4, 4, 4]


async def test_a_disk_that_is_almost_full_takes_no_tokens(
    listing: Listing, whitelist: Whitelist, lister: Syncer
) -> None:
    with pytest.raises(PeerError, match="has 199 MiB free, and 200 are kept for the records"):
        await lister(free=(200 << 20) - 1).run_once()
    assert listing.asked == []
    assert await whitelist.count() == {}
    assert (await lister(free=200 << 20).run_once()).tokens == 6


async def test_a_disk_that_fills_up_meanwhile_ends_the_sync_which_goes_on_when_there_is_room(
    listing: Listing, whitelist: Whitelist, tmp_path: Path
) -> None:
    free = iter([1 << 40, 1 << 40, 0])
    filling = TokenSync(
        "abc", listing, whitelist, lock_file=tmp_path / "sync.lock", free_bytes=lambda _folder: next(free, 1 << 40)
    )
    with pytest.raises(PeerError, match="has 0 MiB free"):
        await filling.run_once()
    assert await valid_count(whitelist) == 2
    report = await filling.run_once()
    assert (report.resumed, report.tokens) == (True, 6)


# ---- peers that want to be left alone


@pytest.mark.parametrize("weather", [rate_limited(30, times=2), server_error(503, 30, times=2)])
async def test_a_peer_that_asks_to_wait_is_waited_for(
    emsp: FakeEmsp, syncer: Syncer, clock: Clock, weather: object
) -> None:
    emsp.populate(25)
    emsp.set_weather(weather)  # type: ignore[arg-type]
    assert (await syncer().run_once()).tokens == 25
    assert clock.slept == [30.0, 30.0]


async def test_a_peer_is_not_waited_for_without_end(emsp: FakeEmsp, syncer: Syncer, clock: Clock) -> None:
    emsp.set_weather(rate_limited(30))
    with pytest.raises(PeerError, match="HTTP 429"):
        await syncer().run_once()
    assert clock.slept == [30.0] * 5


async def test_a_peer_is_not_waited_for_too_long(emsp: FakeEmsp, syncer: Syncer, clock: Clock) -> None:
    emsp.set_weather(rate_limited(86_400))
    with pytest.raises(PeerError, match=r"\(it asks to wait 86400 s\)"):
        await syncer().run_once()
    assert clock.slept == []


# ---- one at a time


async def test_two_syncs_do_not_run_at_once(emsp: FakeEmsp, syncer: Syncer) -> None:
    answering = asyncio.Event()
    emsp.set_weather(held(answering))
    first = asyncio.create_task(syncer().run_once())
    await emsp.arrived(1)
    with pytest.raises(BusyError, match="another sync is running"):
        await syncer().run_once()
    answering.set()
    await first
    emsp.set_weather(Kind.FINE)
    await syncer().run_once()


async def test_a_sync_of_another_process_counts(syncer: Syncer, emsp: FakeEmsp, tmp_path: Path) -> None:
    # The lock belongs to the open file, so that a second one is as good as a second process.
    with (tmp_path / "sync.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BusyError):
            await syncer().run_once()
    assert emsp.requests == []
    await syncer().run_once()


async def test_a_lock_that_can_not_be_had_is_a_fault_of_the_storage(
    client: OcpiClient, whitelist: Whitelist, tmp_path: Path
) -> None:
    sync = TokenSync("abc", client, whitelist, lock_file=tmp_path / "gone" / "sync.lock")
    with pytest.raises(StoreError, match="can't be opened to lock it"):
        await sync.run_once()


async def test_a_closed_whitelist_ends_a_sync(emsp: FakeEmsp, whitelist: Whitelist, syncer: Syncer) -> None:
    emsp.populate(30)
    await whitelist.close()
    with pytest.raises(StoreError):
        await syncer().run_once()
