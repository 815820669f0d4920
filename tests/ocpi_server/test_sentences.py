"""What an operator reads of an exchange that came to nothing: what is so now, and what to do next."""

import ssl
from datetime import timedelta

import pytest
import trustme

from agent.errors import ConfigError, PeerError
from agent.store.peers import PeerRelation, PeerStatus
from fakes.emsp import FakeEmsp
from tests.ocpi.scripted import ScriptedPeer
from tests.ocpi_server.hostile import TOKEN_A, credentials, enveloped
from tests.ocpi_server.site import NAME, Site

ENDED = "the peer has ended the relation"
CUT_OFF = "register again with the same token"


async def relation_of(site: Site) -> PeerRelation:
    found = await site.store.relation(NAME)
    assert found is not None
    return found


async def register(site: Site, peer: ScriptedPeer) -> PeerRelation:
    return await site.registrar.register(NAME, f"{peer.url}/versions", TOKEN_A)


async def refusal_to_register(site: Site, peer: ScriptedPeer) -> str:
    with pytest.raises(PeerError) as raised:
        await register(site, peer)
    return str(raised.value)


async def test_refused_registration_with_a_peer_that_has_left_changes_nothing_and_says_so(
    site: Site, scripted: ScriptedPeer
) -> None:
    await register(site, scripted)
    await site.store.end(NAME, site.clock.now(), ENDED)
    before = await relation_of(site)
    site.clock.passed += timedelta(days=3)
    scripted.says("POST /credentials", {"status_code": 2001, "status_message": "no"})
    sentence = await refusal_to_register(site, scripted)
    assert sentence.endswith("; nothing was changed")
    after = await relation_of(site)
    assert (after.status, after.note, after.changed_at) == (before.status, before.note, before.changed_at)


async def test_refused_rotation_says_that_nothing_was_changed_and_the_note_stays(
    site: Site, scripted: ScriptedPeer
) -> None:
    await register(site, scripted)
    await site.store.remark(NAME, "a note of before")
    scripted.says("PUT /credentials", {"status_code": 2001, "status_message": "no"})
    with pytest.raises(PeerError, match=r"; nothing was changed$"):
        await site.registrar.rotate(NAME)
    assert (await relation_of(site)).note == "a note of before"


@pytest.mark.parametrize("path", ["/versions", "POST /credentials"])
async def test_registration_again_that_is_rejected_repeats_the_way_out_of_the_one_that_was_cut_off(
    site: Site, scripted: ScriptedPeer, path: str
) -> None:
    scripted.says("/credentials", {}, status="502 Bad Gateway")
    assert CUT_OFF in await refusal_to_register(site, scripted)
    scripted.says(path, {"status_code": 2002, "status_message": "unknown token"}, status="401 Unauthorized")
    sentence = await refusal_to_register(site, scripted)
    assert "HTTP 401" in sentence
    assert "let its operator end it there and give you a new token" in sentence
    assert (await relation_of(site)).status is PeerStatus.REGISTERING


async def test_rotation_that_is_rejected_after_one_that_was_cut_off_names_both_ways_out(
    site: Site, scripted: ScriptedPeer
) -> None:
    await register(site, scripted)
    scripted.says("PUT /credentials", {}, status="502 Bad Gateway")
    with pytest.raises(PeerError, match="rotate again"):
        await site.registrar.rotate(NAME)
    scripted.says("/versions", {"status_code": 2000}, status="401 Unauthorized")
    with pytest.raises(PeerError, match=r"register anew; or .*\(PUT\), which heals it"):
        await site.registrar.rotate(NAME)
    assert (await relation_of(site)).status is PeerStatus.ROTATING


async def test_exchange_that_no_connection_came_about_for_is_given_up(site: Site, scripted: ScriptedPeer) -> None:
    gone = [
        {"identifier": "credentials", "role": "SENDER", "url": "http://127.0.0.1:1/credentials"},
        {"identifier": "tokens", "role": "SENDER", "url": f"{scripted.url}/tokens"},
    ]
    scripted.says("/2.2.1", enveloped({"version": "2.2.1", "endpoints": gone}))
    sentence = await refusal_to_register(site, scripted)
    assert "Connection refused" in sentence
    assert sentence.endswith("; nothing was changed")
    assert await site.store.relations() == []


