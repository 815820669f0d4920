"""What is read of a peer's JSON and headers, how leniently, and what is written of our own."""

import json
import socket
import ssl
from datetime import UTC, datetime, timedelta, timezone

import httpx
import msgspec
import pytest

from agent import model
from agent.model import Outcome
from agent.ocpi import envelope
from agent.ocpi.addressing import authorize_url, with_query
from agent.ocpi.envelope import UNREADABLE, Envelope
from agent.ocpi.failures import Failure, harmless, of_http, of_status_code, of_transport
from agent.ocpi.headers import http_date, number, retry_after_s
from agent.ocpi.paging import next_url, same_origin, server
from agent.ocpi.timestamps import to_second, wire_text
from agent.ocpi.tokens import (
    AUTHORIZATION_INFO,
    DisplayText,
    Key,
    LocationReferences,
    Token,
    TokenType,
    WhitelistType,
    decode_list,
    to_model,
    token_of,
)
from agent.ocpi.versions import DETAILS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def token_json(**changes: object) -> dict[str, object]:
    """A Token with only what OCPI requires, changed; None leaves a field out."""
    fields: dict[str, object] = {
        "country_code": "DE",
        "party_id": "ABC",
        "uid": "04A1B2C3D4E5F6",
        "type": "RFID",
        "contract_id": "DE-ABC-C1",
        "issuer": "ABC",
        "valid": True,
        "whitelist": "ALLOWED",
        "last_updated": "2026-03-01T12:00:00Z",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def read(*objects: object) -> tuple[list[Token], list[str]]:
    tokens, unreadable = decode_list(json.dumps(objects).encode())
    return tokens, [bad.reason for bad in unreadable]


# ---- Token: OCPI 2.2.1 mod_tokens


def test_a_full_token_keeps_every_field() -> None:
    fields = token_json(
        visual_number="1234-5",
        group_id="G1",
        language="de",
        default_profile_type="GREEN",
        energy_contract={"supplier_name": "Stadtwerke", "contract_id": "E1"},
    )
    tokens, bad = read(fields)
    assert bad == []
    assert to_model(tokens) == [
        model.Token(
            country_code="DE",
            party_id="ABC",
            uid="04A1B2C3D4E5F6",
            type=model.TokenType.RFID,
            contract_id="DE-ABC-C1",
            issuer="ABC",
            valid=True,
            whitelist=model.WhitelistType.ALLOWED,
            last_updated=NOON,
            visual_number="1234-5",
            group_id="G1",
            language="de",
            default_profile_type="GREEN",
            energy_contract=model.EnergyContract("Stadtwerke", "E1"),
        )
    ]


def test_unknown_fields_and_null_optionals_are_no_mistake() -> None:
    fields = token_json() | {"visual_number": None, "energy_contract": None, "colour": {"of": ["card"]}}
    tokens, bad = read(fields)
    assert bad == []
    assert tokens[0].visual_number is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T12:00:00Z", NOON),
        ("2026-03-01T12:00:00", NOON),
        ("2026-03-01t12:00:00z", NOON),
        ("2026-03-01T12:00:00.2Z", NOON + timedelta(milliseconds=200)),
        ("2026-03-01T12:00:00.123", NOON + timedelta(milliseconds=123)),
        ("2026-03-01T14:00:00+02:00", NOON),
        ("2026-03-01 12:00:00Z", NOON),
    ],
)
def test_every_form_of_a_timestamp_is_read_as_utc(text: str, moment: datetime) -> None:
    tokens, bad = read(token_json(last_updated=text))
    assert bad == []
    assert tokens[0].last_updated == moment
    assert to_model(tokens)[0].last_updated.tzinfo is UTC


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "yesterday", ""])
def test_a_moment_that_does_not_exist_makes_one_token_unreadable(text: str) -> None:
    tokens, bad = read(token_json(last_updated=text), token_json(uid="02"))
    assert [token.uid for token in tokens] == ["02"]
    assert len(bad) == 1


def test_enums_are_read_in_any_case() -> None:
    tokens, _ = read(token_json(type="rfid", whitelist="allowed_offline"))
    assert (tokens[0].type, tokens[0].whitelist) == (TokenType.RFID, WhitelistType.ALLOWED_OFFLINE)


def test_a_token_type_that_nobody_knows_is_another_type() -> None:
    tokens, _ = read(token_json(type="IMPLANT"))
    assert to_model(tokens)[0].type is model.TokenType.OTHER


