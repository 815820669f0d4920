"""What OCPI demands of the objects that a CPO reports: sessions and CDRs with all that they are made of.

OCPI 2.2.1 mod_sessions, mod_cdrs, mod_tariffs, mod_locations, types. One table a class, with the chapter's names; a
question mark stands where the chapter has a cardinality of `?` or `*`. No complaint quotes a value.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from fakes.emsp.faults import Fault, invalid, is_ci_string, is_date_time, is_string, is_url
from fakes.emsp.messages import written

Check = Callable[[object, str], Iterator[Fault]]
"""What is wrong with a value, and where it stands."""

Object = dict[str, Any]
"""A JSON object."""

Fields = Mapping[str, Check]


def parsed(body: bytes) -> Any:  # noqa: ANN401  (whatever the client sent)
    """The body with its numbers as they were written, decimal. Raises ValueError for NaN and what else is no JSON."""
    return json.loads(body, parse_float=Decimal, parse_constant=_no_number)


def in_decimal(value: object) -> bytes:
    """`value` as JSON, its numbers with the digits that they came with."""
    match value:
        case dict():
            return b"{" + b",".join(written(name) + b":" + in_decimal(inside) for name, inside in value.items()) + b"}"
        case list():
            return b"[" + b",".join(map(in_decimal, value)) + b"]"
        case Decimal():
            return str(value).encode()
        case _:
            return written(value)


def object_faults(value: object, fields: Fields, name: str, *, part_of_it: bool = False) -> Iterator[Fault]:
    """What is wrong with an object; with `part_of_it` nothing need be there, and null takes what is optional away."""
    yield from _object(value, name, fields=fields, part_of_it=part_of_it)


def _object(value: object, where: str, *, fields: Fields, part_of_it: bool = False) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield invalid(f"{where} is no object")
        return
    for name, check in fields.items():
        optional, name = name.endswith("?"), name.removesuffix("?")  # noqa: PLW2901  (the name without its mark)
        place = f"{where}.{name}"
        if name not in value:
            if not optional and not part_of_it:
                yield invalid(f"{place} is missing")
        elif value[name] is not None:
            yield from check(value[name], place)
        elif not optional:
            yield invalid(f"{place} is null")
        elif not part_of_it:
            yield Fault(f"{place} is null: what is not there is left out")
    if unknown := sorted(value.keys() - {name.removesuffix("?") for name in fields}):
        yield Fault(f"{where} knows no {', '.join(unknown)}")


def _each(value: object, where: str, *, check: Check, least: int = 0) -> Iterator[Fault]:
    if not isinstance(value, list) or len(value) < least:
        yield invalid(f"{where} is no list of at least {least}")
        return
    for place, item in enumerate(value):
        yield from check(item, f"{where}[{place}]")


def _that(value: object, where: str, *, holds: Callable[[Any], bool], what: str) -> Iterator[Fault]:
    if not holds(value):
        yield invalid(f"{where} is no {what}")


def _ci_string(longest: int) -> Check:
    return partial(_that, holds=partial(is_ci_string, longest=longest), what=f"CiString({longest})")


def _string(longest: int) -> Check:
    return partial(_that, holds=partial(is_string, longest=longest), what=f"string({longest})")


def _word(*words: str) -> Check:
    return partial(_that, holds=lambda value: isinstance(value, str) and value in words, what="word of its enumeration")


def _like(pattern: str, what: str) -> Check:
    form = re.compile(pattern)
    return partial(_that, holds=lambda value: isinstance(value, str) and form.fullmatch(value) is not None, what=what)


def _number(value: object, where: str) -> Iterator[Fault]:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        yield invalid(f"{where} is no number")
    elif isinstance(value, Decimal) and int(value.as_tuple().exponent) < -4:
        yield Fault(f"{where} has more than 4 decimals")


def _no_number(name: str) -> Any:  # noqa: ANN401  (json wants a hook that returns something; this one never does)
    raise ValueError(f"{name} is no JSON")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_INT = partial(_that, holds=_is_integer, what="int")
_BOOLEAN = partial(_that, holds=lambda value: isinstance(value, bool), what="boolean")
_DATE_TIME = partial(_that, holds=is_date_time, what="DateTime in UTC")
_URL = partial(_that, holds=is_url, what="URL")
_COUNTRY = _like("[A-Za-z]{2}", "ISO 3166 alpha-2 country code")
_PARTY = _like("[A-Za-z0-9]{3}", "party id of 3 characters")
_CURRENCY = _like("[A-Z]{3}", "ISO 4217 currency")
_ID = _ci_string(36)
_TIME = _like("([0-1][0-9]|2[0-3]):[0-5][0-9]", "time of the day")
_DATE = _like("([12][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", "date")

_PRICE = partial(_object, fields={"excl_vat": _number, "incl_vat?": _number})
_DISPLAY_TEXT = partial(_object, fields={"language": _like("[a-z]{2}", "ISO 639-1 language"), "text": _string(512)})

_ENERGY_SOURCE: Fields = {
    "source": _word("NUCLEAR", "GENERAL_FOSSIL", "COAL", "GAS", "GENERAL_GREEN", "SOLAR", "WIND", "WATER"),
    "percentage": _number,
}
_ENVIRONMENTAL_IMPACT: Fields = {"category": _word("NUCLEAR_WASTE", "CARBON_DIOXIDE"), "amount": _number}
_ENERGY_MIX: Fields = {
    "is_green_energy": _BOOLEAN,
    "energy_sources?": partial(_each, check=partial(_object, fields=_ENERGY_SOURCE)),
    "environ_impact?": partial(_each, check=partial(_object, fields=_ENVIRONMENTAL_IMPACT)),
    "supplier_name?": _string(64),
    "energy_product_name?": _string(64),
}
_PRICE_COMPONENT: Fields = {
    "type": _word("ENERGY", "FLAT", "PARKING_TIME", "TIME"),
    "price": _number,
    "vat?": _number,
    "step_size": _INT,
}
_RESTRICTIONS: Fields = {
    "start_time?": _TIME,
    "end_time?": _TIME,
    "start_date?": _DATE,
    "end_date?": _DATE,
    **{f"{least_or_most}_{of}?": _number for of in ("kwh", "current", "power") for least_or_most in ("min", "max")},
    "min_duration?": _INT,
    "max_duration?": _INT,
    "day_of_week?": partial(
        _each, check=_word("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
    ),
    "reservation?": _word("RESERVATION", "RESERVATION_EXPIRES"),
}
_TARIFF_ELEMENT: Fields = {
    "price_components": partial(_each, check=partial(_object, fields=_PRICE_COMPONENT), least=1),
    "restrictions?": partial(_object, fields=_RESTRICTIONS),
}
_TARIFF: Fields = {
    "country_code": _COUNTRY,
    "party_id": _PARTY,
    "id": _ID,
    "currency": _CURRENCY,
    "type?": _word("AD_HOC_PAYMENT", "PROFILE_CHEAP", "PROFILE_FAST", "PROFILE_GREEN", "REGULAR"),
    "tariff_alt_text?": partial(_each, check=_DISPLAY_TEXT),
    "tariff_alt_url?": _URL,
    "min_price?": _PRICE,
    "max_price?": _PRICE,
    "elements": partial(_each, check=partial(_object, fields=_TARIFF_ELEMENT), least=1),
    "start_date_time?": _DATE_TIME,
    "end_date_time?": _DATE_TIME,
    "energy_mix?": partial(_object, fields=_ENERGY_MIX),
    "last_updated": _DATE_TIME,
}

_CDR_TOKEN: Fields = {
    "country_code": _COUNTRY,
    "party_id": _PARTY,
    "uid": _ID,
    "type": _word("AD_HOC_USER", "APP_USER", "OTHER", "RFID"),
    "contract_id": _ID,
}
_IN_CDRS = (
    *("ENERGY", "MAX_CURRENT", "MIN_CURRENT", "MAX_POWER", "MIN_POWER"),
    *("PARKING_TIME", "RESERVATION_TIME", "TIME"),
)
_IN_SESSIONS_ALONE = ("CURRENT", "ENERGY_EXPORT", "ENERGY_IMPORT", "POWER", "STATE_OF_CHARGE")


def _charging_period(*dimensions: str) -> Check:
    dimension: Fields = {"type": _word(*dimensions), "volume": _number}
    period: Fields = {
        "start_date_time": _DATE_TIME,
        "dimensions": partial(_each, check=partial(_object, fields=dimension), least=1),
        "tariff_id?": _ID,
    }
    return partial(_object, fields=period)


_AUTH_METHOD = _word("AUTH_REQUEST", "COMMAND", "WHITELIST")

SESSION: Fields = {
    "country_code": _COUNTRY,
    "party_id": _PARTY,
    "id": _ID,
    "start_date_time": _DATE_TIME,
    "end_date_time?": _DATE_TIME,
    "kwh": _number,
    "cdr_token": partial(_object, fields=_CDR_TOKEN),
    "auth_method": _AUTH_METHOD,
    "authorization_reference?": _ID,
    "location_id": _ID,
    "evse_uid": _ID,
    "connector_id": _ID,
    "meter_id?": _string(255),
    "currency": _CURRENCY,
    "charging_periods?": partial(_each, check=_charging_period(*_IN_CDRS, *_IN_SESSIONS_ALONE)),
    "total_cost?": _PRICE,
    "status": _word("ACTIVE", "COMPLETED", "INVALID", "PENDING", "RESERVATION"),
    "last_updated": _DATE_TIME,
}

_GEO_LOCATION: Fields = {
    "latitude": _like(r"-?[0-9]{1,2}\.[0-9]{5,7}", "latitude"),
    "longitude": _like(r"-?[0-9]{1,3}\.[0-9]{5,7}", "longitude"),
}
_CONNECTORS = (
    *("CHADEMO", "CHAOJI", "GBT_AC", "GBT_DC", "PANTOGRAPH_BOTTOM_UP", "PANTOGRAPH_TOP_DOWN", "TESLA_R", "TESLA_S"),
    *(f"DOMESTIC_{letter}" for letter in "ABCDEFGHIJKLMNO"),
    *(f"IEC_60309_2_{kind}" for kind in ("single_16", "three_16", "three_32", "three_64")),
    *(f"IEC_62196_{kind}" for kind in ("T1", "T1_COMBO", "T2", "T2_COMBO", "T3A", "T3C")),
    *(f"NEMA_{kind}" for kind in ("5_20", "6_30", "6_50", "10_30", "10_50", "14_30", "14_50")),
)
_CDR_LOCATION: Fields = {
    "id": _ID,
    "name?": _string(255),
    "address": _string(45),
    "city": _string(45),
    "postal_code?": _string(10),
    "state?": _string(20),
    "country": _like("[A-Z]{3}", "ISO 3166-1 alpha-3 country code"),
    "coordinates": partial(_object, fields=_GEO_LOCATION),
    "evse_uid": _ID,
    "evse_id": _ci_string(48),
    "connector_id": _ID,
    "connector_standard": _word(*_CONNECTORS),
    "connector_format": _word("SOCKET", "CABLE"),
    "connector_power_type": _word("AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"),
}
_SIGNED_VALUE: Fields = {"nature": _ci_string(32), "plain_data": _string(5000), "signed_data": _string(5000)}
_SIGNED_DATA: Fields = {
    "encoding_method": _ID,
    "encoding_method_version?": _INT,
    "public_key?": _string(512),
    "signed_values": partial(_each, check=partial(_object, fields=_SIGNED_VALUE), least=1),
    "url?": _string(512),
}

CDR: Fields = {
    "country_code": _COUNTRY,
    "party_id": _PARTY,
    "id": _ci_string(39),
    "start_date_time": _DATE_TIME,
    "end_date_time": _DATE_TIME,
    "session_id?": _ID,
    "cdr_token": partial(_object, fields=_CDR_TOKEN),
    "auth_method": _AUTH_METHOD,
    "authorization_reference?": _ID,
    "cdr_location": partial(_object, fields=_CDR_LOCATION),
    "meter_id?": _string(255),
    "currency": _CURRENCY,
    "tariffs?": partial(_each, check=partial(_object, fields=_TARIFF)),
    "charging_periods": partial(_each, check=_charging_period(*_IN_CDRS), least=1),
    "signed_data?": partial(_object, fields=_SIGNED_DATA),
    "total_cost": _PRICE,
    "total_fixed_cost?": _PRICE,
    "total_energy": _number,
    "total_energy_cost?": _PRICE,
    "total_time": _number,
    "total_time_cost?": _PRICE,
    "total_parking_time?": _number,
    "total_parking_cost?": _PRICE,
    "total_reservation_cost?": _PRICE,
    "remark?": _string(255),
    "invoice_reference_id?": _ci_string(39),
    "credit?": _BOOLEAN,
    "credit_reference_id?": _ci_string(39),
    "home_charging_compensation?": _BOOLEAN,
    "last_updated": _DATE_TIME,
}
