"""Pulling one page of a peer's list."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from agent.model import Outcome
from agent.ocpi.client import Failure, OcpiClient, Page
from agent.ocpi.tokens import read_list
from fakes.emsp import FakeEmsp, Kind, Link, ListFaults, populated_uid
from tests.ocpi.conftest import THEM, ClientMaker
from tests.ocpi.scripted import ScriptedPeer


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


async def test_a_page_of_three_million_nothings_is_refused_unread(
    scripted: ScriptedPeer, make_client: ClientMaker
) -> None:
    body = b'{"status_code":1000,"data":[' + b",".join([b"0"] * 3_000_000) + b"]}"
    scripted.answers["/tokens"] = ("200 OK\r\n", body)
    client = make_client(tokens_url=f"{scripted.url}/tokens")
    assert await first(client, limit=1000) == Failure(
        Outcome.OVERSIZED, "the page has more than 4000 objects, 1000 were asked for"
    )


@pytest.mark.parametrize(
    ("limit", "objects", "taken"), [(1, 2000, True), (1, 2001, False), (600, 2400, True), (600, 2401, False)]
)
async def test_a_page_may_have_four_times_the_objects_asked_for(
    scripted: ScriptedPeer, make_client: ClientMaker, limit: int, objects: int, *, taken: bool
) -> None:
    scripted.says("/tokens", {"status_code": 1000, "data": [0] * objects})
    page = await first(make_client(tokens_url=f"{scripted.url}/tokens"), limit=limit)
    assert isinstance(page, Page) is taken


@pytest.mark.parametrize(("limit", "size"), [("10", "1 MiB"), ("250", "3 MiB"), ("9999999", "31 MiB"), ("x", "15 MiB")])
async def test_the_bytes_of_a_page_depend_on_the_objects_asked_for(
    emsp: FakeEmsp, client: OcpiClient, limit: str, size: str
) -> None:
    emsp.set_weather(Kind.ENDLESS_LENGTH)
    failure = await client.page(f"{emsp.tokens_url}?limit={limit}")
    assert failure == Failure(Outcome.OVERSIZED, f"the answer is larger than {size}")
    emsp.complaints.clear()


async def test_twenty_bad_objects_are_explained_and_all_are_named(
    scripted: ScriptedPeer, make_client: ClientMaker
) -> None:
    bad = [{"country_code": "DE", "party_id": "ABC", "uid": f"{n:04X}", "type": "RFID"} for n in range(30)]
    scripted.says("/tokens", {"status_code": 1000, "data": bad})
    page = await first(make_client(tokens_url=f"{scripted.url}/tokens"))
    assert isinstance(page, Page)
    assert [bool(bad.reason) for bad in page.unreadable] == [True] * 20 + [False] * 10
    assert [bad.key.uid for bad in page.unreadable] == [f"{n:04X}" for n in range(30)]
    assert (page.objects, page.tokens) == (30, [])


async def test_taps_get_their_turn_while_a_bad_page_is_read() -> None:
    turns = 0

    async def taps() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        beside = group.create_task(taps())
        listed = await read_list(json.dumps([0] * 2000).encode(), most_objects=2000)
        beside.cancel()
    assert listed is not None
    assert len(listed[1]) == 2000
    assert turns >= 7


async def test_page_gives_way_after_every_fifty_objects() -> None:
    gave_way = 0

    async def give_way() -> None:
        nonlocal gave_way
        gave_way += 1

    await read_list(json.dumps([0] * 1000).encode(), most_objects=1000, give_way=give_way)
    assert gave_way >= 20


async def test_a_link_to_what_is_no_url_fails_the_page(scripted: ScriptedPeer, make_client: ClientMaker) -> None:
    link = 'Link: <http://[>; rel="next"\r\n'
    scripted.says("/tokens", {"status_code": 1000, "data": []}, headers=link)
    assert await first(make_client(tokens_url=f"{scripted.url}/tokens")) == Failure(
        Outcome.MALFORMED, f"the next page is on another server, what is no URL, not {scripted.url}"
    )
