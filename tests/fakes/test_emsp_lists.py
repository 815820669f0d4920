"""The token list: its pages, its filters, and its faults (OCPI 2.2.1 transport_and_format, Pagination)."""

from datetime import UTC, datetime, timedelta

import pytest

from fakes.emsp import POPULATED_SINCE, FakeEmsp, Link, ListFaults, populated_uid
from tests.fakes.emsp_client import Cpo, uids_of

UID = "04A1B2C3D4E5F6"
POPULATION = [populated_uid(position) for position in range(10)]


@pytest.fixture(autouse=True)
def ten_tokens(emsp: FakeEmsp) -> None:
    emsp.populate(10)
    emsp.page_size = 4


async def test_first_page_names_total_limit_and_next(emsp: FakeEmsp, cpo: Cpo) -> None:
    response = await cpo.tokens()
    assert uids_of(response) == POPULATION[:4]
    assert (response.headers["X-Total-Count"], response.headers["X-Limit"]) == ("10", "4")
    assert response.headers["Link"] == f'<{emsp.tokens_url}?offset=4&limit=4>; rel="next"'


async def test_last_page_has_no_link(cpo: Cpo) -> None:
    response = await cpo.tokens("?offset=8&limit=4")
    assert uids_of(response) == POPULATION[8:]
    assert "Link" not in response.headers


async def test_list_that_fits_exactly_has_no_link(cpo: Cpo) -> None:
    assert "Link" not in (await cpo.tokens("?offset=6")).headers


async def test_page_after_the_end_is_empty(cpo: Cpo) -> None:
    response = await cpo.tokens("?offset=99")
    assert uids_of(response) == []
    assert "Link" not in response.headers


async def test_smaller_limit_is_kept_and_larger_is_cut(cpo: Cpo) -> None:
    assert len(uids_of(await cpo.tokens("?limit=3"))) == 3
    assert len(uids_of(await cpo.tokens("?limit=500"))) == 4


async def test_link_keeps_the_filters(cpo: Cpo) -> None:
    response = await cpo.tokens("?date_from=2023-01-01T00:00:00Z&date_to=2030-01-01T00:00:00&limit=2")
    query = dict(cpo.http.build_request("GET", response.links["next"]["url"]).url.params)
    assert query == {
        "offset": "2",
        "limit": "2",
        "date_from": "2023-01-01T00:00:00Z",
        "date_to": "2030-01-01T00:00:00",
    }


async def test_crawl_brings_population_and_cards_in_order(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card("B1")
    emsp.card("A2")
    assert await cpo.crawl() == [*POPULATION, "B1", "A2"]
    assert emsp.complaints == []


async def test_unlisted_card_is_not_listed_but_answered(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID, listed=False)
    assert await cpo.crawl() == POPULATION
    assert (await cpo.authorize(UID)).json()["data"]["allowed"] == "ALLOWED"


async def test_changed_population_token_keeps_its_place(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(POPULATION[5].lower(), valid=False)
    response = await cpo.tokens("?offset=4")
    assert uids_of(response) == [POPULATION[4], POPULATION[5].lower(), *POPULATION[6:8]]
    assert [token["valid"] for token in response.json()["data"]] == [True, False, True, True]


async def test_forgotten_population_token_leaves_no_gap(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(POPULATION[0], known=False)
    emsp.card(POPULATION[9], known=False)
    assert await cpo.crawl() == POPULATION[1:9]
    assert (await cpo.tokens()).headers["X-Total-Count"] == "8"


async def test_date_from_is_inclusive_and_date_to_exclusive(cpo: Cpo) -> None:
    assert await cpo.crawl("?date_from=2024-01-01T00:00:03Z&date_to=2024-01-01T00:00:06Z") == POPULATION[3:6]


async def test_fraction_of_a_second_rounds_to_the_next_token(cpo: Cpo) -> None:
    assert await cpo.crawl("?date_from=2024-01-01T00:00:03.5&date_to=2024-01-01T00:00:05.5Z") == POPULATION[4:6]


async def test_populated_tokens_say_the_time_that_they_are_filtered_by(cpo: Cpo) -> None:
    token = (await cpo.tokens("?offset=9")).json()["data"][0]
    assert datetime.fromisoformat(token["last_updated"]) == POPULATED_SINCE + timedelta(seconds=9)


async def test_filter_finds_a_changed_population_token_by_its_new_time(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(POPULATION[2], last_updated=datetime(2026, 1, 1, tzinfo=UTC))
    emsp.card(UID, last_updated=datetime(2026, 1, 2, tzinfo=UTC))
    assert await cpo.crawl("?date_from=2026-01-01T00:00:00Z") == [POPULATION[2], UID]


async def test_card_in_front_shifts_the_pages(emsp: FakeEmsp, cpo: Cpo) -> None:
    first = uids_of(await cpo.tokens())
    emsp.card(UID, in_front=True)
    second = uids_of(await cpo.tokens("?offset=4"))
    assert first[-1] == second[0] == POPULATION[3]


async def test_a_million_tokens_are_there_at_once(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.populate(1_000_000)
    response = await cpo.tokens("?offset=999998")
    assert uids_of(response) == [populated_uid(999_998), populated_uid(999_999)]
    assert response.headers["X-Total-Count"] == "1000000"


async def test_bad_objects_lack_a_required_field(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.lists.bad_object_every = 3
    page = (await cpo.tokens("?offset=4")).json()["data"]
    assert ["contract_id" in token for token in page] == [True, False, True, True]


async def test_relative_link_is_path_and_query(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.lists.link = Link.RELATIVE
    assert (await cpo.tokens()).links["next"]["url"] == "/ocpi/emsp/2.2.1/tokens?offset=4&limit=4"


async def test_foreign_link_leads_to_another_origin(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.lists.link = Link.FOREIGN
    url = (await cpo.tokens()).links["next"]["url"]
    assert url == "http://other-peer.invalid/ocpi/emsp/2.2.1/tokens?offset=4&limit=4"


@pytest.mark.parametrize("offset", [4, 8])
async def test_link_to_itself_leads_nowhere(emsp: FakeEmsp, cpo: Cpo, offset: int) -> None:
    emsp.lists.link = Link.ITSELF
    url = f"{emsp.tokens_url}?offset={offset}&limit=4"
    assert (await cpo.page(url)).links["next"]["url"] == url


async def test_endless_link_goes_on_after_the_end(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.lists.link = Link.ENDLESS
    response = await cpo.tokens("?offset=100")
    assert uids_of(response) == []
    assert "offset=104" in response.links["next"]["url"]


async def test_missing_link_leaves_the_rest_unnamed(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.lists.link = Link.MISSING
    response = await cpo.tokens()
    assert "Link" not in response.headers
    assert response.headers["X-Total-Count"] == "10"


async def test_withheld_page_is_empty_and_links_onward(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.lists.withheld_pages = frozenset({1})
    response = await cpo.tokens("?offset=4&limit=4")
    assert uids_of(response) == []
    assert "offset=8" in response.links["next"]["url"]
    assert await cpo.crawl() == [*POPULATION[:4], *POPULATION[8:]]


async def test_lies_about_total_and_limit_are_told(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.lists = ListFaults(total="3", limit="")
    response = await cpo.tokens()
    assert response.headers["X-Total-Count"] == "3"
    assert "X-Limit" not in response.headers
    assert "next" in response.links


async def test_page_shift_repeats_a_token_once(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.lists.shift_after_pages = 1
    assert await cpo.crawl() == [*POPULATION[:4], *POPULATION[3:]]
