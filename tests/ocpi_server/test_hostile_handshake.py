"""A peer that answers nonsense at any step of a handshake: a sentence that names the step, and nothing stored half."""

from typing import Any

import pytest

from agent.errors import PeerError
from agent.ocpi.client import tls_context
from agent.ocpi.credentials import Credentials
from agent.ocpi.failures import Failure
from agent.ocpi.handshake import Handshake
from agent.runtime.peer_check import CheckedPeer, Finding, Level, check_peer
from agent.runtime.registration import Registrar
from agent.store.peers import PeerStatus
from fakes.emsp import FakeEmsp
from tests.ocpi.scripted import ScriptedPeer
from tests.ocpi_server.hostile import NONSENSE, STEPS, TOKEN_A, TOKEN_C, credentials, enveloped, role
from tests.ocpi_server.site import NAME, Site, client_of, header

MAY_HAVE_TAKEN_IT = {"a fault", "a page of a proxy"}
"""What a POST may come to whether the peer had done it by then or not."""


class Hurried(Handshake):
    """Waits for no answer to a POST or PUT, and as long as ever for everything before."""

    async def exchange(self, method: str, url: str, ours: Credentials) -> Credentials | Failure:
        self._limit_s = 0.05
        return await super().exchange(method, url, ours)


def hurried(site: Site) -> Registrar:
    tls = tls_context()

    def connect(peer: str, token: str, encoding: Any, ca_file: str | None) -> Handshake:
        return Hurried(peer, token, us=("NL", "CPO"), encoding=encoding, tls=tls)

    return Registrar(site.store, site.us, connect, now=site.clock.now)


async def refusal(site: Site, peer: ScriptedPeer) -> str:
    """What an operator reads of a registration that fails."""
    with pytest.raises(PeerError) as raised:
        await site.registrar.register(NAME, f"{peer.url}/versions", TOKEN_A)
    return str(raised.value)


def assert_fit_to_show(sentence: str, *secrets: str) -> None:
    assert sentence.isprintable()
    assert len(sentence) < 600
    for secret in (TOKEN_A, TOKEN_C, *secrets):
        assert secret not in sentence
        assert header(secret)["Authorization"].removeprefix("Token ") not in sentence


# ---- we register: OCPI 2.2.1 credentials, as Sender


async def test_peer_in_order_is_registered_with(site: Site, scripted: ScriptedPeer) -> None:
    relation = await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    assert (relation.status, relation.their_token) == (PeerStatus.REGISTERED, TOKEN_C)


@pytest.mark.parametrize("step", ["versions", "version details"])
@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_nonsense_before_the_post_is_named_and_nothing_is_stored(
    site: Site, scripted: ScriptedPeer, step: str, nonsense: str
) -> None:
    NONSENSE[nonsense](scripted, STEPS[step])
    sentence = await refusal(site, scripted)
    assert sentence.startswith(f"peer {NAME}: {step}: ")
    assert sentence.endswith("; nothing was changed")
    assert_fit_to_show(sentence)
    assert await site.store.relations() == []
    assert "POST /credentials" not in scripted.requests


@pytest.mark.parametrize("nonsense", sorted(NONSENSE.keys() - MAY_HAVE_TAKEN_IT))
async def test_nonsense_to_the_post_is_named_and_nothing_is_stored(
    site: Site, scripted: ScriptedPeer, nonsense: str
) -> None:
    NONSENSE[nonsense](scripted, "/credentials")
    sentence = await refusal(site, scripted)
    assert sentence.startswith(f"peer {NAME}: credentials: ")
    assert_fit_to_show(sentence, *site.issued)
    assert await site.store.relations() == []
    assert await site.desk.caller(site.issued) is None


@pytest.mark.parametrize("nonsense", sorted(MAY_HAVE_TAKEN_IT))
async def test_post_that_may_have_been_taken_stays_pending_and_says_how_to_go_on(
    site: Site, scripted: ScriptedPeer, nonsense: str
) -> None:
    NONSENSE[nonsense](scripted, "/credentials")
    sentence = await refusal(site, scripted)
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert (relation.status, relation.their_token) == (PeerStatus.REGISTERING, None)
    assert sentence.startswith(f"peer {NAME}: credentials: HTTP 50")
    assert sentence.endswith(relation.note)
    assert "register again" in relation.note