def test_a_whitelist_type_that_nobody_knows_makes_the_token_unreadable() -> None:
    tokens, bad = read(token_json(whitelist="SOMETIMES"))
    assert tokens == []
    assert bad == ["Invalid enum value 'SOMETIMES' - at `$.whitelist`"]


@pytest.mark.parametrize("field", ["country_code", "party_id", "uid", "type", "contract_id", "issuer", "valid"])
def test_a_token_without_a_required_field_is_unreadable(field: str) -> None:
    tokens, bad = read(token_json(**{field: None}))
    assert tokens == []
    assert bad == [f"Object missing required field `{field}`"]


def test_an_empty_uid_names_no_token() -> None:
    tokens, bad = read(token_json(uid=""))
    assert (tokens, len(bad)) == ([], 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"country_code": "D"},
        {"country_code": "DEU"},
        {"country_code": "D1"},
        {"country_code": "ÄÖ"},
        {"party_id": "ABCD"},
        {"party_id": "A-C"},
        {"party_id": "A\n"},
        {"uid": "04\n"},
        {"uid": "04\x1b[2J"},
        {"uid": "0" * 65},
        {"contract_id": "c\x1b[31m"},
        {"contract_id": "c" * 65},
        {"issuer": "i" * 257},
    ],
)
def test_a_token_whose_names_could_do_harm_is_unreadable(changes: dict[str, object]) -> None:
    tokens, bad = read(token_json(**changes), token_json(uid="02"))
    assert [token.uid for token in tokens] == ["02"]
    assert len(bad) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"energy_contract": {}},
        {"energy_contract": {"supplier_name": None}},
        {"energy_contract": {"supplier_name": "s", "contract_id": 7}},
        {"energy_contract": "a supplier"},
        {"visual_number": 4711},
        {"visual_number": "v" * 257},
        {"language": "de" * 200},
        {"language": ["de"]},
        {"default_profile_type": {}},
        {"group_id": "g\x07"},
        {"group_id": "g" * 65},
        {"group_id": 5, "visual_number": False},
    ],
)
def test_a_block_is_not_lost_over_a_field_that_decides_nothing(changes: dict[str, object]) -> None:
    blocked = token_json(valid=False)
    tokens, bad = read(blocked | changes)
    assert bad == []
    assert tokens == read(blocked)[0]


def test_the_optional_fields_that_can_be_read_are_kept() -> None:
    [found], _ = read(token_json(group_id="g", language=7, visual_number="v"))
    assert (found.group_id, found.language, found.visual_number) == ("g", None, "v")


def test_what_decides_is_not_guessed_beside_a_field_that_does_not() -> None:
    bad_field: dict[str, object] = {"energy_contract": {}}
    tokens, bad = read(*(token_json(**bad_field, **{name: None}) for name in ("valid", "whitelist", "uid", "issuer")))
    assert (tokens, len(bad)) == ([], 4)


def test_a_uid_that_came_as_a_number_names_its_card() -> None:
    _, unreadable = decode_list(json.dumps([token_json(uid=12345678)]).encode())
    assert [bad.key.uid for bad in unreadable] == ["12345678"]


def test_names_a_little_longer_than_ocpi_allows_harm_nothing() -> None:
    fields = token_json(uid="0" * 64, contract_id="c" * 64, issuer="i" * 256, visual_number="v" * 256, party_id="A")
    tokens, bad = read(fields)
    assert (len(tokens), bad) == (1, [])


def test_an_endless_name_is_no_key() -> None:
    _, unreadable = decode_list(json.dumps([{"uid": "0" * 1000, "party_id": "ABC"}]).encode())
    assert unreadable[0].key == Key("", "ABC", "", "")


def test_the_good_tokens_of_a_page_survive_the_bad_ones() -> None:
    page = [token_json(uid="01"), token_json(uid="02", contract_id=None), "no object", token_json(uid="04")]
    tokens, unreadable = decode_list(json.dumps(page).encode())
    assert [token.uid for token in tokens] == ["01", "04"]
    assert [(bad.index, bad.key) for bad in unreadable] == [(1, Key("DE", "ABC", "02", "RFID")), (2, Key())]


def test_an_unreadable_token_is_named_as_far_as_it_can_be_read() -> None:
    _, unreadable = decode_list(json.dumps([{"uid": "02", "type": "rfid", "party_id": 7}]).encode())
    assert unreadable[0].key == Key("", "", "02", "RFID")


