"""What the fake answers when nothing is wrong (OCPI 2.2.1 version_information_endpoint, mod_tokens)."""

from datetime import UTC, datetime, timedelta

import pytest

from fakes.emsp import FakeEmsp, Part, populated_uid
from tests.fakes.emsp_client import LOCATION, Cpo

UID = "04A1B2C3D4E5F6"


async def test_versions_name_the_details_which_name_the_tokens_sender(emsp: FakeEmsp, cpo: Cpo) -> None:
    (version,) = (await cpo.get(emsp.versions_url)).json()["data"]
    details = (await cpo.get(version["url"])).json()["data"]
    named = {(endpoint["identifier"], endpoint["role"]): endpoint["url"] for endpoint in details["endpoints"]}
    assert version["version"] == details["version"] == "2.2.1"
    assert named["tokens", "SENDER"] == emsp.tokens_url
    assert ("credentials", "SENDER") in named
    assert emsp.complaints == []


async def test_credentials_name_the_party_and_its_role(emsp: FakeEmsp, cpo: Cpo) -> None:
    endpoints = (await cpo.get(emsp.details_url)).json()["data"]["endpoints"]
    (url,) = (endpoint["url"] for endpoint in endpoints if endpoint["identifier"] == "credentials")
    credentials = (await cpo.get(url)).json()["data"]
    assert credentials["url"] == emsp.versions_url
    assert [(role["role"], role["country_code"], role["party_id"]) for role in credentials["roles"]] == [
        ("EMSP", "DE", "ABC")
    ]


async def test_prefix_stands_before_every_path() -> None:
    async with FakeEmsp(prefix="/roaming/v7") as emsp, Cpo(emsp).http as http:
        response = await http.get(emsp.versions_url, headers=Cpo(emsp).headers(routing=False))
        (version,) = response.json()["data"]
    assert version["url"] == emsp.details_url == f"http://127.0.0.1:{emsp.port}/roaming/v7/ocpi/2.2.1"


async def test_other_versions_are_listed_beside_and_have_no_tokens() -> None:
    async with FakeEmsp(versions=("2.1.1", "2.2", "2.2.1")) as emsp, Cpo(emsp).http as http:
        listed = (await http.get(emsp.versions_url, headers=Cpo(emsp).headers(routing=False))).json()["data"]
        older = (await http.get(listed[0]["url"], headers=Cpo(emsp).headers(routing=False))).json()["data"]
    assert [version["version"] for version in listed] == ["2.1.1", "2.2", "2.2.1"]
    assert [endpoint["identifier"] for endpoint in older["endpoints"]] == ["credentials"]


async def test_extra_endpoints_come_first(emsp: FakeEmsp, cpo: Cpo) -> None:
    trap = {"identifier": "tokens", "role": "RECEIVER", "url": "http://127.0.0.1:9/tokens"}
    emsp.device.extra_endpoints.append(trap)
    assert (await cpo.get(emsp.details_url)).json()["data"]["endpoints"][0] == trap


async def test_known_card_is_allowed_with_token_location_and_reference(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID, whitelist="NEVER", group_id="G1", language="nl", contract_id="NL-ABC-1")
    response = await cpo.authorize(UID)
    envelope = response.json()
    info = envelope["data"]
    assert (response.status_code, envelope["status_code"]) == (200, 1000)
    assert info["allowed"] == "ALLOWED"
    assert info["location"] == LOCATION
    assert (
        info["token"].items()
        >= {
            "uid": UID,
            "type": "RFID",
            "country_code": "DE",
            "party_id": "ABC",
            "contract_id": "NL-ABC-1",
            "group_id": "G1",
            "language": "nl",
            "valid": True,
            "whitelist": "NEVER",
        }.items()
    )
    assert emsp.given_references[UID] == [info["authorization_reference"]]
    assert emsp.complaints == []


async def test_each_authorization_gets_a_reference_of_its_own_of_36_characters(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID)
    for _ in range(3):
        await cpo.authorize(UID)
    references = emsp.given_references[UID]
    assert len(set(references)) == 3
    assert {len(reference) for reference in references} == {36}


