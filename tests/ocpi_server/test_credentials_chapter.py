"""One test for each sentence with "must", "shall" or "required" in OCPI 2.2.1 credentials, in the chapter's order.

And for those that ask for something in other words. A docstring names the section and says the sentence in ours.
"""

import re

import httpx
import pytest

from agent.errors import PeerError
from agent.store.peers import PeerRole, PeerStatus
from fakes.emsp import FakeEmsp
from tests.ocpi_server.hostile import role as role_object
from tests.ocpi_server.site import NAME, Site, card, client_of, header

CREDENTIALS = "/2.2.1/credentials"


@pytest.fixture
def site(served_site: Site) -> Site:
    return served_site


def offered(emsp: FakeEmsp, token: str = "token-b") -> dict[str, object]:
    """The eMSP's credentials with a token that it accepts from us."""
    emsp.relation.pending_token, emsp.relation.pending_registration = token, True
    return emsp.device.credentials(token)


async def asked(site: Site, token: str, method: str, body: object = None) -> httpx.Response:
    async with client_of(site, token) as client:
        return (
            await client.request(method, CREDENTIALS, json=body) if body else await client.request(method, CREDENTIALS)
        )


async def registered(site: Site, emsp: FakeEmsp) -> str:
    """The token with which a peer that has just registered may call us."""
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "POST", offered(emsp))
    token: str = answer.json()["data"]["token"]
    return token


async def test_every_request_is_required_to_contain_a_token_in_the_authorization_header(
    site: Site, emsp: FakeEmsp
) -> None:
    """Introduction: every request has to carry a credentials token in its Authorization header."""
    await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    await site.registrar.rotate(NAME)
    await site.registrar.unregister(NAME)
    assert len(emsp.requests) == 7
    assert all(request.headers["authorization"].startswith("Token ") for request in emsp.requests)
    async with client_of(site) as client:
        for method in ("GET", "POST", "PUT", "DELETE"):
            assert (await client.request(method, CREDENTIALS)).status_code == 401


async def test_receiver_must_create_a_unique_token_a_that_authorizes_the_sender_until_the_exchange_is_finished(
    site: Site, emsp: FakeEmsp
) -> None:
    """Registration: the receiver has to make a unique token A, good for the sender until the exchange is finished."""
    first, second = await site.registrar.invite("one"), await site.registrar.invite("two")
    assert first.token != second.token
    assert (await asked(site, first.token, "GET")).status_code == 200
    assert (await asked(site, first.token, "POST", offered(emsp))).status_code == 201
    assert (await asked(site, first.token, "GET")).status_code == 401
    assert (await asked(site, second.token, "GET")).status_code == 200


async def test_sender_shall_use_token_c_in_future_requests(site: Site, emsp: FakeEmsp) -> None:
    """Registration: after the exchange the sender uses token C for whatever it asks of the receiver."""
    relation = await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    assert relation.their_token == emsp.credentials_token
    emsp.requests.clear()
    await site.registrar.rotate(NAME)
    first = emsp.requests[0]
    assert first.headers["authorization"] == header(str(relation.their_token))["Authorization"]
    assert emsp.complaints == []


async def test_platform_that_suspects_a_compromise_shall_initiate_an_update_and_the_old_tokens_are_refused(
    site: Site, emsp: FakeEmsp
) -> None:
    """Updating the credentials: who suspects that a token is compromised has to begin an update of it at once."""
    await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    compromised = emsp.relation.their_token
    await site.registrar.rotate(NAME)
    assert (await emsp.put_token(card())).status == 201
    assert (await asked(site, compromised, "GET")).status_code == 401


async def test_server_that_can_not_call_back_should_answer_3001(site: Site, emsp: FakeEmsp) -> None:
    """Errors during registration: a server that can not call the client back should answer 3001."""
    invitation = await site.registrar.invite(NAME)
    body = offered(emsp)
    await emsp.stop()
    answer = await asked(site, invitation.token, "POST", body)
    assert (answer.status_code, answer.json()["status_code"]) == (200, 3001)
    assert (await asked(site, invitation.token, "GET")).status_code == 200