async def test_peer_that_could_not_call_us_is_said_where_it_tried(site: Site, scripted: ScriptedPeer) -> None:
    scripted.says("POST /credentials", {"status_code": 3001, "status_message": "no"})
    sentence = await refusal_to_register(site, scripted)
    assert f"the peer could not call us at {site.versions_url}: is it reachable from there" in sentence


async def test_certificate_that_is_not_trusted_brings_up_a_private_authority(site: Site) -> None:
    show = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(show)
    async with FakeEmsp(tls=show) as emsp:
        with pytest.raises(
            PeerError, match=r"certificate verify failed.* \(a private authority\? --ca-file\); nothing"
        ):
            await site.registrar.register(NAME, emsp.versions_url, TOKEN_A)
        assert emsp.requests == []


async def test_versions_url_that_is_not_encrypted_is_named_with_the_setting_that_allows_it(site: Site) -> None:
    url = "http://user:password@emsp.example.com/versions"
    with pytest.raises(ConfigError, match=r"http://emsp\.example\.com/versions: .*https://.*allow_http") as raised:
        await site.registrar.register(NAME, url, TOKEN_A)
    assert "password" not in str(raised.value)


@pytest.mark.parametrize("token", ["", "  \n"])
async def test_empty_token_a_is_named(site: Site, scripted: ScriptedPeer, token: str) -> None:
    with pytest.raises(ConfigError, match="token A is empty"):
        await site.registrar.register(NAME, f"{scripted.url}/versions", token)
    assert scripted.requests == []


@pytest.mark.parametrize("verb", ["rotate", "settle", "unregister"])
async def test_peer_of_the_configuration_is_said_to_be_one(site: Site, verb: str) -> None:
    site.registrar._taken_names = frozenset({NAME})
    with pytest.raises(ConfigError, match=r"is configured, not registered: its token is changed in its \[\[peer\]\]"):
        await getattr(site.registrar, verb)(NAME)


# ---- the end of a relation


async def test_end_that_no_connection_came_about_for_leaves_the_note(site: Site, scripted: ScriptedPeer) -> None:
    await site.agreed()  # at an address where nobody listens
    await site.store.remark(NAME, "a note of before")
    before = await relation_of(site)
    with pytest.raises(PeerError, match=r"could not be told: Connection refused; .* with --force"):
        await site.registrar.unregister(NAME)
    assert await relation_of(site) == before


async def test_end_whose_answer_never_came_is_noted(site: Site, scripted: ScriptedPeer) -> None:
    await register(site, scripted)
    scripted.says("DELETE /credentials", {}, status="502 Bad Gateway")
    with pytest.raises(PeerError, match="--force"):
        await site.registrar.unregister(NAME)
    assert "never came" in (await relation_of(site)).note


async def test_end_of_a_registration_that_was_cut_off_says_that_the_peer_may_have_taken_it(
    site: Site, scripted: ScriptedPeer
) -> None:
    scripted.says("/credentials", {}, status="502 Bad Gateway")
    await refusal_to_register(site, scripted)
    ended = await site.registrar.unregister(NAME)
    assert not ended.told_peer
    assert "may have taken our registration: let its operator end it there" in ended.detail
    assert (await relation_of(site)).status is PeerStatus.UNREGISTERED


async def test_end_of_an_invitation_has_nothing_to_end_at_the_peer(site: Site) -> None:
    await site.registrar.invite(NAME)
    assert (await site.registrar.unregister(NAME)).detail == "there was nothing to end at the peer"


async def test_relation_goes_on_after_a_registration_that_was_cut_off(site: Site, scripted: ScriptedPeer) -> None:
    scripted.says("/credentials", {}, status="502 Bad Gateway")
    await refusal_to_register(site, scripted)
    scripted.says("/credentials", enveloped(credentials(scripted)))
    assert (await register(site, scripted)).status is PeerStatus.REGISTERED