async def test_answer_to_the_post_that_never_comes_stays_pending_and_says_how_to_go_on(
    site: Site, scripted: ScriptedPeer
) -> None:
    scripted.hangs("/credentials")
    with pytest.raises(PeerError, match=r"credentials: no answer within .* register again"):
        await hurried(site).register(NAME, f"{scripted.url}/versions", TOKEN_A)
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.status is PeerStatus.REGISTERING


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "t" * 65},
        {"token": ""},
        {"token": "two words"},
        {"token": "Gr\u00fc\u00dfe"},
        {"token": "line\nfeed"},
        {"token": 7},
        {"url": None},
        {"url": ""},
        {"url": "versions"},
        {"url": "http://["},
        {"url": "ftp://peer.example/versions"},
        {"url": f"https://peer.example/{'v' * 255}"},
        {"roles": []},
        {"roles": None},
        {"roles": {}},
        {"roles": [{}]},
        {"roles": [role(party_id="ABCD")]},
        {"roles": [role(country_code="DEU")]},
        {"roles": [role(party_id="")]},
    ],
    ids=repr,
)
async def test_credentials_that_can_not_be_used_are_named_and_nothing_is_stored(
    site: Site, scripted: ScriptedPeer, changes: dict[str, Any]
) -> None:
    scripted.says("/credentials", enveloped(credentials(scripted, **changes)))
    sentence = await refusal(site, scripted)
    assert sentence.startswith(f"peer {NAME}: credentials: the answer's data can't be used: ")
    assert "let its operator end it there" in sentence
    assert next(iter(changes)) in sentence
    assert_fit_to_show(sentence, *site.issued)
    assert await site.store.relations() == []


@pytest.mark.parametrize("missing", ["token", "url", "roles"])
async def test_credentials_without_a_property_are_named(site: Site, scripted: ScriptedPeer, missing: str) -> None:
    answer = credentials(scripted)
    del answer[missing]
    scripted.says("/credentials", enveloped(answer))
    assert f"missing required field `{missing}`" in await refusal(site, scripted)
    assert await site.store.relations() == []


async def test_credentials_that_lead_to_plain_http_are_taken_back_at_the_peer(
    site: Site, scripted: ScriptedPeer
) -> None:
    scripted.says("/credentials", enveloped(credentials(scripted, url="http://peer.example/versions")))
    sentence = await refusal(site, scripted)
    assert "a versions URL that is not https; the peer was told to end it" in sentence
    assert scripted.requests[-1] == "DELETE /credentials"
    assert header(TOKEN_C)["Authorization"] in scripted.heads[-1]
    assert await site.store.relations() == []


URLS = ["http://[", "", "ftp://127.0.0.1/", "http://a..b/", "http://127.0.0.1:99999/", "http://peer.example/x", "a\nb"]


@pytest.mark.parametrize("url", URLS)
async def test_details_at_what_is_no_good_url_are_named(site: Site, scripted: ScriptedPeer, url: str) -> None:
    scripted.says("/versions", enveloped([{"version": "2.2.1", "url": url}]))
    sentence = await refusal(site, scripted)
    assert sentence.startswith(f"peer {NAME}: version details: ")
    assert_fit_to_show(sentence)
    assert await site.store.relations() == []


@pytest.mark.parametrize("module", ["credentials", "tokens"])
@pytest.mark.parametrize("url", [url for url in URLS if url])
async def test_endpoint_at_what_is_no_good_url_is_named(
    site: Site, scripted: ScriptedPeer, url: str, module: str
) -> None:
    good = {"credentials": f"{scripted.url}/credentials", "tokens": f"{scripted.url}/tokens"}
    endpoints = [{"identifier": name, "role": "SENDER", "url": at} for name, at in (good | {module: url}).items()]
    scripted.says("/2.2.1", enveloped({"version": "2.2.1", "endpoints": endpoints}))
    sentence = await refusal(site, scripted)
    assert sentence.startswith(f"peer {NAME}: version details: ")
    assert_fit_to_show(sentence)
    assert await site.store.relations() == []


async def test_peer_that_repeats_our_tokens_in_its_words_has_them_shown_nowhere(
    site: Site, scripted: ScriptedPeer
) -> None:
    encoded = header(TOKEN_A)["Authorization"]
    versions = [{"version": f"for {encoded} or {TOKEN_A}", "url": "x"}, {"version": "\x1b[2J" + "9" * 5000, "url": "x"}]
    scripted.says("/versions", enveloped(versions))
    assert_fit_to_show(await refusal(site, scripted))


# ---- a peer registers with us: OCPI 2.2.1 credentials, as Receiver


@pytest.mark.parametrize("step", ["versions", "version details"])
@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_nonsense_in_our_call_back_is_3001_and_the_invitation_stays_good(
    site: Site, scripted: ScriptedPeer, step: str, nonsense: str
) -> None:
    NONSENSE[nonsense](scripted, STEPS[step])
    invitation = await site.registrar.invite(NAME)
    before = await site.store.relation(NAME)
    async with client_of(site, invitation.token) as client:
        answer = await client.post("/2.2.1/credentials", json=credentials(scripted))
        again = await client.get("/2.2.1/credentials")
    assert (answer.status_code, answer.json()["status_code"]) == (200, 3001)
    assert answer.json()["status_message"].startswith(f"calling you back failed: {step}: ")
    assert_fit_to_show(answer.json()["status_message"], invitation.token)
    assert again.status_code == 200
    assert await site.store.relation(NAME) == before


