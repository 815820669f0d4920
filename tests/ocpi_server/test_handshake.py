"""We and an eMSP register, rotate, push and unregister over real HTTP, each beginning it."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from agent.errors import ConfigError, PeerError
from agent.model import LocationReferences, Outcome
from agent.ocpi.addressing import Encoding
from agent.ocpi.client import OcpiClient, Page, tls_context
from agent.ocpi.failures import Failure
from agent.ocpi.handshake import Handshake
from agent.ocpi.tokens import AuthorizationInfo
from agent.ocpi.versions import Version
from agent.runtime.exchange import Offer, Problem, explore
from agent.store.peers import PeerRole, PeerStatus
from fakes.emsp import FakeEmsp
from fakes.emsp.device import Slash
from tests.ocpi.scripted import ScriptedPeer
from tests.ocpi_server.hostile import TOKEN_A
from tests.ocpi_server.site import NAME, Site, card, client_of, site_in


@pytest.fixture
def site(served_site: Site) -> Site:
    return served_site


async def status_with(site: Site, token: str) -> int:
    async with client_of(site, token) as client:
        return (await client.get("/versions")).status_code


async def whole_life(site: Site, emsp: FakeEmsp) -> None:
    """Register, push, rotate from either side, unregister; then the same, begun by the eMSP."""
    assert site.registrar is not None
    registered = await site.registrar.register(NAME, emsp.versions_url, emsp.invite(), ca_file=site.ca_file)
    assert registered.roles == (PeerRole("EMSP", "DE", "ABC", "Fake eMSP"),)
    assert (await emsp.put_token(card())).status == 201
    first = emsp.relation.their_token
    await site.registrar.rotate(NAME)
    assert (await emsp.put_token(card())).status == 200
    second = emsp.relation.their_token
    assert (await emsp.rotate()).status == 200
    assert (await emsp.put_token(card())).status == 200
    third = emsp.relation.their_token
    assert [await status_with(site, token) for token in (first, second, third)] == [401, 401, 200]
    ended = await site.registrar.unregister(NAME)
    assert ended.told_peer
    assert await status_with(site, third) == 401
    invitation = await site.registrar.invite(NAME, ca_file=site.ca_file)
    assert (await emsp.register_with(invitation.versions_url, invitation.token)).status == 201
    assert await status_with(site, invitation.token) == 401
    last = emsp.relation.their_token
    assert (await emsp.put_token(card())).status == 200
    assert (await emsp.unregister()).status == 200
    assert await status_with(site, last) == 401
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.status is PeerStatus.UNREGISTERED


async def test_whole_life_of_a_relation(site: Site, emsp: FakeEmsp) -> None:
    await whole_life(site, emsp)
    assert emsp.complaints == []


async def test_whole_life_with_a_peer_that_sends_and_takes_plain_tokens_only(site: Site, emsp: FakeEmsp) -> None:
    emsp.device.plain_credentials = True
    await whole_life(site, emsp)
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.encoding == "plain"


@pytest.mark.parametrize("slash", [Slash.LISTED, Slash.DEMANDED])
async def test_whole_life_with_a_peer_on_trailing_slashes(site: Site, emsp: FakeEmsp, slash: Slash) -> None:
    emsp.device.slash = slash
    await whole_life(site, emsp)


@asynccontextmanager
async def closed_at_end(client: OcpiClient) -> AsyncIterator[OcpiClient]:
    try:
        yield client
    finally:
        await client.aclose()


async def registered_client(site: Site, emsp: FakeEmsp) -> OcpiClient:
    """A client that knows of the peer what the registration has left in the store."""
    relation = await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    assert relation.their_token is not None
    return OcpiClient(
        NAME,
        token=relation.their_token,
        us=("NL", "CPO"),
        them=("DE", "ABC"),
        tokens_url=relation.endpoint("tokens", "SENDER"),
        encoding=relation.encoding,
        trailing_slash=relation.trailing_slash,
    )


@pytest.mark.parametrize("slash", Slash)
@pytest.mark.parametrize("plain", [False, True])
async def test_peer_is_pulled_and_asked_as_the_registration_found_it_out(
    site: Site, emsp: FakeEmsp, slash: Slash, *, plain: bool
) -> None:
    emsp.device.slash, emsp.device.plain_credentials = slash, plain
    emsp.card("04A1B2C3")
    async with closed_at_end(await registered_client(site, emsp)) as client:
        emsp.complaints.clear()
        url = await client.list_url(limit=10)
        assert isinstance(url, str)
        page = await client.page(url)
        assert isinstance(page, Page)
        assert page.objects == 1
        reply = await client.authorize("04A1B2C3", LocationReferences("LOC", ("EVSE",)), correlation_id="tap")
        assert isinstance(reply, AuthorizationInfo)
    assert emsp.complaints == []


async def test_whole_life_with_a_peer_behind_a_path_prefix(site: Site) -> None:
    async with FakeEmsp(prefix="/roaming/de", lenient_rotation=True) as emsp:
        await whole_life(site, emsp)
        assert emsp.complaints == []


async def test_whole_life_with_a_peer_that_refuses_the_old_token_at_once(site: Site) -> None:
    async with FakeEmsp(lenient_rotation=False) as emsp:
        await whole_life(site, emsp)
        assert emsp.complaints == []


async def test_whole_life_of_a_site_without_a_base_path(tmp_path: Path, emsp: FakeEmsp) -> None:
    async with site_in(tmp_path, path="") as site:
        await whole_life(site, emsp)
    assert emsp.complaints == []


async def test_whole_life_over_tls_with_a_private_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    show = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(show)
    trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    async with (
        site_in(tmp_path, tls=show) as site,
        FakeEmsp(tls=show, trust=trust, lenient_rotation=True) as emsp,
    ):
        site.ca_file = str(tmp_path / "ca.pem")
        await whole_life(site, emsp)
        assert site.versions_url.startswith("https://")
        assert emsp.complaints == []


def no_versions(emsp: FakeEmsp) -> None:
    emsp.device.versions = ("2.1.1", "2.2")


def no_tokens(emsp: FakeEmsp) -> None:
    emsp.device.withheld_endpoints = {"tokens"}


def no_credentials(emsp: FakeEmsp) -> None:
    emsp.device.withheld_endpoints = {"credentials"}


def nonsense(emsp: FakeEmsp) -> None:
    emsp.device.credentials_answer = b'{"token":"","url":7}'


def no_call_back(emsp: FakeEmsp) -> None:
    emsp.device.call_back_fails = True


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (no_versions, "offers OCPI 2.1.1, 2.2, and not 2.2.1"),
        (no_tokens, "does not offer tokens SENDER"),
        (no_credentials, "does not offer credentials"),
        (nonsense, "credentials: the answer's data can't be used"),
        (no_call_back, "credentials: OCPI 3001"),
    ],
)
async def test_registration_that_fails_says_where_and_stores_nothing(
    site: Site, emsp: FakeEmsp, spoil: Callable[[FakeEmsp], None], sentence: str
) -> None:
    spoil(emsp)
    token_a = emsp.invite()
    with pytest.raises(PeerError, match=sentence) as raised:
        await site.registrar.register(NAME, emsp.versions_url, token_a)
    assert await site.store.relations() == []
    assert token_a not in str(raised.value)


async def test_missing_endpoint_is_found_before_anything_is_posted(site: Site, emsp: FakeEmsp) -> None:
    no_tokens(emsp)
    with pytest.raises(PeerError):
        await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    assert emsp.credentials_received == []


async def test_token_a_that_is_not_good_is_said_so(site: Site, emsp: FakeEmsp) -> None:
    with pytest.raises(PeerError, match="versions: HTTP 401") as raised:
        await site.registrar.register(NAME, emsp.versions_url, "not-a-good-token")
    assert "not-a-good-token" not in str(raised.value)


async def test_versions_url_without_encryption_is_refused_before_the_token_leaves(site: Site) -> None:
    with pytest.raises(ConfigError, match="https://"):
        await site.registrar.register(NAME, "http://emsp.example.com/versions", "token")


async def test_second_registration_is_refused_and_changes_nothing(site: Site, emsp: FakeEmsp) -> None:
    await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    before = await site.store.relation(NAME)
    with pytest.raises(ConfigError, match="registered already"):
        await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    assert await site.store.relation(NAME) == before


async def test_rotation_that_the_peer_refuses_leaves_the_old_tokens(site: Site, emsp: FakeEmsp) -> None:
    await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    no_call_back(emsp)
    with pytest.raises(PeerError, match="3001"):
        await site.registrar.rotate(NAME)
    assert (await emsp.put_token(card())).status == 201
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert (relation.status, relation.note) == (PeerStatus.REGISTERED, "")


async def test_silent_peer_is_unregistered_only_by_force(site: Site, emsp: FakeEmsp) -> None:
    await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    await emsp.stop()
    with pytest.raises(PeerError, match="force"):
        await site.registrar.unregister(NAME)
    before = await site.store.relation(NAME)
    assert before is not None
    assert before.status is PeerStatus.REGISTERED
    ended = await site.registrar.unregister(NAME, force=True)
    assert not ended.told_peer
    after = await site.store.relation(NAME)
    assert after is not None
    assert (after.status, after.their_token) == (PeerStatus.UNREGISTERED, None)


async def test_peer_that_has_forgotten_us_can_be_unregistered(site: Site, emsp: FakeEmsp) -> None:
    await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    emsp.relation.end()
    ended = await site.registrar.unregister(NAME)
    assert "knew of no relation" in ended.detail


@pytest.mark.parametrize("status", ["401 Unauthorized", "404 Not Found", "405 Method Not Allowed"])
async def test_peer_that_says_we_are_not_registered_can_be_unregistered(
    site: Site, scripted: ScriptedPeer, status: str
) -> None:
    await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    scripted.says("DELETE /credentials", {"status_code": 2000}, status=status)
    ended = await site.registrar.unregister(NAME)
    assert not ended.told_peer
    assert "knew of no relation" in ended.detail


@pytest.mark.parametrize(("status", "code"), [("400 Bad Request", 2000), ("200 OK", 2001), ("409 Conflict", 2000)])
async def test_peer_that_refuses_to_end_the_relation_is_unregistered_only_by_force(
    site: Site, scripted: ScriptedPeer, status: str, code: int
) -> None:
    await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    before = await site.store.relation(NAME)
    scripted.says("DELETE /credentials", {"status_code": code}, status=status)
    with pytest.raises(PeerError, match="force"):
        await site.registrar.unregister(NAME)
    assert await site.store.relation(NAME) == before


async def test_registration_says_anew_whom_to_trust(site: Site, scripted: ScriptedPeer, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca_file)
    await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A, ca_file=str(ca_file))
    await site.registrar.unregister(NAME)
    await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.ca_file is None


async def test_call_back_to_plain_http_beyond_this_machine_is_refused(site: Site) -> None:
    invitation = await site.registrar.invite(NAME)
    body = {
        "token": "b",
        "url": "http://emsp.example.com/versions",
        "roles": [{"role": "EMSP", "party_id": "ABC", "country_code": "DE", "business_details": {"name": "A"}}],
    }
    async with client_of(site, invitation.token) as client:
        answer = await client.post("/2.2.1/credentials", json=body)
    assert (answer.status_code, answer.json()["status_code"]) == (200, 2001)
    assert (await status_with(site, invitation.token)) == 200


async def test_invite_that_has_expired_opens_nothing(site: Site) -> None:
    invitation = await site.registrar.invite(NAME)
    site.clock.passed = invitation.expires_at - site.clock.now()
    assert await status_with(site, invitation.token) == 401


async def test_name_of_a_configured_peer_is_refused(site: Site) -> None:
    site.registrar._taken_names = frozenset({NAME})
    with pytest.raises(ConfigError, match="configuration has"):
        await site.registrar.invite(NAME)


class Choking(Handshake):
    """A peer's side that answers 400 where it can't make anything of a token."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__(NAME, "token", us=("NL", "CPO"), encoding=encoding, tls=tls_context())
        self._encoding = encoding

    async def versions(self, url: str) -> list[Version] | Failure:
        rejected = Failure(Outcome.REJECTED, "HTTP 400")
        return rejected if self._encoding == "base64" else await super().versions(url)