async def test_receiver_that_finds_no_common_version_answers_3002(site: Site, emsp: FakeEmsp) -> None:
    """Status codes, 3002: unsupported version."""
    emsp.device.versions = ("2.1.1",)
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "POST", offered(emsp))
    assert (answer.status_code, answer.json()["status_code"]) == (200, 3002)


@pytest.mark.parametrize("role", ["CPO", "EMSP", "HUB", "NAP", "NSP", "OTHER", "SCSP", "OF_A_NEWER_VERSION"])
async def test_receiver_that_misses_an_endpoint_is_expected_to_answer_3003(
    site: Site, emsp: FakeEmsp, role: str
) -> None:
    """Required endpoints not available: a receiver that misses an endpoint is expected to answer 3003."""
    emsp.device.withheld_endpoints = {"tokens"}
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "POST", offered(emsp) | {"roles": [role_object(role)]})
    assert (answer.status_code, answer.json()["status_code"]) == (200, 3003)
    assert "tokens SENDER" in answer.json()["status_message"]


@pytest.mark.parametrize("role", ["CPO", "EMSP", "HUB", "NAP", "NSP", "OTHER", "SCSP", "OF_A_NEWER_VERSION"])
async def test_receiver_that_finds_its_endpoints_takes_a_peer_of_any_role(
    site: Site, emsp: FakeEmsp, role: str
) -> None:
    """Required endpoints not available: what is expected is ours to say, and it is tokens SENDER of everybody."""
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "POST", offered(emsp) | {"roles": [role_object(role)]})
    assert (answer.status_code, answer.json()["status_code"]) == (201, 1000)


@pytest.mark.parametrize("module", ["tokens", "credentials"])
async def test_sender_that_misses_an_endpoint_is_expected_not_to_post(site: Site, emsp: FakeEmsp, module: str) -> None:
    """Required endpoints not available: a sender that misses an endpoint does not POST, and tells its administrator."""
    emsp.device.withheld_endpoints = {module}
    with pytest.raises(PeerError, match=f"does not offer {module}"):
        await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    assert [request.method for request in emsp.requests] == ["GET", "GET"]
    assert emsp.credentials_received == []
    assert await site.store.relations() == []


async def test_module_has_to_be_implemented_by_all_as_the_one_that_calls_and_the_one_that_is_called(
    site: Site, emsp: FakeEmsp
) -> None:
    """Interfaces and endpoints: everybody has to be able to call this module, and to handle being called."""
    await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    await site.registrar.rotate(NAME)
    assert (await emsp.rotate()).status == 200
    await site.registrar.unregister(NAME)
    called = [request.method for request in emsp.requests if request.path.endswith("/credentials")]
    assert called == ["POST", "PUT", "DELETE"]
    invitation = await site.registrar.invite(NAME)
    assert (await emsp.register_with(invitation.versions_url, invitation.token)).status == 201
    assert (await emsp.unregister()).status == 200
    assert emsp.complaints == []


async def test_patch_is_not_offered(site: Site, emsp: FakeEmsp) -> None:
    """Interfaces and endpoints: GET, POST, PUT and DELETE; for PATCH there is nothing."""
    answer = await asked(site, await registered(site, emsp), "PATCH", {"token": "x"})
    assert (answer.status_code, answer.json()["status_code"]) == (405, 2000)
    assert {method.strip() for method in answer.headers["allow"].split(",")} >= {"GET", "POST", "PUT", "DELETE"}


async def test_post_server_must_also_fetch_the_clients_endpoints_for_this_version(site: Site, emsp: FakeEmsp) -> None:
    """POST: the server has to fetch the client's endpoints of this version, too, and does so with token B."""
    await registered(site, emsp)
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.endpoint("tokens", "SENDER") == emsp.tokens_url
    assert [request.path for request in emsp.requests] == ["/ocpi/versions", "/ocpi/2.2.1"]
    assert {request.headers["authorization"] for request in emsp.requests} == {header("token-b")["Authorization"]}


async def test_post_server_must_generate_a_new_token_and_respond_with_the_clients_credentials(
    site: Site, emsp: FakeEmsp
) -> None:
    """POST: on success the server has to make a new token and answer with the client's new credentials."""
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "POST", offered(emsp))
    data = answer.json()["data"]
    assert data["token"] not in {invitation.token, "token-b"}
    assert data["url"] == site.versions_url
    business = {"name": "A charge point operator"}
    role = {"role": "CPO", "party_id": "CPO", "country_code": "NL", "business_details": business}
    assert data["roles"] == [role]


