"""Sessions, CDRs and tariffs as they travel: every digit kept, strictly written, leniently read."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ocpi.cdrs import CDR, Cdr, CdrDimension, CdrDimensionType, CdrToken, ChargingPeriod
from agent.ocpi.envelope import UNREADABLE
from agent.ocpi.objects import OurObject, encode
from agent.ocpi.sessions import SESSION, Session, SessionPatch, SessionStatus, change
from agent.ocpi.tariffs import Price, PriceComponent, Tariff, TariffDimensionType, TariffRestrictions
from agent.ocpi.tokens import TokenType
from tests.unit import report_texts as texts

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

TEXTS: dict[str, tuple[type[OurObject], str]] = {
    "session": (Session, texts.SESSION),
    "bare session": (Session, texts.BARE_SESSION),
    "patch": (SessionPatch, texts.PATCH),
    "bare patch": (SessionPatch, texts.BARE_PATCH),
    "patch of meter and cost": (SessionPatch, texts.PATCH_OF_METER_AND_COST),
    "patch of periods": (SessionPatch, texts.PATCH_OF_PERIODS),
    "cdr": (Cdr, texts.CDR),
    "bare cdr": (Cdr, texts.BARE_CDR),
    "credit cdr": (Cdr, texts.CREDIT_CDR),
    "tariff": (Tariff, texts.TARIFF),
    "bare tariff": (Tariff, texts.BARE_TARIFF),
}
FULL = ["session", "patch", "cdr", "tariff"]
OF_CREDITS_ALONE = {"credit", "credit_reference_id"}
REQUIRED = [(name, field) for name in TEXTS if name.startswith("bare") for field in json.loads(TEXTS[name][1])]


def exactly(text: str | bytes) -> Any:
    """JSON with its numbers as the digits that were written."""
    return json.loads(text, parse_float=str, parse_int=str)


def session_of(**changes: object) -> Session:
    fields: dict[str, Any] = json.loads(texts.SESSION, parse_float=Decimal)
    text = msgspec.json.Encoder(decimal_format="number").encode(fields | changes)
    return SESSION.decode(text)


def cdr_of(**changes: object) -> Cdr:
    fields: dict[str, Any] = json.loads(texts.CDR, parse_float=Decimal)
    return CDR.decode(msgspec.json.Encoder(decimal_format="number").encode(fields | changes))


def left_out(value: object) -> Iterator[str]:
    """The fields that an object, or one inside it, does without."""
    for inside in value if isinstance(value, tuple) else ():
        yield from left_out(inside)
    for name in value.__struct_fields__ if isinstance(value, msgspec.Struct) else ():
        field = getattr(value, name)
        yield from [name] if field in (None, ()) else left_out(field)


def optional(of: type[OurObject]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(of) if not field.required}


# ---- whole objects


@pytest.mark.parametrize("name", TEXTS)
def test_an_object_is_written_as_it_was_read_digit_by_digit(name: str) -> None:
    kind, text = TEXTS[name]
    assert exactly(encode(msgspec.json.decode(text, type=kind))) == exactly(text)


@pytest.mark.parametrize("name", TEXTS)
def test_fields_are_written_in_the_order_of_the_chapter(name: str) -> None:
    kind, text = TEXTS[name]
    assert json.dumps(exactly(encode(msgspec.json.decode(text, type=kind)))) == json.dumps(exactly(text))


@pytest.mark.parametrize("name", FULL)
def test_nothing_that_a_class_has_is_missing_from_the_full_objects(name: str) -> None:
    kind, text = TEXTS[name]
    assert set(left_out(msgspec.json.decode(text, type=kind))) - OF_CREDITS_ALONE == set()


@pytest.mark.parametrize("name", FULL)
def test_the_bare_objects_have_nothing_that_is_optional(name: str) -> None:
    kind, text = TEXTS[f"bare {name}"]
    assert set(json.loads(text)) & optional(kind) == set()


@pytest.mark.parametrize(("name", "field"), REQUIRED)
def test_an_object_without_a_field_that_its_table_requires_is_not_read(name: str, field: str) -> None:
    kind, text = TEXTS[name]
    rest = {key: value for key, value in json.loads(text).items() if key != field}
    with pytest.raises(msgspec.ValidationError, match=f"`{field}`"):
        msgspec.json.decode(json.dumps(rest), type=kind)


@pytest.mark.parametrize("name", texts.RESTRICTIONS)
def test_each_restriction_alone_is_written_as_it_was_read(name: str) -> None:
    restriction = f'{{"{name}": {texts.RESTRICTIONS[name]}}}'
    text = texts.BARE_TARIFF.replace("]}]", f'], "restrictions": {restriction}}}]')
    written = exactly(encode(msgspec.json.decode(text, type=Tariff)))
    assert written == exactly(text)
    assert written["elements"][0]["restrictions"] == exactly(restriction)


def test_no_restriction_is_forgotten() -> None:
    assert tuple(texts.RESTRICTIONS) == TariffRestrictions.__struct_fields__


# ---- numbers: OCPI 2.2.1 types, number


@pytest.mark.parametrize(
    "digits", ["0", "0.0", "0.00", "2.50", "41.12", "10", "-4.4000", "123456789012345.6789", "0.0001"]
)
def test_a_number_is_sent_with_the_digits_that_were_stored(digits: str) -> None:
    assert encode(Price(excl_vat=Decimal(digits))) == f'{{"excl_vat":{digits}}}'.encode()


@given(st.integers(-(10**16), 10**16), st.integers(0, 4))
def test_what_was_written_is_written_again_byte_by_byte(units: int, decimals: int) -> None:
    text = encode(Price(excl_vat=Decimal(units).scaleb(-decimals), incl_vat=Decimal(units)))
    assert encode(msgspec.json.decode(text, type=Price)) == text
    assert b"E" not in text


@pytest.mark.parametrize(
    ("number", "text"), [("1E+3", b"1000"), ("-0.00", b"0.00"), ("-0", b"0"), ("0E+2", b"0"), ("1.5E1", b"15")]
)
def test_a_number_has_no_exponent_and_zero_no_sign(number: str, text: bytes) -> None:
    assert encode(Price(excl_vat=Decimal(number))) == b'{"excl_vat":' + text + b"}"


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "sNaN", "1e999999999", "1E+18", "0." + "1" * 41])
def test_what_is_no_amount_of_anything_can_not_be_built(number: str) -> None:
    with pytest.raises(ValueError, match="excl_vat: expected a number"):
        Price(excl_vat=Decimal(number))


@pytest.mark.parametrize("number", ['"NaN"', '"Infinity"', "1e999999999", "true", '"much"'])
def test_what_is_no_amount_of_anything_can_not_be_read(number: str) -> None:
    with pytest.raises(UNREADABLE):
        msgspec.json.decode(f'{{"excl_vat":{number}}}', type=Price)


@pytest.mark.parametrize("number", ["0.00001", "1.50000", "0E-8", "1E-7"])
def test_more_than_four_decimals_are_not_written(number: str) -> None:
    with pytest.raises(ValueError, match="Price: expected at most 4 decimals"):
        encode(Price(excl_vat=Decimal(number)))


def test_more_than_four_decimals_are_read() -> None:
    assert session_of(kwh=Decimal("41.1200000001")).kwh == Decimal("41.1200000001")


# ---- moments: OCPI 2.2.1 types, DateTime


def test_a_moment_is_in_utc_and_whole_seconds() -> None:
    patch = SessionPatch(last_updated=datetime(2026, 3, 1, 14, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2))))
    assert encode(patch) == b'{"last_updated":"2026-03-01T12:00:00Z"}'


def test_a_moment_without_a_zone_is_in_utc() -> None:
    assert session_of(last_updated="2026-03-01T12:00:00").last_updated == NOON


# ---- strictly written


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "x" * 37}, "id"),
        ({"id": ""}, "id"),
        ({"id": "zürich"}, "id"),
        ({"location_id": "a\nb"}, "location_id"),
        ({"country_code": "NLD"}, "country_code"),
        ({"party_id": "ABCD"}, "party_id"),
        ({"currency": "eur"}, "currency"),
        ({"meter_id": "x" * 256}, "meter_id"),
        ({"authorization_reference": "x" * 256}, "authorization_reference"),
        ({"charging_periods": (ChargingPeriod(start_date_time=NOON, dimensions=()),)}, "dimensions"),
        ({"kwh": "1.5"}, "Session"),
        ({"status": "active"}, "Session"),
        ({"status": "BEGUN"}, "status"),
    ],
)
def test_what_ocpi_does_not_allow_is_not_written(changes: dict[str, Any], field: str) -> None:
    wrong = msgspec.structs.replace(session_of(), **changes)
    with pytest.raises(ValueError, match=field):
        encode(wrong)


def test_an_authorization_reference_is_written_unchanged() -> None:
    reference = "aB3-" * 9
    assert json.loads(encode(session_of(authorization_reference=reference)))["authorization_reference"] == reference
    assert json.loads(encode(cdr_of(authorization_reference=reference)))["authorization_reference"] == reference


def test_what_the_emsp_wrote_too_long_goes_back_to_it_as_it_was() -> None:
    token = CdrToken(country_code="DE", party_id="ABC", uid="u" * 40, type=TokenType.RFID, contract_id="c" * 64)
    session = msgspec.structs.replace(session_of(), cdr_token=token, authorization_reference="r" * 40)
    written = json.loads(encode(session))
    assert (written["cdr_token"]["uid"], written["cdr_token"]["contract_id"]) == ("u" * 40, "c" * 64)
    assert written["authorization_reference"] == "r" * 40


def test_no_vat_is_left_out_and_zero_vat_is_not() -> None:
    component = PriceComponent(type=TariffDimensionType.ENERGY, price=Decimal("0.25"), step_size=1)
    assert b"vat" not in encode(component)
    assert b'"vat":0.0' in encode(msgspec.structs.replace(component, vat=Decimal("0.0")))


# ---- leniently read


def test_null_is_not_there() -> None:
    copy = json.loads(texts.BARE_SESSION)
    copy |= {
        "charging_periods": None,
        "end_date_time": None,
        "total_cost": {"excl_vat": Decimal("7.10"), "incl_vat": None},
    }
    session = SESSION.decode(msgspec.json.Encoder(decimal_format="number").encode(copy))
    assert (session.charging_periods, session.end_date_time) == ((), None)
    assert str(session.total_cost and session.total_cost.excl_vat) == "7.10"


def test_words_in_another_case_fields_that_nobody_knows_and_numbers_as_strings_are_read() -> None:
    session = session_of(status="Completed", auth_method="whitelist", _links=[{"x": 1}], kwh="41.12")
    assert (session.status, session.auth_method, session.kwh) == ("COMPLETED", "WHITELIST", Decimal("41.12"))


def test_a_connector_whose_word_has_small_letters_is_read_and_written() -> None:
    location = json.loads(texts.CDR)["cdr_location"] | {"connector_standard": "iec_60309_2_Single_16"}
    written = json.loads(encode(cdr_of(cdr_location=location)))
    assert written["cdr_location"]["connector_standard"] == "IEC_60309_2_single_16"


@pytest.mark.parametrize("data", [b"[]", b"{}", b"null", b'"x"', b"\xff", b"{" * 5000, b'{"a":' * 5000, b'[null,"'])
def test_what_is_no_session_is_unreadable(data: bytes) -> None:
    with pytest.raises(UNREADABLE):
        SESSION.decode(data)


# ---- CDR: OCPI 2.2.1 mod_cdrs


def test_a_cdr_has_an_id_of_36_characters_and_a_credit_three_more() -> None:
    original = cdr_of(id="i" * 36)
    assert len(original.credited("i" * 36 + "-C1", NOON).id) == 39
    with pytest.raises(msgspec.ValidationError, match="id: expected at most 36"):
        cdr_of(id="i" * 37)


def test_a_credit_is_the_original_with_a_negative_total() -> None:
    original = cdr_of()
    credit = original.credited("FJD/2026/000417/K", NOON)
    written, before = exactly(encode(credit)), exactly(encode(original))
    assert written == before | {
        "id": "FJD/2026/000417/K",
        "credit": True,
        "credit_reference_id": "FJD/2026/000417",
        "total_cost": {"excl_vat": "-117.0898", "incl_vat": "-146.3623"},
        "last_updated": "2026-03-01T12:00:00Z",
    }


def test_a_total_without_vat_is_credited_without_vat() -> None:
    credit = CDR.decode(texts.CREDIT_CDR.encode())
    assert CDR.decode(texts.BARE_CDR.encode()).credited(credit.id, credit.last_updated) == credit


def test_a_free_charge_is_credited_with_zero_and_not_with_minus_zero() -> None:
    credit = cdr_of(total_cost={"excl_vat": Decimal("0.00")}).credited("K-1", NOON)
    assert b'"total_cost":{"excl_vat":0.00}' in encode(credit)


def test_a_credit_is_not_credited() -> None:
    credit = cdr_of().credited("K-1", NOON)
    with pytest.raises(ValueError, match="no credit itself"):
        credit.credited("K-2", NOON)


@pytest.mark.parametrize("fields", [{"credit": True}, {"credit_reference_id": "1"}])
def test_a_credit_and_what_it_credits_come_together(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match="expected both or neither"):
        cdr_of(**fields)


def test_a_dimension_of_sessions_alone_stands_in_no_cdr() -> None:
    dimension = CdrDimension(type=CdrDimensionType.POWER, volume=Decimal(11))
    period = ChargingPeriod(start_date_time=NOON, dimensions=(dimension,))
    assert b"POWER" in encode(msgspec.structs.replace(session_of(), charging_periods=(period,)))
    with pytest.raises(ValueError, match="POWER may stand in sessions only"):
        msgspec.structs.replace(cdr_of(), charging_periods=(period,))


# ---- PATCH: OCPI 2.2.1 mod_sessions


def test_a_change_has_only_what_has_changed_and_when() -> None:
    known = session_of(status="ACTIVE")
    now = msgspec.structs.replace(known, kwh=Decimal("41.50"), last_updated=NOON)
    patch = change(known, now)
    assert patch is not None
    assert json.loads(encode(patch)) == {"kwh": 41.5, "last_updated": "2026-03-01T12:00:00Z"}
    assert patch.may_be_repeated


def test_new_charging_periods_alone_are_in_a_change_which_must_not_be_repeated() -> None:
    known = session_of(status="ACTIVE")
    period = ChargingPeriod(
        start_date_time=NOON, dimensions=(CdrDimension(type=CdrDimensionType.TIME, volume=Decimal("0.5")),)
    )
    now = msgspec.structs.replace(known, charging_periods=(*known.charging_periods, period), last_updated=NOON)
    patch = change(known, now)
    assert patch == SessionPatch(charging_periods=(period,), last_updated=NOON)
    assert not patch.may_be_repeated


@pytest.mark.parametrize("changes", [{"charging_periods": ()}, {"total_cost": None}, {"end_date_time": None}])
def test_what_a_patch_can_not_say_needs_a_put(changes: dict[str, Any]) -> None:
    known = session_of()
    assert change(known, msgspec.structs.replace(known, **changes)) is None


def test_a_charging_period_that_grew_needs_a_put() -> None:
    known = session_of()
    *others, last = known.charging_periods
    grown = msgspec.structs.replace(last, dimensions=(CdrDimension(type=CdrDimensionType.TIME, volume=Decimal("0.9")),))
    assert change(known, msgspec.structs.replace(known, charging_periods=(*others, grown))) is None


def test_two_sessions_are_no_change_of_one() -> None:
    with pytest.raises(ValueError, match="not session 2026-KAI-0093"):
        change(session_of(), session_of(id="2026-KAI-0095"))


def test_every_field_of_a_session_but_its_key_can_be_patched() -> None:
    key = {"country_code", "party_id", "id"}
    assert set(SessionPatch.__struct_fields__) == set(Session.__struct_fields__) - key


def test_a_tariff_of_a_file_names_what_is_wrong_with_it() -> None:
    tariff = json.loads(texts.TARIFF)
    tariff["elements"][1]["restrictions"]["start_time"] = "9:00"
    with pytest.raises(msgspec.ValidationError, match=r"\$\.elements\[1\]\.restrictions\.start_time"):
        msgspec.json.decode(json.dumps(tariff), type=Tariff)


def test_a_status_is_a_word_of_the_chapter() -> None:
    assert [str(status) for status in SessionStatus] == ["ACTIVE", "COMPLETED", "INVALID", "PENDING", "RESERVATION"]