async def test_peer_that_chokes_on_base64_is_tried_in_plain(scripted: ScriptedPeer) -> None:
    offer = await explore(Choking, f"{scripted.url}/versions")
    assert isinstance(offer, Offer)
    assert offer.encoding == "plain"


async def test_peer_that_takes_the_token_in_no_encoding_is_told_by_the_first(scripted: ScriptedPeer) -> None:
    scripted.says("/versions", {"status_code": 2000, "status_message": "no"}, status="403 Forbidden")
    problem = await explore(Choking, f"{scripted.url}/versions")
    assert isinstance(problem, Problem)
    assert problem.sentence == "versions: HTTP 400"


@pytest.mark.parametrize("status", ["301 Moved Permanently", "308 Permanent Redirect", "404 Not Found"])
async def test_peer_that_sends_us_to_a_trailing_slash_is_followed_there(
    site: Site, scripted: ScriptedPeer, status: str
) -> None:
    for path in ("/versions", "/2.2.1", "/credentials"):
        scripted.answers[f"{path}/"] = scripted.answers[path]
        scripted.sends(path, b"", status=status, headers=f"Location: {path}/\r\n")
    relation = await site.registrar.register(NAME, f"{scripted.url}/versions", "token-a")
    assert relation.trailing_slash
    assert relation.endpoint("credentials", "SENDER") == f"{scripted.url}/credentials"
    assert scripted.requests[-1] == "POST /credentials/"