@pytest.mark.parametrize("data", [b'{"uid":"01"}', b"", b"null", b"[", b'["\xff"', b"[" * 100_000])
def test_what_is_no_list_is_no_page(data: bytes) -> None:
    with pytest.raises(UNREADABLE):
        decode_list(data)


def test_nesting_without_end_in_one_object_is_a_bad_page_and_no_crash() -> None:
    with pytest.raises(UNREADABLE):
        decode_list(b"[" + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]")


def test_a_token_is_written_with_only_what_is_set() -> None:
    tokens, _ = read(token_json(language="de"))
    assert json.loads(msgspec.json.encode(tokens[0])) == token_json(language="de")


# ---- AuthorizationInfo


def information(**changes: object) -> bytes:
    fields: dict[str, object] = {"allowed": "ALLOWED", "token": token_json()}
    return json.dumps(fields | changes).encode()


def test_an_answer_may_have_nothing_but_the_required() -> None:
    info = AUTHORIZATION_INFO.decode(information(location=None, info=None, authorization_reference=None))
    assert (info.allowed, info.location, info.info, info.authorization_reference) == ("ALLOWED", None, None, None)


def test_allowed_is_read_in_any_case() -> None:
    assert AUTHORIZATION_INFO.decode(information(allowed="no_credit")).allowed == "NO_CREDIT"


def test_allowed_with_a_value_that_nobody_knows_is_unreadable() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"'MAYBE' - at `\$.allowed`"):
        AUTHORIZATION_INFO.decode(information(allowed="MAYBE"))


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [
        ({"language": "de", "text": "Gute Fahrt"}, DisplayText("Gute Fahrt", "de")),
        ({"text": "Gute Fahrt"}, DisplayText("Gute Fahrt")),
        ("Gute Fahrt", "Gute Fahrt"),
    ],
)
def test_a_text_for_the_driver_does_not_cost_him_his_answer(sent: object, read_as: object) -> None:
    assert AUTHORIZATION_INFO.decode(information(info=sent)).info == read_as


def test_a_location_without_evses_is_read() -> None:
    info = AUTHORIZATION_INFO.decode(information(location={"location_id": "L1", "evse_uids": None}))
    assert info.location == LocationReferences("L1")


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [
        ({"language": None, "text": "x"}, DisplayText("x")),
        ({"language": 7, "text": "x"}, DisplayText("x")),
        ({"language": "de", "text": "Karte\x1b[2J\ngesperrt"}, DisplayText("Karte [2J gesperrt", "de")),
        ("x" * 1000, "x" * 512),
        ({"language": "de"}, None),
        ({"language": "de", "text": None}, None),
        ({"text": "\n"}, None),
        ("", None),
        ([], None),
        (5, None),
    ],
)
@pytest.mark.parametrize("allowed", ["ALLOWED", "BLOCKED"])
def test_a_text_is_read_as_far_as_it_is_one(allowed: str, sent: object, read_as: object) -> None:
    info = AUTHORIZATION_INFO.decode(information(allowed=allowed, info=sent))
    assert (info.allowed, info.info) == (allowed, read_as)


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [
        ("REF-1", "REF-1"),
        ("R" * 100, "R" * 100),
        (5, "5"),
        (10**30, "1" + "0" * 30),
        ("R" * 256, None),
        ("R\x1b]0;owned\x07", None),
        ("R\nFAKE LINE", None),
        ("", None),
        (1.5, None),
        (True, None),
        ({"id": 1}, None),
    ],
)
def test_a_reference_is_passed_on_unchanged_or_was_not_sent(sent: object, read_as: str | None) -> None:
    assert AUTHORIZATION_INFO.decode(information(authorization_reference=sent)).authorization_reference == read_as


UNREADABLE_LOCATIONS = [
    {},
    [],
    "LOC1",
    {"evse_uids": []},
    {"location_id": None},
    {"location_id": "LOC1", "evse_uids": [None]},
    {"location_id": "LOC1", "evse_uids": [5]},
    {"location_id": "LOC1", "evse_uids": "EVSE1"},
]


@pytest.mark.parametrize("sent", UNREADABLE_LOCATIONS)
def test_an_unreadable_location_makes_a_permission_unreadable(sent: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"^ALLOWED, but the location is unreadable: "):
        AUTHORIZATION_INFO.decode(information(location=sent))