async def test_post_must_return_405_if_the_client_has_already_been_registered(site: Site, emsp: FakeEmsp) -> None:
    """POST: HTTP 405 for a client that has been registered before."""
    token = await registered(site, emsp)
    before = await site.store.relation(NAME)
    answer = await asked(site, token, "POST", offered(emsp, "other"))
    assert (answer.status_code, answer.json()["status_code"]) == (405, 2000)
    after = await site.store.relation(NAME)
    assert before is not None
    assert after is not None
    assert after.their_token == before.their_token == "token-b"


async def test_put_server_must_fetch_the_clients_endpoints_again(site: Site, emsp: FakeEmsp) -> None:
    """PUT: the server has to fetch the client's endpoints again, though the version has not changed."""
    token = await registered(site, emsp)
    emsp.device.extra_endpoints = [{"identifier": "cdrs", "role": "RECEIVER", "url": f"{emsp.base_url}/cdrs"}]
    assert (await asked(site, token, "PUT", offered(emsp, "newer"))).status_code == 200
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.endpoint("cdrs", "RECEIVER") == f"{emsp.base_url}/cdrs"


async def test_put_server_must_generate_a_new_token_and_respond_with_the_clients_credentials(
    site: Site, emsp: FakeEmsp
) -> None:
    """PUT: on success the server has to make a new token and answer with the client's updated credentials."""
    token = await registered(site, emsp)
    answer = await asked(site, token, "PUT", offered(emsp, "newer"))
    data = answer.json()["data"]
    assert data["token"] not in {token, "newer"}
    assert (await asked(site, data["token"], "GET")).json()["data"] == data


async def test_put_must_return_405_if_the_client_has_not_been_registered_yet(site: Site, emsp: FakeEmsp) -> None:
    """PUT: HTTP 405 for a client that has not been registered yet."""
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "PUT", offered(emsp))
    assert (answer.status_code, answer.json()["status_code"]) == (405, 2000)
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.status is PeerStatus.INVITED


async def test_delete_both_parties_must_end_any_automated_communication(site: Site, emsp: FakeEmsp) -> None:
    """DELETE: both parties have to stop whatever they do by themselves; here the one that is told."""
    token = await registered(site, emsp)
    answer = await asked(site, token, "DELETE")
    assert (answer.status_code, answer.json()["status_code"]) == (200, 1000)
    assert (await asked(site, token, "GET")).status_code == 401
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert (relation.status, relation.their_token) == (PeerStatus.UNREGISTERED, None)


async def test_delete_both_parties_must_end_it_as_the_one_that_tells(site: Site, emsp: FakeEmsp) -> None:
    """DELETE: both parties have to stop whatever they do by themselves; here the one that tells the other."""
    await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    ours = emsp.relation.their_token
    assert (await site.registrar.unregister(NAME)).told_peer
    assert (await asked(site, ours, "GET")).status_code == 401
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert (relation.status, relation.their_token, relation.endpoints) == (PeerStatus.UNREGISTERED, None, ())


async def test_delete_must_return_405_if_the_client_has_not_been_registered_before(site: Site) -> None:
    """DELETE: HTTP 405 for a client that has not been registered before."""
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "DELETE")
    assert (answer.status_code, answer.json()["status_code"]) == (405, 2000)
    assert (await asked(site, invitation.token, "GET")).status_code == 200


async def test_token_should_only_contain_printable_ascii_of_at_most_64_characters(site: Site, emsp: FakeEmsp) -> None:
    """Credentials object: U+0021 to U+007E, 64 of them at most."""
    token_a = (await site.registrar.invite("another")).token
    issued = [token_a, await registered(site, emsp)]
    assert all(re.fullmatch(r"[!-~]{32,64}", token) for token in issued)
    for wrong in ("", "two words", "t" * 65, "line\nfeed", "\u00fc"):
        answer = await asked(site, token_a, "POST", offered(emsp) | {"token": wrong})
        assert (answer.status_code, answer.json()["status_code"]) == (200, 2001)


