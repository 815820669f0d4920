"""What the fake does as a client: registering with a CPO, pushing tokens to it (OCPI 2.2.1 credentials, mod_tokens)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes.emsp import DiedError, Dies, ExchangeFailedError, FakeEmsp, Kind, NoAnswer, trickle
from tests.fakes.cpo_system import ROLE, CpoSystem
from tests.fakes.emsp_client import HANG_S

UID = "04A1B2C3D4E5F6"


async def registered(emsp: FakeEmsp, system: CpoSystem) -> None:
    await emsp.register_with(system.versions_url, system.invite())


async def tokens_status(system: CpoSystem, emsp: FakeEmsp, token: str) -> int:
    return (await system.send("GET", emsp.tokens_url, token, routing=True)).status_code


# ---- registration


async def test_registration_leaves_both_sides_with_the_tokens_that_were_exchanged(
    emsp: FakeEmsp, system: CpoSystem
) -> None:
    response = await emsp.register_with(system.versions_url, system.invite())
    (posted,) = system.bodies("POST")
    assert json.loads(posted)["token"] == emsp.credentials_token == system.their_token
    assert {emsp.relation.their_token} == {response.data["token"]} == system.accepted
    assert emsp.relation.endpoint("tokens", "RECEIVER") == f"{system.base_url}/cpo/tokens"
    assert emsp.relation.client == ("NL", "CPO")
    assert [received["roles"] for received in emsp.credentials_received] == [[ROLE]]
    assert emsp.complaints == []


async def test_registration_asks_in_the_order_of_the_chapter(emsp: FakeEmsp, system: CpoSystem) -> None:
    token_a = system.invite()
    await emsp.register_with(system.versions_url, token_a)
    assert [(request.method, request.path) for request in system.received] == [
        ("GET", "/cpo/versions"),
        ("GET", "/cpo/2.2.1"),
        ("POST", "/cpo/credentials"),
    ]
    assert {request.headers["authorization"] for request in system.received} == {system.header(token_a)}
    assert not [name for request in system.received for name in request.headers if name.startswith("ocpi-")]
    assert len({request.headers["x-request-id"] for request in system.received}) == 3


async def test_registered_client_may_use_the_token_that_it_was_sent_and_no_other(
    emsp: FakeEmsp, system: CpoSystem
) -> None:
    by_mail = emsp.credentials_token
    await registered(emsp, system)
    assert await tokens_status(system, emsp, system.their_token) == 200
    assert await tokens_status(system, emsp, by_mail) == 401


async def test_pending_token_of_a_registration_opens_versions_and_credentials_alone(
    emsp: FakeEmsp, system: CpoSystem
) -> None:
    emsp.relation.pending_token, emsp.relation.pending_registration = "token-b", True
    url = await system.credentials_url(emsp, "token-b")
    assert (await system.send("GET", url, "token-b")).status_code == 200
    assert await tokens_status(system, emsp, "token-b") == 401


async def test_plain_token_is_sent_where_the_device_knows_no_other(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.device.plain_credentials = system.plain = True
    token_a = system.invite()
    await emsp.register_with(system.versions_url, token_a)
    assert system.received[0].headers["authorization"] == f"Token {token_a}"


async def failed(emsp: FakeEmsp, system: CpoSystem) -> ExchangeFailedError:
    """Why a registration came to nothing; it must leave everything as it was."""
    agreed = emsp.credentials_token
    with pytest.raises(ExchangeFailedError) as caught:
        await registered(emsp, system)
    relation = emsp.relation
    assert (emsp.credentials_token, relation.their_token, relation.pending_token) == (agreed, "", "")
    assert (relation.endpoints, emsp.credentials_received) == ({}, [])
    return caught.value


@pytest.mark.parametrize("identifier", ["tokens", "credentials"])
async def test_client_that_lacks_an_endpoint_is_sent_no_credentials(
    emsp: FakeEmsp, system: CpoSystem, identifier: str
) -> None:
    system.missing.add(identifier)
    assert (await failed(emsp, system)).status_code == 3003
    assert system.bodies("POST") == []


async def test_client_without_2_2_1_is_sent_no_credentials(emsp: FakeEmsp, system: CpoSystem) -> None:
    system.versions = ["2.1.1"]
    assert (await failed(emsp, system)).status_code == 3002
    assert system.bodies("POST") == []


async def test_refused_post_is_told_with_its_answer(emsp: FakeEmsp, system: CpoSystem) -> None:
    system.spoilt["POST credentials"] = (200, b'{"status_code":3001,"timestamp":"2026-01-01T00:00:00Z"}')
    error = await failed(emsp, system)
    assert error.response is not None
    assert (error.response.status, error.response.status_code, error.response.data) == (200, 3001, None)
    assert str(error) == "POST credentials: HTTP 200, status_code 3001"


async def test_malformed_credentials_in_the_answer_are_a_complaint_and_no_registration(
    emsp: FakeEmsp, system: CpoSystem
) -> None:
    answer = {"status_code": 1000, "timestamp": "2026-01-01T00:00:00Z", "data": system.credentials("")}
    system.spoilt["POST credentials"] = (200, json.dumps(answer).encode())
    await failed(emsp, system)
    assert [text for text in emsp.complaints if text.startswith("answer to POST credentials: token")] == emsp.complaints


async def test_invitation_that_is_not_good_is_an_unauthorized_answer(emsp: FakeEmsp, system: CpoSystem) -> None:
    with pytest.raises(ExchangeFailedError, match="versions: HTTP 401"):
        await emsp.register_with(system.versions_url, "no-invitation")
    assert emsp.relation.their_token == ""


# ---- rotation and the end


async def test_rotation_renews_both_tokens_with_the_old_ones(emsp: FakeEmsp, system: CpoSystem) -> None:
    await registered(emsp, system)
    ours, theirs = emsp.credentials_token, emsp.relation.their_token
    await emsp.rotate()
    assert system.received[-1].headers["authorization"] == system.header(theirs)
    assert {emsp.relation.their_token} == system.accepted != {theirs}
    assert system.their_token == emsp.credentials_token != ours
    assert await tokens_status(system, emsp, ours) == 401
    assert await tokens_status(system, emsp, system.their_token) == 200


async def test_lenient_rotation_of_its_own_takes_the_old_token_until_the_new_one_is_used(system: CpoSystem) -> None:
    async with FakeEmsp(lenient_rotation=True) as emsp:
        await registered(emsp, system)
        old = system.their_token
        await emsp.rotate()
        tried = [await tokens_status(system, emsp, token) for token in (old, system.their_token, old)]
    assert tried == [200, 200, 401]


async def test_refused_rotation_keeps_the_tokens(emsp: FakeEmsp, system: CpoSystem) -> None:
    await registered(emsp, system)
    ours, theirs = emsp.credentials_token, emsp.relation.their_token
    system.spoilt["PUT credentials"] = (405, b'{"status_code":2000,"timestamp":"2026-01-01T00:00:00Z"}')
    with pytest.raises(ExchangeFailedError, match="HTTP 405"):
        await emsp.rotate()
    assert (emsp.credentials_token, emsp.relation.their_token, emsp.relation.pending_token) == (ours, theirs, "")


async def test_rotation_that_ends_in_silence_leaves_both_tokens_good(emsp: FakeEmsp, system: CpoSystem) -> None:
    await registered(emsp, system)
    system.hangs_up_on.add("PUT credentials")
    old = emsp.credentials_token
    with pytest.raises(NoAnswer):
        await emsp.rotate()
    (put,) = system.bodies("PUT")
    assert [await tokens_status(system, emsp, token) for token in (old, json.loads(put)["token"])] == [200, 200]


async def test_rotation_that_could_not_begin_keeps_the_tokens(emsp: FakeEmsp, system: CpoSystem) -> None:
    await registered(emsp, system)
    ours = emsp.credentials_token
    system.down()
    with pytest.raises(ExchangeFailedError, match="versions: no answer"):
        await emsp.rotate()
    assert (emsp.credentials_token, emsp.relation.pending_token) == (ours, "")


async def test_unregistered_client_is_forgotten(emsp: FakeEmsp, system: CpoSystem) -> None:
    await registered(emsp, system)
    ours = emsp.credentials_token
    await emsp.unregister()
    assert system.accepted == set()
    assert await tokens_status(system, emsp, ours) == 401
    with pytest.raises(RuntimeError, match="register first"):
        await emsp.put_token(emsp.card(UID))


async def test_refused_delete_keeps_the_relation(emsp: FakeEmsp, system: CpoSystem) -> None:
    await registered(emsp, system)
    ours = emsp.credentials_token
    system.spoilt["DELETE credentials"] = (405, b'{"status_code":2000,"timestamp":"2026-01-01T00:00:00Z"}')
    with pytest.raises(ExchangeFailedError, match="DELETE credentials: HTTP 405"):
        await emsp.unregister()
    assert await tokens_status(system, emsp, ours) == 200


# ---- how it dies


async def test_death_before_the_post_has_sent_nothing(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.device.dies = Dies.BEFORE_CALL_BACK
    with pytest.raises(DiedError):
        await registered(emsp, system)
    assert (system.bodies("POST"), emsp.relation.their_token) == ([], "")


async def test_death_with_the_answer_in_hand_stores_nothing_of_it(emsp: FakeEmsp, system: CpoSystem) -> None:
    emsp.device.dies = Dies.BEFORE_STORING
    agreed = emsp.credentials_token
    with pytest.raises(DiedError):
        await registered(emsp, system)
    assert (emsp.credentials_token, emsp.relation.their_token) == (agreed, "")
    assert emsp.relation.pending_token == system.their_token


async def test_death_over_a_rotation_leaves_both_of_its_own_tokens_good(emsp: FakeEmsp, system: CpoSystem) -> None:
    await registered(emsp, system)
    old, theirs = emsp.credentials_token, emsp.relation.their_token
    emsp.device.dies = Dies.BEFORE_STORING
    with pytest.raises(DiedError):
        await emsp.rotate()
    assert emsp.relation.their_token == theirs
    assert [await tokens_status(system, emsp, token) for token in (old, system.their_token)] == [200, 200]


@pytest.mark.parametrize(("moment", "status"), [(Dies.BEFORE_STORING, 200), (Dies.AFTER_STORING, 401)])
async def test_death_over_a_delete_forgets_the_client_or_not(
    emsp: FakeEmsp, system: CpoSystem, moment: Dies, status: int
) -> None:
    await registered(emsp, system)
    ours = emsp.credentials_token
    emsp.device.dies = moment
    with pytest.raises(DiedError):
        await emsp.unregister()
    assert await tokens_status(system, emsp, ours) == status


# ---- tokens


@pytest.fixture
async def pushing(emsp: FakeEmsp, system: CpoSystem) -> FakeEmsp:
    """Registered, and the CPO's notes are empty."""
    await registered(emsp, system)
    system.received.clear()
    return emsp


