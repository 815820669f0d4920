"""A party is one peer's: whoever claims another's, a configured peer's or ours is refused, and nothing is half done."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from agent.errors import PeerError
from agent.store.peers import PeerRelation, PeerRole, PeerStatus
from tests.ocpi.scripted import ScriptedPeer
from tests.ocpi_server.hostile import TOKEN_A, TOKEN_C, credentials, enveloped, peer_in_order, role
from tests.ocpi_server.site import NAME, Site, client_of, header, site_in

CREDENTIALS = "/2.2.1/credentials"
OTHER = "another-peer"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """With a peer of the configuration, DE-CFG, and a registered one, DE-XYZ."""
    async with site_in(tmp_path, serve=False, taken_parties={("DE", "CFG"): "configured-peer"}) as site:
        invited = await site.registrar.invite(OTHER)
        async with peer_in_order() as peer:
            answer = await sent(site, invited.token, "POST", credentials(peer, roles=[role(party_id="XYZ")]))
            assert answer.status_code == 201
        yield site


async def sent(site: Site, token: str, method: str, body: object) -> httpx.Response:
    async with client_of(site, token) as client:
        return await client.request(method, CREDENTIALS, json=body)


async def relation(site: Site) -> PeerRelation | None:
    return await site.store.relation(NAME)


CLAIMS = pytest.mark.parametrize(
    ("claim", "holder"),
    [
        (role(party_id="XYZ"), f"peer {OTHER}"),
        (role(country_code="de", party_id="xYz"), f"peer {OTHER}"),
        (role(role="CPO", party_id="XYZ"), f"peer {OTHER}"),
        (role(party_id="CFG"), "peer configured-peer"),
        (role(country_code="de", party_id="cfg"), "peer configured-peer"),
        (role(country_code="NL", party_id="CPO"), "this charge point"),
        (role(role="HUB", country_code="nl", party_id="cpo"), "this charge point"),
        (role(role="CPO", country_code="NL", party_id="CPO"), "this charge point (is it your own backend?"),
    ],
    ids=lambda value: f"{value['role']} {value['country_code']}-{value['party_id']}" if isinstance(value, dict) else "",
)


@CLAIMS
async def test_post_that_claims_anothers_party_is_2001_and_names_no_peer(
    site: Site, scripted: ScriptedPeer, caplog: pytest.LogCaptureFixture, claim: dict[str, object], holder: str
) -> None:
    invitation = await site.registrar.invite(NAME)
    before = await relation(site)
    answer = await sent(site, invitation.token, "POST", credentials(scripted, roles=[role(), claim]))
    party = f"{claim['country_code']}-{claim['party_id']}".upper()
    assert (answer.status_code, answer.json()["status_code"]) == (200, 2001)
    assert party in answer.json()["status_message"]
    assert holder.removeprefix("peer ") not in answer.text
    assert f"party {party} is that of {holder}" in caplog.text
    assert await relation(site) == before
    assert (await site.desk.caller([invitation.token])) is not None


@CLAIMS
async def test_put_that_claims_anothers_party_is_2001_and_the_old_relation_goes_on(
    site: Site, scripted: ScriptedPeer, claim: dict[str, object], holder: str
) -> None:
    invitation = await site.registrar.invite(NAME)
    registered = await sent(site, invitation.token, "POST", credentials(scripted))
    token = registered.json()["data"]["token"]
    before = await relation(site)
    answer = await sent(site, token, "PUT", credentials(scripted, token="new", roles=[role(), claim]))
    assert (answer.status_code, answer.json()["status_code"]) == (200, 2001)
    after = await relation(site)
    assert before is not None
    assert after is not None
    assert (after.their_token, after.roles) == (before.their_token, before.roles)


async def test_put_with_the_peers_own_parties_is_no_claim(site: Site, scripted: ScriptedPeer) -> None:
    invitation = await site.registrar.invite(NAME)
    registered = await sent(site, invitation.token, "POST", credentials(scripted))
    answer = await sent(site, registered.json()["data"]["token"], "PUT", credentials(scripted, token="new"))
    assert (answer.status_code, answer.json()["status_code"]) == (200, 1000)


async def test_party_of_a_peer_that_has_left_is_free(site: Site, scripted: ScriptedPeer) -> None:
    await site.store.end(OTHER, site.clock.now())
    invitation = await site.registrar.invite(NAME)
    answer = await sent(site, invitation.token, "POST", credentials(scripted, roles=[role(party_id="XYZ")]))
    assert answer.status_code == 201


async def test_of_two_peers_that_claim_one_party_at_once_one_is_registered(site: Site, scripted: ScriptedPeer) -> None:
    invitations = [await site.registrar.invite(name) for name in ("one", "two")]
    answers = await asyncio.gather(
        *(sent(site, invitation.token, "POST", credentials(scripted)) for invitation in invitations)
    )
    assert sorted(answer.json()["status_code"] for answer in answers) == [1000, 2001]
    statuses = [relation.status for relation in await site.store.relations() if relation.name != OTHER]
    assert sorted(statuses) == [PeerStatus.INVITED, PeerStatus.REGISTERED]


@CLAIMS
async def test_registration_that_brings_anothers_party_is_taken_back_at_the_peer(
    site: Site, scripted: ScriptedPeer, claim: dict[str, object], holder: str
) -> None:
    scripted.says("/credentials", enveloped(credentials(scripted, roles=[role(), claim])))
    with pytest.raises(PeerError, match=rf"which is that of {re.escape(holder)}.*; the peer was told to end it"):
        await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    assert scripted.requests[-2:] == ["POST /credentials", "DELETE /credentials"]
    assert header(TOKEN_C)["Authorization"] in scripted.heads[-1]
    assert await relation(site) is None
    assert await site.desk.caller(site.issued[-1:]) is None


async def test_registration_that_can_not_be_taken_back_says_so_and_nothing_is_stored(
    site: Site, scripted: ScriptedPeer
) -> None:
    scripted.says("/credentials", enveloped(credentials(scripted, roles=[role(party_id="XYZ")])))
    scripted.says("DELETE /credentials", {"status_code": 3000})
    with pytest.raises(PeerError, match=r"could not be told \(OCPI 3000.*let its operator end it there"):
        await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    assert await relation(site) is None


async def test_rotation_that_brings_anothers_party_ends_the_relation_on_both_sides(
    site: Site, scripted: ScriptedPeer
) -> None:
    await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    both = [role(), role(party_id="XYZ")]
    scripted.says("PUT /credentials", enveloped(credentials(scripted, token="newer-token", roles=both)))
    with pytest.raises(PeerError, match="DE-XYZ, which is that of peer another-peer; the relation has ended"):
        await site.registrar.rotate(NAME)
    assert scripted.requests[-2:] == ["PUT /credentials", "DELETE /credentials"]
    after = await relation(site)
    assert after is not None
    assert (after.status, after.their_token) == (PeerStatus.UNREGISTERED, None)
    assert "DE-XYZ" in after.note
    assert [await site.desk.caller([token]) for token in site.issued[-2:]] == [None, None]


async def test_hub_that_names_the_parties_behind_it_claims_none_of_them(site: Site, scripted: ScriptedPeer) -> None:
    roles = [role("HUB", party_id="HUB"), role(party_id="XYZ"), role("CPO", "NL", "CPO")]
    scripted.says("/credentials", enveloped(credentials(scripted, roles=roles)))
    registered = await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    assert registered.roles == (PeerRole("HUB", "DE", "HUB", "A business"),)


OUR_CPO = role(role="CPO", country_code="NL", party_id="CPO")


@pytest.fixture
async def trusting_site(tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose operator has named the peer as one that brings the tokens of others."""
    folder = tmp_path / "trusting"
    folder.mkdir()
    async with site_in(folder, serve=False, for_others=frozenset({NAME})) as site:
        yield site


