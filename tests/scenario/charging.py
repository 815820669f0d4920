"""A stage with a plug sensor and a meter, a tariff, and what its charges come to."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from agent.charges import SessionRecord
from agent.core.account import Account, Remark, from_json
from agent.core.evse_state import Phase, Settings
from agent.model import Policy, WhitelistType
from agent.ocpi.cdrs import CdrLocation
from agent.runtime.documents import Documents
from agent.runtime.tariff_terms import read_tariff
from tests.scenario.memory_disk import MemoryJournal
from tests.scenario.stage import EVSE, MemoryWhitelist, Stage, token

POLICY = Policy(deadline_s=2.0, reserve_s=0.2, late_window_s=5.0, stop_after_s=0.0)
FITTED = Settings(has_plug_sensor=True, has_meter=True)
ROWS = {
    "A1": (token("A1", WhitelistType.ALWAYS, group_id="G"),),
    "A2": (token("A2", WhitelistType.ALWAYS, group_id="G"),),
    "B1": (token("B1", WhitelistType.ALLOWED_OFFLINE),),
    "C1": (token("C1", WhitelistType.ALWAYS),),
}

_PRICES = [
    {"type": "ENERGY", "price": 0.30, "vat": 20, "step_size": 1},
    {"type": "PARKING_TIME", "price": 6, "vat": 20, "step_size": 1},
]
_TARIFF = {
    "country_code": "DE",
    "party_id": "EXA",
    "id": "DAY",
    "currency": "EUR",
    "elements": [{"price_components": _PRICES}],
    "last_updated": "2026-01-01T00:00:00Z",
}
_PLACE = {
    "id": "LOC1",
    "address": "Hafenstr. 1",
    "city": "Hamburg",
    "country": "DEU",
    "coordinates": {"latitude": "53.550341", "longitude": "10.000654"},
    "evse_uid": EVSE,
    "evse_id": EVSE,
    "connector_id": "1",
    "connector_standard": "IEC_62196_T2",
    "connector_format": "SOCKET",
    "connector_power_type": "AC_3_PHASE",
}


def papers() -> Documents:
    """Writes the sessions of the stage's EVSE: 0.30 a kWh, 6.00 an hour of parking."""
    place = msgspec.convert(_PLACE, CdrLocation)
    tariff = read_tariff(json.dumps(_TARIFF).encode())
    return Documents(party=("DE", "EXA"), place=place, tariff=tariff, tz=ZoneInfo("Europe/Berlin"))


PAPERS = papers()


def charging_stage(*, fitted: Settings = FITTED, policy: Policy = POLICY, **changes: Any) -> Stage:
    """An EVSE where everything is fitted and billed, with some cards in the whitelist."""
    parts = {"documents": PAPERS, **changes}
    return Stage(policy=policy, settings=fitted, whitelist=MemoryWhitelist(ROWS), **parts)


def closed(stage: Stage) -> bool:
    """Whether current may flow now."""
    return stage.relay.contact_closed


def phase(stage: Stage) -> Phase:
    """Where its machine is now."""
    return stage.evse.state.phase


def record(stage: Stage, number: int = 1) -> SessionRecord:
    """The session of an authorization as it is on disk."""
    return stage.journal.sessions[number]


def account(stage: Stage, number: int = 1) -> Account:
    """Its account as it is on disk."""
    return from_json(record(stage, number).account)


def remarks(stage: Stage, number: int = 1) -> set[Remark]:
    """What must be said of it."""
    return set(account(stage, number).remarks)


def session(stage: Stage, number: int = 1) -> Any:
    """The OCPI Session as it is on disk."""
    text = record(stage, number).object
    assert text is not None, "nobody is told of this session"
    return json.loads(text, parse_float=Decimal)


def cdr(journal: MemoryJournal, number: int = 1) -> Any:
    """The only CDR of an authorization."""
    [text] = [made.object for made in journal.cdrs if made.authorization_id == number]
    return json.loads(text, parse_float=Decimal)


def volume(document: Any, kind: str) -> Decimal:
    """All of one dimension in a session's or a CDR's periods."""
    dimensions = [each for period in document["charging_periods"] for each in period["dimensions"]]
    return sum((Decimal(each["volume"]) for each in dimensions if each["type"] == kind), Decimal(0))


def with_stop_after(stop_after_s: float) -> Policy:
    """The policy of a reader at which an impatient driver is expected."""
    return replace(POLICY, stop_after_s=stop_after_s)


async def finish(stage: Stage) -> None:
    """Stop, with books that balance and a relay that is open."""
    await stage.evse.ledger.settled()
    await stage.stop()
    stage.journal.check()
    assert stage.relay.unrecorded == 0
    assert not closed(stage)
