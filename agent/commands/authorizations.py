"""`authorizations`: what was decided here, from `state.db` alone."""

import json
from pathlib import Path

import click

from agent.commands import closed_by
from agent.config import Config
from agent.errors import StoreError
from agent.model import Recorded
from agent.store.journal import Journal


async def listing(config: Config, *, limit: int, evse_uid: str | None, as_json: bool) -> None:
    """Print the newest records, newest first. Raises StoreError when there is no `state.db`."""
    path = Path(config.storage.directory) / "state.db"
    if not path.exists():
        raise StoreError(f"{path}: not there yet; the agent makes it when it first runs")
    journal = await Journal.open(path)
    async with closed_by(journal.close):
        records = await journal.recent(limit, evse_uid=evse_uid)
    if as_json:
        for record in records:
            click.echo(json.dumps(as_object(record), ensure_ascii=False))
    else:
        _print_table(records)


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


def _print_table(records: list[Recorded]) -> None:
    if not records:
        click.echo("no card has been held to a reader here yet")
        return
    for record in records:
        entry = record.entry
        ended = f", ended {record.ended_at:%H:%M:%S} ({record.ended_because})" if record.ended_at else ""
        click.echo(
            f"#{record.id} {entry.tapped_at:%Y-%m-%d %H:%M:%S}Z {entry.evse_uid} {entry.uid} "
            f"{entry.verdict.upper()} {entry.reason} ({entry.source}, {entry.latency_ms:.1f} ms){ended}"
        )
        click.echo(f"    {entry.detail}")
        if entry.authorization_reference:
            click.echo(f"    authorization_reference {entry.authorization_reference}")
        for late in record.late:
            joined = ", its reference joined" if late.joined else ""
            click.echo(f"    late: peer {late.answer.peer}: {late.answer.outcome}, {late.answer.detail}{joined}")
