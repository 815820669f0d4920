"""The schemas of sessions and CDRs for `agent.ocpi.server.openapi`: what we write, by hand from the chapters."""

from typing import Any

_Object = dict[str, Any]


def schemas() -> _Object:
    """OCPI 2.2.1 mod_sessions, mod_cdrs, mod_tariffs; with those fields that may be set."""
    return {
        "Session": _object(
            _charge()
            | {
                "end_date_time": _named("DateTime"),
                "kwh": _number(),
                "location_id": _named("CiString36"),
                "evse_uid": _named("CiString36"),
                "connector_id": _named("CiString36"),
                "charging_periods": _list("ChargingPeriod"),
                "status": _word("ACTIVE COMPLETED INVALID PENDING RESERVATION"),
            },
            "country_code party_id id start_date_time kwh cdr_token auth_method location_id evse_uid connector_id"
            " currency status last_updated",
        ),
        "CDR": _cdr(),
        "CdrToken": _object(
            {
                "country_code": _named("CountryCode"),
                "party_id": _named("PartyId"),
                "uid": _text(64),
                "type": _named("TokenType"),
                "contract_id": _text(64),
            },
            "country_code party_id uid type contract_id",
        ),
        "CdrLocation": _cdr_location(),
        "ChargingPeriod": _object(
            {
                "start_date_time": _named("DateTime"),
                "dimensions": _list("CdrDimension", least=1),
                "tariff_id": _named("CiString36"),
            },
            "start_date_time dimensions",
        ),
        "CdrDimension": _object({"type": {"type": "string"}, "volume": _number()}, "type volume"),
        "Price": _object({"excl_vat": _number(), "incl_vat": _number()}, "excl_vat"),
        **_tariff_schemas(),
    }


def _charge() -> _Object:
    """What both have."""
    return {
        "country_code": _named("CountryCode"),
        "party_id": _named("PartyId"),
        "id": _text(39),
        "start_date_time": _named("DateTime"),
        "cdr_token": _named("CdrToken"),
        "auth_method": _word("AUTH_REQUEST COMMAND WHITELIST"),
        "authorization_reference": _text(255),
        "meter_id": _text(255),
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "total_cost": _named("Price"),
        "last_updated": _named("DateTime"),
    }


def _cdr() -> _Object:
    costs = ("fixed", "energy", "time", "parking", "reservation")
    return _object(
        _charge()
        | {f"total_{what}_cost": _named("Price") for what in costs}
        | {
            "end_date_time": _named("DateTime"),
            "session_id": _named("CiString36"),
            "cdr_location": _named("CdrLocation"),
            "tariffs": _list("Tariff"),
            "charging_periods": _list("ChargingPeriod", least=1),
            "total_energy": _number(),
            "total_time": _number(),
            "total_parking_time": _number(),
            "remark": _text(255),
            "invoice_reference_id": _text(39),
            "credit": {"type": "boolean"},
            "credit_reference_id": _text(39),
            "home_charging_compensation": {"type": "boolean"},
        },
        "country_code party_id id start_date_time end_date_time cdr_token auth_method cdr_location currency"
        " charging_periods total_cost total_energy total_time last_updated",
    )


def _cdr_location() -> _Object:
    return _object(
        {
            "id": _named("CiString36"),
            "name": _text(255),
            "address": _text(45),
            "city": _text(45),
            "postal_code": _text(10),
            "state": _text(20),
            "country": {"type": "string", "pattern": "^[A-Z]{3}$"},
            "coordinates": _object({"latitude": _text(10), "longitude": _text(11)}, "latitude longitude"),
            "evse_uid": _named("CiString36"),
            "evse_id": _text(48),
            "connector_id": _named("CiString36"),
            "connector_standard": {"type": "string"},
            "connector_format": _word("SOCKET CABLE"),
            "connector_power_type": _word("AC_1_PHASE AC_2_PHASE AC_2_PHASE_SPLIT AC_3_PHASE DC"),
        },
        "id address city country coordinates evse_uid evse_id connector_id connector_standard connector_format"
        " connector_power_type",
    )


def _tariff_schemas() -> _Object:
    component = _object(
        {
            "type": _word("ENERGY FLAT PARKING_TIME TIME"),
            "price": _number(),
            "vat": _number(),
            "step_size": {"type": "integer", "minimum": 0},
        },
        "type price step_size",
    )
    return {
        "Tariff": _object(
            {
                "country_code": _named("CountryCode"),
                "party_id": _named("PartyId"),
                "id": _named("CiString36"),
                "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
                "type": {"type": "string"},
                "min_price": _named("Price"),
                "max_price": _named("Price"),
                "elements": _list("TariffElement", least=1),
                "start_date_time": _named("DateTime"),
                "end_date_time": _named("DateTime"),
                "last_updated": _named("DateTime"),
            },
            "country_code party_id id currency elements last_updated",
        ),
        "TariffElement": _object(
            {
                "price_components": {"type": "array", "items": component, "minItems": 1},
                "restrictions": {"type": "object"},
            },
            "price_components",
        ),
    }


def _named(name: str) -> _Object:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(of: str, *, least: int = 0) -> _Object:
    return {"type": "array", "items": _named(of), "minItems": least}


def _word(words: str) -> _Object:
    return {"type": "string", "enum": words.split()}


def _text(most: int) -> _Object:
    return {"type": "string", "maxLength": most}


def _number() -> _Object:
    return {"type": "number", "description": "At most four decimals"}


def _object(properties: _Object, required: str) -> _Object:
    return {"type": "object", "properties": properties, "required": required.split()}
