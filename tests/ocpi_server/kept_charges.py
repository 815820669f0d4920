"""Sessions and CDRs kept in memory, each with its peer and its moment to the microsecond, as a store has them."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from agent.charges import Page
from agent.ocpi.server.ports import ReportsSender


class Kept(NamedTuple):
    """One object, and what decides who gets it."""

    peer: str
    changed_at: datetime
    object: bytes


class KeptCharges:
    """In the order in which they were added; a test may change the lists."""

    def __init__(self) -> None:
        self.sessions: list[Kept] = []
        self.cdrs: list[Kept] = []

    async def sessions_of(
        self, peer: str, date_from: datetime | None, date_to: datetime | None, offset: int, limit: int, /
    ) -> Page:
        return _page(self.sessions, peer, date_from, date_to, slice(offset, offset + limit))

    async def cdrs_of(
        self, peer: str, date_from: datetime | None, date_to: datetime | None, offset: int, limit: int, /
    ) -> Page:
        return _page(self.cdrs, peer, date_from, date_to, slice(offset, offset + limit))


def _page(kept: Sequence[Kept], peer: str, date_from: datetime | None, date_to: datetime | None, part: slice) -> Page:
    matching = [
        one.object
        for one in kept
        if one.peer == peer
        and (date_from is None or one.changed_at >= date_from)
        and (date_to is None or one.changed_at < date_to)
    ]
    return Page(tuple(matching[part]), len(matching))


def session(number: int, changed_at: datetime, **changes: Any) -> bytes:
    """A Session object as it is written: amounts with the digits that they have."""
    fields = _charge(f"session-{number}", changed_at) | {
        "kwh": 12.5,
        "location_id": "LOC1",
        "evse_uid": "evse-1",
        "connector_id": "1",
        "status": "ACTIVE",
    }
    return _written(fields | changes)


def cdr(number: int, changed_at: datetime, **changes: Any) -> bytes:
    """A CDR object as it is written."""
    started = changed_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = _charge(f"cdr-{number}", changed_at) | {
        "end_date_time": started,
        "session_id": f"session-{number}",
        "cdr_location": {
            "id": "LOC1",
            "address": "Street 1",
            "city": "Utrecht",
            "country": "NLD",
            "coordinates": {"latitude": "52.09070", "longitude": "5.12140"},
            "evse_uid": "evse-1",
            "evse_id": "NL*CPO*E1",
            "connector_id": "1",
            "connector_standard": "IEC_62196_T2",
            "connector_format": "SOCKET",
            "connector_power_type": "AC_3_PHASE",
        },
        "charging_periods": [{"start_date_time": started, "dimensions": [{"type": "TIME", "volume": 0.5}]}],
        "total_energy": 0,
        "total_time": 0.5,
    }
    return _written(fields | changes)


def _charge(name: str, changed_at: datetime) -> dict[str, Any]:
    moment = changed_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    token = {"country_code": "DE", "party_id": "ABC", "uid": "04A1B2C3", "type": "RFID", "contract_id": "DEABC1"}
    return {
        "country_code": "NL",
        "party_id": "CPO",
        "id": name,
        "start_date_time": moment,
        "cdr_token": token,
        "auth_method": "WHITELIST",
        "authorization_reference": f"reference-of-{name}",
        "currency": "EUR",
        "total_cost": {"excl_vat": 4.10},
        "last_updated": moment,
    }


def _written(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


_: type[ReportsSender] = KeptCharges
