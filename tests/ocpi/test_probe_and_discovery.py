"""Finding a peer's endpoints, and finding out whether it is there."""

from pathlib import Path

import pytest

from agent.errors import ConfigError, PeerError
from agent.model import Outcome
from agent.ocpi.client import Failure, OcpiClient, tls_context
from agent.ocpi.connection import Unsent
from agent.ocpi.tokens import AuthorizationInfo
from fakes.emsp import FakeEmsp, Kind, Part, server_error
from tests.ocpi.conftest import HERE, THEM, UID, US, ClientMaker
from tests.ocpi.scripted import ScriptedPeer


@pytest.fixture
def finder(emsp: FakeEmsp, make_client: ClientMaker) -> OcpiClient:
    """A client that was given the versions endpoint."""
    return make_client(versions_url=emsp.versions_url)


# ---- discovery: OCPI 2.2.1 version_information_endpoint


async def test_the_tokens_sender_is_found(emsp: FakeEmsp, finder: OcpiClient) -> None:
    emsp.device.versions = ("2.1.1", "2.2.1", "2.3.0")
    emsp.device.extra_endpoints = [{"identifier": "tokens", "role": "RECEIVER", "url": "http://127.0.0.1:1/wrong"}]
    found = await finder.discover()
    assert (found.version, found.tokens_url) == ("2.2.1", emsp.tokens_url)
    assert [endpoint.identifier for endpoint in found.all] == ["tokens", "credentials", "tokens"]
    assert finder.tokens_url == emsp.tokens_url


async def test_configuration_modules_are_not_routed(emsp: FakeEmsp, finder: OcpiClient) -> None:
    await finder.discover()
    assert len(emsp.requests) == 2
    assert not [name for request in emsp.requests for name in request.headers if name.startswith("ocpi-")]
    assert all(request.headers["x-correlation-id"] for request in emsp.requests)


async def test_a_peer_without_our_version_is_told_by_what_it_offers(emsp: FakeEmsp, finder: OcpiClient) -> None:
    emsp.device.versions = ("2.1.1", "2.2")
    with pytest.raises(PeerError, match=r"^peer abc: offers OCPI 2\.1\.1, 2\.2, but not 2\.2\.1$"):
        await finder.discover()
    assert finder.tokens_url is None


async def test_a_tokens_endpoint_that_is_no_url_is_not_taken(emsp: FakeEmsp, finder: OcpiClient) -> None:
    emsp.device.extra_endpoints = [{"identifier": "tokens", "role": "SENDER", "url": "ftp://127.0.0.1/tokens"}]
    with pytest.raises(PeerError, match="the tokens endpoint: expected an http or https URL, not ftp://127"):
        await finder.discover()
    assert finder.tokens_url is None


async def test_a_peer_without_tokens_is_told_by_what_it_offers(
    scripted: ScriptedPeer, make_client: ClientMaker
) -> None:
    scripted.says("/versions", {"status_code": 1000, "data": [{"version": "2.2.1", "url": f"{scripted.url}/2.2.1"}]})
    endpoints = [{"identifier": "tokens", "role": "RECEIVER", "url": "x"}, {"identifier": "credentials", "url": "y"}]
    scripted.says("/2.2.1", {"status_code": 1000, "data": {"version": "2.2.1", "endpoints": endpoints}})
    with pytest.raises(
        PeerError, match=r"offers no tokens SENDER in OCPI 2\.2\.1, only: tokens RECEIVER, credentials$"
    ):
        await make_client(versions_url=f"{scripted.url}/versions").discover()


async def test_relative_addresses_are_followed(scripted: ScriptedPeer, make_client: ClientMaker) -> None:
    scripted.says("/ocpi/versions", {"status_code": 1000, "data": [{"version": "2.2.1", "url": "2.2.1"}]})
    endpoints = [{"identifier": "tokens", "role": "SENDER", "url": "/tokens"}]
    scripted.says("/ocpi/2.2.1", {"status_code": 1000, "data": {"endpoints": endpoints}})
    found = await make_client(versions_url=f"{scripted.url}/ocpi/versions").discover()
    assert found.tokens_url == f"{scripted.url}/tokens"


def test_credentials_that_were_encrypted_so_far_do_not_go_out_in_clear() -> None:
    finder = OcpiClient("abc", token="secret", us=US, them=THEM, versions_url="https://emsp.example/versions")
    assert finder._may_follow("https://tokens.example/")
    assert not finder._may_follow("http://emsp.example/2.2.1")


async def test_a_failing_step_is_named(emsp: FakeEmsp, finder: OcpiClient) -> None:
    emsp.set_weather(server_error(503))
    with pytest.raises(PeerError, match=r"^peer abc: versions: HTTP 503$"):
        await finder.discover()


async def test_the_first_question_finds_the_endpoint_by_itself(emsp: FakeEmsp, finder: OcpiClient) -> None:
    emsp.card(UID)
    for _ in range(2):
        assert isinstance(await finder.authorize(UID, HERE, correlation_id="tap-1"), AuthorizationInfo)
    assert [request.part for request in emsp.requests] == [Part.VERSIONS, Part.VERSIONS, Part.AUTHORIZE, Part.AUTHORIZE]