async def test_pushed_card_arrives_as_it_is_listed(pushing: FakeEmsp, system: CpoSystem) -> None:
    card = pushing.card(UID, whitelist="NEVER")
    assert [(await pushing.put_token(card)).status for _ in range(2)] == [201, 200]
    assert system.tokens == {f"/cpo/tokens/DE/ABC/{UID}?type=RFID": json.loads(card.token_json)}
    assert pushing.complaints == []


async def test_push_carries_every_header_that_ocpi_demands(pushing: FakeEmsp, system: CpoSystem) -> None:
    await pushing.put_token(pushing.card(UID))
    sent = system.received[0].headers
    assert sent["authorization"] == system.header(pushing.relation.their_token)
    assert sent["content-type"] == "application/json"
    assert [sent[f"ocpi-{name}"] for name in ("from-country-code", "from-party-id")] == ["DE", "ABC"]
    assert [sent[f"ocpi-{name}"] for name in ("to-country-code", "to-party-id")] == ["NL", "CPO"]
    assert sent["x-request-id"]
    assert sent["x-correlation-id"]


async def test_any_object_can_be_pushed_to_any_address(pushing: FakeEmsp, system: CpoSystem) -> None:
    await pushing.put_token({"uid": "a/b c", "valid": "maybe"}, owner=("NL", "XYZ"), of_type="OTHER")
    assert system.received[0].target == "/cpo/tokens/NL/XYZ/a%2Fb%20c?type=OTHER"
    assert system.received[0].json() == {"uid": "a/b c", "valid": "maybe"}


