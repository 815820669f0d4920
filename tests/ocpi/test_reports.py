"""Reporting sessions and CDRs: what is sent, what each kind of weather comes to, and what a lost answer leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

from agent.errors import ConfigError
from agent.model import Outcome
from agent.ocpi.cdrs import (
    AuthMethod,
    Cdr,
    CdrDimension,
    CdrDimensionType,
    CdrLocation,
    CdrToken,
    ChargingPeriod,
    ConnectorFormat,
    ConnectorType,
    GeoLocation,
    PowerType,
)
from agent.ocpi.client import tls_context
from agent.ocpi.failures import Failure
from agent.ocpi.objects import encode
from agent.ocpi.reports import Posted, ReportClient
from agent.ocpi.sessions import Session, SessionPatch, SessionStatus, change
from agent.ocpi.tariffs import Price
from agent.ocpi.tokens import TokenType
from fakes.emsp import FakeEmsp, Kind, Part, RepeatedCdr, Request, Slash, Weather, held, rate_limited, server_error
from tests.ocpi.conftest import THEM, UID, US
from tests.ocpi.scripted import ScriptedPeer
from tests.ocpi.test_tls import ca_file, server_context

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = CdrToken(country_code="DE", party_id="ABC", uid=UID, type=TokenType.RFID, contract_id="DE-ABC-C1")

ReporterMaker = Callable[..., ReportClient]


def period(minute: int, kwh: str) -> ChargingPeriod:
    dimension = CdrDimension(type=CdrDimensionType.ENERGY, volume=Decimal(kwh))
    return ChargingPeriod(start_date_time=NOON + timedelta(minutes=minute), dimensions=(dimension,))


SESSION = Session(
    country_code="NL",
    party_id="CPO",
    id="S1",
    start_date_time=NOON,
    kwh=Decimal("0.00"),
    cdr_token=TOKEN,
    auth_method=AuthMethod.AUTH_REQUEST,
    authorization_reference="REF-1",
    location_id="LOC1",
    evse_uid="EVSE1",
    connector_id="1",
    currency="EUR",
    status=SessionStatus.ACTIVE,
    last_updated=NOON,
)
LATER = msgspec.structs.replace(
    SESSION, kwh=Decimal("1.50"), charging_periods=(period(0, "1.50"),), last_updated=NOON + timedelta(minutes=10)
)
CDR = Cdr(
    country_code="NL",
    party_id="CPO",
    id="C1",
    start_date_time=NOON,
    end_date_time=NOON + timedelta(hours=1),
    session_id="S1",
    cdr_token=TOKEN,
    auth_method=AuthMethod.AUTH_REQUEST,
    authorization_reference="REF-1",
    cdr_location=CdrLocation(
        id="LOC1",
        address="Hafenstr. 1",
        city="Hamburg",
        country="DEU",
        coordinates=GeoLocation(latitude="53.550341", longitude="10.000654"),
        evse_uid="EVSE1",
        evse_id="NL*CPO*E1",
        connector_id="1",
        connector_standard=ConnectorType.IEC_62196_T2,
        connector_format=ConnectorFormat.SOCKET,
        connector_power_type=PowerType.AC_3_PHASE,
    ),
    currency="EUR",
    charging_periods=(period(0, "10.0"),),
    total_cost=Price(excl_vat=Decimal("2.00"), incl_vat=Decimal("2.40")),
    total_energy=Decimal("10.0"),
    total_time=Decimal("1.0000"),
    last_updated=NOON + timedelta(hours=1),
)


def addition() -> SessionPatch:
    """From SESSION to LATER, a charging period included."""
    patch = change(SESSION, LATER)
    assert patch is not None
    assert not patch.may_be_repeated
    return patch


@pytest.fixture
async def emsp() -> AsyncIterator[FakeEmsp]:
    async with FakeEmsp(reports=True) as emsp:
        yield emsp
        assert emsp.complaints == []


@pytest.fixture
async def make_reporter(emsp: FakeEmsp) -> AsyncIterator[ReporterMaker]:
    async with AsyncExitStack() as stack:

        def make(**settings: object) -> ReportClient:
            defaults: dict[str, object] = {"token": emsp.credentials_token, "us": US, "them": THEM}
            if not settings.keys() & {"versions_url", "sessions_url", "cdrs_url"}:
                defaults |= {"sessions_url": emsp.device.sessions_url, "cdrs_url": emsp.device.cdrs_url}
            reporter = ReportClient("abc", **(defaults | settings))  # type: ignore[arg-type]
            stack.push_async_callback(reporter.aclose)
            return reporter

        yield make


@pytest.fixture
def reporter(make_reporter: ReporterMaker) -> ReportClient:
    return make_reporter()


@pytest.fixture
def to_script(make_reporter: ReporterMaker, scripted: ScriptedPeer) -> ReportClient:
    return make_reporter(sessions_url=f"{scripted.url}/sessions", cdrs_url=f"{scripted.url}/cdrs")


def of_method(emsp: FakeEmsp, method: str) -> list[Request]:
    return [request for request in emsp.requests if request.method == method]


def outcome_of(result: object) -> Outcome:
    assert isinstance(result, Failure)
    assert result.detail
    return result.outcome


# ---- sessions: what is sent


async def test_a_session_is_put_where_and_as_ocpi_asks_for(emsp: FakeEmsp, reporter: ReportClient) -> None:
    assert await reporter.put_session(SESSION, correlation_id="tap-1") is None
    [request] = emsp.requests
    assert request.path == "/ocpi/emsp/2.2.1/sessions/NL/CPO/S1"
    assert request.body == encode(SESSION)
    assert request.headers["x-correlation-id"] == "tap-1"
    assert request.headers["ocpi-from-country-code"] + request.headers["ocpi-from-party-id"] == "NLCPO"
    assert request.headers["ocpi-to-country-code"] + request.headers["ocpi-to-party-id"] == "DEABC"
    assert emsp.sessions["S1"]["authorization_reference"] == "REF-1"


async def test_digits_arrive_as_they_were_stored(emsp: FakeEmsp, reporter: ReportClient) -> None:
    await reporter.put_session(msgspec.structs.replace(SESSION, kwh=Decimal("41.1200")))
    assert b'"kwh":41.1200,' in emsp.requests[0].body
    assert str(emsp.sessions["S1"]["kwh"]) == "41.1200"


async def test_a_put_may_be_repeated(emsp: FakeEmsp, reporter: ReportClient) -> None:
    assert await reporter.put_session(LATER) is None
    assert await reporter.put_session(LATER) is None
    assert len(emsp.sessions["S1"]["charging_periods"]) == 1


async def test_a_patch_has_only_what_has_changed(emsp: FakeEmsp, reporter: ReportClient) -> None:
    await reporter.put_session(SESSION)
    assert await reporter.patch_session(LATER, addition()) is None
    assert of_method(emsp, "PATCH")[0].json().keys() == {"kwh", "charging_periods", "last_updated"}
    assert await reporter.get_session(SESSION) == LATER


async def test_at_a_hub_a_report_goes_to_the_owner_of_the_token(emsp: FakeEmsp, make_reporter: ReporterMaker) -> None:
    emsp.device.hub = True
    token = msgspec.structs.replace(TOKEN, country_code="FR", party_id="XYZ")
    await make_reporter(hub=True).put_session(msgspec.structs.replace(SESSION, cdr_token=token))
    await make_reporter(hub=True).put_session(SESSION, to=("BE", "HUB"))
    headers = [request.headers for request in emsp.requests]
    assert [h["ocpi-to-country-code"] + h["ocpi-to-party-id"] for h in headers] == ["FRXYZ", "BEHUB"]


async def test_an_id_stays_one_segment_of_the_path(emsp: FakeEmsp, reporter: ReportClient) -> None:
    assert await reporter.put_session(msgspec.structs.replace(SESSION, id="../a b?c#d%2F")) is None
    assert list(emsp.sessions) == ["../a b?c#d%2F"]


async def test_a_query_in_the_address_is_kept(scripted: ScriptedPeer, make_reporter: ReporterMaker) -> None:
    await make_reporter(sessions_url=f"{scripted.url}/s/?key=1").put_session(SESSION)
    assert scripted.heads[0].startswith("PUT /s/NL/CPO/S1?key=1 ")


# ---- CDRs


async def test_a_posted_cdr_is_found_where_the_answer_said(emsp: FakeEmsp, reporter: ReportClient) -> None:
    posted = await reporter.post_cdr(CDR)
    assert posted == Posted(emsp.reported.cdr_url("C1"), created=True)
    assert posted.url is not None
    assert await reporter.get_cdr(posted.url, CDR) == CDR


async def test_a_credit_goes_the_same_way(emsp: FakeEmsp, reporter: ReportClient) -> None:
    await reporter.post_cdr(CDR)
    assert isinstance(await reporter.post_cdr(CDR.credited("C1-C", NOON + timedelta(hours=2))), Posted)
    assert str(emsp.cdrs["C1-C"]["total_cost"]["excl_vat"]) == "-2.00"


@pytest.mark.parametrize(("answer", "created"), [(RepeatedCdr.OK, False), (RepeatedCdr.CREATED, True)])
async def test_the_same_cdr_again_has_the_same_address(
    emsp: FakeEmsp, reporter: ReportClient, answer: RepeatedCdr, *, created: bool
) -> None:
    emsp.reported.repeated_cdr = answer
    await reporter.post_cdr(CDR)
    assert await reporter.post_cdr(CDR, again=True) == Posted(emsp.reported.cdr_url("C1"), created=created)
    first, second = of_method(emsp, "POST")
    assert first.body == second.body


async def test_a_conflict_acknowledges_only_what_may_have_arrived_before(
    emsp: FakeEmsp, reporter: ReportClient
) -> None:
    emsp.reported.repeated_cdr = RepeatedCdr.CONFLICT
    await reporter.post_cdr(CDR)
    assert outcome_of(await reporter.post_cdr(CDR)) is Outcome.REJECTED
    assert await reporter.post_cdr(CDR, again=True) == Posted(None, created=False)
    assert list(emsp.cdrs) == ["C1"]


async def test_a_conflict_with_its_own_silent_repetition_acknowledges_a_cdr(
    emsp: FakeEmsp, reporter: ReportClient
) -> None:
    emsp.reported.repeated_cdr = RepeatedCdr.CONFLICT
    await reporter.post_cdr(CDR)  # its connection is kept …
    emsp.set_weather(Kind.DROPS_REUSED)  # … and breaks when the next one has been taken
    second = msgspec.structs.replace(CDR, id="C2", session_id="S2")
    assert await reporter.post_cdr(second) == Posted(None, created=False)
    assert list(emsp.cdrs) == ["C1", "C2"]


@pytest.mark.parametrize(
    ("header", "path"),
    [
        ("Location: /stored/1\r\n", "/stored/1"),
        ("Location: {url}/stored/1\r\n", "/stored/1"),
        ("", None),
        ("Location: \r\n", None),
        ("Location: ftp://x/y\r\n", None),
        ("Location: http://[\r\n", None),
        (f"Location: /{'x' * 3000}\r\n", None),
    ],
)
async def test_whatever_the_location_a_cdr_is_acknowledged(
    scripted: ScriptedPeer, to_script: ReportClient, header: str, path: str | None
) -> None:
    headers = header.replace("{url}", scripted.url)
    scripted.says("/cdrs", {"status_code": 1000, "timestamp": "2026-03-01T12:00:00Z"}, headers=headers)
    assert await to_script.post_cdr(CDR) == Posted(path and scripted.url + path, created=False)


async def test_a_created_cdr_needs_no_envelope(scripted: ScriptedPeer, to_script: ReportClient) -> None:
    scripted.sends("/cdrs", b"", status="201 Created", headers="Location: /cdrs/1\r\n")
    assert await to_script.post_cdr(CDR) == Posted(f"{scripted.url}/cdrs/1", created=True)


async def test_an_empty_answer_that_names_no_cdr_is_none(scripted: ScriptedPeer, to_script: ReportClient) -> None:
    scripted.sends("/cdrs", b"", status="201 Created")
    assert outcome_of(await to_script.post_cdr(CDR)) is Outcome.MALFORMED


async def test_a_location_with_our_credentials_is_not_kept(
    emsp: FakeEmsp, scripted: ScriptedPeer, to_script: ReportClient
) -> None:
    headers = f"Location: /cdrs/1?token={emsp.credentials_token}\r\n"
    scripted.says("/cdrs", {"status_code": 1000, "timestamp": "2026-03-01T12:00:00Z"}, headers=headers)
    assert await to_script.post_cdr(CDR) == Posted(None, created=False)


async def test_credentials_do_not_follow_a_location_to_another_server(
    emsp: FakeEmsp, scripted: ScriptedPeer, reporter: ReportClient
) -> None:
    assert outcome_of(await reporter.get_cdr(f"{scripted.url}/cdrs/1", CDR)) is Outcome.MALFORMED
    assert scripted.requests == []
    assert emsp.requests == []


# ---- what can't be sent


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"party_id": "XYZ"}, "NL-XYZ"),
        ({"id": "x" * 37}, "id"),
        ({"currency": "Euro"}, "currency"),
        ({"kwh": Decimal("0.00001")}, "decimals"),
        ({"id": ".."}, "URL"),
    ],
)
async def test_a_session_that_breaks_ocpi_is_not_sent(
    emsp: FakeEmsp, reporter: ReportClient, changes: dict[str, Any], word: str
) -> None:
    failure = await reporter.put_session(msgspec.structs.replace(SESSION, **changes))
    assert failure is not None
    assert failure.outcome is Outcome.REJECTED
    assert failure.detail.startswith("not sent: ")
    assert word in failure.detail
    assert emsp.requests == []


async def test_a_cdr_that_breaks_ocpi_is_not_sent(emsp: FakeEmsp, reporter: ReportClient) -> None:
    cdr = msgspec.structs.replace(CDR, total_energy=Decimal("10.12345"))
    assert outcome_of(await reporter.post_cdr(cdr)) is Outcome.REJECTED
    assert emsp.requests == []


# ---- where the peer keeps its modules


async def test_addresses_are_discovered_once(emsp: FakeEmsp, make_reporter: ReporterMaker) -> None:
    reporter = make_reporter(versions_url=emsp.versions_url)
    assert await reporter.put_session(SESSION) is None
    assert await reporter.put_session(SESSION) is None
    assert isinstance(await reporter.post_cdr(CDR), Posted)
    parts = [request.part for request in emsp.requests]
    assert parts == [*[Part.VERSIONS] * 2, *[Part.SESSIONS] * 2, *[Part.VERSIONS] * 2, Part.CDRS]


async def test_what_a_peer_does_not_offer_is_no_peer(emsp: FakeEmsp, make_reporter: ReporterMaker) -> None:
    emsp.device.withheld_endpoints = {"cdrs"}
    reporter = make_reporter(versions_url=emsp.versions_url)
    failure = await reporter.post_cdr(CDR)
    assert failure == Failure(
        Outcome.NO_PEER,
        "offers no cdrs RECEIVER in OCPI 2.2.1, only: credentials SENDER, tokens SENDER, sessions RECEIVER",
    )
    assert await reporter.put_session(SESSION) is None


async def test_without_any_address_there_is_no_peer(emsp: FakeEmsp, make_reporter: ReporterMaker) -> None:
    reporter = make_reporter(cdrs_url=emsp.device.cdrs_url)
    assert outcome_of(await reporter.put_session(SESSION)) is Outcome.NO_PEER


async def test_versions_without_ours_are_named(emsp: FakeEmsp, make_reporter: ReporterMaker) -> None:
    emsp.device.versions = ("2.1.1", "2.2")
    failure = await make_reporter(versions_url=emsp.versions_url).put_session(SESSION)
    assert failure == Failure(Outcome.MALFORMED, "offers OCPI 2.1.1, 2.2, but not 2.2.1")


async def test_a_failing_discovery_is_the_reports_failure(emsp: FakeEmsp, make_reporter: ReporterMaker) -> None:
    emsp.set_weather(server_error(503), on=Part.VERSIONS)
    failure = await make_reporter(versions_url=emsp.versions_url).post_cdr(CDR)
    assert failure == Failure(Outcome.SERVER_ERROR, "versions: HTTP 503")


async def test_where_nobody_is_any_more_the_address_is_discovered_again(
    emsp: FakeEmsp, make_reporter: ReporterMaker
) -> None:
    reporter = make_reporter(versions_url=emsp.versions_url)
    await reporter.put_session(SESSION)
    emsp.set_weather(Weather(Kind.NOT_FOUND_BARE, times=1), on=Part.SESSIONS)
    assert outcome_of(await reporter.put_session(SESSION)) is Outcome.SERVER_ERROR
    assert await reporter.put_session(SESSION) is None
    assert [request.part for request in emsp.requests].count(Part.VERSIONS) == 4


async def test_an_address_that_no_request_can_go_to_is_not_followed(
    scripted: ScriptedPeer, make_reporter: ReporterMaker
) -> None:
    reporter = make_reporter(versions_url=f"{scripted.url}/versions")
    scripted.says("/versions", {"status_code": 1000, "data": [{"version": "2.2.1", "url": "ftp://x"}]})
    assert outcome_of(await reporter.put_session(SESSION)) is Outcome.MALFORMED
    assert scripted.requests == ["GET /versions"]


async def test_from_https_credentials_do_not_go_on_in_clear(
    scripted: ScriptedPeer, make_reporter: ReporterMaker, tmp_path: Path
) -> None:
    authority = trustme.CA()
    trap = {"identifier": "cdrs", "role": "RECEIVER", "url": f"{scripted.url}/cdrs"}
    async with FakeEmsp(reports=True, tls=server_context(authority)) as emsp:
        emsp.device.extra_endpoints.append(trap)
        tls = tls_context(ca_file(authority, tmp_path))
        reporter = make_reporter(versions_url=emsp.versions_url, token=emsp.credentials_token, tls=tls)
        assert await reporter.put_session(SESSION) is None
        failure = await reporter.post_cdr(CDR)
        await reporter.aclose()
    assert failure == Failure(Outcome.MALFORMED, f"the cdrs endpoint: expected an https URL, not {scripted.url}")
    assert scripted.requests == []


@pytest.mark.parametrize("setting", ["versions_url", "sessions_url", "cdrs_url"])
async def test_an_address_that_is_none_is_a_config_error(make_reporter: ReporterMaker, setting: str) -> None:
    with pytest.raises(ConfigError, match=setting):
        make_reporter(**{setting: "emsp.example"})


async def test_paths_end_with_a_slash_where_they_must(emsp: FakeEmsp, make_reporter: ReporterMaker) -> None:
    emsp.device.slash = Slash.DEMANDED
    reporter = make_reporter(versions_url=emsp.versions_url, trailing_slash=True)
    assert await reporter.put_session(SESSION) is None
    posted = await reporter.post_cdr(CDR)
    assert isinstance(posted, Posted)
    assert posted.url is not None
    assert await reporter.get_cdr(posted.url, CDR) == CDR


async def test_a_plain_credentials_token_is_sent_where_configured(emsp: FakeEmsp, make_reporter: ReporterMaker) -> None:
    emsp.device.plain_credentials = True
    assert await make_reporter(encoding="plain").put_session(SESSION) is None


# ---- every failure is a value

WEATHERS = [
    (Weather(Kind.UNAUTHORIZED), Outcome.UNAUTHORIZED),
    (Weather(Kind.FORBIDDEN), Outcome.UNAUTHORIZED),
    (Weather(Kind.NOT_FOUND), Outcome.UNKNOWN),
    (Weather(Kind.UNKNOWN_200), Outcome.UNKNOWN),
    (Weather(Kind.NOT_FOUND_BARE), Outcome.SERVER_ERROR),
    (rate_limited(30), Outcome.RATE_LIMITED),
    (server_error(), Outcome.SERVER_ERROR),
    (server_error(503, 10), Outcome.SERVER_ERROR),
    (Weather(Kind.NOT_ENOUGH), Outcome.REJECTED),
    (Weather(Kind.OCPI_ERROR), Outcome.OCPI_ERROR),
    (Weather(Kind.HUB_ERROR), Outcome.OCPI_ERROR),
    (Weather(Kind.CUT_OFF), Outcome.MALFORMED),
    (Weather(Kind.HTML_200), Outcome.MALFORMED),
    (Weather(Kind.EMPTY_BODY), Outcome.MALFORMED),
    (Weather(Kind.ENDLESS_CHUNKED), Outcome.OVERSIZED),
    (Weather(Kind.ENDLESS_LENGTH), Outcome.OVERSIZED),
    (Weather(Kind.GZIP_BOMB, mebibytes=8), Outcome.MALFORMED),
    (Weather(Kind.RESET), Outcome.UNREACHABLE),
    (Weather(Kind.GARBAGE), Outcome.MALFORMED),
]
OF_WEATHER = pytest.mark.parametrize(
    ("weather", "outcome"), WEATHERS, ids=lambda value: str(getattr(value, "kind", ""))
)


@OF_WEATHER
async def test_what_keeps_a_session_from_being_told_is_named(
    emsp: FakeEmsp, reporter: ReportClient, weather: Weather, outcome: Outcome
) -> None:
    emsp.set_weather(weather)
    assert outcome_of(await reporter.put_session(SESSION)) is outcome
    emsp.set_weather(Kind.FINE)
    assert await reporter.put_session(SESSION) is None
    assert list(emsp.sessions) == ["S1"]


@OF_WEATHER
async def test_what_keeps_a_cdr_from_being_acknowledged_is_named_and_it_is_kept_once_in_the_end(
    emsp: FakeEmsp, reporter: ReportClient, weather: Weather, outcome: Outcome
) -> None:
    emsp.set_weather(weather)
    assert outcome_of(await reporter.post_cdr(CDR)) is outcome
    emsp.set_weather(Kind.FINE)
    assert isinstance(await reporter.post_cdr(CDR, again=True), Posted)
    assert list(emsp.cdrs) == ["C1"]


@pytest.mark.parametrize("weather", [rate_limited(30), server_error(503, 30)])
async def test_how_long_a_peer_asks_to_be_left_alone_is_passed_on(
    emsp: FakeEmsp, reporter: ReportClient, weather: Weather
) -> None:
    emsp.set_weather(weather)
    failure = await reporter.put_session(SESSION)
    assert failure is not None
    assert failure.retry_after_s == 30


async def test_a_peer_that_is_down_is_unreachable(emsp: FakeEmsp, reporter: ReportClient) -> None:
    emsp.set_weather(Kind.DOWN)
    results = [await reporter.put_session(SESSION), await reporter.post_cdr(CDR), await reporter.get_session(SESSION)]
    assert [outcome_of(result) for result in results] == [Outcome.UNREACHABLE] * 3


async def test_a_peer_that_never_answers_is_a_timeout(emsp: FakeEmsp, make_reporter: ReporterMaker) -> None:
    emsp.set_weather(Kind.SILENT)
    assert outcome_of(await make_reporter(hang_s=0.05).post_cdr(CDR)) is Outcome.TIMEOUT


@pytest.mark.parametrize(("http_status", "status_code"), [(200, 2001), (400, 2000), (422, 2001), (409, 2000)])
async def test_a_rejected_report_says_why(
    emsp: FakeEmsp, reporter: ReportClient, http_status: int, status_code: int
) -> None:
    emsp.reported.reject(http_status=http_status, status_code=status_code, message="No contract with you")
    for failure in (await reporter.put_session(SESSION), await reporter.post_cdr(CDR)):
        assert outcome_of(failure) is Outcome.REJECTED
        assert isinstance(failure, Failure)
        assert "No contract with you" in failure.detail


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("400 Bad Request", b"<html>The plain HTTP request was sent to HTTPS port"),
        ("405 Method Not Allowed", b"<html>"),
        ("408 Request Timeout", b""),
        ("404 Not Found", b'{"message":"no Route matched"}'),
        ("400 Bad Request", b'{"status_code":3000}'),
        ("400 Bad Request", b'{"status_code":4001}'),
        ("404 Not Found", b'{"status_code":1000}'),
    ],
)
async def test_a_4xx_without_a_word_of_ocpi_against_it_refuses_no_report(
    scripted: ScriptedPeer, to_script: ReportClient, status: str, body: bytes
) -> None:
    scripted.sends("/cdrs", body, status=status)
    scripted.sends("/sessions/NL/CPO/S1", body, status=status)
    assert outcome_of(await to_script.post_cdr(CDR)) is Outcome.SERVER_ERROR
    assert outcome_of(await to_script.put_session(SESSION)) is Outcome.SERVER_ERROR


async def test_a_patch_may_be_refused_by_anything_on_the_way(scripted: ScriptedPeer, to_script: ReportClient) -> None:
    scripted.sends("/sessions/NL/CPO/S1", b"", status="405 Method Not Allowed")
    change_of = SessionPatch(kwh=Decimal(1), last_updated=NOON)
    assert outcome_of(await to_script.patch_session(SESSION, change_of)) is Outcome.REJECTED


async def test_a_peers_words_are_shown_without_card_and_credentials(
    emsp: FakeEmsp, scripted: ScriptedPeer, to_script: ReportClient
) -> None:
    words = {"status_code": 2004, "status_message": f"{UID.lower()} unknown to {emsp.credentials_token}"}
    scripted.says("/cdrs", words)
    scripted.says("/sessions/NL/CPO/S1", words)
    shown = Failure(Outcome.UNKNOWN, "OCPI 2004: *** unknown to ***")
    assert await to_script.post_cdr(CDR) == shown
    assert await to_script.put_session(SESSION) == shown
    assert await to_script.patch_session(SESSION, addition()) == shown
    assert await to_script.get_session(SESSION) == shown


@pytest.mark.parametrize("data", [None, {}, [], "taken", {"x": ["y" * 1000] * 500}])
async def test_whatever_data_comes_with_a_yes_it_is_a_yes(
    scripted: ScriptedPeer, to_script: ReportClient, data: object
) -> None:
    scripted.says("/sessions/NL/CPO/S1", {"status_code": 1000, "data": data}, status="201 Created")
    assert await to_script.put_session(SESSION) is None


# ---- what a lost answer leaves


async def test_a_cdr_whose_answer_is_lost_is_posted_again_and_kept_once(emsp: FakeEmsp, reporter: ReportClient) -> None:
    emsp.set_weather(Weather(Kind.RESET, times=1), on=Part.CDRS)
    assert outcome_of(await reporter.post_cdr(CDR)) is Outcome.UNREACHABLE
    assert list(emsp.cdrs) == ["C1"]
    assert await reporter.post_cdr(CDR, again=True) == Posted(emsp.reported.cdr_url("C1"), created=False)
    assert list(emsp.cdrs) == ["C1"]


async def test_after_a_patch_whose_answer_is_lost_a_put_makes_it_good(emsp: FakeEmsp, reporter: ReportClient) -> None:
    await reporter.put_session(SESSION)
    emsp.set_weather(Weather(Kind.RESET, times=1), on=Part.SESSIONS)
    assert outcome_of(await reporter.patch_session(LATER, addition())) is Outcome.UNREACHABLE
    assert len(emsp.sessions["S1"]["charging_periods"]) == 1
    assert await reporter.put_session(LATER) is None
    assert await reporter.get_session(SESSION) == LATER


@pytest.mark.parametrize("how", [Kind.NOT_FOUND_BARE, Kind.NOT_FOUND])
async def test_a_patch_of_what_the_peer_does_not_have_is_unknown(
    emsp: FakeEmsp, reporter: ReportClient, how: Kind
) -> None:
    emsp.set_weather(how)
    assert outcome_of(await reporter.patch_session(LATER, addition())) is Outcome.UNKNOWN
    emsp.complaints.clear()  # it was in fact never put


async def test_a_session_that_the_peer_has_lost_is_unknown_and_put_again(
    emsp: FakeEmsp, reporter: ReportClient
) -> None:
    await reporter.put_session(SESSION)
    emsp.sessions.clear()
    assert outcome_of(await reporter.patch_session(LATER, addition())) is Outcome.UNKNOWN
    assert outcome_of(await reporter.get_session(SESSION)) is Outcome.UNKNOWN
    assert await reporter.put_session(LATER) is None
    assert await reporter.get_session(SESSION) == LATER


async def test_a_lost_cdr_is_unknown_at_its_address(emsp: FakeEmsp, reporter: ReportClient) -> None:
    posted = await reporter.post_cdr(CDR)
    assert isinstance(posted, Posted)
    emsp.cdrs.clear()
    assert outcome_of(await reporter.get_cdr(posted.url or "", CDR)) is Outcome.UNKNOWN


async def test_a_put_survives_a_server_that_closes_kept_connections(emsp: FakeEmsp, reporter: ReportClient) -> None:
    emsp.set_weather(Kind.DROPS_REUSED)
    assert await reporter.put_session(SESSION) is None
    assert await reporter.put_session(SESSION) is None
    assert len(of_method(emsp, "PUT")) == 3


async def test_a_patch_with_periods_is_never_sent_twice_by_itself(emsp: FakeEmsp, reporter: ReportClient) -> None:
    emsp.set_weather(Kind.DROPS_REUSED)
    more = msgspec.structs.replace(
        LATER, charging_periods=(*LATER.charging_periods, period(10, "2.0")), last_updated=NOON + timedelta(minutes=20)
    )
    second = change(LATER, more)
    assert second is not None
    assert await reporter.put_session(SESSION) is None
    assert await reporter.patch_session(LATER, addition()) is None
    assert await reporter.patch_session(more, second) is None
    assert len(of_method(emsp, "PATCH")) == 2
    assert len(emsp.sessions["S1"]["charging_periods"]) == 2


async def test_a_cancelled_report_gives_its_connection_up_and_the_next_goes_on(
    emsp: FakeEmsp, reporter: ReportClient
) -> None:
    never = asyncio.Event()
    emsp.set_weather(held(never), on=Part.CDRS)
    task = asyncio.create_task(reporter.post_cdr(CDR))
    await emsp.arrived(part=Part.CDRS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    emsp.set_weather(Kind.FINE)
    assert isinstance(await reporter.post_cdr(CDR, again=True), Posted)
    assert list(emsp.cdrs) == ["C1"]


async def test_reports_of_many_sessions_go_at_once(emsp: FakeEmsp, reporter: ReportClient) -> None:
    sessions = [msgspec.structs.replace(SESSION, id=f"S{number}") for number in range(50)]
    assert await asyncio.gather(*map(reporter.put_session, sessions)) == [None] * 50
    assert len(emsp.sessions) == 50
    assert emsp.connections_accepted <= 4


# ---- what the peer has, read back


async def test_a_copy_with_nulls_other_cases_and_more_fields_is_read(
    scripted: ScriptedPeer, to_script: ReportClient
) -> None:
    copy = json.loads(encode(SESSION)) | {"status": "active", "kwh": "0.00", "meter_id": None, "driver": {"x": None}}
    scripted.says("/sessions/NL/CPO/S1", {"status_code": 1000, "data": copy})
    assert await to_script.get_session(SESSION) == SESSION


@pytest.mark.parametrize("data", [None, [], {}, {"id": "S1"}])
async def test_a_copy_that_is_none_is_malformed(scripted: ScriptedPeer, to_script: ReportClient, data: object) -> None:
    scripted.says("/sessions/NL/CPO/S1", {"status_code": 1000, "data": data})
    assert outcome_of(await to_script.get_session(SESSION)) is Outcome.MALFORMED
