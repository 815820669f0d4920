"""What the page is sent, as JSON's own types: pure, from values to values, and every card's uid masked.

Its version is 1: a field may be added, and none changes its meaning.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from agent.charges import Backlog, CdrRecord, Charge
from agent.core.evse_state import Plug
from agent.core.uid import masked
from agent.core.veil import Veil, veil_for
from agent.model import Entry, Signal
from agent.runtime.cards import TapTimes
from agent.runtime.documents import Figures, figures_of
from agent.service.facts import EvseFacts, Facts, PeerFacts, ReaderFacts

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class About:
    """The agent itself."""

    version: str
    uptime_s: float
    status: str
    """As systemd is told it."""
    deadline_ms: float


@dataclass(frozen=True, slots=True)
class Glass:
    """A display as the driver sees it."""

    lines: tuple[str, ...] = ()
    columns: int = 0
    rows: int = 0
    card: str | None = None
    """Of whom a peer's words may stand there, before its tap is over: the uid that was last asked about."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The charge that runs at an EVSE."""

    authorization_id: int
    since: datetime | None
    energy_wh: int | None
    power_w: float | None


@dataclass(frozen=True, slots=True)
class Outlet:
    """One EVSE with all that is to be seen of it."""

    facts: EvseFacts
    plug: Plug
    glass: Glass
    signal: Signal | None
    """None until a first one was told."""
    runs: Runs | None


@dataclass(frozen=True, slots=True)
class SeenTap:
    """A tap that is over."""

    id: int
    """Its authorization's; below 0 for one that is not on record."""
    entry: Entry
    times: TapTimes | None = None
    total_ms: float | None = None
    """From the uid's last byte to the relay. None: nobody has measured it, it was before this start."""


@dataclass(frozen=True, slots=True)
class Books:
    """What `state.db` holds, as of the last look."""

    charges: Sequence[Charge] = ()
    backlog: Backlog = field(default_factory=Backlog)


def board(
    at: datetime,
    about: About,
    facts: Facts,
    *,
    outlets: Iterable[Outlet],
    taps: Iterable[SeenTap],
    latency_ms: dict[str, float],
    books: Books,
) -> Json:
    """Everything but what each client has of its own. `taps` in the order in which they came; the newest goes first."""
    seen, outlets = list(taps), list(outlets)
    veil = veil_of(
        [*(tap.entry for tap in seen), *(charge.authorization.entry for charge in books.charges)],
        under_way=(outlet.glass.card for outlet in outlets),
    )
    charges = {charge.session.authorization_id: charge for charge in books.charges}
    references = {number: charge.authorization.entry.authorization_reference for number, charge in charges.items()}
    return {
        "at": moment(at),
        "agent": {
            "version": about.version,
            "uptime_s": int(about.uptime_s),
            "status": about.status,
            "policy": {"deadline_ms": about.deadline_ms},
        },
        "evses": [_evse(outlet, charges, seen, veil) for outlet in outlets],
        "taps": [_tap(tap, references.get(tap.id), veil) for tap in reversed(seen)],
        "readers": [_reader(reader) for reader in facts.readers],
        "peers": [_peer(peer, latency_ms.get(peer.name)) for peer in facts.peers],
        "whitelist": _whitelist(facts.peers, at),
        "sessions": [_session(charge, veil) for charge in books.charges],
        "outbox": {"sessions": books.backlog.sessions, "cdrs": books.backlog.cdrs, "parked": books.backlog.parked},
    }


def moment(at: datetime) -> str:
    """`2027-06-01T12:00:00.250Z`."""
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def veil_of(entries: Iterable[Entry], *, under_way: Iterable[str | None] = ()) -> Veil:
    """Masks these cards' uids in what a peer, or its reference, says of them.

    `under_way` are uids of cards that have no entry yet.
    """
    return veil_for({uid for entry in entries for uid in (entry.uid, entry.token_uid)}.union(under_way))


def _veiled_glass(glass: Glass, texts: Iterable[str], veil: Veil) -> list[str]:
    """Veiled as one text: a number may run over two lines, and on where a text that scrolls is cut.

    `texts` are those that may be scrolling through it, whole.
    """
    lines = list(glass.lines)
    if not lines:
        return lines
    for text in texts:
        veiled = veil(text)
        if veiled == text:
            continue
        whole = text.split("\n")
        for at in range(len(whole) - len(lines) + 1):
            if whole[at : at + len(lines)] == lines:
                return veiled.split("\n")[at : at + len(lines)]
    return veil("\n".join(lines)).split("\n")


def _veiled(text: str | None, veil: Veil) -> str | None:
    return None if text is None else veil(text)


def _evse(outlet: Outlet, charges: dict[int, Charge], taps: Sequence[SeenTap], veil: Veil) -> Json:
    facts, glass = outlet.facts, outlet.glass
    texts = (tap.entry.text for tap in reversed(taps) if tap.entry.evse_uid == facts.uid)
    return {
        "uid": facts.uid,
        "phase": facts.phase,
        "live": facts.is_live,
        "display": {"lines": _veiled_glass(glass, texts, veil), "columns": glass.columns, "rows": glass.rows},
        "signal": outlet.signal.value if outlet.signal else None,
        "plug": outlet.plug.value,
        "relay": "closed" if facts.relay_closed else "open",
        "relay_fault": facts.relay_fault,
        "lost": list(facts.lost),
        "session": None if outlet.runs is None else _runs(outlet.runs, charges.get(outlet.runs.authorization_id)),
    }


