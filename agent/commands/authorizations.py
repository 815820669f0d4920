"""`authorizations`: what was decided here, from `state.db` alone."""

from collections.abc import Iterator
from pathlib import Path

import click

from agent.commands import closed_by, say_if_cut
from agent.commands.terminal import harmless, json_text
from agent.config import Config
from agent.errors import ConfigError
from agent.model import Reason, Recorded, Source
from agent.store.journal import Records


async def listing(config: Config, *, limit: int, evse_uid: str | None, as_json: bool) -> None:
    """Print the newest records, newest first. Reads only, so a worn-out disk or another user's file will do.

    Raises StoreError when there is no `state.db`, or one of another version; ConfigError for an unknown EVSE.
    """
    evses = [evse.uid for evse in config.evse]
    if evse_uid is not None and evse_uid not in evses:
        raise ConfigError(f"no [[evse]] has the uid {evse_uid}; there are: {', '.join(evses)}")
    kept = await Records.open_read_only(Path(config.storage.directory) / "state.db")
    async with closed_by(kept.close):
        records = await kept.recent(limit, evse_uid=evse_uid)
    if as_json:
        for record in records:
            click.echo(json_text(as_object(record)))
    else:
        _print_table(records)
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


def _print_table(records: list[Recorded]) -> None:
    for line in _lines(records):
        click.echo(harmless(line))
    if not records:
        click.echo("no card has been held to a reader here yet")


def _lines(records: list[Recorded]) -> Iterator[str]:
    for record in records:
        entry = record.entry
        ended = f", ended {record.ended_at:%H:%M:%S} ({record.ended_because})" if record.ended_at else ""
        yield (
            f"#{record.id} {entry.tapped_at:%Y-%m-%d %H:%M:%S}Z {entry.evse_uid} {entry.uid} "
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
