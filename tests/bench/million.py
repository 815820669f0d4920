"""The full sync of 1,000,000 tokens: how fast, at what cost in memory, storage and lookups, and after a kill.

The list comes from the fake eMSP over real HTTP in pages of 1,000, each served from memory. The agent's client, sync
and whitelist run in a process of their own (`million_sync`), and so does the floor (`million_floor`), which runs
before and after the sync: the disk of a shared machine is not the same from one minute to the next.
"""

import os
import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.figure import Figure, Goal, Plan, percentile
from tests.bench.million_floor import Inserted, inserted
from tests.bench.million_list import PAGE
from tests.bench.million_peer import MillionPeer, million_peer
from tests.bench.million_sync import Synced, killed, synced
from tests.bench.peer_process import Address

TOKENS = 1_000_000
QUICK = 20_000

CHANGED_SINCE = datetime(2025, 1, 1, tzinfo=UTC)
"""The list as it was before is of 2024, and the changes are of the day on which this runs."""

PAGES_TWICE = 2
"""A kill costs the page that was not stored yet, and the one behind it that was on its way already."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """What came after a kill."""

    killed_after: int
    """Pages."""
    fetched_twice: int
    seconds: float


def million(plan: Plan) -> list[Figure]:
    """A full sync between two floors, a full sync that is killed and goes on, and a delta sync on top."""
    folder = plan.folder / "million"
    folder.mkdir(parents=True)
    tokens = plan.count(TOKENS, QUICK)
    floors = [_floor(folder, tokens)]
    with million_peer(tokens) as peer:
        os.sync()  # what the floor left to be written is not the sync's to wait for
        full = synced(_made(folder / "full"), peer.address)
        _expect(full, "full", tokens)
        _expect_pages(peer.asked(), tokens)
        _expect_stored(folder / "full", tokens)
        size = (folder / "full" / "whitelist.db").stat().st_size
        again = synced(folder / "full", peer.address, full=True)
        _expect(again, "full", tokens)
        _expect_pages(peer.asked(), tokens)
        _expect_stored(folder / "full", tokens)
        resumed = _resumed(_made(folder / "killed"), peer, tokens)
        _expect_stored(folder / "killed", tokens)
        changes = peer.change()
        delta = synced(folder / "killed", peer.address)
        _expect(delta, "delta", changes)
        _expect_stored(folder / "killed", tokens)
        _expect_stored(folder / "killed", changes, since=CHANGED_SINCE)
    floors.append(_floor(folder, tokens))
    return [
        *_speed(full, floors),
        *_cost(full, floors, size, again),
        *_lookups("full sync", full),
        *_lookups("full sync of the same again", again),
        *_after_a_kill(resumed, tokens),
        Figure(
            "delta sync of 1,000 changes", delta.seconds, "s", None, Goal(10, "value"),
            f"on top of {tokens:,} tokens; the goal is the design's 'seconds'",
        ),
    ]  # fmt: skip


def _floor(folder: Path, tokens: int) -> Inserted:
    path = folder / "floor.db"
    path.unlink(missing_ok=True)
    os.sync()
    return inserted(path, tokens)


def _resumed(folder: Path, peer: MillionPeer, tokens: int) -> Resumed:
    """Kill a first full sync at a random page, and finish it."""
    after = random.randint(1, tokens // PAGE - 2)
    killed(folder, peer.address, after)
    before = peer.asked()
    rest = _rest(folder, peer.address, tokens)
    asked = peer.asked()
    if 0 in asked:
        raise RuntimeError("the killed sync started over instead of going on")
    _expect_pages(sorted({*before, *asked}), tokens)
    return Resumed(after, len(before) + len(asked) - tokens // PAGE, rest.seconds)


def _rest(folder: Path, address: Address, tokens: int) -> Synced:
    rest = synced(folder, address)
    if not rest.resumed:
        raise RuntimeError("the killed sync was not taken up again")
    _expect(rest, "full", tokens)
    return rest


def _expect(sync: Synced, kind: str, tokens: int) -> None:
    """Raise RuntimeError for a sync that was another than it is to be measured as."""
    if (sync.kind, sync.tokens) != (kind, tokens):
        raise RuntimeError(f"expected a {kind} sync of {tokens} tokens, and it was a {sync.kind} one of {sync.tokens}")


def _expect_pages(offsets: list[int], tokens: int) -> None:
    """Raise RuntimeError unless every page was asked for once."""
    if offsets != list(range(0, tokens, PAGE)):
        raise RuntimeError(f"expected every page of {PAGE} once, and {len(offsets)} were asked for")


def _expect_stored(folder: Path, tokens: int, *, since: datetime | None = None) -> None:
    """Raise RuntimeError unless so many tokens, changed `since` then, lie in the database: a report is no proof."""
    with closing(sqlite3.connect(folder / "whitelist.db")) as connection:
        since_us = 0 if since is None else int(since.timestamp() * 1_000_000)
        rows = "SELECT count(*) FROM token WHERE NOT withdrawn AND last_updated >= ?"
        [stored] = connection.execute(rows, (since_us,)).fetchone()
    if stored != tokens:
        raise RuntimeError(f"expected {tokens} tokens in the database, and there are {stored}")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _speed(full: Synced, floors: list[Inserted]) -> list[Figure]:
    floor_s = sum(floor.seconds for floor in floors) / len(floors)
    rates = " and ".join(f"{floor.tokens / floor.seconds:,.0f}" for floor in floors)
    return [
        Figure(
            "full sync of a million tokens", full.seconds / full.tokens * 1e6, "us a token",
            floor_s / full.tokens * 1e6, Goal(1.25, "ratio"),
            "the goal is 0.8 of the floor's rate; floor: decode and insert alone, before and after",
        ),
        Figure(
            "full sync of a million tokens, rate", full.tokens / full.seconds, "tokens/s", full.tokens / floor_s,
            note=f"floor: {rates}",
        ),
    ]  # fmt: skip


def _cost(full: Synced, floors: list[Inserted], size: int, again: Synced) -> list[Figure]:
    floor = floors[0]
    return [
        Figure(
            "memory growth in the full sync", full.grown_kib * 1024 / 1e6, "MB", None, Goal(40, "value"),
            "the highest resident memory at any moment, less that before",
        ),
        Figure(
            "written to storage in the full sync", full.written_bytes / 1e6, "MB", floor.written_bytes / 1e6,
            note=f"for {size / 1e6:.0f} MB of database: every page of the list hits the index all over",
        ),
        Figure("size of the database", size / 1e6, "MB", note=f"{size / full.tokens:.0f} bytes a token"),
        Figure("full sync of the same again", again.seconds, "s", note="nothing has changed"),
        Figure("written in the full sync of the same again", again.written_bytes / 1e6, "MB"),
    ]  # fmt: skip


def _lookups(during: str, sync: Synced) -> list[Figure]:
    took_ms = [value * 1000 for value in sync.lookups_s]
    note = f"of {len(took_ms)}, one every 5 ms, from when it was due"
    return [
        Figure(f"lookup during the {during}, p99", percentile(took_ms, 99), "ms", None, Goal(5, "value"), note),
        Figure(f"lookup during the {during}, p50", percentile(took_ms, 50), "ms"),
        Figure(f"lookup during the {during}, max", max(took_ms), "ms"),
    ]


def _after_a_kill(resumed: Resumed, tokens: int) -> list[Figure]:
    return [
        Figure(
            "pages fetched twice after kill -9", resumed.fetched_twice, "pages", None, Goal(PAGES_TWICE, "value"),
            f"killed after {resumed.killed_after} of {tokens // PAGE} pages, by the server's log",
        ),
        Figure("the rest after kill -9", resumed.seconds, "s"),
    ]  # fmt: skip