async def test_backend_of_our_own_operator_may_be_the_cpo_that_we_are(
    trusting_site: Site, scripted: ScriptedPeer
) -> None:
    invitation = await trusting_site.registrar.invite(NAME)
    answer = await sent(trusting_site, invitation.token, "POST", credentials(scripted, roles=[OUR_CPO]))
    assert answer.status_code == 201
    registered = await relation(trusting_site)
    assert registered is not None
    assert [r.party for r in registered.roles] == [("NL", "CPO")]


async def test_backend_that_we_register_with_may_be_the_cpo_that_we_are(
    trusting_site: Site, scripted: ScriptedPeer
) -> None:
    scripted.says("/credentials", enveloped(credentials(scripted, roles=[OUR_CPO])))
    registered = await trusting_site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    assert [r.party for r in registered.roles] == [("NL", "CPO")]


async def test_roles_that_a_put_adds_are_logged(
    site: Site, scripted: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    invitation = await site.registrar.invite(NAME)
    registered = await sent(site, invitation.token, "POST", credentials(scripted))
    assert "has added" not in caplog.text
    both = [role(), role("NSP", party_id="NEW")]
    answer = await sent(site, registered.json()["data"]["token"], "PUT", credentials(scripted, token="new", roles=both))
    assert answer.json()["status_code"] == 1000
    [warning] = [record for record in caplog.records if "has added" in record.message]
    assert (warning.levelname, warning.message) == ("WARNING", f"peer {NAME}: has added to its roles: NSP DE-NEW")
