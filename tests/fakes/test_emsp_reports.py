"""What the fake takes of sessions and CDRs, and what it holds against a client (OCPI 2.2.1 mod_sessions, mod_cdrs)."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from fakes.emsp import FakeEmsp, Kind, Part, RepeatedCdr, Slash, server_error
from tests.fakes.emsp_client import Cpo

Object = dict[str, Any]

TOKEN = {"country_code": "DE", "party_id": "ABC", "uid": "04A1B2C3D4E5F6", "type": "RFID", "contract_id": "DE-ABC-C1"}


def session(**changes: object) -> Object:
    """A session that has just begun, changed; None leaves a field out."""
    fields: Object = {
        "country_code": "NL",
        "party_id": "CPO",
        "id": "S1",
        "start_date_time": "2026-03-01T12:00:00Z",
        "kwh": 0,
        "cdr_token": TOKEN,
        "auth_method": "AUTH_REQUEST",
        "authorization_reference": "REF-1",
        "location_id": "LOC1",
        "evse_uid": "EVSE1",
        "connector_id": "1",
        "currency": "EUR",
        "status": "ACTIVE",
        "last_updated": "2026-03-01T12:00:00Z",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def completed(**changes: object) -> Object:
    end = {"status": "COMPLETED", "kwh": 10, "end_date_time": "2026-03-01T13:00:00Z"}
    return session(**end | {"last_updated": "2026-03-01T13:00:00Z"} | changes)


def period(start: str, dimension: str = "ENERGY", volume: object = 1) -> Object:
    return {"start_date_time": f"2026-03-01T{start}Z", "dimensions": [{"type": dimension, "volume": volume}]}


def cdr(**changes: object) -> Object:
    """A CDR with all that OCPI requires, changed; None leaves a field out."""
    fields: Object = {
        "country_code": "NL",
        "party_id": "CPO",
        "id": "C1",
        "start_date_time": "2026-03-01T12:00:00Z",
        "end_date_time": "2026-03-01T13:00:00Z",
        "session_id": "S1",
        "cdr_token": TOKEN,
        "auth_method": "AUTH_REQUEST",
        "cdr_location": {
            "id": "LOC1",
            "address": "Hafenstr. 1",
            "city": "Hamburg",
            "country": "DEU",
            "coordinates": {"latitude": "53.550341", "longitude": "10.000654"},
            "evse_uid": "EVSE1",
            "evse_id": "NL*CPO*E1",
            "connector_id": "1",
            "connector_standard": "IEC_62196_T2",
            "connector_format": "CABLE",
            "connector_power_type": "AC_3_PHASE",
        },
        "currency": "EUR",
        "charging_periods": [period("12:00:00")],
        "total_cost": {"excl_vat": 2, "incl_vat": 2.5},
        "total_energy": 10,
        "total_time": 1,
        "last_updated": "2026-03-01T13:00:05Z",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


class Reporter(Cpo):
    """A client that reports; path and body can be told apart."""

    def __init__(self, emsp: FakeEmsp) -> None:
        super().__init__(emsp)
        self.emsp = emsp

    async def session(self, method: str, body: object = None, *, path: str = "NL/CPO/S1") -> httpx.Response:
        return await self.call(method, f"{self.emsp.device.sessions_url.rstrip('/')}/{path}", body)

    async def cdr(self, body: object) -> httpx.Response:
        return await self.call("POST", self.emsp.device.cdrs_url, body)

    async def call(self, method: str, url: str, body: object = None) -> httpx.Response:
        content = {} if body is None else {"json": body}
        return await self.http.request(method, url, headers=self.headers(), **content)  # type: ignore[arg-type]


@pytest.fixture
async def emsp() -> AsyncIterator[FakeEmsp]:
    async with FakeEmsp(reports=True) as fake:
        yield fake


@pytest.fixture
async def cpo(emsp: FakeEmsp) -> AsyncIterator[Reporter]:
    reporter = Reporter(emsp)
    async with reporter.http:
        yield reporter


def said(response: httpx.Response) -> tuple[int, int]:
    return response.status_code, response.json()["status_code"]


# ---- where it is


async def test_without_reports_no_such_interface_is_named_or_there() -> None:
    async with FakeEmsp() as emsp, Reporter(emsp).http as http:
        details = await http.get(emsp.details_url, headers=Cpo(emsp).headers(routing=False))
        response = await http.put(f"{emsp.device.sessions_url}/NL/CPO/S1", headers=Cpo(emsp).headers(), json=session())
    assert {endpoint["identifier"] for endpoint in details.json()["data"]["endpoints"]} == {"credentials", "tokens"}
    assert response.status_code == 404
    assert emsp.sessions == {}


async def test_version_details_name_the_receivers(emsp: FakeEmsp, cpo: Reporter) -> None:
    endpoints = (await cpo.get(emsp.details_url)).json()["data"]["endpoints"]
    named = {(endpoint["identifier"], endpoint["role"]): endpoint["url"] for endpoint in endpoints}
    assert named["sessions", "RECEIVER"] == emsp.device.sessions_url
    assert named["cdrs", "RECEIVER"] == emsp.device.cdrs_url


@pytest.mark.parametrize(("slash", "end"), [(Slash.LISTED, ""), (Slash.DEMANDED, "/")])
async def test_slashes_are_as_the_device_has_them(emsp: FakeEmsp, cpo: Reporter, slash: Slash, end: str) -> None:
    emsp.device.slash = slash
    put = await cpo.session("PUT", session(), path=f"NL/CPO/S1{end}")
    posted = await cpo.call("POST", emsp.device.cdrs_url.rstrip("/") + "/", cdr())
    got = await cpo.call("GET", posted.headers["Location"].rstrip("/") + "/")
    assert [put.status_code, posted.status_code, got.status_code] == [201, 201, 200]


@pytest.mark.parametrize(("method", "path"), [("POST", "NL/CPO/S1"), ("DELETE", "NL/CPO/S1")])
async def test_a_method_that_sessions_do_not_have_is_405(emsp: FakeEmsp, cpo: Reporter, method: str, path: str) -> None:
    assert said(await cpo.session(method, path=path)) == (405, 2000)
    assert emsp.complaints != []


async def test_a_path_into_a_session_is_nowhere(emsp: FakeEmsp, cpo: Reporter) -> None:
    assert (await cpo.session("PATCH", session(), path="NL/CPO/S1/charging_periods")).status_code == 404
    assert emsp.complaints != []


# ---- sessions


async def test_a_session_is_created_replaced_and_read_back(emsp: FakeEmsp, cpo: Reporter) -> None:
    created = await cpo.session("PUT", session(charging_periods=[period("12:00:00")]))
    replaced = await cpo.session("PUT", session(kwh=1.25))
    got = await cpo.session("GET")
    assert (said(created), said(replaced)) == ((201, 1000), (200, 1000))
    assert emsp.sessions == {"S1": session(kwh=Decimal("1.25"))}
    assert got.json()["data"] == session(kwh=1.25)
    assert got.headers["OCPI-to-country-code"] == "NL"
    assert emsp.complaints == []


async def test_a_patch_adds_periods_replaces_fields_and_null_clears(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.session("PUT", session(charging_periods=[period("12:00:00")], meter_id="M1"))
    patch = {"kwh": 2.0, "meter_id": None, "charging_periods": [period("12:10:00")]}
    response = await cpo.session("PATCH", patch | {"last_updated": "2026-03-01T12:20:00Z"})
    assert said(response) == (200, 1000)
    assert emsp.sessions["S1"] == session(
        kwh=Decimal("2.0"),
        charging_periods=[period("12:00:00"), period("12:10:00")],
        last_updated="2026-03-01T12:20:00Z",
    )
    assert emsp.complaints == []


async def test_digits_are_given_back_as_they_came(emsp: FakeEmsp, cpo: Reporter) -> None:
    body = json.dumps(session(kwh=7)).replace('"kwh": 7', '"kwh": 41.1200')
    url = f"{emsp.device.sessions_url}/NL/CPO/S1"
    await cpo.http.put(url, headers=cpo.headers() | {"Content-Type": "application/json"}, content=body)
    assert b'"kwh":41.1200,' in (await cpo.session("GET")).content


async def test_a_session_that_is_not_there_is_404(emsp: FakeEmsp, cpo: Reporter) -> None:
    assert said(await cpo.session("GET")) == (404, 2000)
    assert emsp.complaints == []


async def test_a_patch_before_any_put_is_404_and_complained_of(emsp: FakeEmsp, cpo: Reporter) -> None:
    response = await cpo.session("PATCH", {"kwh": 1, "last_updated": "2026-03-01T12:20:00Z"})
    assert said(response) == (404, 2000)
    assert emsp.complaints == ["PATCH sessions: a session that was never PUT"]
    assert emsp.sessions == {}


async def test_a_patch_of_what_the_device_has_lost_is_404_without_complaint(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.session("PUT", session())
    emsp.sessions.clear()
    assert said(await cpo.session("PATCH", {"kwh": 1, "last_updated": "2026-03-01T12:20:00Z"})) == (404, 2000)
    assert emsp.complaints == []


async def test_a_patch_without_last_updated_is_2001(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.session("PUT", session())
    assert said(await cpo.session("PATCH", {"kwh": 1})) == (200, 2001)
    assert emsp.sessions["S1"]["kwh"] == 0


@pytest.mark.parametrize(
    "name",
    [name for name in session() if name != "authorization_reference"],
)
async def test_what_a_session_requires_is_required(emsp: FakeEmsp, cpo: Reporter, name: str) -> None:
    assert said(await cpo.session("PUT", session(**{name: None}))) == (200, 2001)
    assert emsp.complaints == [f"PUT sessions: Session.{name} is missing"]
    assert emsp.sessions == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kwh": "1"},
        {"kwh": True},
        {"status": "active"},
        {"status": "STARTED"},
        {"auth_method": "RFID"},
        {"authorization_reference": "x" * 37},
        {"location_id": "x" * 37},
        {"evse_uid": ""},
        {"currency": "EURO"},
        {"start_date_time": "2026-03-01 12:00:00"},
        {"start_date_time": "2026-03-01T12:00:00+00:00"},
        {"last_updated": "2026-03-01T12:00:00.000001Z"},
        {"cdr_token": {**TOKEN, "type": "CARD"}},
        {"cdr_token": {name: value for name, value in TOKEN.items() if name != "contract_id"}},
        {"charging_periods": {}},
        {"charging_periods": [{"start_date_time": "2026-03-01T12:00:00Z", "dimensions": []}]},
        {"charging_periods": [period("12:00:00", "KWH")]},
        {"charging_periods": [period("12:00:00", volume="1")]},
        {"total_cost": 1},
        {"total_cost": {"incl_vat": 1}},
        {"country_code": "BE"},
        {"party_id": "XYZ"},
        {"id": "S2"},
    ],
)
async def test_a_session_that_breaks_a_rule_is_2001_and_not_kept(emsp: FakeEmsp, cpo: Reporter, wrong: Object) -> None:
    assert said(await cpo.session("PUT", session(**wrong))) == (200, 2001)
    assert len(emsp.complaints) == 1
    assert emsp.sessions == {}


@pytest.mark.parametrize(
    "odd",
    [
        {"kwh": 1.00001},
        {"energy": 1},
        {"charging_periods": [period("12:10:00"), period("12:00:00")]},
        {"charging_periods": [period("12:00:00"), period("12:00:00")]},
        {"end_date_time": "2026-03-01T11:00:00Z"},
        {"status": "COMPLETED"},
    ],
)
async def test_a_session_that_is_odd_is_kept_and_complained_of(emsp: FakeEmsp, cpo: Reporter, odd: Object) -> None:
    assert said(await cpo.session("PUT", session(**odd))) == (201, 1000)
    assert len(emsp.complaints) == 1


async def test_another_owner_than_the_sender_is_complained_of(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.session("PUT", session(party_id="XYZ"), path="NL/XYZ/S1")
    assert emsp.complaints == ["PUT sessions: the path names another owner than OCPI-from"]


async def test_null_in_a_put_is_complained_of(emsp: FakeEmsp, cpo: Reporter) -> None:
    assert said(await cpo.session("PUT", session() | {"meter_id": None})) == (201, 1000)
    assert "meter_id" in emsp.complaints[0]
    assert "meter_id" not in emsp.sessions["S1"]


async def test_a_completed_session_may_be_put_again_as_it_is(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.session("PUT", completed())
    assert said(await cpo.session("PUT", completed())) == (200, 1000)
    assert emsp.complaints == []


async def test_a_completed_session_with_less_energy_is_2001(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.session("PUT", completed())
    assert said(await cpo.session("PUT", completed(kwh=9))) == (200, 2001)
    assert emsp.sessions["S1"]["kwh"] == 10


@pytest.mark.parametrize("then", [completed(kwh=11), session(last_updated="2026-03-01T14:00:00Z", kwh=10)])
async def test_a_completed_session_that_changes_is_complained_of(emsp: FakeEmsp, cpo: Reporter, then: Object) -> None:
    await cpo.session("PUT", completed())
    assert said(await cpo.session("PUT", then)) == (200, 1000)
    assert emsp.complaints == ["PUT sessions: a COMPLETED session is changed"]


async def test_less_energy_at_the_end_than_before_is_complained_of(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.session("PUT", session(kwh=11))
    await cpo.session("PUT", completed(kwh=10))
    assert len(emsp.complaints) == 1
    assert emsp.sessions["S1"]["status"] == "COMPLETED"


async def test_reports_out_of_order_are_complained_of(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.session("PUT", session(last_updated="2026-03-01T12:10:00Z"))
    await cpo.session("PATCH", {"kwh": 1, "last_updated": "2026-03-01T12:09:59Z"})
    assert len(emsp.complaints) == 1


async def test_the_same_patch_twice_shows(emsp: FakeEmsp, cpo: Reporter) -> None:
    patch = {"charging_periods": [period("12:10:00")], "last_updated": "2026-03-01T12:20:00Z"}
    await cpo.session("PUT", session())
    await cpo.session("PATCH", patch)
    await cpo.session("PATCH", patch)
    assert emsp.complaints == ["PATCH sessions: the same charging period is there twice"]


# ---- CDRs


async def test_a_cdr_is_kept_and_found_at_the_address_of_the_answer(emsp: FakeEmsp, cpo: Reporter) -> None:
    response = await cpo.cdr(cdr())
    got = await cpo.call("GET", response.headers["Location"])
    assert said(response) == (201, 1000)
    assert response.headers["Location"] == emsp.reported.cdr_url("C1")
    assert got.json()["data"] == cdr()
    assert list(emsp.cdrs) == ["C1"]
    assert emsp.complaints == []


@pytest.mark.parametrize(
    ("answer", "status", "location"),
    [(RepeatedCdr.OK, 200, True), (RepeatedCdr.CREATED, 201, True), (RepeatedCdr.CONFLICT, 409, False)],
)
async def test_the_same_cdr_again_is_kept_once(
    emsp: FakeEmsp, cpo: Reporter, answer: RepeatedCdr, status: int, *, location: bool
) -> None:
    emsp.reported.repeated_cdr = answer
    first, second = await cpo.cdr(cdr()), await cpo.cdr(cdr())
    assert second.status_code == status
    assert (second.headers.get("Location") == first.headers["Location"]) is location
    assert list(emsp.cdrs) == ["C1"]
    assert emsp.complaints == []


async def test_another_cdr_of_the_same_id_is_2001(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.cdr(cdr())
    assert said(await cpo.cdr(cdr(total_energy=11))) == (200, 2001)
    assert emsp.complaints == ["POST cdrs: another CDR has this id already"]
    assert emsp.cdrs["C1"]["total_energy"] == 10


async def test_a_second_cdr_of_a_session_is_complained_of(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.cdr(cdr())
    await cpo.cdr(cdr(id="C2"))
    assert emsp.complaints == ["POST cdrs: a second CDR for a session that is billed already"]


async def test_a_cdr_is_credited_and_replaced(emsp: FakeEmsp, cpo: Reporter) -> None:
    credit = {"id": "C1-C", "credit": True, "credit_reference_id": "C1"}
    await cpo.cdr(cdr())
    await cpo.cdr(cdr(**credit, total_cost={"excl_vat": -2, "incl_vat": -2.5}))
    await cpo.cdr(cdr(id="C2", total_energy=9))
    assert list(emsp.cdrs) == ["C1", "C1-C", "C2"]
    assert emsp.complaints == []


@pytest.mark.parametrize(
    "changes",
    [
        {"credit_reference_id": "C0"},
        {"total_cost": {"excl_vat": 2, "incl_vat": 2.5}},
        {"total_energy": 11},
    ],
)
async def test_an_odd_credit_is_complained_of(emsp: FakeEmsp, cpo: Reporter, changes: Object) -> None:
    credit = {
        "id": "C1-C",
        "credit": True,
        "credit_reference_id": "C1",
        "total_cost": {"excl_vat": -2, "incl_vat": -2.5},
    }
    await cpo.cdr(cdr())
    assert said(await cpo.cdr(cdr(**(credit | changes)))) == (201, 1000)
    assert len(emsp.complaints) == 1


@pytest.mark.parametrize("name", [name for name in cdr() if name != "session_id"])
async def test_what_a_cdr_requires_is_required(emsp: FakeEmsp, cpo: Reporter, name: str) -> None:
    assert said(await cpo.cdr(cdr(**{name: None}))) == (200, 2001)
    assert emsp.complaints == [f"POST cdrs: CDR.{name} is missing"]
    assert emsp.cdrs == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "x" * 37},
        {"credit": True},
        {"credit_reference_id": "C0"},
        {"charging_periods": []},
        {"charging_periods": [period("12:00:00", "STATE_OF_CHARGE")]},
        {"cdr_location": {**cdr()["cdr_location"], "country": "DE"}},
        {"cdr_location": {**cdr()["cdr_location"], "coordinates": {"latitude": "53.5", "longitude": "10.0"}}},
        {"cdr_location": {**cdr()["cdr_location"], "connector_standard": "TYPE_2"}},
        {"tariffs": [{"id": "T1"}]},
        {"signed_data": {"encoding_method": "OCMF", "signed_values": []}},
        {"remark": "x" * 256},
        {"total_cost": None},
    ],
)
async def test_a_cdr_that_breaks_a_rule_is_2001_and_not_kept(emsp: FakeEmsp, cpo: Reporter, wrong: Object) -> None:
    assert said(await cpo.cdr(cdr(**wrong))) == (200, 2001)
    assert emsp.complaints != []
    assert emsp.cdrs == {}


async def test_a_cdr_of_another_party_is_complained_of(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.cdr(cdr(party_id="XYZ"))
    assert emsp.complaints == ["POST cdrs: the CDR names another owner than OCPI-from"]


@pytest.mark.parametrize("place", ["7", "C1", "x"])
async def test_a_cdr_is_not_found_by_guessing(emsp: FakeEmsp, cpo: Reporter, place: str) -> None:
    await cpo.cdr(cdr())
    assert said(await cpo.call("GET", f"{emsp.device.cdrs_url}/{place}")) == (404, 2000)


# ---- what holds for both


@pytest.mark.parametrize("body", [b"", b"{", b'{"kwh":NaN}'])
async def test_a_body_that_is_no_json_is_400(emsp: FakeEmsp, cpo: Reporter, body: bytes) -> None:
    headers = cpo.headers() | {"Content-Type": "application/json"}
    put = await cpo.http.put(f"{emsp.device.sessions_url}/NL/CPO/S1", headers=headers, content=body)
    posted = await cpo.http.post(
        emsp.device.cdrs_url, headers=cpo.headers() | {"Content-Type": "application/json"}, content=body
    )
    assert (said(put), said(posted)) == ((400, 2001), (400, 2001))


async def test_wrong_credentials_are_401_and_nothing_is_kept(emsp: FakeEmsp, cpo: Reporter) -> None:
    headers = cpo.headers() | {"Authorization": "Token d3Jvbmc="}
    response = await cpo.http.post(emsp.device.cdrs_url, headers=headers, json=cdr())
    assert said(response) == (401, 2000)
    assert emsp.cdrs == {}


async def test_missing_routing_headers_are_complained_of(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.http.post(emsp.device.cdrs_url, headers=cpo.headers(routing=False), json=cdr())
    assert any("OCPI-to" in complaint for complaint in emsp.complaints)


async def test_one_report_is_turned_away_and_the_others_go_on(emsp: FakeEmsp, cpo: Reporter) -> None:
    emsp.reported.reject("C1", message="No contract")
    rejected, taken = await cpo.cdr(cdr()), await cpo.cdr(cdr(id="C2", session_id="S2"))
    assert (said(rejected), said(taken)) == ((200, 2001), (201, 1000))
    assert rejected.json()["status_message"] == "No contract"
    assert list(emsp.cdrs) == ["C2"]
    assert emsp.complaints == []


async def test_every_report_is_turned_away_until_it_is_accepted(emsp: FakeEmsp, cpo: Reporter) -> None:
    emsp.reported.reject(http_status=422, status_code=2000)
    before = await cpo.session("PUT", session())
    emsp.reported.accept()
    after = await cpo.session("PUT", session())
    assert (said(before), said(after)) == ((422, 2000), (201, 1000))


async def test_each_part_has_its_own_weather(emsp: FakeEmsp, cpo: Reporter) -> None:
    emsp.set_weather(server_error(times=1), on=Part.CDRS)
    answers = [await cpo.session("PUT", session()), await cpo.cdr(cdr()), await cpo.cdr(cdr())]
    assert [answer.status_code for answer in answers] == [201, 500, 201]
    assert [request.part for request in emsp.requests] == [Part.SESSIONS, Part.CDRS, Part.CDRS]


async def test_in_weather_that_spoils_the_answer_the_report_is_taken(emsp: FakeEmsp, cpo: Reporter) -> None:
    emsp.set_weather(Kind.RESET, on=Part.CDRS)
    with pytest.raises(httpx.TransportError):
        await cpo.cdr(cdr())
    assert list(emsp.cdrs) == ["C1"]


async def test_no_complaint_quotes_the_card(emsp: FakeEmsp, cpo: Reporter) -> None:
    await cpo.session("PUT", session(cdr_token={**TOKEN, "uid": TOKEN["uid"] * 3, "x": TOKEN["uid"]}))
    assert emsp.complaints != []
    assert TOKEN["uid"] not in " ".join(emsp.complaints)
