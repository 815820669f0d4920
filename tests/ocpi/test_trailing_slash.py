"""A peer that answers only on paths that end with a slash, though it names none: the setting `trailing_slash`."""

from datetime import UTC, datetime

import pytest

from agent.model import Outcome
from agent.ocpi.addressing import authorize_url, slashed
from agent.ocpi.client import Failure, Page
from agent.ocpi.tokens import AuthorizationInfo
from fakes.emsp import FakeEmsp, Slash
from tests.ocpi.conftest import HERE, UID, ClientMaker


@pytest.fixture(name="demanding")
def demanding_emsp(emsp: FakeEmsp) -> FakeEmsp:
    emsp.device.slash = Slash.DEMANDED
    emsp.card(UID)
    return emsp


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://e/x", "https://e/x/"),
        ("https://e/x/", "https://e/x/"),
        ("https://e", "https://e/"),
        ("https://e/x?limit=1", "https://e/x/?limit=1"),
        ("http://[", "http://["),
    ],
)
def test_slash_goes_to_the_end_of_the_path(url: str, expected: str) -> None:
    assert slashed(url) == expected


@pytest.mark.parametrize("tokens_url", ["https://e/tokens", "https://e/tokens/"])
def test_authorize_url_has_one_slash_between_and_one_at_its_end_where_wanted(tokens_url: str) -> None:
    assert authorize_url(tokens_url, "04A1") == "https://e/tokens/04A1/authorize?type=RFID"
    assert authorize_url(tokens_url, "04A1", trailing_slash=True) == "https://e/tokens/04A1/authorize/?type=RFID"


async def test_peer_is_asked_with_a_slash(demanding: FakeEmsp, make_client: ClientMaker) -> None:
    client = make_client(trailing_slash=True)
    assert isinstance(await client.authorize(UID, HERE, correlation_id="tap-1"), AuthorizationInfo)
    assert await client.probe() is None
    assert [request.path for request in demanding.requests] == [
        f"/ocpi/emsp/2.2.1/tokens/{UID}/authorize/",
        "/ocpi/emsp/2.2.1/tokens/",
    ]


async def test_peer_is_discovered_with_a_slash(demanding: FakeEmsp, make_client: ClientMaker) -> None:
    client = make_client(versions_url=demanding.versions_url, trailing_slash=True)
    assert isinstance(await client.authorize(UID, HERE, correlation_id="tap-1"), AuthorizationInfo)
    assert [request.path for request in demanding.requests[:2]] == ["/ocpi/versions/", "/ocpi/2.2.1/"]


async def test_list_is_pulled_to_its_end_with_a_slash_on_links_that_have_none(
    demanding: FakeEmsp, make_client: ClientMaker
) -> None:
    demanding.populate(25)
    demanding.page_size = 10
    client = make_client(trailing_slash=True)
    url = await client.list_url(limit=10, date_from=datetime(2020, 1, 1, tzinfo=UTC))
    assert isinstance(url, str)
    pulled = 0
    following: str | None = url
    while following is not None:
        page = await client.page(following)
        assert isinstance(page, Page)
        pulled += page.objects
        following = page.next_url
    assert pulled == 26


async def test_peer_without_the_setting_is_not_found(demanding: FakeEmsp, make_client: ClientMaker) -> None:
    failure = await make_client().authorize(UID, HERE, correlation_id="tap-1", listed=True)
    assert isinstance(failure, Failure)
    assert failure.outcome in {Outcome.UNKNOWN, Outcome.SERVER_ERROR}
    demanding.complaints.clear()


async def test_tokens_url_that_ends_with_a_slash_needs_no_setting(emsp: FakeEmsp, make_client: ClientMaker) -> None:
    emsp.device.slash = Slash.LISTED
    emsp.card(UID)
    client = make_client(tokens_url=emsp.tokens_url)
    assert emsp.tokens_url.endswith("/")
    assert isinstance(await client.authorize(UID, HERE, correlation_id="tap-1"), AuthorizationInfo)
    assert await client.probe() is None