async def test_address_can_name_another_uid(pushing: FakeEmsp, system: CpoSystem) -> None:
    await pushing.put_token(pushing.card(UID), uid="04FF")
    assert system.received[0].path == "/cpo/tokens/DE/ABC/04FF"


async def test_bytes_are_pushed_as_they_are(pushing: FakeEmsp, system: CpoSystem) -> None:
    system.spoilt[f"PUT {UID}"] = (400, b'{"status_code":2001,"timestamp":"2026-01-01T00:00:00Z"}')
    response = await pushing.put_token(pushing.card(UID), body=b'{"uid":')
    assert (response.status, response.status_code) == (400, 2001)
    assert system.received[0].body == b'{"uid":'


async def test_headers_go_over_the_right_ones_and_none_takes_one_away(pushing: FakeEmsp, system: CpoSystem) -> None:
    await pushing.put_token(pushing.card(UID), headers={"x-request-id": None, "OCPI-From-Party-Id": "XYZ"})
    sent = system.received[0].headers
    assert "x-request-id" not in sent
    assert sent["ocpi-from-party-id"] == "XYZ"


async def test_patch_sends_the_fields_and_names_no_type(pushing: FakeEmsp, system: CpoSystem) -> None:
    system.tokens[f"/cpo/tokens/DE/ABC/{UID}"] = {"uid": UID, "valid": True}
    await pushing.patch_token(UID, {"valid": False})
    assert (await pushing.get_token(UID)).data == {"uid": UID, "valid": False}
    assert [request.target for request in system.received] == [f"/cpo/tokens/DE/ABC/{UID}"] * 2
    assert pushing.complaints == []


