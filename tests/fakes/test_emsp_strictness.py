"""What the fake holds against a client (OCPI 2.2.1 transport_and_format, mod_tokens)."""

import asyncio

import pytest

from fakes.emsp import FakeEmsp, Kind
from tests.fakes.emsp_client import HANG_S, LOCATION, ROUTING, Cpo

UID = "04A1B2C3D4E5F6"


@pytest.mark.parametrize("authorization", [None, "Token d3Jvbmc=", "Bearer x", ""])
async def test_wrong_credentials_are_401_with_an_envelope(emsp: FakeEmsp, cpo: Cpo, authorization: str | None) -> None:
    emsp.card(UID)
    response = await cpo.authorize(UID, headers={"Authorization": authorization})
    assert (response.status_code, response.json()["status_code"]) == (401, 2000)
    assert "Authorization" in emsp.complaints[0]
    assert emsp.given_references == {}


async def test_plain_credentials_are_401_where_base64_is_wanted(emsp: FakeEmsp, cpo: Cpo) -> None:
    plain = {"Authorization": f"Token {emsp.credentials_token}"}
    assert (await cpo.tokens(headers=plain)).status_code == 401


async def test_plain_credentials_are_taken_where_they_are_wanted(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.device.plain_credentials = True
    plain = {"Authorization": f"Token {emsp.credentials_token}"}
    assert (await cpo.tokens(headers=plain)).status_code == 200
    assert emsp.complaints == []


async def test_no_complaint_quotes_the_credentials_or_the_card(emsp: FakeEmsp, cpo: Cpo) -> None:
    await cpo.authorize(UID, location=None, headers={"Authorization": "Token c2VjcmV0"})
    assert "c2VjcmV0" not in " ".join(emsp.complaints)
    assert UID not in " ".join(emsp.complaints)


@pytest.mark.parametrize("name", ["X-Request-ID", "X-Correlation-ID"])
async def test_missing_id_is_a_complaint(emsp: FakeEmsp, cpo: Cpo, name: str) -> None:
    assert (await cpo.tokens(headers={name: None})).status_code == 200
    assert emsp.complaints == [f"GET list: no {name.lower()}"]


async def test_request_id_used_twice_is_a_complaint(emsp: FakeEmsp, cpo: Cpo) -> None:
    for _ in range(2):
        await cpo.tokens(headers={"X-Request-ID": "same"})
    assert len(emsp.complaints) == 1
    assert "second time" in emsp.complaints[0]


@pytest.mark.parametrize("name", ROUTING)
async def test_missing_routing_header_on_a_functional_module_is_a_complaint(
    emsp: FakeEmsp, cpo: Cpo, name: str
) -> None:
    await cpo.tokens(headers={name: None})
    assert len(emsp.complaints) == 1


async def test_routing_to_another_party_is_a_complaint(emsp: FakeEmsp, cpo: Cpo) -> None:
    await cpo.tokens(headers={"OCPI-to-party-id": "XYZ"})
    assert emsp.complaints == ["GET list: OCPI-to is DE-XYZ, expected DE-ABC"]


@pytest.mark.parametrize("to", ["XYZ", None])
async def test_hub_takes_any_receiver_and_none(emsp: FakeEmsp, cpo: Cpo, to: str | None) -> None:
    emsp.device.hub = True
    country = to and "NL"
    await cpo.tokens(headers={"OCPI-to-party-id": to, "OCPI-to-country-code": country})
    assert emsp.complaints == []


async def test_routing_headers_on_a_configuration_module_are_complaints(emsp: FakeEmsp, cpo: Cpo) -> None:
    assert (await cpo.page(emsp.versions_url)).status_code == 200
    assert len(emsp.complaints) == 4


async def test_missing_location_references_are_2002(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID)
    response = await cpo.authorize(UID, location=None)
    assert (response.status_code, response.json()["status_code"]) == (200, 2002)
    assert emsp.complaints == ["POST authorize: authorize without LocationReferences"]


async def test_missing_location_references_are_answered_where_they_are_not_demanded(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID)
    emsp.device.location_references = False
    info = (await cpo.authorize(UID, location=None)).json()["data"]
    assert info["allowed"] == "ALLOWED"
    assert "location" not in info


@pytest.mark.parametrize(
    "location",
    [
        [],
        {},
        {"location_id": ""},
        {"location_id": 7},
        {"location_id": "x" * 37},
        {**LOCATION, "evse_uids": "EVSE-1"},
        {**LOCATION, "evse_uids": [1]},
        {**LOCATION, "evse_uids": None},
    ],
)
async def test_wrong_location_references_are_2001(emsp: FakeEmsp, cpo: Cpo, location: object) -> None:
    emsp.card(UID)
    response = await cpo.authorize(UID, location=location)
    assert (response.status_code, response.json()["status_code"]) == (200, 2001)
    assert len(emsp.complaints) == 1


async def test_unknown_field_is_a_complaint_and_no_more(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID)
    response = await cpo.authorize(UID, location={**LOCATION, "connector_id": "1"})
    assert response.json()["status_code"] == 1000
    assert len(emsp.complaints) == 1


async def test_body_that_is_no_json_is_400_with_an_envelope(emsp: FakeEmsp, cpo: Cpo) -> None:
    response = await cpo.authorize(UID, location=None, content=b"{", headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["status_code"]) == (400, 2001)


async def test_wrong_content_type_is_a_complaint(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID)
    await cpo.authorize(UID, headers={"Content-Type": "text/plain"})
    assert emsp.complaints == ["POST authorize: a body of type 'text/plain', expected application/json"]


@pytest.mark.parametrize("query", ["?type=rfid", "?type="])
async def test_unknown_token_type_is_2001(emsp: FakeEmsp, cpo: Cpo, query: str) -> None:
    emsp.card(UID)
    assert (await cpo.authorize(UID, query=query)).json()["status_code"] == 2001


async def test_token_type_for_type_is_a_complaint(emsp: FakeEmsp, cpo: Cpo) -> None:
    await cpo.authorize(UID, query="?token_type=RFID")
    assert emsp.complaints == ["POST authorize: authorize knows no parameter token_type"]


async def test_uid_of_37_characters_is_2001(emsp: FakeEmsp, cpo: Cpo) -> None:
    assert (await cpo.authorize("A" * 37)).json()["status_code"] == 2001


@pytest.mark.parametrize(
    "query",
    [
        "?date_from=2024-01-01",
        "?date_from=2024-01-01T00:00:00%2B00:00",
        "?date_to=2024-13-01T00:00:00Z",
        "?offset=-1",
        "?limit=many",
        "?limit=0",
    ],
)
async def test_wrong_list_parameter_is_2001(emsp: FakeEmsp, cpo: Cpo, query: str) -> None:
    response = await cpo.tokens(query)
    assert (response.status_code, response.json()["status_code"]) == (200, 2001)
    assert len(emsp.complaints) == 1


@pytest.mark.parametrize("path", ["//04A1/authorize", "/DE/ABC/04A1/authorize", "/04A1", "/04A1/authorise"])
async def test_path_that_was_never_named_is_404_and_a_complaint(emsp: FakeEmsp, cpo: Cpo, path: str) -> None:
    response = await cpo.http.post(emsp.tokens_url + path, json=LOCATION, headers=cpo.headers())
    assert response.status_code == 404
    assert emsp.complaints == ["POST of a path that the device never named"]


async def test_wrong_method_is_405_and_a_complaint(emsp: FakeEmsp, cpo: Cpo) -> None:
    response = await cpo.http.put(emsp.tokens_url, json={}, headers=cpo.headers())
    assert (response.status_code, response.headers["Allow"]) == (405, "GET")
    assert len(emsp.complaints) == 1


async def test_faults_are_written_down_in_bad_weather_too(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.SERVER_ERROR)
    assert (await cpo.authorize(UID, location=None)).status_code == 500
    assert emsp.complaints == ["POST authorize: authorize without LocationReferences"]


async def test_bytes_that_are_no_http_are_400_and_a_complaint(emsp: FakeEmsp) -> None:
    async with asyncio.timeout(HANG_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", emsp.port)
        writer.write(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert len(emsp.complaints) == 1
