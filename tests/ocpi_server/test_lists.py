"""The sender interfaces: OCPI 2.2.1 mod_sessions and mod_cdrs, and transport_and_format's Pagination."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from itertools import chain, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from agent.charges import Page
from agent.ocpi.server.lists import MOST_BYTES, MOST_OBJECTS
from tests.ocpi_server.kept_charges import Kept, KeptCharges, cdr, session
from tests.ocpi_server.site import NAME, NOON, Site, client_of, site_in
from tests.ocpi_server.test_gate import ROUTING, envelope

URLS = pytest.mark.parametrize("url", ["/2.2.1/sessions", "/2.2.1/cdrs"])
SESSIONS = "/2.2.1/sessions"


@pytest.fixture
def kept() -> KeptCharges:
    return KeptCharges()


@pytest.fixture
async def billing(tmp_path: Path, kept: KeptCharges) -> AsyncIterator[Site]:
    """A site that has sessions and CDRs to show."""
    async with site_in(tmp_path, reports=kept, serve=False) as site:
        yield site


@pytest.fixture
async def reader(billing: Site) -> AsyncIterator[httpx.AsyncClient]:
    """The registered peer of that site."""
    async with client_of(billing, await billing.agreed()) as client:
        yield client


def keep(
    kept: KeptCharges,
    count: int,
    *,
    peer: str = NAME,
    at: Callable[[int], datetime] = lambda number: NOON + timedelta(minutes=number),
) -> None:
    """So many sessions and CDRs, a minute apart."""
    for number in range(count):
        kept.sessions.append(Kept(peer, at(number), session(number, at(number))))
        kept.cdrs.append(Kept(peer, at(number), cdr(number, at(number))))


def numbers(answer: httpx.Response) -> list[int]:
    """Which of them are on a page."""
    assert answer.status_code == 200
    body = envelope(answer)
    assert body["status_code"] == 1000
    return [int(one["id"].rpartition("-")[2]) for one in body["data"]]


def following(answer: httpx.Response) -> str:
    """The address of the next page."""
    address, relation = answer.headers["link"].split("; ")
    assert (address[0], address[-1], relation) == ("<", ">", 'rel="next"')
    return str(address[1:-1])


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


async def crawled(client: httpx.AsyncClient, url: str) -> list[int]:
    """Every page from `url` on."""
    answer = await client.get(url)
    found = numbers(answer)
    while "link" in answer.headers:
        answer = await client.get(following(answer))
        found += numbers(answer)
    return found


# Version information, and who gets what


async def test_version_details_name_both_modules_as_sender(billing: Site, reader: httpx.AsyncClient) -> None:
    endpoints = envelope(await reader.get("/2.2.1"))["data"]["endpoints"]
    assert endpoints[2:] == [
        {"identifier": "sessions", "role": "SENDER", "url": f"{billing.url}/2.2.1/sessions"},
        {"identifier": "cdrs", "role": "SENDER", "url": f"{billing.url}/2.2.1/cdrs"},
    ]


@URLS
async def test_charge_point_that_does_not_bill_has_nothing_there(peer: httpx.AsyncClient, url: str) -> None:
    assert (await peer.get(url)).status_code == 404


@URLS
async def test_token_a_opens_neither_list(billing: Site, kept: KeptCharges, url: str) -> None:
    keep(kept, 1, peer="other")
    invitation = await billing.registrar.invite("other")
    async with client_of(billing, invitation.token) as client:
        answer = await client.get(url)
    assert (answer.status_code, envelope(answer)["status_code"]) == (401, 2000)


@URLS
async def test_peer_gets_its_own_and_nobody_elses(kept: KeptCharges, reader: httpx.AsyncClient, url: str) -> None:
    keep(kept, 3, peer="other")
    keep(kept, 2)
    answer = await reader.get(url)
    assert numbers(answer) == [0, 1]
    assert answer.headers["x-total-count"] == "2"  # "that are available to this client"


@URLS
async def test_peer_with_nothing_gets_an_empty_list(kept: KeptCharges, reader: httpx.AsyncClient, url: str) -> None:
    keep(kept, 3, peer="other")
    answer = await reader.get(url)
    assert envelope(answer)["data"] == []
    assert answer.headers["x-total-count"] == "0"


async def test_objects_arrive_as_the_bytes_that_were_kept(kept: KeptCharges, reader: httpx.AsyncClient) -> None:
    own = session(1, NOON).replace(b"12.5", b"12.5000") + b"  "
    kept.sessions.append(Kept(NAME, NOON, own))
    assert b'"data":[' + own + b"]" in (await reader.get(SESSIONS)).content


@URLS
async def test_lists_are_functional_modules_and_routed(reader: httpx.AsyncClient, url: str) -> None:
    answer = await reader.get(url, headers=ROUTING)
    assert [answer.headers[name] for name in ROUTING] == ["NL", "CPO", "DE", "ABC"]


# What may be asked for


@URLS
async def test_all_parameters_may_be_omitted(kept: KeptCharges, reader: httpx.AsyncClient, url: str) -> None:
    keep(kept, 3)
    assert numbers(await reader.get(url)) == [0, 1, 2]


@pytest.mark.parametrize("query", ["date_from=&date_to=&offset=&limit=", "offset=0", "unknown=1", "&&", "%ff", ""])
async def test_empty_or_unknown_parameters_change_nothing(
    kept: KeptCharges, reader: httpx.AsyncClient, query: str
) -> None:
    keep(kept, 2)
    assert numbers(await reader.get(f"{SESSIONS}?{query}")) == [0, 1]


@URLS
async def test_date_from_is_inclusive_and_date_to_exclusive(
    kept: KeptCharges, reader: httpx.AsyncClient, url: str
) -> None:
    keep(kept, 5)
    answer = await reader.get(f"{url}?date_from=2026-03-01T12:01:00Z&date_to=2026-03-01T12:03:00Z")
    assert numbers(answer) == [1, 2]
    assert answer.headers["x-total-count"] == "2"


@URLS
async def test_intervals_that_follow_each_other_have_no_gap_and_no_overlap(
    kept: KeptCharges, reader: httpx.AsyncClient, url: str
) -> None:
    keep(kept, 40, at=lambda number: NOON + timedelta(milliseconds=100 * number))
    seconds = [f"2026-03-01T12:00:0{second}Z" for second in range(5)]
    found = [numbers(await reader.get(f"{url}?date_from={begin}&date_to={end}")) for begin, end in pairwise(seconds)]
    assert [len(one) for one in found] == [10, 10, 10, 10]
    assert list(chain.from_iterable(found)) == list(range(40))


@URLS
async def test_interval_of_fractions_has_everything_that_the_wire_calls_its_seconds(
    kept: KeptCharges, reader: httpx.AsyncClient, url: str
) -> None:
    # On the wire all of these are of 12:00:00 or 12:00:01; a peer that stopped at 12:00:00.5 has not seen 12:00:00.7.
    keep(kept, 20, at=lambda number: NOON + timedelta(milliseconds=100 * number))
    assert numbers(await reader.get(f"{url}?date_from=2026-03-01T12:00:00.5Z")) == list(range(20))
    assert numbers(await reader.get(f"{url}?date_to=2026-03-01T12:00:00.5Z")) == list(range(10))


async def test_peer_that_goes_on_from_the_newest_it_has_misses_nothing(
    kept: KeptCharges, reader: httpx.AsyncClient
) -> None:
    keep(kept, 1, at=lambda _number: NOON + timedelta(microseconds=300))
    newest = envelope(await reader.get(SESSIONS))["data"][0]["last_updated"]
    kept.sessions.append(Kept(NAME, NOON + timedelta(microseconds=900), session(7, NOON)))
    assert 7 in numbers(await reader.get(SESSIONS, params={"date_from": newest}))


@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-01T12:01:00Z",
        "2026-03-01T12:01:00",
        "2026-03-01T12:01:00.0",
        "2026-03-01T12:01:00.123Z",
        "2026-03-01T13:01:00+01:00",
        "2026-03-01T13:01:00%2B01:00",
        "2026-03-01T12%3A01%3A00Z",
        "1772366460",
    ],
)
async def test_moment_is_read_in_every_form_that_occurs(
    kept: KeptCharges, reader: httpx.AsyncClient, moment: str
) -> None:
    keep(kept, 3)
    assert numbers(await reader.get(f"{SESSIONS}?date_from={moment}")) == [1, 2]


async def test_date_to_without_a_zone_is_utc(kept: KeptCharges, reader: httpx.AsyncClient) -> None:
    keep(kept, 3)
    assert numbers(await reader.get(f"{SESSIONS}?date_to=2026-03-01T12:01:00")) == [0]


@URLS
@pytest.mark.parametrize("name", ["date_from", "date_to"])
@pytest.mark.parametrize("value", ["yesterday", "2026-03-01", "2026-02-30T12:00:00Z", "1e400", "%00", "0000-01-01"])
async def test_moment_that_is_none_is_2001(reader: httpx.AsyncClient, url: str, name: str, value: str) -> None:
    body = envelope(answer := await reader.get(f"{url}?{name}={value}"))
    assert (answer.status_code, body["status_code"]) == (200, 2001)
    assert body["status_message"].startswith(f"{name}: expected ")
    assert "data" not in body


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"])
async def test_moment_outside_of_all_years_in_utc_is_2001(reader: httpx.AsyncClient, moment: str) -> None:
    assert envelope(await reader.get(f"{SESSIONS}?date_from={moment}"))["status_code"] == 2001


async def test_last_moment_there_is_restricts_nothing(kept: KeptCharges, reader: httpx.AsyncClient) -> None:
    keep(kept, 2)
    url = f"{SESSIONS}?date_from=0001-01-01T00:00:00Z&date_to=9999-12-31T23:59:59.999Z"
    assert numbers(await reader.get(url)) == [0, 1]


@URLS
@pytest.mark.parametrize("wrong", ["offset=-1", "offset=x", "offset=1.5", "offset=1e3", f"offset={'9' * 16}"])
async def test_offset_that_is_no_number_is_2001(reader: httpx.AsyncClient, url: str, wrong: str) -> None:
    body = envelope(await reader.get(f"{url}?{wrong}"))
    assert (body["status_code"], body["status_message"]) == (2001, "offset: expected a whole number from 0 on")


@URLS
@pytest.mark.parametrize("wrong", ["limit=0", "limit=-1", "limit=all", "limit=%C2%B2", f"limit={'9' * 5000}"])
async def test_limit_that_is_no_number_from_one_on_is_2001(reader: httpx.AsyncClient, url: str, wrong: str) -> None:
    body = envelope(await reader.get(f"{url}?{wrong}"))
    assert (body["status_code"], body["status_message"]) == (2001, "limit: expected a whole number from 1 on")


# From page to page


@URLS
async def test_with_offset_0_and_limit_10_the_first_10_shall_be_returned_and_the_next_page_starts_with_10(
    kept: KeptCharges, reader: httpx.AsyncClient, url: str
) -> None:
    keep(kept, 25)
    answer = await reader.get(f"{url}?offset=0&limit=10")
    assert numbers(answer) == list(range(10))
    assert query_of(following(answer)) == {"offset": "10", "limit": "10"}
    assert numbers(await reader.get(following(answer))) == list(range(10, 20))


@URLS
async def test_link_is_absolute_and_under_the_public_url(
    billing: Site, kept: KeptCharges, reader: httpx.AsyncClient, url: str
) -> None:
    keep(kept, 3)
    # Whatever host and path the request came by.
    answer = await reader.get(f"{url}///?limit=2", headers={"Host": "somewhere.else"})
    assert following(answer) == f"{billing.url}{url}?offset=2&limit=2"


@URLS
async def test_link_keeps_the_filters_of_the_request(kept: KeptCharges, reader: httpx.AsyncClient, url: str) -> None:
    keep(kept, 9)
    given = {"date_from": "2026-03-01T13:01:00+01:00", "date_to": "2026-03-01T12:06:00Z"}
    answer = await reader.get(url, params=given | {"limit": "2", "unknown": "x"})
    assert query_of(following(answer)) == given | {"offset": "2", "limit": "2"}
    assert await crawled(reader, f"{url}?date_from=2026-03-01T13:01:00%2B01:00&limit=2") == list(range(1, 9))


@URLS
@pytest.mark.parametrize("query", ["offset=2&limit=3", "offset=5", "offset=6&limit=1", "limit=5"])
async def test_last_page_and_what_is_beyond_it_have_no_link(
    kept: KeptCharges, reader: httpx.AsyncClient, url: str, query: str
) -> None:
    keep(kept, 5)
    answer = await reader.get(f"{url}?{query}")
    assert "link" not in answer.headers
    assert answer.headers["x-total-count"] == "5"


@URLS
async def test_x_limit_shall_show_the_upper_limit_whatever_is_asked_for_or_left(
    kept: KeptCharges, reader: httpx.AsyncClient, url: str
) -> None:
    keep(kept, 3)
    answers = [await reader.get(f"{url}{query}") for query in ("", "?limit=2", "?limit=2000", "?offset=3")]
    assert {answer.headers["x-limit"] for answer in answers} == {str(MOST_OBJECTS)}


@URLS
async def test_limit_beyond_ours_gets_ours_and_the_link_says_so(
    kept: KeptCharges, reader: httpx.AsyncClient, url: str
) -> None:
    keep(kept, MOST_OBJECTS + 1)
    answer = await reader.get(f"{url}?limit=2000")
    assert len(numbers(answer)) == MOST_OBJECTS
    assert query_of(following(answer)) == {"offset": str(MOST_OBJECTS), "limit": str(MOST_OBJECTS)}


@URLS
@pytest.mark.parametrize("limit", [1, 7, 30, 31])
async def test_crawl_brings_everything_once(kept: KeptCharges, reader: httpx.AsyncClient, url: str, limit: int) -> None:
    keep(kept, 31)
    assert await crawled(reader, f"{url}?limit={limit}") == list(range(31))


@URLS
async def test_object_that_is_added_during_a_crawl_is_on_its_last_page(
    kept: KeptCharges, reader: httpx.AsyncClient, url: str
) -> None:
    keep(kept, 4)
    first = await reader.get(f"{url}?limit=3")
    kept.sessions.append(Kept(NAME, NOON, session(4, NOON)))
    kept.cdrs.append(Kept(NAME, NOON, cdr(4, NOON)))
    last = await reader.get(following(first))
    assert numbers(last) == [3, 4]
    assert last.headers["x-total-count"] == "5"


async def test_page_that_would_be_too_large_ends_earlier_and_the_crawl_brings_everything(
    kept: KeptCharges, reader: httpx.AsyncClient
) -> None:
    for number, size in enumerate([MOST_BYTES // 2, MOST_BYTES // 4, MOST_BYTES // 2, 2 * MOST_BYTES, 1000]):
        kept.sessions.append(Kept(NAME, NOON, session(number, NOON).ljust(size)))
    first = await reader.get(SESSIONS)
    assert numbers(first) == [0, 1]
    assert query_of(following(first)) == {"offset": "2", "limit": "100"}
    assert await crawled(reader, SESSIONS) == [0, 1, 2, 3, 4]


async def test_page_whose_objects_have_just_been_deleted_is_the_last_one(tmp_path: Path) -> None:
    class Deleting(KeptCharges):
        """Counts first, as a store does."""

        async def sessions_of(self, *wanted: Any) -> Page:
            return Page((), 5)

    async with (
        site_in(tmp_path, reports=Deleting(), serve=False) as site,
        client_of(site, await site.agreed()) as client,
    ):
        assert "link" not in (await client.get(f"{SESSIONS}?offset=2")).headers


# Methods and paths that the sender interfaces do not have


@URLS
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_methods_that_the_chapter_has_not_are_405(reader: httpx.AsyncClient, url: str, method: str) -> None:
    answer = await reader.request(method, url, content=b"{}")
    assert (answer.status_code, envelope(answer)["status_code"]) == (405, 2000)
    assert answer.headers["allow"] == "HEAD, GET"


async def test_charging_preferences_are_not_offered(kept: KeptCharges, reader: httpx.AsyncClient) -> None:
    keep(kept, 1)
    preferences = json.dumps({"profile_type": "GREEN"})
    answer = await reader.put(f"{SESSIONS}/session-0/charging_preferences", content=preferences, headers=ROUTING)
    assert (answer.status_code, envelope(answer)["status_code"]) == (404, 2000)
    assert answer.headers["ocpi-to-party-id"] == "ABC"


@URLS
async def test_single_object_can_not_be_pulled(kept: KeptCharges, reader: httpx.AsyncClient, url: str) -> None:
    keep(kept, 1)
    assert (await reader.get(f"{url}/session-0")).status_code == 404


@URLS
async def test_head_has_the_headers_of_a_page(kept: KeptCharges, reader: httpx.AsyncClient, url: str) -> None:
    keep(kept, 3)
    answer = await reader.head(f"{url}?limit=1")
    assert (answer.headers["x-total-count"], query_of(following(answer))["offset"]) == ("3", "1")
