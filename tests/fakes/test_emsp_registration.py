"""What the fake does as the receiver of the credentials module (OCPI 2.2.1 credentials)."""

import asyncio
import base64
import gc
import ssl
from typing import Any

import httpx
import pytest
import trustme

from fakes.emsp import Dies, FakeEmsp, Kind, Part, Slash, held
from tests.fakes.cpo_system import ROLE, CpoSystem
from tests.fakes.emsp_client import HANG_S, LOCATION

UID = "04A1B2C3D4E5F6"


async def tokens_status(system: CpoSystem, emsp: FakeEmsp, token: str) -> int:
    """What a functional module says to a token."""
    return (await system.send("GET", emsp.tokens_url, token, routing=True)).status_code


# ---- registration


async def test_registration_gives_both_sides_a_new_token(emsp: FakeEmsp, system: CpoSystem) -> None:
    response = await system.register(emsp)
    credentials = response.json()["data"]
    assert (response.status_code, response.json()["status_code"]) == (201, 1000)
    assert credentials["token"] == emsp.credentials_token == system.their_token
    assert credentials["url"] == emsp.versions_url
    assert {emsp.relation.their_token} == system.accepted
    assert await tokens_status(system, emsp, system.their_token) == 200
    assert emsp.complaints == []


async def test_registration_asks_the_client_where_it_is_with_its_own_token(emsp: FakeEmsp, system: CpoSystem) -> None:
    await system.register(emsp)
    header = system.header(emsp.relation.their_token)
    assert [(request.path, request.headers["authorization"]) for request in system.received] == [
        ("/cpo/versions", header),
        ("/cpo/2.2.1", header),
    ]
    assert not [name for request in system.received for name in request.headers if name.startswith("ocpi-")]


async def test_registered_relation_knows_endpoints_and_roles(emsp: FakeEmsp, system: CpoSystem) -> None:
    await system.register(emsp)
    assert emsp.relation.versions_url == system.versions_url
    assert emsp.relation.endpoint("tokens", "RECEIVER") == f"{system.base_url}/cpo/tokens"
    assert emsp.relation.client == ("NL", "CPO")
    assert [received["roles"] for received in emsp.credentials_received] == [[ROLE]]


async def test_invitation_is_spent_by_the_registration(emsp: FakeEmsp, system: CpoSystem) -> None:
    by_mail, token_a = emsp.credentials_token, emsp.invite()
    await system.exchange("POST", emsp, token_a)
    for spent in (by_mail, token_a):
        assert (await system.send("GET", emsp.versions_url, spent)).status_code == 401


async def test_invitation_opens_versions_and_credentials_alone(emsp: FakeEmsp, system: CpoSystem) -> None:
    token_a = emsp.invite()
    url = await system.credentials_url(emsp, token_a)
    assert (await system.send("GET", url, token_a)).json()["data"]["token"] == token_a
    assert emsp.complaints == []
    assert await tokens_status(system, emsp, token_a) == 401
    assert len(emsp.complaints) == 1


async def test_credentials_are_a_part_of_their_own(emsp: FakeEmsp, system: CpoSystem) -> None:
    await system.register(emsp)
    assert [request.part for request in emsp.requests] == [Part.VERSIONS, Part.VERSIONS, Part.CREDENTIALS]


async def test_post_by_a_registered_client_is_405(emsp: FakeEmsp, system: CpoSystem) -> None:
    await system.register(emsp)
    agreed = emsp.credentials_token
    response = await system.exchange("POST", emsp, agreed)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, PUT, DELETE")
    assert response.json()["status_code"] == 2000
    assert emsp.credentials_token == agreed


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_put_or_delete_by_an_invited_client_is_405(emsp: FakeEmsp, system: CpoSystem, method: str) -> None:
    agreed, token_a = emsp.credentials_token, emsp.invite()
    response = await system.exchange(method, emsp, token_a)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, POST")
    assert (emsp.credentials_token, emsp.relation.invitation) == (agreed, token_a)


