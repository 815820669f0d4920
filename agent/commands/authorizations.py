"""`authorizations`: what was decided here and what was charged on it, from `state.db` alone."""

from collections.abc import Iterator, Mapping, Sequence

import click

from agent.charges import Charge
from agent.commands import say_if_cut
from agent.commands.charge_access import check_evse, state_to_read
from agent.commands.charge_words import bill_in_words, cdr_in_json, energy_in_words, original
from agent.commands.terminal import harmless, json_text
from agent.config import Config
from agent.model import Reason, Recorded, Source
from agent.runtime.clock import EARLIEST
from agent.store.journal import Records
from agent.store.sessions import Charges


async def listing(config: Config, *, limit: int, evse_uid: str | None, as_json: bool) -> None:
    """Print the newest records, newest first. Reads only, so a worn-out disk or another user's file will do.

    Raises StoreError when there is no `state.db`, or one of another version; ConfigError for an unknown EVSE.
    """
    check_evse(config, evse_uid)
    async with state_to_read(config) as kept:
        records = await Records(kept).recent(limit, evse_uid=evse_uid)
        charges = await Charges(kept).of([record.id for record in records])
    if as_json:
        for record in records:
            click.echo(json_text(as_object(record) | {"session": _session_in_json(charges.get(record.id))}))
    else:
        _print_table(records, charges)
    say_if_cut(len(records), limit)


def as_object(record: Recorded) -> dict[str, object]:
    """One record as a flat JSON object; times are ISO 8601 in UTC."""
    entry = record.entry
    return {
        "id": record.id,
        "at": entry.tapped_at.isoformat(),
        "evse_uid": entry.evse_uid,
        "reader": entry.reader,
        "uid": entry.uid,
        "verdict": entry.verdict,
        "reason": entry.reason,
        "source": entry.source,
        "detail": entry.detail,
        "text": entry.text,
        "relay": "closed" if entry.relay_closed else "open",
        "latency_ms": round(entry.latency_ms, 3),
        "deadline_ms": entry.deadline_ms,
        "peer": entry.peer,
        "country_code": entry.country_code,
        "party_id": entry.party_id,
        "contract_id": entry.contract_id,
        "group_id": entry.group_id,
        "authorization_reference": entry.authorization_reference,
        "correlation_id": entry.correlation_id,
        "ends": entry.ends,
        "ended_at": record.ended_at.isoformat() if record.ended_at else None,
        "ended_because": record.ended_because,
        "late": [
            {
                "at": late.answered_at.isoformat(),
                "peer": late.answer.peer,
                "outcome": late.answer.outcome,
                "detail": late.answer.detail,
                "authorization_reference": late.answer.authorization_reference,
                "joined": late.joined,
            }
            for late in record.late
        ],
    }


def _session_in_json(charge: Charge | None) -> dict[str, object] | None:
    if charge is None:
        return None
    session = charge.session
    return {
        "id": session.authorization_id,
        "session_id": session.session_id,
        "started_at": session.started_at.isoformat(),
        "energy_wh": session.energy_wh,
        "cdr": cdr_in_json(original(charge)),
        "no_cdr": session.no_cdr,
    }


def _print_table(records: Sequence[Recorded], charges: Mapping[int, Charge]) -> None:
    for record in records:
        for line in _lines(record, charges.get(record.id)):
            click.echo(harmless(line))
    if not records:
        click.echo("no card has been held to a reader here yet")


def _lines(record: Recorded, charge: Charge | None) -> Iterator[str]:
    entry = record.entry
    ended = f", ended {record.ended_at:%H:%M:%S} ({record.ended_because})" if record.ended_at else ""
    doubt = "" if entry.tapped_at >= EARLIEST else " (clock not set)"
    yield (
        f"#{record.id} {entry.tapped_at:%Y-%m-%d %H:%M:%S}Z{doubt} {entry.evse_uid} {entry.uid} "
        f"{entry.verdict.upper()} {entry.reason} ({entry.source}, {entry.latency_ms:.1f} ms){ended}"
    )
    yield f"    {entry.detail}"
    if entry.authorization_reference:
        yield f"    authorization_reference {entry.authorization_reference}"
    if entry.source in {Source.REALTIME, Source.FALLBACK} and entry.reason is not Reason.NO_PEER:
        yield f"    correlation_id {entry.correlation_id}, X-Correlation-ID of the questions to peers"
    for late in record.late:
        joined = ", its reference joined" if late.joined else ""
        yield f"    late: peer {late.answer.peer}: {late.answer.outcome}, {late.answer.detail}{joined}"
    if charge is not None:
        yield f"    session #{record.id}: {energy_in_words(charge.session.energy_wh)}; {bill_in_words(charge)}"