async def test_get_names_the_type_where_one_is_given(pushing: FakeEmsp, system: CpoSystem) -> None:
    response = await pushing.get_token(UID, "APP_USER")
    assert (response.status, response.status_code) == (404, 2004)
    assert system.received[0].target == f"/cpo/tokens/DE/ABC/{UID}?type=APP_USER"


async def test_another_token_can_be_sent(pushing: FakeEmsp, system: CpoSystem) -> None:
    response = await pushing.call("GET", pushing.relation.endpoint("tokens"), token="wrong")
    assert response.status == 401
    assert system.received[0].headers["authorization"] == system.header("wrong")


async def test_configuration_modules_are_called_without_routing(pushing: FakeEmsp, system: CpoSystem) -> None:
    relation = pushing.relation
    for url in (relation.versions_url, relation.details_url, relation.endpoint("credentials")):
        await pushing.call("GET", url)
    assert not [name for request in system.received for name in request.headers if name.startswith("ocpi-")]


async def test_hand_made_relation_can_be_pushed_to(emsp: FakeEmsp, system: CpoSystem) -> None:
    system.accepted.add("by-mail")
    relation = emsp.relation
    relation.their_token, relation.roles = "by-mail", [ROLE]
    relation.endpoints["tokens", "RECEIVER"] = f"{system.base_url}/cpo/tokens/"
    assert (await emsp.put_token(emsp.card(UID))).status == 201
    assert emsp.complaints == []


