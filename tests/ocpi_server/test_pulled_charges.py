"""What a peer pulls of the store itself, page by page, while charges go on."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from agent.charges import NewCdr, SessionRecord
from agent.model import EndReason
from agent.store.database import open_state
from agent.store.journal import Journal
from agent.store.sessions import SessionStore
from tests.ocpi_server.kept_charges import cdr, session
from tests.ocpi_server.site import NAME, NOON, client_of, site_in
from tests.ocpi_server.test_lists import SESSIONS, URLS, crawled, following, numbers
from tests.store.samples import entry


@dataclass
class Charged:
    """Charges of a store, each begun and ended when a test says so."""

    store: SessionStore
    journal: Journal

    async def begin(self, number: int, at: datetime, *, peer: str = NAME) -> SessionRecord:
        begun = SessionRecord(
            authorization_id=await self.journal.record(entry(evse_uid=f"evse-{number}", peer=peer)),
            session_id=f"session-{number}",
            evse_uid=f"evse-{number}",
            peer=peer,
            started_at=at,
            changed_at=at,
            account=b"{}",
            object=session(number, at),
            energy_wh=None,
            register_wh=None,
            boot_id="boot",
            monotonic_s=1.0,
            clock_known=True,
        )
        await self.store.put(begun, tell=True)
        return begun

    async def go_on(self, running: SessionRecord, at: datetime) -> SessionRecord:
        later = replace(running, changed_at=at, object=session(self._number(running), at))
        await self.store.put(later, tell=True)
        return later

    async def end(self, running: SessionRecord, at: datetime) -> None:
        number = self._number(running)
        ended = replace(
            running,
            changed_at=at,
            object=session(number, at, status="COMPLETED"),
            ended_at=at,
            ended_because=EndReason.UNPLUGGED,
        )
        assert running.peer is not None
        sealed = NewCdr(f"cdr-{number}", running.authorization_id, running.peer, cdr(number, at), at)
        await self.store.end(ended, sealed, None)

    @staticmethod
    def _number(running: SessionRecord) -> int:
        return int(running.session_id.rpartition("-")[2])


@pytest.fixture
async def charged(tmp_path: Path) -> AsyncIterator[Charged]:
    database = await open_state(tmp_path / "state.db")
    yield Charged(SessionStore(database), Journal(database))
    await database.close()


@pytest.fixture
async def reader(tmp_path: Path, charged: Charged) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        site_in(tmp_path, reports=charged.store, serve=False) as site,
        client_of(site, await site.agreed()) as client,
    ):
        yield client


def minute(number: int) -> datetime:
    return NOON + timedelta(minutes=number, microseconds=700_000)


@URLS
async def test_peer_pulls_its_own_of_the_store(charged: Charged, reader: httpx.AsyncClient, url: str) -> None:
    for number in range(5):
        running = await charged.begin(number, minute(number), peer=NAME if number % 2 else "other")
        await charged.end(running, minute(number))
    assert await crawled(reader, f"{url}?limit=1") == [1, 3]
    assert await crawled(reader, f"{url}?date_from=2026-03-01T12:01:00Z&date_to=2026-03-01T12:03:00Z") == [1]


@URLS
async def test_moments_and_numbers_at_the_edge_are_no_trouble_to_the_store(
    charged: Charged, reader: httpx.AsyncClient, url: str
) -> None:
    await charged.end(await charged.begin(1, minute(1)), minute(2))
    all_times = "date_from=0001-01-01T00:00:00Z&date_to=9999-12-31T23:59:59.999Z"
    assert numbers(await reader.get(f"{url}?{all_times}&limit={'9' * 15}")) == [1]
    assert numbers(await reader.get(f"{url}?{all_times}&offset={'9' * 15}")) == []
    assert numbers(await reader.get(f"{url}?date_to=0001-01-01T00:00:00Z")) == []
    assert numbers(await reader.get(f"{url}?date_from=9999-12-31T23:59:59Z")) == []


async def test_session_that_goes_on_during_a_crawl_hides_no_other(charged: Charged, reader: httpx.AsyncClient) -> None:
    going_on = await charged.begin(0, minute(0))
    await charged.end(await charged.begin(1, minute(1)), minute(2))
    await charged.begin(2, minute(3))
    first = await reader.get(f"{SESSIONS}?limit=1")
    await charged.go_on(going_on, minute(4))
    assert {1, 2} <= {*numbers(first), *await crawled(reader, following(first))}


async def test_session_that_ends_during_a_crawl_hides_no_other(charged: Charged, reader: httpx.AsyncClient) -> None:
    ending = await charged.begin(0, minute(0))
    await charged.begin(1, minute(1))
    await charged.end(await charged.begin(2, minute(2)), minute(3))
    first = await reader.get(f"{SESSIONS}?limit=2")
    await charged.end(ending, minute(4))
    assert {1, 2} <= {*numbers(first), *await crawled(reader, following(first))}


async def test_session_that_changed_is_among_those_from_then_on(charged: Charged, reader: httpx.AsyncClient) -> None:
    running = await charged.begin(0, minute(0))
    await charged.begin(1, minute(1))
    await charged.go_on(running, minute(5))
    assert await crawled(reader, f"{SESSIONS}?date_from=2026-03-01T12:05:00Z") == [0]
    assert await crawled(reader, f"{SESSIONS}?date_to=2026-03-01T12:05:00Z") == [1]