@pytest.mark.parametrize("allowed", ["BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED"])
@pytest.mark.parametrize("sent", UNREADABLE_LOCATIONS)
def test_an_unreadable_location_is_no_matter_to_a_refusal(sent: object, allowed: str) -> None:
    info = AUTHORIZATION_INFO.decode(information(allowed=allowed, location=sent))
    assert (info.allowed, info.location) == (allowed, None)


@pytest.mark.parametrize("sent", [None, {}, {"uid": "04A1B2C3"}, "04A1B2C3", [1]])
def test_an_unreadable_token_does_not_cost_the_driver_his_answer(sent: object) -> None:
    info = AUTHORIZATION_INFO.decode(information(token=sent))
    assert info.allowed == "ALLOWED"
    assert token_of(info) is None


def test_a_missing_token_does_not_cost_the_driver_his_answer() -> None:
    info = AUTHORIZATION_INFO.decode(b'{"allowed":"ALLOWED"}')
    assert token_of(info) is None


def test_the_token_of_an_answer_is_read() -> None:
    token = token_of(AUTHORIZATION_INFO.decode(information()))
    assert token is not None
    assert token.uid == json.loads(information())["token"]["uid"]


# ---- the envelope: OCPI 2.2.1 transport_and_format, Response format


def test_only_the_status_code_must_be_right() -> None:
    answer = envelope.decode(b'{"status_code":"1000","status_message":7,"timestamp":"yesterday","extra":1}')
    assert (answer.status_code, answer.message, answer.has_data) == (1000, "", False)


def test_null_is_no_data() -> None:
    assert not envelope.decode(b'{"status_code":1000,"data":null}').has_data


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"\uDE00!", "\ufffd!"),
        (rb"\ud83d\ud83d\ude00\ude00", "\ufffd\U0001f600\ufffd"),
        (rb"\ud83d\ude00", "\U0001f600"),
    ],
)
def test_half_a_character_costs_only_itself(sent: bytes, read_as: str) -> None:
    answer = envelope.decode(b'{"status_code":1000,"data":{"allowed":"BLOCKED","info":{"text":"' + sent + b'"}}}')
    info = AUTHORIZATION_INFO.decode(answer.data)
    assert (info.allowed, info.info) == ("BLOCKED", DisplayText(read_as))


def test_megabytes_in_place_of_a_message_are_not_built() -> None:
    answer = envelope.decode(b'{"status_code":2001,"status_message":[' + b"{}," * 10_000 + b"0]}")
    assert (answer.status_code, answer.status_message) == (2001, None)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data":[]}', b'{"status_code":null}', b"<html>", b'{"a":"\xff"}'])
def test_what_has_no_status_code_is_no_envelope(body: bytes) -> None:
    with pytest.raises(UNREADABLE):
        envelope.decode(body)


def test_an_envelope_is_written_with_only_what_is_set() -> None:
    written = json.loads(envelope.encode(None, at=NOON + timedelta(microseconds=7), status_code=2001))
    assert written == {"status_code": 2001, "timestamp": "2026-03-01T12:00:00Z"}


def test_an_envelope_carries_its_data_and_message() -> None:
    written = envelope.encode([LocationReferences("L1")], at=NOON, status_message="fine")
    assert json.loads(written)["data"] == [{"location_id": "L1"}]
    assert envelope.decode(written) == Envelope(1000, msgspec.Raw(b'[{"location_id":"L1"}]'), "fine", wire_text(NOON))


