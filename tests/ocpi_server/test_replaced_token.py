"""A token that we have replaced, maybe because others know it: how long it opens what, and what never."""

from datetime import timedelta

import pytest

from agent.store.peers import PeerRelation, PeerStatus
from tests.ocpi.scripted import ScriptedPeer
from tests.ocpi_server.hostile import TOKEN_A, credentials
from tests.ocpi_server.site import NAME, Site, card, client_of

CREDENTIALS = "/2.2.1/credentials"


async def status_of(site: Site, token: str, method: str, path: str, body: object = None) -> int:
    async with client_of(site, token) as client:
        return (await client.request(method, path, json=body)).status_code


async def replaced(site: Site, peer: ScriptedPeer) -> str:
    """Register, have the token used, and rotate; returns the old token. The peer does not use the new one."""
    await site.registrar.register(NAME, f"{peer.url}/versions", TOKEN_A)
    leaked = site.issued[-1]
    assert await status_of(site, leaked, "GET", "/versions") == 200
    await site.registrar.rotate(NAME)
    return leaked


async def relation_of(site: Site) -> PeerRelation:
    found = await site.store.relation(NAME)
    assert found is not None
    return found


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_token_that_we_have_replaced_changes_nothing_of_the_relation(
    site: Site, scripted: ScriptedPeer, method: str
) -> None:
    leaked = await replaced(site, scripted)
    before, asked = await relation_of(site), list(scripted.requests)
    body = credentials(scripted, token="of-somebody-else")
    assert await status_of(site, leaked, method, CREDENTIALS, body) == (405 if method == "POST" else 401)
    assert await relation_of(site) == before
    assert scripted.requests == asked
    assert await status_of(site, site.issued[-1], "GET", "/versions") == 200


async def test_token_that_we_have_replaced_is_good_for_everything_else_until_the_new_one_is_used(
    site: Site, scripted: ScriptedPeer
) -> None:
    leaked = await replaced(site, scripted)
    assert await status_of(site, leaked, "PUT", "/2.2.1/tokens/DE/ABC/04A1B2C3", card()) == 201
    assert await status_of(site, site.issued[-1], "GET", "/versions") == 200
    assert await status_of(site, leaked, "GET", "/versions") == 401


async def test_token_that_we_have_replaced_opens_nothing_after_a_day(site: Site, scripted: ScriptedPeer) -> None:
    leaked = await replaced(site, scripted)
    site.clock.passed += timedelta(days=1) - timedelta(seconds=1)
    assert await status_of(site, leaked, "GET", "/versions") == 200
    site.clock.passed += timedelta(seconds=1)
    assert await status_of(site, leaked, "GET", "/versions") == 401
    assert await status_of(site, site.issued[-1], "GET", "/versions") == 200


async def test_token_that_the_peer_has_replaced_may_replace_it_again_where_the_answer_was_lost(
    site: Site, scripted: ScriptedPeer
) -> None:
    await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    token = site.issued[-1]
    for attempt in ("first", "second"):
        assert await status_of(site, token, "PUT", CREDENTIALS, credentials(scripted, token=attempt)) == 200
    assert ((await relation_of(site)).status, (await relation_of(site)).their_token) == (
        PeerStatus.REGISTERED,
        "second",
    )


async def test_log_says_of_an_old_token_only_where_there_was_one(
    site: Site, scripted: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    await status_of(site, site.issued[-1], "GET", "/versions")
    assert "uses its new credentials token" in caplog.text
    assert "the old one is refused" not in caplog.text
    await site.registrar.rotate(NAME)
    await status_of(site, site.issued[-1], "GET", "/versions")
    assert "the old one is refused" in caplog.text