async def test_a_question_to_a_peer_that_can_not_be_found_fails_with_the_step(
    emsp: FakeEmsp, finder: OcpiClient
) -> None:
    emsp.set_weather(Kind.DOWN)
    failure = await finder.authorize(UID, HERE, correlation_id="tap-1")
    assert failure == Unsent(Outcome.UNREACHABLE, "versions: Connection refused")


async def test_without_a_versions_url_there_is_nothing_to_discover(client: OcpiClient) -> None:
    with pytest.raises(PeerError, match="no versions_url is configured"):
        await client.discover()


@pytest.mark.parametrize(
    "url", ["http://[/", "http://127.0.0.1:99999/", f"http://{'a' * 70}.invalid/", "http://a..b/x y", "http://a\nb/"]
)
async def test_a_tap_survives_an_address_that_is_none(
    scripted: ScriptedPeer, make_client: ClientMaker, url: str
) -> None:
    scripted.says("/versions", {"status_code": 1000, "data": [{"version": "2.2.1", "url": "/details"}]})
    endpoints = [{"identifier": "tokens", "role": "SENDER", "url": url}]
    scripted.says("/details", {"status_code": 1000, "data": {"endpoints": endpoints}})
    client = make_client(versions_url=f"{scripted.url}/versions")
    failure = await client.authorize(UID, HERE, correlation_id="tap-1")
    assert isinstance(failure, Failure)
    assert failure.outcome is Outcome.MALFORMED
    assert failure.detail.startswith("the tokens endpoint: expected an http or https URL, not ")
    assert client.tokens_url is None


async def test_a_version_at_what_is_no_url_is_malformed(scripted: ScriptedPeer, make_client: ClientMaker) -> None:
    scripted.says("/versions", {"status_code": 1000, "data": [{"version": "2.2.1", "url": "http://[/"}]})
    failure = await make_client(versions_url=f"{scripted.url}/versions").probe()
    assert failure == Failure(Outcome.MALFORMED, "version details: expected an http or https URL, not what is no URL")


# ---- configuration


@pytest.mark.parametrize(
    "url",
    [
        "",
        "emsp.example/versions",
        "ftp://emsp.example",
        "https://",
        "https://e:port/",
        "https://e:99999",
        "https://[::1",
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match='peer "abc": versions_url or tokens_url: expected a URL'):
        OcpiClient("abc", token="t", us=US, them=THEM, tokens_url=url)


@pytest.mark.parametrize("token", ["", "with\nnewline", "schlüssel"])
def test_a_credentials_token_that_no_header_can_carry_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ConfigError, match=r'^peer "abc": expected a credentials token of printable ASCII$'):
        OcpiClient("abc", token=token, us=US, them=THEM, tokens_url="http://e/", encoding="plain")


def test_a_ca_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="expected certificates in PEM"):
        tls_context(tmp_path / "ca.pem")
    with pytest.raises(ConfigError, match="No such file"):
        tls_context(tmp_path / "none.pem")


# ---- probe


async def test_a_peer_in_good_health_passes_a_probe(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.populate(5)
    assert await client.probe() is None
    assert emsp.requests[0].query == {"limit": "1"}


async def test_a_probe_keeps_a_connection_for_the_next_tap(emsp: FakeEmsp, client: OcpiClient) -> None:
    await client.probe()
    await client.authorize(UID, HERE, correlation_id="tap-1")
    assert emsp.connections_accepted == 1


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (Kind.DOWN, Outcome.UNREACHABLE),
        (Kind.UNAUTHORIZED, Outcome.UNAUTHORIZED),
        (Kind.SERVER_ERROR, Outcome.SERVER_ERROR),
        (Kind.OCPI_ERROR, Outcome.OCPI_ERROR),
        (Kind.HTML_200, Outcome.MALFORMED),
    ],
)
async def test_a_peer_in_bad_weather_fails_a_probe(
    emsp: FakeEmsp, client: OcpiClient, kind: Kind, outcome: Outcome
) -> None:
    emsp.set_weather(kind)
    failure = await client.probe()
    assert failure is not None
    assert failure.outcome is outcome


@pytest.mark.parametrize("kind", [Kind.NOT_FOUND, Kind.ENDLESS_LENGTH])
async def test_a_peer_without_a_list_or_with_a_long_one_passes_a_probe(
    emsp: FakeEmsp, client: OcpiClient, kind: Kind
) -> None:
    emsp.set_weather(kind, on=Part.LIST)
    assert await client.probe() is None


@pytest.mark.parametrize("body", [None, {"status_code": 404, "message": "no route"}])
async def test_a_404_that_says_nothing_of_ocpi_fails_a_probe(
    scripted: ScriptedPeer, make_client: ClientMaker, body: object
) -> None:
    scripted.says("/tokens", body, status="404 Not Found")
    client = make_client(tokens_url=f"{scripted.url}/tokens")
    assert await client.probe() == Failure(Outcome.SERVER_ERROR, "HTTP 404 without an OCPI answer: is the URL right?")
    assert client.tokens_url == f"{scripted.url}/tokens"


async def test_a_peer_that_has_moved_is_discovered_again(emsp: FakeEmsp, finder: OcpiClient) -> None:
    assert await finder.probe() is None
    emsp.set_weather(Kind.NOT_FOUND_BARE, on=Part.LIST)
    assert await finder.probe() is not None
    emsp.set_weather(Kind.FINE, on=Part.LIST)
    assert await finder.probe() is None
    assert [request.part for request in emsp.requests].count(Part.VERSIONS) == 4
