"""Pulling one page of a peer's list."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.model import Outcome
from agent.ocpi.client import Failure, OcpiClient, Page
from fakes.emsp import FakeEmsp, Kind, Link, ListFaults, populated_uid
from tests.ocpi.conftest import THEM, ClientMaker


async def first(client: OcpiClient, *, limit: int = 2, date_from: datetime | None = None) -> Page | Failure:
    url = await client.list_url(limit=limit, date_from=date_from)
    assert isinstance(url, str)
    return await client.page(url)


async def test_a_page_has_its_tokens_and_the_way_on(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.populate(5)
    page = await first(client)
    assert isinstance(page, Page)
    assert [token.uid for token in page.tokens] == [populated_uid(0), populated_uid(1)]
    assert (page.unreadable, page.total, page.limit, page.objects) == ([], 5, 1000, 2)
    assert page.next_url == f"{emsp.tokens_url}?offset=2&limit=2"


async def test_the_last_page_leads_nowhere(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.populate(2)
    page = await first(client)
    assert isinstance(page, Page)
    assert page.next_url is None


async def test_a_relative_link_is_followed(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.populate(3)
    emsp.lists = ListFaults(link=Link.RELATIVE)
    page = await first(client)
    assert isinstance(page, Page)
    assert page.next_url is not None
    last = await client.page(page.next_url)
    assert isinstance(last, Page)
    assert [token.uid for token in last.tokens] == [populated_uid(2)]


async def test_a_link_to_another_server_fails_the_page(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.populate(3)
    emsp.lists = ListFaults(link=Link.FOREIGN)
    here = emsp.tokens_url.partition("/ocpi")[0]
    assert await first(client) == Failure(
        Outcome.MALFORMED, f"the next page is on another server, http://other-peer.invalid, not {here}"
    )


async def test_credentials_go_to_no_other_server(emsp: FakeEmsp, client: OcpiClient) -> None:
    async with FakeEmsp() as other:
        failure = await client.page(f"{other.tokens_url}?limit=2")
        assert isinstance(failure, Failure)
        assert failure.outcome is Outcome.MALFORMED
        assert other.requests == []


async def test_the_peers_clock_is_read(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.clock_skew = timedelta(days=-30)
    page = await first(client)
    assert isinstance(page, Page)
    assert page.date is not None
    assert timedelta(days=29) < datetime.now(UTC) - page.date < timedelta(days=31)


async def test_changes_are_asked_for_by_date(emsp: FakeEmsp, client: OcpiClient) -> None:
    await first(client, date_from=datetime(2026, 3, 1, 12, 0, 0, 999, tzinfo=UTC))
    assert emsp.requests[0].query == {"limit": "2", "date_from": "2026-03-01T12:00:00Z"}


async def test_the_list_is_asked_of_the_peer_itself_even_if_it_is_a_hub(
    emsp: FakeEmsp, make_client: ClientMaker
) -> None:
    emsp.device.hub = True
    await first(make_client(hub=True))
    headers = emsp.requests[0].headers
    assert (headers["ocpi-to-country-code"], headers["ocpi-to-party-id"]) == THEM


async def test_a_bad_object_costs_only_itself(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.populate(3)
    emsp.lists = ListFaults(bad_object_every=2)
    page = await first(client, limit=3)
    assert isinstance(page, Page)
    assert [token.uid for token in page.tokens] == [populated_uid(0), populated_uid(2)]
    [bad] = page.unreadable
    assert (bad.index, bad.key.uid) == (1, populated_uid(1))
    assert bad.reason == "Object missing required field `contract_id`"
    assert page.objects == 3


async def test_totals_that_are_no_numbers_were_not_sent(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.lists = ListFaults(total="many", limit="")
    page = await first(client)
    assert isinstance(page, Page)
    assert (page.total, page.limit) == (None, None)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (Kind.WRONG_SHAPE, Outcome.MALFORMED),
        (Kind.NOT_UTF8, Outcome.MALFORMED),
        (Kind.UNAUTHORIZED, Outcome.UNAUTHORIZED),
        (Kind.DOWN, Outcome.UNREACHABLE),
    ],
)
async def test_a_page_in_bad_weather_is_a_failure(
    emsp: FakeEmsp, client: OcpiClient, kind: Kind, outcome: Outcome
) -> None:
    emsp.set_weather(kind)
    failure = await first(client)
    assert isinstance(failure, Failure)
    assert failure.outcome is outcome


async def test_a_page_may_be_larger_than_an_answer_but_not_endless(emsp: FakeEmsp, make_client: ClientMaker) -> None:
    emsp.populate(2000)
    emsp.page_size = 2000
    whole = await first(make_client(), limit=2000)
    assert isinstance(whole, Page)
    assert len(whole.tokens) == 2000
    small = await first(make_client(most_page_bytes=100_000), limit=2000)
    assert small == Failure(Outcome.OVERSIZED, "the answer is larger than 97 KiB")
