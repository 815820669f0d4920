"""How many tokens there are, and how old each peer's list is."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.diagnosis.databases import reading
from agent.diagnosis.finding import Finding, good, warning
from agent.store.database import from_us

_PEERS = (
    "SELECT name, (SELECT count(*) FROM token WHERE peer_id = peer.id AND valid AND NOT withdrawn), completed_at"
    " FROM peer LEFT JOIN last_sync ON last_sync.peer_id = peer.id ORDER BY name"
)


def whitelist_findings(
    folder: Path, peers: Sequence[str], max_age: timedelta, now: datetime | None = None
) -> list[Finding]:
    """One for each of the peers that are asked now. Raises StoreError."""
    path = folder / "whitelist.db"
    if not peers:
        return []
    rows = _rows(path) if path.exists() else {}
    return [_finding(peer, *rows.get(peer, (0, None)), max_age, now or datetime.now(UTC)) for peer in peers]


def tokens_in(folder: Path) -> int:
    """How many valid tokens there are, of all peers. Raises StoreError."""
    path = folder / "whitelist.db"
    return sum(count for count, _ in _rows(path).values()) if path.exists() else 0


def _rows(path: Path) -> dict[str, tuple[int, datetime | None]]:
    with reading(path) as connection:
        rows = connection.execute(_PEERS).fetchall()
    return {name: (count, None if at is None else from_us(at)) for name, count, at in rows}


def _finding(peer: str, count: int, synced_at: datetime | None, max_age: timedelta, now: datetime) -> Finding:
    subject, sync = f"whitelist of {peer}", f"chargepoint-agent tokens sync {peer}"
    if synced_at is None:
        held = f"{count} valid tokens, and no complete synchronisation yet"
        return warning(subject, held, f"{sync}; the agent does it by itself once it can reach the peer")
    said = f"{count} valid tokens, complete at {synced_at:%Y-%m-%d %H:%M}Z"
    if synced_at > now:
        return warning(subject, f"{said}, which is still to come: a clock was wrong", f"check the clock, then {sync}")
    if now - synced_at > max_age:
        return warning(subject, f"{said}: stale, older than policy.max_age_days", sync)
    if count == 0:
        return warning(subject, f"{said}: every card is asked about in real time", "ask its operator if that is meant")
    return good(subject, said)