async def test_uid_in_another_case_is_the_same_card(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card("04a1b2c3d4e5f6")
    response = await cpo.authorize(UID)
    assert response.json()["data"]["token"]["uid"] == "04a1b2c3d4e5f6"
    assert list(emsp.given_references) == [UID]


async def test_uid_with_reserved_characters_is_decoded(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card("a/b c")
    assert (await cpo.authorize("a%2Fb%20c")).json()["data"]["token"]["uid"] == "a/b c"


@pytest.mark.parametrize("allowed", ["BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED"])
async def test_refused_card_comes_with_info_and_without_location(emsp: FakeEmsp, cpo: Cpo, allowed: str) -> None:
    emsp.card(UID, allowed=allowed, info=("de", "Bitte bezahlen"))
    info = (await cpo.authorize(UID)).json()["data"]
    assert info["allowed"] == allowed
    assert info["info"] == {"language": "de", "text": "Bitte bezahlen"}
    assert "location" not in info
    assert emsp.given_references == {}


async def test_card_for_other_evses_names_those(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID, evse_uids=("EVSE-7",))
    assert (await cpo.authorize(UID)).json()["data"]["location"] == {"location_id": "LOC1", "evse_uids": ["EVSE-7"]}


async def test_card_without_location_or_reference_leaves_both_out(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID, location=False, reference=None)
    info = (await cpo.authorize(UID)).json()["data"]
    assert info.keys() == {"allowed", "token"}


async def test_fixed_reference_is_given_as_it_is(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID, reference="REF-1")
    assert (await cpo.authorize(UID)).json()["data"]["authorization_reference"] == "REF-1"
    assert emsp.given_references == {UID: ["REF-1"]}


async def test_unknown_card_is_404_and_2004_without_data(emsp: FakeEmsp, cpo: Cpo) -> None:
    response = await cpo.authorize(UID)
    assert (response.status_code, response.json()["status_code"]) == (404, 2004)
    assert "data" not in response.json()
    assert emsp.complaints == []


async def test_forgotten_card_is_unknown(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID)
    emsp.card(UID, known=False)
    assert (await cpo.authorize(UID)).status_code == 404
    assert (await cpo.tokens()).json()["data"] == []


async def test_rfid_card_is_unknown_as_app_user(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID)
    assert (await cpo.authorize(UID, query="?type=APP_USER")).status_code == 404


async def test_populated_token_is_allowed(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.populate(10)
    info = (await cpo.authorize(populated_uid(9))).json()["data"]
    assert (info["allowed"], info["token"]["uid"], info["location"]) == ("ALLOWED", populated_uid(9), LOCATION)


async def test_uid_after_the_populated_ones_is_unknown(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.populate(10)
    assert (await cpo.authorize(populated_uid(10))).status_code == 404


async def test_answer_echoes_ids_and_turns_routing_around(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.card(UID)
    response = await cpo.authorize(UID)
    asked = emsp.requests[0].headers
    assert response.headers["X-Request-ID"] == asked["x-request-id"]
    assert response.headers["X-Correlation-ID"] == asked["x-correlation-id"]
    assert response.headers["OCPI-to-party-id"] == "CPO"
    assert response.headers["OCPI-from-party-id"] == "ABC"


async def test_answer_on_a_configuration_module_has_no_routing(emsp: FakeEmsp, cpo: Cpo) -> None:
    headers = (await cpo.get(emsp.versions_url)).headers
    assert not [name for name in headers if name.startswith("ocpi-")]


async def test_requests_are_written_down_with_what_they_were_for(emsp: FakeEmsp, cpo: Cpo) -> None:
    await cpo.get(emsp.versions_url)
    await cpo.authorize(UID)
    (versions, authorize) = emsp.requests
    assert (versions.part, versions.uid) == (Part.VERSIONS, "")
    assert (authorize.part, authorize.uid, authorize.query) == (Part.AUTHORIZE, UID, {"type": "RFID"})
    assert authorize.json() == LOCATION
    assert authorize.answered
    assert emsp.connections_accepted == 1


async def test_clock_skew_shows_in_date_and_timestamp() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    async with FakeEmsp(now=lambda: noon) as emsp, Cpo(emsp).http as http:
        emsp.clock_skew = timedelta(hours=-2)
        response = await http.get(emsp.versions_url, headers=Cpo(emsp).headers(routing=False))
    assert response.headers["Date"] == "Sun, 01 Mar 2026 10:00:00 GMT"
    assert response.json()["timestamp"] == "2026-03-01T10:00:00Z"


async def test_two_fakes_run_side_by_side(emsp: FakeEmsp, cpo: Cpo) -> None:
    async with FakeEmsp(country_code="NL", party_id="XYZ") as other:
        other.card(UID)
        assert other.port != emsp.port
        assert (await cpo.authorize(UID)).status_code == 404


async def test_fake_that_remembers_nothing_still_answers() -> None:
    async with FakeEmsp(remember=False) as emsp:
        emsp.card(UID)
        client = Cpo(emsp)
        async with client.http:
            assert (await client.authorize(UID)).json()["data"]["allowed"] == "ALLOWED"
    assert (emsp.requests, emsp.given_references) == ([], {})