def test_a_written_timestamp_fits_into_25_characters() -> None:
    moment = datetime(2026, 3, 1, 14, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert wire_text(moment) == "2026-03-01T12:00:00Z"
    assert msgspec.json.encode(to_second(moment)) == b'"2026-03-01T12:00:00Z"'


# ---- version details


def test_an_endpoint_is_found_by_module_and_role_in_any_case() -> None:
    details = DETAILS.decode(
        b'{"version":"2.2.1","endpoints":[{"identifier":"Tokens","role":"sender","url":"u"},'
        b'{"identifier":"nltnm-tokens","role":"BOTH","url":"v","x":1},{"identifier":"credentials","url":"w"}]}'
    )
    assert [endpoint.serves("tokens", "SENDER") for endpoint in details.endpoints] == [True, False, False]


# ---- Link: RFC 8288

BASE = "https://emsp.example/ocpi/tokens?limit=2"


@pytest.mark.parametrize(
    "header",
    [
        '<https://emsp.example/t?offset=2>; rel="next"',
        "<https://emsp.example/t?offset=2>; rel=next",
        "<https://emsp.example/t?offset=2>;rel=NEXT",
        '<https://emsp.example/t?offset=2>; title="a, b; rel=prev"; rel="next"',
        '<https://emsp.example/t?offset=0>; rel="prev", <https://emsp.example/t?offset=2>; rel="next"',
        '<https://emsp.example/t?offset=2>; rel="next", <https://emsp.example/t?offset=9>; rel="last"',
        '<https://emsp.example/t?offset=2>; rel="last next"',
        "</t?offset=2>; rel=next",
        "< //emsp.example/t?offset=2 >; rel=next",
        "<https://emsp.example/t?offset=2#part>; rel=next",
    ],
)
def test_the_next_page_is_found_in_every_form_of_a_link(header: str) -> None:
    assert next_url([header], BASE) == "https://emsp.example/t?offset=2"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "https://emsp.example/t; rel=next",
        '<https://emsp.example/t>; rel="prev"',
        "<https://emsp.example/t>",
        '<https://emsp.example/t>; rev="next"',
        '<https://emsp.example/t>; title="; rel=next"',
        "<https://emsp.example/t>; rel=prev; rel=next",
        "<>; rel=next",
    ],
)
def test_without_a_next_link_the_page_is_the_last(header: str) -> None:
    assert next_url([header], BASE) is None


def test_several_link_headers_count_as_one() -> None:
    assert next_url(["</a>; rel=prev", "</b>; rel=next"], BASE) == "https://emsp.example/b"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("https://emsp.example:443/x", True),
        ("https://EMSP.example/x", True),
        ("http://emsp.example/x", False),
        ("https://emsp.example:8443/x", False),
        ("https://emsp.example.evil/x", False),
        ("https://emsp.example@evil/x", False),
        ("https://evil/emsp.example", False),
        ("https://emsp.example:port/x", False),
        ("javascript:alert(1)", False),
        ("", False),
    ],
)
def test_only_scheme_host_and_port_together_make_an_origin(other: str, *, same: bool) -> None:
    assert same_origin(other, BASE) is same


def test_a_server_is_shown_without_user_and_path() -> None:
    assert server("https://me:secret@emsp.example:8443/t?key=1") == "https://emsp.example:8443"


# ---- URLs that we write


@pytest.mark.parametrize(
    ("tokens_url", "expected"),
    [
        ("https://e/t", "https://e/t/04A1/authorize?type=RFID"),
        ("https://e/t/", "https://e/t/04A1/authorize?type=RFID"),
        ("https://e/t?key=1", "https://e/t/04A1/authorize?key=1&type=RFID"),
        ("https://e/t/?key=1", "https://e/t/04A1/authorize?key=1&type=RFID"),
        ("https://e", "https://e/04A1/authorize?type=RFID"),
    ],
)
def test_authorize_hangs_on_any_form_of_the_tokens_url(tokens_url: str, expected: str) -> None:
    assert authorize_url(tokens_url, "04A1") == expected


@pytest.mark.parametrize("uid", ["../../admin", "a/b", "a?b", "a#b", "a%2Fb", "ü b", "a\\b"])
def test_a_uid_stays_one_segment_of_the_path(uid: str) -> None:
    path = httpx.URL(authorize_url("https://e/t", uid)).raw_path
    assert path.count(b"/") == 3
    assert path.startswith(b"/t/")
    assert path.endswith(b"/authorize?type=RFID")


def test_a_query_is_added_to_what_is_there() -> None:
    assert with_query("https://e/t?key=1#x", "limit=1") == "https://e/t?key=1&limit=1"


# ---- headers


@pytest.mark.parametrize(("text", "value"), [("12", 12), (" 7 ", 7), ("-1", None), ("1e3", None), ("²", None)])
def test_a_number_in_a_header_is_read_or_was_not_sent(text: str, value: int | None) -> None:
    assert number(text) == value


def test_a_number_of_a_thousand_digits_was_not_sent() -> None:
    assert number("9" * 5000) is None


@pytest.mark.parametrize("text", [None, "", "yesterday", "Sun, 01 Mar 2026 25:00:00 GMT"])
def test_a_date_that_can_not_be_read_was_not_sent(text: str | None) -> None:
    assert http_date(text) is None