def _runs(runs: Runs, charge: Charge | None) -> Json:
    return {
        "id": runs.authorization_id,
        "energy_wh": runs.energy_wh,
        "power_w": _finite(runs.power_w),
        "cost": None if charge is None else _cost(charge),
        "since": None if runs.since is None else moment(runs.since),
    }


def _tap(tap: SeenTap, late_reference: str | None, veil: Veil) -> Json:
    entry = tap.entry
    return {
        "id": tap.id,
        "recorded": tap.id > 0,
        "at": moment(entry.tapped_at),
        "evse": entry.evse_uid,
        "reader": entry.reader,
        "uid": masked(entry.uid),
        "verdict": entry.verdict.value,
        "reason": entry.reason.value,
        "why": veil(entry.detail),
        "source": entry.source.value,
        "text": veil(entry.text),
        "peer": entry.peer,
        "reference": _veiled(late_reference or entry.authorization_reference, veil),
        "deadline_ms": entry.deadline_ms,
        "times_ms": _times(tap),
    }


def _times(tap: SeenTap) -> Json | None:
    times = tap.times
    if times is None or tap.total_ms is None:
        return None
    parts = {
        "waiting": times.waiting_ms,
        "whitelist": times.whitelist_ms,
        "peer": times.peer_ms,
        "record": times.record_ms,
        "relay": times.relay_ms,
        "total": tap.total_ms,
    }
    return {name: round(value, 2) for name, value in parts.items()}


def _reader(reader: ReaderFacts) -> Json:
    return {
        "name": reader.name,
        "state": reader.state.value if reader.state else None,
        "advice": reader.advice,
        "bad_frames": reader.bad_frames,
    }


def _peer(peer: PeerFacts, latency_ms: float | None) -> Json:
    return {
        "name": peer.name,
        "up": peer.is_asked and not peer.rejects_credentials,
        "breaker": "closed" if peer.is_asked else "open",
        "rejects_credentials": peer.rejects_credentials,
        "latency_ms": None if latency_ms is None else round(latency_ms, 1),
        "tokens": peer.tokens,
        "synced_at": None if peer.synced_at is None else moment(peer.synced_at),
    }


def _whitelist(peers: Sequence[PeerFacts], at: datetime) -> Json:
    ages_s = [max(0, int((at - peer.synced_at).total_seconds())) for peer in peers if peer.synced_at is not None]
    return {"tokens": sum(peer.tokens for peer in peers), "oldest_sync_s": max(ages_s, default=None)}


def _session(charge: Charge, veil: Veil) -> Json:
    session = charge.session
    return {
        "id": session.authorization_id,
        "session_id": session.session_id,
        "evse": session.evse_uid,
        "state": "active" if session.ended_at is None else "ended",
        "started_at": moment(session.started_at),
        "ended_at": None if session.ended_at is None else moment(session.ended_at),
        "ended_because": session.ended_because.value if session.ended_because else None,
        "energy_wh": session.energy_wh,
        "cost": _cost(charge),
        "reference": _veiled(charge.authorization.entry.authorization_reference, veil),
        "delivery": _delivery(charge),
        "problem": _veiled(charge.problem, veil),
        "cdr": _cdr(_billed(charge), veil),
        "no_cdr": _veiled(session.no_cdr, veil),
    }


def _delivery(charge: Charge) -> str | None:
    """What its peer knows of the session's newest state; None where nobody is told."""
    if charge.session.peer is None or charge.session.object is None:
        return None
    if charge.untold:
        return "due"
    return "rejected" if charge.problem else "told"


def _cdr(record: CdrRecord | None, veil: Veil) -> Json | None:
    if record is None:
        return None
    state = "parked" if record.parked else "due" if record.acknowledged_at is None else "acknowledged"
    problem = _veiled(record.problem, veil)
    return {"id": record.cdr.cdr_id, "state": state, "problem": problem, "credited_by": record.credited_by}


def _billed(charge: Charge) -> CdrRecord | None:
    """The CDR by which it is billed; not what took that back."""
    return next((record for record in charge.cdrs if record.cdr.credits is None), None)


def _cost(charge: Charge) -> str | None:
    """With VAT where there is one; None where nothing was priced."""
    billed = _billed(charge)
    document = charge.session.object if billed is None else billed.cdr.object
    if document is None:
        return None
    try:
        figures = figures_of(document)
    except ValueError:
        return None  # what can't be read, `sessions show` tells of; the page still shows the rest
    return _amount(figures)


def _amount(figures: Figures) -> str | None:
    amount = figures.excl_vat if figures.incl_vat is None else figures.incl_vat
    return None if amount is None else f"{amount.quantize(Decimal('0.01'))} {figures.currency}"


def _finite(value: float | None) -> float | None:
    """JSON has no other numbers, whatever a meter says."""
    return value if value is not None and math.isfinite(value) else None