async def test_patch_of_credentials_is_405(emsp: FakeEmsp, system: CpoSystem) -> None:
    url = await system.credentials_url(emsp, emsp.credentials_token)
    response = await system.send("PATCH", url, emsp.credentials_token, json={})
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, POST, PUT, DELETE")


async def test_second_use_of_an_invitation_that_was_slower_is_405(emsp: FakeEmsp, system: CpoSystem) -> None:
    token_a = emsp.invite()
    url = await system.credentials_url(emsp, token_a)
    system.accepted.add("one")
    both = [system.send("POST", url, token_a, json=system.credentials("one")) for _ in range(2)]
    assert sorted(response.status_code for response in await asyncio.gather(*both)) == [201, 405]


# ---- rotation and the end


async def test_rotation_replaces_both_tokens_at_once(emsp: FakeEmsp, system: CpoSystem) -> None:
    await system.register(emsp)
    old = system.their_token
    response = await system.exchange("PUT", emsp, old)
    assert response.status_code == 200
    assert emsp.credentials_token == system.their_token != old
    assert {emsp.relation.their_token} == system.accepted
    assert await tokens_status(system, emsp, old) == 401
    assert await tokens_status(system, emsp, system.their_token) == 200


async def test_lenient_rotation_takes_the_old_token_until_the_new_one_is_used(system: CpoSystem) -> None:
    async with FakeEmsp(lenient_rotation=True) as emsp:
        await system.register(emsp)
        old = system.their_token
        await system.exchange("PUT", emsp, old)
        tried = [await tokens_status(system, emsp, token) for token in (old, old, system.their_token, old)]
    assert tried == [200, 200, 200, 401]


async def test_token_by_mail_can_be_rotated(emsp: FakeEmsp, system: CpoSystem) -> None:
    by_mail = emsp.credentials_token
    assert (await system.exchange("PUT", emsp, by_mail)).status_code == 200
    assert await tokens_status(system, emsp, by_mail) == 401
    assert emsp.complaints[:-1] == []


async def test_unregistered_client_is_401_and_forgotten(emsp: FakeEmsp, system: CpoSystem) -> None:
    await system.register(emsp)
    token = system.their_token
    response = await system.send("DELETE", await system.credentials_url(emsp, token), token)
    assert (response.status_code, response.json()["status_code"]) == (200, 1000)
    assert await tokens_status(system, emsp, token) == 401
    assert (emsp.credentials_token, emsp.relation.their_token, emsp.relation.endpoints) == ("", "", {})


async def test_nobody_is_let_in_without_a_token_when_nothing_is_agreed(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.relation.end()
    for header in ("", "Token"):
        response = await system.http.get(emsp.tokens_url, headers={"Authorization": header})
        assert response.status_code == 401


async def test_unregistered_client_can_register_again(emsp: FakeEmsp, system: CpoSystem) -> None:
    await system.register(emsp)
    await system.send("DELETE", await system.credentials_url(emsp, system.their_token), system.their_token)
    assert (await system.register(emsp)).status_code == 201
    assert await tokens_status(system, emsp, system.their_token) == 200


# ---- what keeps it from coming about


async def refused(emsp: FakeEmsp, system: CpoSystem) -> tuple[int, int]:
    """HTTP's and OCPI's status of a registration that must leave everything as it was."""
    agreed, token_a = emsp.credentials_token, emsp.invite()
    response = await system.exchange("POST", emsp, token_a)
    assert (emsp.credentials_token, emsp.relation.invitation, emsp.relation.their_token) == (agreed, token_a, "")
    return response.status_code, response.json()["status_code"]


async def test_client_that_can_not_be_reached_is_3001(emsp: FakeEmsp, system: CpoSystem) -> None:
    system.down()
    assert await refused(emsp, system) == (200, 3001)
    assert [text for text in emsp.complaints if text.startswith("call-back: versions: no answer")] == emsp.complaints


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("GET versions", (500, b'{"status_code":3000,"timestamp":"2026-01-01T00:00:00Z"}')),
        ("GET versions", (200, b"<html>")),
        ("GET versions", (200, b'{"status_code":1000,"timestamp":"2026-01-01T00:00:00Z","data":{}}')),
        ("GET 2.2.1", (200, b'{"status_code":1000,"timestamp":"2026-01-01T00:00:00Z","data":[]}')),
        ("GET 2.2.1", (404, b"")),
    ],
)
async def test_client_that_answers_nonsense_is_3001(
    emsp: FakeEmsp, system: CpoSystem, name: str, answer: tuple[int, bytes]
) -> None:
    system.spoilt[name] = answer
    assert await refused(emsp, system) == (200, 3001)