# ---- bodies and answers of every kind


async def test_body_byte_by_byte_arrives_whole(pushing: FakeEmsp, system: CpoSystem) -> None:
    card = pushing.card(UID)
    assert (await pushing.put_token(card, body=trickle(card.token_json))).status == 201
    assert system.received[0].headers["transfer-encoding"] == "chunked"
    assert system.received[0].body == card.token_json


async def test_huge_body_arrives_whole(pushing: FakeEmsp, system: CpoSystem) -> None:
    body = b'"' + b"x" * 8_000_000 + b'"'
    await pushing.put_token(pushing.card(UID), body=body)
    assert system.received[0].body == body


class Impatient(asyncio.Protocol):
    """Answers 408 to the first bytes of a request, and reads on."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"PUT"):
            self._transport.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\n\r\n{}")


@pytest.fixture
async def impatient() -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(Impatient, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_answer_is_heard_while_the_body_has_not_ended(emsp: FakeEmsp, impatient: str) -> None:
    async with asyncio.timeout(HANG_S):
        slow = trickle(b"{}", asyncio.Event().wait)
        response = await emsp.call("PUT", impatient, body=slow, routing=False)
    assert (response.status, response.envelope) == (408, {})


async def test_client_that_is_down_gives_no_answer(pushing: FakeEmsp, system: CpoSystem) -> None:
    system.down()
    with pytest.raises(NoAnswer, match="ConnectionRefusedError"):
        await pushing.put_token(pushing.card(UID))


async def test_client_that_is_silent_is_waited_for_so_long(emsp: FakeEmsp) -> None:
    emsp.device.patience_s = 0.01
    async with FakeEmsp() as silent:
        silent.set_weather(Kind.SILENT)
        with pytest.raises(NoAnswer, match="TimeoutError"):
            await emsp.call("GET", silent.versions_url, routing=False)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "HTTP 200 without an envelope"),
        (b"[]", "HTTP 200 without an envelope"),
        (b'{"timestamp":"2026-01-01T00:00:00Z"}', "an envelope without a status_code"),
        (b'{"status_code":1000,"timestamp":"2026-01-01"}', "an envelope without a timestamp"),
        (b'{"status_code":1000,"timestamp":"2026-01-01T00:00:00+00:00"}', "an envelope without a timestamp"),
    ],
)
async def test_answer_without_a_right_envelope_is_a_complaint(
    pushing: FakeEmsp, system: CpoSystem, body: bytes, fault: str
) -> None:
    system.spoilt[f"GET {UID}"] = (200, body)
    await pushing.get_token(UID)
    assert [text.removeprefix("answer to GET: ").startswith(fault) for text in pushing.complaints] == [True]


@pytest.mark.parametrize(
    "changes",
    [
        {"X-Request-ID": None},
        {"X-Correlation-ID": "other"},
        {"Content-Type": "text/plain"},
        {"OCPI-from-party-id": "XYZ"},
        {"OCPI-to-country-code": None},
    ],
)
async def test_answer_with_a_wrong_header_is_a_complaint(
    pushing: FakeEmsp, system: CpoSystem, changes: dict[str, Any]
) -> None:
    system.extra_headers |= changes
    await pushing.put_token(pushing.card(UID))
    assert len(pushing.complaints) == 1


async def test_answer_of_a_configuration_module_with_routing_is_a_complaint(
    pushing: FakeEmsp, system: CpoSystem
) -> None:
    system.extra_headers["OCPI-from-party-id"] = "CPO"
    await pushing.call("GET", pushing.relation.versions_url)
    assert pushing.complaints == ["answer to GET: ocpi-from-party-id on a configuration module"]