def test_an_http_date_is_in_utc() -> None:
    assert http_date("Sun, 01 Mar 2026 12:00:00 GMT") == NOON


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "30"}, 30.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Sun, 01 Mar 2026 12:01:00 GMT"}, 60.0),
        ({"Retry-After": "Sun, 01 Mar 2026 12:01:00 GMT", "Date": "Sun, 01 Mar 2026 12:00:50 GMT"}, 10.0),
        ({"Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_as_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(httpx.Headers(headers), NOON) == seconds


# ---- failures


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (101, Outcome.MALFORMED),
        (302, Outcome.MALFORMED),
        (400, Outcome.REJECTED),
        (401, Outcome.UNAUTHORIZED),
        (403, Outcome.UNAUTHORIZED),
        (404, Outcome.UNKNOWN),
        (405, Outcome.REJECTED),
        (429, Outcome.RATE_LIMITED),
        (500, Outcome.SERVER_ERROR),
        (599, Outcome.SERVER_ERROR),
        (999, Outcome.MALFORMED),
    ],
)
def test_every_http_status_has_its_outcome(status: int, outcome: Outcome) -> None:
    failure = of_http(status, "", None)
    assert failure is not None
    assert failure.outcome is outcome
    assert failure.detail.startswith(f"HTTP {status}")


@pytest.mark.parametrize("status", [200, 201, 204])
def test_success_is_no_failure(status: int) -> None:
    assert of_http(status, "", None) is None


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (2000, Outcome.REJECTED),
        (2002, Outcome.REJECTED),
        (2004, Outcome.UNKNOWN),
        (2901, Outcome.REJECTED),
        (3000, Outcome.OCPI_ERROR),
        (4002, Outcome.OCPI_ERROR),
        (200, Outcome.MALFORMED),
        (-1, Outcome.MALFORMED),
        (10_000, Outcome.MALFORMED),
    ],
)
def test_every_status_code_has_its_outcome(code: int, outcome: Outcome) -> None:
    failure = of_status_code(code, f"OCPI {code}")
    assert failure is not None
    assert failure.outcome is outcome


def test_a_certificate_that_is_not_trusted_is_named_without_decoration() -> None:
    error = httpx.ConnectError("…")
    error.__cause__ = ssl.SSLCertVerificationError(
        1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)"
    )
    failure = of_transport(error)
    assert failure.outcome is Outcome.UNREACHABLE
    assert failure.detail == "certificate verify failed: self-signed certificate"


def test_a_name_that_can_not_be_resolved_is_named_as_such() -> None:
    error = httpx.ConnectError("…")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    assert of_transport(error) == Failure(Outcome.UNREACHABLE, "Name or service not known")


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (httpx.ConnectTimeout(""), "no connection in time"),
        (httpx.PoolTimeout(""), "no connection in time"),
        (httpx.ReadTimeout(""), "no answer in time"),
    ],
)
def test_a_phase_that_hangs_is_a_timeout(error: httpx.TimeoutException, detail: str) -> None:
    assert of_transport(error) == Failure(Outcome.TIMEOUT, detail)


@pytest.mark.parametrize(
    "spelled", ["04A1B2C3", "04a1b2c3", "04:A1:B2:C3", "04 A1\nB2 c3", "04-a1-b2-c3", "0 4 A 1 B 2 C 3", "04.A1 - B2C3"]
)
def test_uid_in_a_peers_words_is_left_out_however_it_is_spelled(spelled: str) -> None:
    assert harmless(f"card <{spelled}> is blocked, so is {spelled}", ["04A1B2C3"]) == "card <***> is blocked, so is ***"


@pytest.mark.parametrize("words", ["04A1B2", "04 A1 B2 C4", "04A1 and then B2C3", "HTTP 404"])
def test_what_is_no_whole_uid_stays_in_a_peers_words(words: str) -> None:
    assert harmless(words, ["04A1B2C3", "::::", "404!!"]) == words


def test_secret_of_few_letters_is_left_out_as_it_is() -> None:
    assert harmless("key A:::: is old, a b", ["a::::"]) == "key *** is old, a b"


@pytest.mark.parametrize("uid", ["1000", "10000", "100000"])
def test_short_number_makes_no_secret_of_a_time_or_an_amount(uid: str) -> None:
    words = "closed at 10:00:00, 10.00 EUR, 10 000 Wh"
    assert harmless(words, [uid]) == words
    assert harmless(f"card {uid}", [uid]) == "card ***"


def test_a_text_is_made_one_short_printable_line_without_secrets() -> None:
    text = harmless("Token 04a1b2c3\r\nis\x1b[31m unknown " + "x" * 200, ["04A1B2C3"])
    assert text.startswith("Token *** is [31m unknown xxx")
    assert len(text) == 120
    assert text.isprintable()
