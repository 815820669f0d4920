"""What must be so when the power has failed often enough: worked out from what was seen outside, and from the file.

The agent's code has no part in it: the meters' registers and the pins are the site's, sessions and CDRs are what the
eMSP was sent, and `state.db` is read with SQLite. Each finding is a sentence; there must be none.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any

from fakes.emsp import FakeEmsp
from tests.scenario.charges_site import PERSIST_WH, PRICE, Closing, Visit

Row = dict[str, Any]

DISK_S = 3.0
"""A state that was on its way to a busy disk when the power failed is lost too: of that long, at most."""
SELDOM = 0.1
"""The part of the cuts that may have caught one, where there are enough of them to say so."""
ENOUGH = 50
JOIN_US = 500_000
"""A late reference joins a session once it is on disk; a session that ends meanwhile is sealed without it."""
ROUNDING_WH = 1.0
BY_THE_CUT = frozenset({"restart", "unplugged-while-off", "off-too-long"})


@dataclass(frozen=True, slots=True)
class Books:
    """`state.db` at the end, table by table, and what SQLite thinks of the file."""

    integrity: str
    authorizations: Sequence[Row]
    sessions: Sequence[Row]
    cdrs: Sequence[Row]
    late: Sequence[Row]

    def of(self, uid: str) -> list[Row]:
        """The sessions of a card."""
        its = {row["id"] for row in self.authorizations if row["uid"] == uid}
        return [row for row in self.sessions if row["authorization_id"] in its]


@dataclass(slots=True)
class Energy:
    """What the meters have seen, and what became of it."""

    metered_wh: float = 0.0
    recorded_wh: int = 0
    billed_wh: int = 0
    lost_wh: list[float] = field(default_factory=list)
    """Of each visit that a power cut has ended a session of, for each cut."""
    beyond: list[float] = field(default_factory=list)
    """Those of them that are more than `persist_energy_wh` and what flows between readings."""


def findings(
    books: Books, emsp: FakeEmsp, visits: Sequence[Visit], closings: Sequence[Closing], energy: Energy
) -> list[str]:
    """Everything that is wrong; `energy` is filled in."""
    return [
        *_of_the_file(books),
        *_of_relays(closings),
        *_of_sessions(books),
        *_of_cdrs(books, emsp),
        *_of_references(books, emsp),
        *_of_energy(books, visits, energy),
        *(f"the eMSP complains: {complaint}" for complaint in emsp.complaints),
    ]


def _of_the_file(books: Books) -> Iterator[str]:
    if books.integrity != "ok":
        yield f"state.db: {books.integrity}"
    for row in books.authorizations:
        if row["relay_closed"] and row["ended_at"] is None:
            yield f"authorization {row['id']} has no end"


def _of_relays(closings: Sequence[Closing]) -> Iterator[str]:
    for closing in closings:
        if closing.is_recorded is False:
            yield f"{closing.evse}: the relay closed for {closing.uid} without an authorization on disk"
        if not closing.is_plugged:
            yield f"{closing.evse}: the relay closed for {closing.uid} and a plug that was out since before the start"


def _of_sessions(books: Books) -> Iterator[str]:
    authorizations = {row["id"]: row for row in books.authorizations}
    by_evse = defaultdict(list)
    for row in books.sessions:
        number, authorization = row["authorization_id"], authorizations[row["authorization_id"]]
        by_evse[row["evse_uid"]].append(row)
        if row["ended_at"] is None:
            yield f"session {number} has no end"
        elif row["ended_at"] < row["started_at"]:
            yield f"session {number} ended before it began"
        if (row["ended_because"], row["evse_uid"]) != (authorization["ended_because"], authorization["evse_uid"]):
            yield f"session {number} ended because of {row['ended_because']}, its authorization otherwise"
        if authorization["verdict"] != "accepted" or not authorization["relay_closed"]:
            yield f"session {number} is of an authorization that was not accepted"
    for evse, rows in by_evse.items():
        for before, after in pairwise(sorted(rows, key=lambda row: int(row["started_at"]))):
            if after["started_at"] < (before["ended_at"] or 0):
                yield f"{evse}: session {after['authorization_id']} began while {before['authorization_id']} ran"


def _of_cdrs(books: Books, emsp: FakeEmsp) -> Iterator[str]:
    ids = [row["cdr_id"] for row in books.cdrs]
    if len(ids) != len(set(ids)):
        yield "two CDRs have the same id"
    if set(ids) != set(emsp.cdrs):
        yield f"CDRs here alone: {set(ids) - set(emsp.cdrs)}; at the eMSP alone: {set(emsp.cdrs) - set(ids)}"
    for row in books.cdrs:
        if row["acknowledged_at"] is None:
            yield f"CDR {row['number']} is not acknowledged: {row['problem']}"
        if emsp.cdrs.get(row["cdr_id"]) != json.loads(row["object"], parse_float=Decimal):
            yield f"CDR {row['number']} is another at the eMSP"
    at_emsp = Counter(cdr["session_id"] for cdr in emsp.cdrs.values())
    for row in books.sessions:
        yield from _of_one_session(row, at_emsp[row["session_id"]], emsp)


def _of_one_session(row: Row, cdrs: int, emsp: FakeEmsp) -> Iterator[str]:
    what = f"session {row['authorization_id']}"
    if cdrs != (1 if row["no_cdr"] is None else 0):
        yield f"{what} has {cdrs} CDRs; no CDR because: {row['no_cdr']}"
    if row["object"] is None:
        return
    told = emsp.sessions.get(row["session_id"])
    if told is None:
        yield f"{what} was never told"
    elif told["status"] != "COMPLETED":
        yield f"{what} is {told['status']} at the eMSP"
    elif told["kwh"] * 1000 != (row["energy_wh"] or 0):
        yield f"{what} has {told['kwh']} kWh at the eMSP, {row['energy_wh']} Wh here"
    for cdr in (cdr for cdr in emsp.cdrs.values() if cdr["session_id"] == row["session_id"]):
        if told is not None and (cdr["total_energy"], cdr["cdr_location"]["evse_uid"]) != (
            told["kwh"],
            row["evse_uid"],
        ):
            yield f"{what}: its CDR has {cdr['total_energy']} kWh at {cdr['cdr_location']['evse_uid']}"
        if abs(cdr["total_cost"]["excl_vat"] - cdr["total_energy"] * Decimal(PRICE)) > Decimal("0.0001"):
            yield f"{what}: {cdr['total_energy']} kWh cost {cdr['total_cost']}"


def _of_references(books: Books, emsp: FakeEmsp) -> Iterator[str]:
    sealed = {row["authorization_id"]: row for row in books.cdrs}
    sessions = {row["authorization_id"]: row["session_id"] for row in books.sessions}
    joined = {row["authorization_id"]: row["answered_at"] for row in books.late if row["joined"]}
    uids = {row["id"]: row["uid"] for row in books.authorizations}
    for row in books.authorizations:
        number, reference = row["id"], row["authorization_reference"]
        # A card that ends a charge is recorded with that one's reference.
        asked_for = str(uids.get(row["ends"], row["uid"]))
        if reference is not None and reference not in emsp.given_references.get(asked_for, ()):
            yield f"authorization {number}: the eMSP never gave {reference}"
        if reference is None and row["verdict"] == "accepted" and row["source"] == "realtime" and row["relay_closed"]:
            yield f"authorization {number} was given a reference, and has none"
        if number not in sealed:
            continue
        cdr = emsp.cdrs.get(sealed[number]["cdr_id"], {})
        given = {reference}
        if joined.get(number, 0) >= row["ended_at"] - JOIN_US:
            given.add(None)  # the CDR was sealed before it came
        if cdr.get("authorization_reference") not in given:
            yield f"the CDR of authorization {number} says {cdr.get('authorization_reference')}, not {reference}"
        told = emsp.sessions.get(sessions[number], {})
        if told.get("authorization_reference") != cdr.get("authorization_reference"):
            yield f"the session of authorization {number} says {told.get('authorization_reference')}"
        if cdr.get("cdr_token", {}).get("uid") != row["uid"]:
            yield f"the CDR of authorization {number} is for another card"


def _of_energy(books: Books, visits: Sequence[Visit], energy: Energy) -> Iterator[str]:
    cdr_wh = {row["authorization_id"]: _energy_wh(row) for row in books.cdrs}
    totals: Mapping[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for visit in visits:
        sessions = books.of(visit.uid)
        recorded_wh = sum(row["energy_wh"] or 0 for row in sessions)
        energy.metered_wh += visit.drawn_wh
        energy.recorded_wh += recorded_wh
        energy.billed_wh += sum(cdr_wh.get(row["authorization_id"], 0) for row in sessions)
        totals[visit.evse][0] += visit.drawn_wh
        totals[visit.evse][1] += recorded_wh
        yield from _of_one_visit(visit, sessions, recorded_wh, energy)
    for evse, (drawn_wh, recorded_wh) in totals.items():
        if recorded_wh > drawn_wh + ROUNDING_WH:
            yield f"{evse}: {recorded_wh} Wh on record, {drawn_wh:.1f} Wh by the meter"
    if len(energy.lost_wh) >= ENOUGH and len(energy.beyond) > SELDOM * len(energy.lost_wh):
        yield f"{len(energy.beyond)} of {len(energy.lost_wh)} cuts cost more than is configured"


def _of_one_visit(visit: Visit, sessions: Sequence[Row], recorded_wh: int, energy: Energy) -> Iterator[str]:
    lost_wh = visit.drawn_wh - recorded_wh
    if lost_wh < -ROUNDING_WH:
        yield f"card {visit.uid} drew {visit.drawn_wh:.1f} Wh and has {recorded_wh} Wh on record"
    # What flows after the last reading of a session is nobody's; a reading asks twice, so it may be the last but one.
    tail_wh = 2 * visit.step_wh * max(1, len(sessions)) + ROUNDING_WH
    configured_wh = PERSIST_WH + 2 * visit.step_wh
    most_wh = visit.cuts * (configured_wh + visit.power_w * DISK_S / 3600) + tail_wh
    if lost_wh > most_wh:
        yield f"card {visit.uid} lost {lost_wh:.1f} Wh, with {visit.cuts} cuts {most_wh:.1f} Wh at most"
    if visit.cuts and any(row["ended_because"] in BY_THE_CUT for row in sessions):
        energy.lost_wh.append(lost_wh / visit.cuts)
        if lost_wh - tail_wh > visit.cuts * configured_wh:
            energy.beyond.append(lost_wh / visit.cuts)


def _energy_wh(row: Row) -> int:
    cdr = json.loads(row["object"], parse_float=Decimal)
    return int(Decimal(cdr["total_energy"]) * 1000)