async def test_call_back_without_an_end_is_3001_and_the_invitation_stays_good(
    site: Site, scripted: ScriptedPeer
) -> None:
    scripted.hangs("/2.2.1")
    site.reception._call_back_s = 0.2
    invitation = await site.registrar.invite(NAME)
    async with client_of(site, invitation.token) as client:
        answer = await client.post("/2.2.1/credentials", json=credentials(scripted))
    assert (answer.status_code, answer.json()["status_code"]) == (200, 3001)
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.status is PeerStatus.INVITED


@pytest.mark.parametrize("words", ["of a hub\x1b[2J", "x" * 20_000])
async def test_what_a_peer_calls_itself_is_stored_as_one_short_line(
    site: Site, scripted: ScriptedPeer, words: str
) -> None:
    named = role() | {"role": words, "business_details": {"name": words}}
    scripted.says("/credentials", enveloped(credentials(scripted, roles=[named])))
    relation = await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    [stored] = relation.roles
    assert stored.name.isprintable()
    assert len(stored.name) <= 120
    assert len(stored.role) <= 120


# ---- we look at a peer

STEPS_OF_A_CHECK = STEPS | {"list of tokens": "/tokens"}
del STEPS_OF_A_CHECK["credentials"]


async def findings(peer: ScriptedPeer, limit_s: float = 30.0) -> list[Finding]:
    checked = CheckedPeer(NAME, TOKEN_A, us=("NL", "CPO"), them=("DE", "ABC"), versions_url=f"{peer.url}/versions")
    return await check_peer(checked, tls=tls_context(), limit_s=limit_s)


OVERSIZED = "more than anybody reads"
"""Of a list that is a deviation: a smaller page_size helps."""


@pytest.mark.parametrize(
    ("nonsense", "step"),
    [
        (nonsense, step)
        for nonsense in sorted(NONSENSE.keys() - {"data of another shape"})
        for step in STEPS_OF_A_CHECK
        if (nonsense, step) != (OVERSIZED, "list of tokens")
    ],
)
async def test_check_finds_nonsense_broken_and_survives_it(scripted: ScriptedPeer, step: str, nonsense: str) -> None:
    NONSENSE[nonsense](scripted, STEPS_OF_A_CHECK[step])
    broken = next(finding for finding in await findings(scripted) if finding.level is Level.BROKEN)
    assert broken.what == step
    assert broken.remedy
    assert_fit_to_show(broken.deviation)


async def test_check_names_the_setting_for_a_list_that_is_larger_than_anybody_reads(scripted: ScriptedPeer) -> None:
    NONSENSE[OVERSIZED](scripted, "/tokens")
    assert any("page_size" in finding.remedy for finding in await findings(scripted))


async def test_check_names_a_list_of_what_are_no_tokens(scripted: ScriptedPeer) -> None:
    NONSENSE["data of another shape"](scripted, "/tokens")
    of_the_list = [finding for finding in await findings(scripted) if finding.what == "list of tokens"]
    assert any("an object is no Token" in finding.deviation for finding in of_the_list)


@pytest.mark.parametrize("url", URLS)
async def test_check_survives_addresses_that_are_none(scripted: ScriptedPeer, url: str) -> None:
    scripted.says("/versions", enveloped([{"version": "2.2.1", "url": url}]))
    assert (await findings(scripted))[-1].level is Level.BROKEN


@pytest.mark.parametrize("url", [url for url in URLS if url])
async def test_check_survives_a_tokens_endpoint_that_is_none(scripted: ScriptedPeer, url: str) -> None:
    endpoints = [{"identifier": "tokens", "role": "SENDER", "url": url}]
    scripted.says("/2.2.1", enveloped({"version": "2.2.1", "endpoints": endpoints}))
    assert Level.BROKEN in {finding.level for finding in await findings(scripted)}


@pytest.mark.parametrize("path", STEPS_OF_A_CHECK.values())
async def test_check_waits_for_no_answer_without_an_end(scripted: ScriptedPeer, path: str) -> None:
    scripted.hangs(path)
    last = (await findings(scripted, limit_s=0.2))[-1]
    assert (last.level, last.deviation) == (Level.BROKEN, "no answer within 0.2 s")


async def test_check_shows_no_token_that_the_peer_repeats(scripted: ScriptedPeer) -> None:
    words = f"{'x' * 100} {TOKEN_A} {header(TOKEN_A)['Authorization']}"
    scripted.says("/tokens", {"status_code": 2000, "status_message": words})
    for finding in await findings(scripted):
        assert_fit_to_show(finding.deviation)


async def test_check_sends_no_token_in_clear_where_versions_are_encrypted(emsp: FakeEmsp) -> None:
    checked = CheckedPeer(
        NAME, TOKEN_A, us=("NL", "CPO"), them=("DE", "ABC"), versions_url="https://127.0.0.1:9/", tokens_url=None
    )
    assert [finding.level for finding in await check_peer(checked, tls=tls_context())] == [Level.BROKEN]
    assert emsp.requests == []