async def test_every_role_needs_a_unique_combination_so_what_comes_twice_is_one(site: Site, emsp: FakeEmsp) -> None:
    """Credentials object: role, party_id and country_code make a role unique; all of them are CiStrings."""
    roles = [role_object("EMSP"), role_object("emsp", "de", "abc"), role_object("CPO"), role_object("EMSP", "DE", "AB")]
    invitation = await site.registrar.invite(NAME)
    assert (await asked(site, invitation.token, "POST", offered(emsp) | {"roles": roles})).status_code == 201
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert [(role.role, *role.party) for role in relation.roles] == [
        ("EMSP", "DE", "ABC"),
        ("CPO", "DE", "ABC"),
        ("EMSP", "DE", "AB"),
    ]


async def test_country_and_party_should_always_be_unique_so_a_second_peer_with_them_is_refused(
    site: Site, emsp: FakeEmsp
) -> None:
    """Credentials object: a combination of country_code and party_id is one party's, wherever it is used."""
    await registered(site, emsp)
    invitation = await site.registrar.invite("another")
    answer = await asked(site, invitation.token, "POST", offered(emsp, "other"))
    assert (answer.status_code, answer.json()["status_code"]) == (200, 2001)


async def test_hub_shall_only_report_itself_as_hub_so_its_other_roles_are_not_believed(
    site: Site, emsp: FakeEmsp
) -> None:
    """Credentials object: a hub gives the role HUB and no other."""
    roles = [role_object("EMSP", "DE", "HUB"), role_object("HUB", "DE", "HUB")]
    invitation = await site.registrar.invite(NAME)
    assert (await asked(site, invitation.token, "POST", offered(emsp) | {"roles": roles})).status_code == 201
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.roles == (PeerRole("HUB", "DE", "HUB", "A business"),)


async def test_hub_shall_not_report_all_other_parties_as_roles_so_it_owns_none_of_their_tokens(
    site: Site, emsp: FakeEmsp
) -> None:
    """Credentials object: the parties that are connected to a hub are no roles of it."""
    roles = [role_object("HUB", "DE", "HUB"), role_object("EMSP", "DE", "ABC")]
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "POST", offered(emsp) | {"roles": roles})
    async with client_of(site, answer.json()["data"]["token"]) as client:
        pushed = await client.put("/2.2.1/tokens/DE/ABC/04A1B2C3", json=card())
    assert (pushed.status_code, pushed.json()["status_code"]) == (404, 2001)


async def test_hub_shall_report_connected_parties_by_hub_client_info_which_we_neither_need_nor_offer(
    site: Site, emsp: FakeEmsp
) -> None:
    """Credentials object: HubClientInfo tells who is connected to a hub. We ask the hub itself, by open routing."""
    emsp.device.hub = True
    relation = await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    assert relation.endpoint("hubclientinfo", "SENDER") is None
    assert [role.role for role in relation.roles] == ["HUB"]
    assert "hubclientinfo" not in {module for module, _ in emsp.relation.endpoints}


async def test_credentials_are_read_without_business_details_and_written_with_them(site: Site, emsp: FakeEmsp) -> None:
    """CredentialsRole: business_details have the cardinality 1; peers leave them out, and nothing hangs on them."""
    role = role_object("EMSP")
    del role["business_details"]
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "POST", offered(emsp) | {"roles": [role]})
    assert answer.status_code == 201
    assert answer.json()["data"]["roles"][0]["business_details"] == {"name": "A charge point operator"}


@pytest.mark.parametrize("content", [b"{", b"{}", b"", b"[]"])
async def test_post_and_put_out_of_turn_are_405_whatever_their_body_is(
    site: Site, emsp: FakeEmsp, content: bytes
) -> None:
    """POST, PUT: the two codes of 405 again, which do not depend on what was sent."""
    invitation = await site.registrar.invite("another")
    async with client_of(site, await registered(site, emsp)) as client:
        post = await client.post("/2.2.1/credentials", content=content)
    async with client_of(site, invitation.token) as client:
        put = await client.put("/2.2.1/credentials", content=content)
    assert [(answer.status_code, answer.json()["status_code"]) for answer in (post, put)] == [(405, 2000)] * 2