async def test_client_without_2_2_1_is_3002(emsp: FakeEmsp, system: CpoSystem) -> None:
    system.versions = ["2.1.1", "2.2"]
    assert await refused(emsp, system) == (200, 3002)


@pytest.mark.parametrize("identifier", ["tokens", "credentials"])
async def test_client_without_an_endpoint_that_is_expected_is_3003(
    emsp: FakeEmsp, system: CpoSystem, identifier: str
) -> None:
    system.missing.add(identifier)
    assert await refused(emsp, system) == (200, 3003)


async def test_call_back_may_fail_for_its_own_reasons(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.device.call_back_fails = True
    assert await refused(emsp, system) == (200, 3001)
    assert (system.received, emsp.complaints) == ([], [])


async def test_registration_refused_once_works_the_next_time(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.device.call_back_fails = True
    token_a = emsp.invite()
    await system.exchange("POST", emsp, token_a)
    emsp.device.call_back_fails = False
    assert (await system.exchange("POST", emsp, token_a)).status_code == 201


BUSINESS = {"name": "Charge & Co"}


@pytest.mark.parametrize(
    "changes",
    [
        {"token": None},
        {"token": ""},
        {"token": "x" * 65},
        {"token": "with blank"},
        {"token": "größe"},
        {"url": "/versions"},
        {"url": "ftp://example.com/versions"},
        {"url": "https://example.com/" + "x" * 255},
        {"roles": []},
        {"roles": ROLE},
        {"roles": ["CPO"]},
        {"roles": [ROLE, ROLE]},
        {"roles": [{**ROLE, "role": "cpo"}]},
        {"roles": [{**ROLE, "party_id": "CHARGE"}]},
        {"roles": [{**ROLE, "country_code": "NLD"}]},
        {"roles": [{**ROLE, "business_details": None}]},
        {"roles": [{**ROLE, "business_details": {"name": ""}}]},
        {"roles": [{**ROLE, "business_details": {**BUSINESS, "website": "example"}}]},
    ],
)
async def test_malformed_credentials_are_2001(emsp: FakeEmsp, system: CpoSystem, changes: dict[str, Any]) -> None:
    token_a = emsp.invite()
    url = await system.credentials_url(emsp, token_a)
    response = await system.send("POST", url, token_a, json={**system.credentials("secret-b"), **changes})
    assert (response.status_code, response.json()["status_code"]) == (200, 2001)
    assert len(emsp.complaints) == 1
    assert "secret-b" not in emsp.complaints[0]
    assert (emsp.relation.their_token, emsp.relation.invitation, system.received) == ("", token_a, [])


async def test_credentials_that_are_no_json_are_400(emsp: FakeEmsp, system: CpoSystem) -> None:
    token_a = emsp.invite()
    url = await system.credentials_url(emsp, token_a)
    response = await system.send("POST", url, token_a, content=b"{", headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["status_code"]) == (400, 2001)


@pytest.mark.parametrize("changes", [{"party": "x"}, {"roles": [{**ROLE, "name": "x"}]}])
async def test_unknown_field_in_credentials_is_a_complaint_and_no_more(
    emsp: FakeEmsp, system: CpoSystem, changes: dict[str, Any]
) -> None:
    token_a = emsp.invite()
    system.accepted.add("b")
    url = await system.credentials_url(emsp, token_a)
    response = await system.send("POST", url, token_a, json={**system.credentials("b"), **changes})
    assert (response.status_code, len(emsp.complaints)) == (201, 1)


async def test_hub_with_other_roles_is_a_complaint(emsp: FakeEmsp, system: CpoSystem) -> None:
    token_a = emsp.invite()
    system.accepted.add("b")
    body = system.credentials("b") | {"roles": [ROLE, {**ROLE, "role": "HUB"}]}
    await system.send("POST", await system.credentials_url(emsp, token_a), token_a, json=body)
    assert emsp.complaints == ["POST credentials: a hub names other roles beside its own"]


async def test_routing_headers_on_credentials_are_complaints(emsp: FakeEmsp, system: CpoSystem) -> None:
    url = await system.credentials_url(emsp, emsp.credentials_token)
    response = await system.send("GET", url, emsp.credentials_token, routing=True)
    assert response.status_code == 200
    assert len(emsp.complaints) == 4


# ---- the device as it may be


async def test_plain_tokens_are_taken_and_sent_where_they_are_wanted(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.device.plain_credentials = system.plain = True
    assert (await system.register(emsp)).status_code == 201
    assert {request.headers["authorization"] for request in system.received} == {f"Token {emsp.relation.their_token}"}
    assert await tokens_status(system, emsp, system.their_token) == 200


async def test_base64_is_401_where_plain_tokens_are_wanted(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.device.plain_credentials = True
    assert (await system.send("GET", emsp.versions_url, emsp.invite())).status_code == 401


async def test_token_of_64_characters_of_every_kind_is_given_out(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.device.make_token = lambda: '!"\\~' * 16
    await system.register(emsp)
    assert system.their_token == '!"\\~' * 16
    assert await tokens_status(system, emsp, system.their_token) == 200


@pytest.mark.parametrize("slash", [Slash.LISTED, Slash.DEMANDED])
async def test_address_without_the_slash_that_is_wanted_is_404(emsp: FakeEmsp, system: CpoSystem, slash: Slash) -> None:
    emsp.device.slash = slash
    bare = emsp.versions_url.rstrip("/")
    response = await system.send("GET", bare, emsp.credentials_token)
    assert (response.status_code, response.json()["status_code"]) == (404, 2000)
    assert (await system.send("GET", bare + "/", emsp.credentials_token)).status_code == 200


async def test_listed_slashes_are_in_every_address(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.device.slash = Slash.LISTED
    emsp.card(UID)
    assert (await system.register(emsp)).status_code == 201
    assert emsp.tokens_url.endswith("/tokens/")
    url = f"{emsp.tokens_url}{UID}/authorize"
    response = await system.send("POST", url, system.their_token, routing=True, json=LOCATION)
    assert response.json()["data"]["allowed"] == "ALLOWED"
    assert await tokens_status(system, emsp, system.their_token) == 200
    assert emsp.complaints == []


async def test_demanded_slashes_are_in_no_address_and_wanted_on_authorize_too(
    emsp: FakeEmsp, system: CpoSystem
) -> None:
    emsp.device.slash = Slash.DEMANDED
    emsp.card(UID)
    url = f"{emsp.tokens_url}/{UID}/authorize"
    token = emsp.credentials_token
    assert (await system.send("POST", url, token, routing=True, json=LOCATION)).status_code == 404
    response = await system.send("POST", url + "/", token, routing=True, json=LOCATION)
    assert response.json()["data"]["token"]["uid"] == emsp.requests[-1].uid == UID


async def test_registration_works_behind_a_prefix(system: CpoSystem) -> None:
    async with FakeEmsp(prefix="/roaming/v7") as emsp:
        assert (await system.register(emsp)).status_code == 201
        assert emsp.requests[-1].path == "/roaming/v7/ocpi/emsp/2.2.1/credentials"


@pytest.mark.parametrize("identifier", ["tokens", "credentials"])
async def test_withheld_endpoint_is_not_in_the_details(emsp: FakeEmsp, system: CpoSystem, identifier: str) -> None:
    emsp.device.withheld_endpoints.add(identifier)
    details = (await system.send("GET", emsp.details_url, emsp.credentials_token)).json()["data"]
    (left,) = {"tokens", "credentials"} - {identifier}
    assert [endpoint["identifier"] for endpoint in details["endpoints"]] == [left]


async def test_answer_may_be_malformed_though_everything_is_stored(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.device.credentials_answer = b'{"token":"","url":7}'
    response = await system.register(emsp)
    assert response.json()["data"] == {"token": "", "url": 7}
    assert {emsp.relation.their_token} == system.accepted


# ---- how it dies


async def died(emsp: FakeEmsp, system: CpoSystem, moment: Dies) -> None:
    """A registration that the fake dies over."""
    emsp.device.dies = moment
    token_a = emsp.invite()
    with pytest.raises(httpx.TransportError):
        await system.exchange("POST", emsp, token_a)
    assert emsp.device.dies is None


@pytest.mark.parametrize(("moment", "calls"), [(Dies.BEFORE_CALL_BACK, 0), (Dies.BEFORE_STORING, 2)])
async def test_death_before_storing_leaves_the_invitation_good(
    emsp: FakeEmsp, system: CpoSystem, moment: Dies, calls: int
) -> None:
    agreed = emsp.credentials_token
    await died(emsp, system, moment)
    assert len(system.received) == calls
    assert (emsp.credentials_token, emsp.relation.their_token) == (agreed, "")
    assert (await system.exchange("POST", emsp, emsp.relation.invitation)).status_code == 201


async def test_death_after_storing_has_spent_the_invitation(emsp: FakeEmsp, system: CpoSystem) -> None:
    agreed = emsp.credentials_token
    await died(emsp, system, Dies.AFTER_STORING)
    assert emsp.credentials_token != agreed
    assert (emsp.relation.invitation, {emsp.relation.their_token}) == ("", system.accepted)


async def test_death_over_a_rotation_before_storing_leaves_the_old_token(emsp: FakeEmsp, system: CpoSystem) -> None:
    await system.register(emsp)
    emsp.device.dies = Dies.BEFORE_STORING
    with pytest.raises(httpx.TransportError):
        await system.exchange("PUT", emsp, system.their_token)
    assert await tokens_status(system, emsp, system.their_token) == 200


@pytest.mark.parametrize(
    ("moment", "status"), [(Dies.BEFORE_CALL_BACK, 200), (Dies.BEFORE_STORING, 200), (Dies.AFTER_STORING, 401)]
)
async def test_death_over_a_delete_ends_the_relation_or_not(
    emsp: FakeEmsp, system: CpoSystem, moment: Dies, status: int
) -> None:
    await system.register(emsp)
    url = await system.credentials_url(emsp, system.their_token)
    emsp.device.dies = moment
    with pytest.raises(httpx.TransportError):
        await system.send("DELETE", url, system.their_token)
    assert await tokens_status(system, emsp, system.their_token) == status


# ---- weather, and the client's own death


def about_to_store(emsp: FakeEmsp) -> asyncio.Event:
    """Set when an exchange gets its token: whoever waits for it finds the exchange stored."""
    made = asyncio.Event()

    def make_token() -> str:
        made.set()
        return "token-c"

    emsp.device.make_token = make_token
    return made


async def test_bad_weather_on_credentials_stores_nothing(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.set_weather(Kind.SERVER_ERROR, on=Part.CREDENTIALS)
    token_a = emsp.invite()
    assert (await system.exchange("POST", emsp, token_a)).status_code == 500
    assert (emsp.relation.invitation, system.received) == (token_a, [])


async def test_held_answer_to_credentials_is_stored_already(emsp: FakeEmsp, system: CpoSystem) -> None:
    let_go, token_a = asyncio.Event(), emsp.invite()
    emsp.set_weather(held(let_go), on=Part.CREDENTIALS)
    stored = about_to_store(emsp)
    registering = asyncio.create_task(system.exchange("POST", emsp, token_a))
    async with asyncio.timeout(HANG_S):
        await stored.wait()
        assert emsp.relation.invitation == ""
        done_before = registering.done()
        let_go.set()
        response = await registering
    assert not done_before
    assert response.json()["data"]["token"] == emsp.credentials_token


async def test_exchange_goes_on_when_the_client_hangs_up(emsp: FakeEmsp, system: CpoSystem) -> None:
    let_go = asyncio.Event()
    token_a = emsp.invite()
    stored = about_to_store(emsp)
    url = await system.credentials_url(emsp, token_a)
    async with FakeEmsp() as other:
        # Another system stands in for the client's own: its versions can be held.
        other.device.extra_endpoints.append({"identifier": "tokens", "role": "RECEIVER", "url": other.tokens_url})
        other.set_weather(held(let_go), on=Part.VERSIONS)
        body = {**system.credentials(other.credentials_token), "url": other.versions_url}
        posting = asyncio.create_task(system.send("POST", url, token_a, json=body))
        async with asyncio.timeout(HANG_S):
            await other.arrived(part=Part.VERSIONS)
            posting.cancel()
            await asyncio.wait({posting})
            let_go.set()
            await stored.wait()
    assert emsp.relation.their_token == other.credentials_token
    assert emsp.relation.invitation == ""


async def test_fake_that_is_stopped_during_a_call_back_leaves_nothing_behind(system: CpoSystem) -> None:
    before = asyncio.all_tasks()
    async with FakeEmsp() as silent, FakeEmsp() as emsp:
        silent.set_weather(Kind.SILENT)
        token_a = emsp.invite()
        url = await system.credentials_url(emsp, token_a)
        body = {**system.credentials("b"), "url": silent.versions_url}
        posting = asyncio.create_task(system.send("POST", url, token_a, json=body))
        async with asyncio.timeout(HANG_S):
            await silent.arrived()
            await emsp.stop()
            with pytest.raises(httpx.TransportError):
                await posting
        assert emsp.relation.invitation == token_a
    gc.collect()
    assert asyncio.all_tasks() == before


# ---- TLS


def shown(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def trusted(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


async def test_registration_works_over_tls_in_both_directions() -> None:
    authority = trustme.CA()
    tls, trust = shown(authority), trusted(authority)
    async with FakeEmsp(tls=tls, trust=trust) as emsp, CpoSystem(tls=tls, trust=trust) as system:
        assert (await system.register(emsp)).status_code == 201
        assert emsp.relation.endpoint("tokens", "RECEIVER").startswith("https://")
    assert emsp.complaints == []


async def test_client_whose_certificate_is_not_trusted_is_3001() -> None:
    authority, other = trustme.CA(), trustme.CA()
    async with (
        FakeEmsp(tls=shown(authority), trust=trusted(authority)) as emsp,
        CpoSystem(tls=shown(other), trust=trusted(authority)) as system,
    ):
        assert await refused(emsp, system) == (200, 3001)
    assert "CERTIFICATE_VERIFY_FAILED" in emsp.complaints[0]


async def test_no_complaint_quotes_a_token(emsp: FakeEmsp, system: CpoSystem) -> None:
    system.spoilt["GET versions"] = (500, b"")
    token_a = emsp.invite()
    await system.exchange("POST", emsp, token_a)
    said = " ".join(emsp.complaints)
    assert said
    for secret in (token_a, *system.accepted):
        assert secret not in said
        assert base64.b64encode(secret.encode()).decode() not in said
