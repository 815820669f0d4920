"""One test for each sentence with "must" or "shall" in OCPI 2.2.1 credentials, in the chapter's order."""

import httpx
import pytest

from agent.store.peers import PeerRole, PeerStatus
from fakes.emsp import FakeEmsp
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


async def test_receiver_must_create_a_unique_token_a_that_authorizes_the_sender_until_the_exchange_is_finished(
    site: Site, emsp: FakeEmsp
) -> None:
    first, second = await site.registrar.invite("one"), await site.registrar.invite("two")
    assert first.token != second.token
    assert (await asked(site, first.token, "GET")).status_code == 200
    assert (await asked(site, first.token, "POST", offered(emsp))).status_code == 201
    assert (await asked(site, first.token, "GET")).status_code == 401
    assert (await asked(site, second.token, "GET")).status_code == 200


async def test_sender_shall_use_token_c_in_future_requests(site: Site, emsp: FakeEmsp) -> None:
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
    await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    compromised = emsp.relation.their_token
    await site.registrar.rotate(NAME)
    assert (await emsp.put_token(card())).status == 201
    assert (await asked(site, compromised, "GET")).status_code == 401


async def test_post_server_must_also_fetch_the_clients_endpoints_for_this_version(site: Site, emsp: FakeEmsp) -> None:
    await registered(site, emsp)
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.endpoint("tokens", "SENDER") == emsp.tokens_url
    assert [request.path for request in emsp.requests] == ["/ocpi/versions", "/ocpi/2.2.1"]


async def test_post_server_must_generate_a_new_token_and_respond_with_the_clients_credentials(
    site: Site, emsp: FakeEmsp
) -> None:
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "POST", offered(emsp))
    data = answer.json()["data"]
    assert data["token"] not in {invitation.token, "token-b"}
    assert data["url"] == site.versions_url
    business = {"name": "A charge point operator"}
    role = {"role": "CPO", "party_id": "CPO", "country_code": "NL", "business_details": business}
    assert data["roles"] == [role]


async def test_post_must_return_405_if_the_client_has_already_been_registered(site: Site, emsp: FakeEmsp) -> None:
    token = await registered(site, emsp)
    before = await site.store.relation(NAME)
    answer = await asked(site, token, "POST", offered(emsp, "other"))
    assert (answer.status_code, answer.json()["status_code"]) == (405, 2000)
    after = await site.store.relation(NAME)
    assert before is not None
    assert after is not None
    assert after.their_token == before.their_token == "token-b"


async def test_put_server_must_fetch_the_clients_endpoints_again(site: Site, emsp: FakeEmsp) -> None:
    token = await registered(site, emsp)
    emsp.device.extra_endpoints = [{"identifier": "cdrs", "role": "RECEIVER", "url": f"{emsp.base_url}/cdrs"}]
    assert (await asked(site, token, "PUT", offered(emsp, "newer"))).status_code == 200
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.endpoint("cdrs", "RECEIVER") == f"{emsp.base_url}/cdrs"


async def test_put_server_must_generate_a_new_token_and_respond_with_the_clients_credentials(
    site: Site, emsp: FakeEmsp
) -> None:
    token = await registered(site, emsp)
    answer = await asked(site, token, "PUT", offered(emsp, "newer"))
    data = answer.json()["data"]
    assert data["token"] not in {token, "newer"}
    assert (await asked(site, data["token"], "GET")).json()["data"] == data


async def test_put_must_return_405_if_the_client_has_not_been_registered_yet(site: Site, emsp: FakeEmsp) -> None:
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "PUT", offered(emsp))
    assert (answer.status_code, answer.json()["status_code"]) == (405, 2000)
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.status is PeerStatus.INVITED


async def test_delete_both_parties_must_end_any_automated_communication(site: Site, emsp: FakeEmsp) -> None:
    token = await registered(site, emsp)
    answer = await asked(site, token, "DELETE")
    assert (answer.status_code, answer.json()["status_code"]) == (200, 1000)
    assert (await asked(site, token, "GET")).status_code == 401
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert (relation.status, relation.their_token) == (PeerStatus.UNREGISTERED, None)


async def test_delete_must_return_405_if_the_client_has_not_been_registered_before(site: Site) -> None:
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "DELETE")
    assert (answer.status_code, answer.json()["status_code"]) == (405, 2000)
    assert (await asked(site, invitation.token, "GET")).status_code == 200


async def test_hub_shall_only_report_itself_so_its_roles_own_no_other_partys_tokens(site: Site) -> None:
    token = await site.agreed(roles=(PeerRole("HUB", "DE", "HUB"),))
    async with client_of(site, token) as client:
        answer = await client.put("/2.2.1/tokens/DE/ABC/04A1B2C3", json=card())
    assert (answer.status_code, answer.json()["status_code"]) == (404, 2001)


async def test_server_that_can_not_call_back_should_answer_3001(site: Site, emsp: FakeEmsp) -> None:
    invitation = await site.registrar.invite(NAME)
    body = offered(emsp)
    await emsp.stop()
    answer = await asked(site, invitation.token, "POST", body)
    assert (answer.status_code, answer.json()["status_code"]) == (200, 3001)
    assert (await asked(site, invitation.token, "GET")).status_code == 200


async def test_receiver_that_finds_no_common_version_answers_3002(site: Site, emsp: FakeEmsp) -> None:
    emsp.device.versions = ("2.1.1",)
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "POST", offered(emsp))
    assert (answer.status_code, answer.json()["status_code"]) == (200, 3002)


async def test_receiver_that_misses_an_endpoint_is_expected_to_answer_3003(site: Site, emsp: FakeEmsp) -> None:
    emsp.device.withheld_endpoints = {"tokens"}
    invitation = await site.registrar.invite(NAME)
    answer = await asked(site, invitation.token, "POST", offered(emsp))
    assert (answer.status_code, answer.json()["status_code"]) == (200, 3003)
    assert "tokens SENDER" in answer.json()["status_message"]
