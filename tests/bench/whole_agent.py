"""The whole agent as a process: how soon it is ready, how much memory it keeps, and what it writes a tap."""

import asyncio
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

from agent.model import WhitelistType
from agent.store.journal import Journal
from fakes.serial_line import SerialLine
from tests.bench.cards import uid_of
from tests.bench.figure import Figure, Goal, Plan, percentile, spread
from tests.bench.peer_process import listening
from tests.bench.program import Program, Written, agent, bare, started, written
from tests.bench.rig import configuration

EVSES = 2
TOKENS = 10_000
OFF_THE_READER_S = 0.05
"""Longer than the configured `removal_s`: the same card held again is a tap of its own."""


_RUNNING = {"ended_at": None, "ended_because": None}
_END_SESSION = (
    "UPDATE session SET ended_at = :ended_at, ended_because = :ended_because WHERE authorization_id = :authorization_id"
)


@dataclass(frozen=True, slots=True)
class Memory:
    """MB."""

    resident: float
    proportional: float

    @classmethod
    def of(cls, program: Program) -> "Memory":
        """A process's memory now."""
        return cls(program.resident_mb(), program.proportional_mb())


@dataclass(slots=True)
class Session:
    """What one run of the agent came to."""

    ready_s: list[float]
    bare_ready_s: list[float]
    bare: Memory
    at_ready: Memory
    after_sync: Memory
    after_taps: Memory
    taps: int
    in_taps: Written
    with_stop: Written
    """From before the first tap until the process has closed its files."""
    raw: Written
    """The same rows by plain sqlite3, the closing of the file included."""


def whole_agent(plan: Plan) -> list[Figure]:
    """Starts, a sync of 10,000 tokens, and 1,000 taps."""
    session = _session(plan)
    return [*_ready(session), *_memory(session), *_written(session)]


def _session(plan: Plan) -> Session:
    folder = plan.folder / "whole"
    folder.mkdir(parents=True)
    cards = plan.count(500, 4)
    # A quarter of these cards is ALLOWED and held to a reader; the fake's own population has seven-byte uids.
    populated = plan.count(TOKENS, 100) - 4 * cards
    with _plugged(folder) as lines, listening(populate=populated, cards=cards) as emsp:
        config = folder / "config.toml"
        config.write_text(configuration(folder, lines, emsp), "utf-8")
        with started(agent(config)) as program:
            program.wait_for("ready:")
            at_ready = Memory.of(program)
            program.wait_for("sync of tokens complete")
            after_sync = Memory.of(program)
            before = program.written()
            _tap(program, lines, cards)
            after_taps, in_taps = Memory.of(program), program.written().since(before)
            with_stop = program.stop().since(before)
        raw = _raw(folder)
        ready, bare_ready, bare_memory = _starts(config, plan.count(15, 1))
    return Session(ready, bare_ready, bare_memory, at_ready, after_sync, after_taps, 2 * cards, in_taps, with_stop, raw)


@contextmanager
def _plugged(folder: Path) -> Iterator[list[SerialLine]]:
    with ExitStack() as stack:
        yield [stack.enter_context(SerialLine(folder, name=f"reader-{number + 1}")) for number in range(EVSES)]


def _tap(program: Program, lines: Sequence[SerialLine], cards: int) -> None:
    """Start and stop a charge with each card, at the EVSEs in turn: two taps a card."""
    for number in range(cards):
        line = lines[number % len(lines)]
        for expected in ("accepted whitelisted", "accepted stopped-same-card"):
            line.present(uid_of(WhitelistType.ALLOWED, number))
            program.wait_for(expected)
            sleep(OFF_THE_READER_S)


def _starts(config: Path, times: int) -> tuple[list[float], list[float], Memory]:
    """The agent and the bare interpreter in turn, both with everything in the page cache."""
    ready: list[float] = []
    bare_ready: list[float] = []
    memory: Memory | None = None
    for _ in range(times + 1):
        with started(agent(config)) as program:
            ready.append(program.wait_for("ready:"))
        with started(bare()) as program:
            bare_ready.append(program.wait_for("ready"))
            memory = Memory.of(program)
    assert memory is not None
    return ready[1:], bare_ready[1:], memory


def _raw(folder: Path) -> Written:
    """Write the agent's records once more, one commit for each of its own, with plain sqlite3: the schema's least."""
    floor = folder / "floor.db"
    asyncio.run(_lay_out(floor))
    records = sqlite3.connect(folder / "state.db")
    records.row_factory = sqlite3.Row
    taps = [dict(row) for row in records.execute("SELECT * FROM authorization ORDER BY id")]
    sessions = {row["authorization_id"]: dict(row) for row in records.execute("SELECT * FROM session")}
    records.close()
    raw = sqlite3.connect(floor, isolation_level=None)
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("PRAGMA journal_mode = WAL")
    before = written(os.getpid())
    for tap in taps:
        if tap["ends"] is None:
            # The stop's own row ends it, by the schema's trigger.
            _insert(raw, "authorization", tap | _RUNNING)
            _insert(raw, "session", sessions[tap["id"]] | _RUNNING)
        else:
            raw.execute("BEGIN")
            raw.execute(_END_SESSION, sessions[tap["ends"]])
            _insert(raw, "authorization", tap)
            raw.execute("COMMIT")
    raw.close()
    return written(os.getpid()).since(before)


def _insert(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in row)})", row)


async def _lay_out(path: Path) -> None:
    await (await Journal.open(path)).close()


def _ready(session: Session) -> list[Figure]:
    ready, floors = session.ready_s, session.bare_ready_s
    return [
        Figure(
            "ready after the start", percentile(ready, 50), "s", percentile(floors, 50), Goal(0.5, "value"),
            f"p50 of {len(ready)} from exec to log line; floor: interpreter and imports",
        ),
        *spread("ready after the start", ready, "s", floors),
    ]  # fmt: skip


def _memory(session: Session) -> list[Figure]:
    floor = session.bare
    after = f"after a sync of {TOKENS} tokens and {session.taps} taps; floor: interpreter and imports"
    return [
        Figure("resident memory", session.after_taps.resident, "MB", floor.resident, Goal(45, "value"), after),
        Figure("resident memory, at ready", session.at_ready.resident, "MB", floor.resident),
        Figure("resident memory, after the sync", session.after_sync.resident, "MB", floor.resident),
        Figure("proportional memory (Pss)", session.after_taps.proportional, "MB", floor.proportional),
    ]


def _written(session: Session) -> list[Figure]:
    def a_tap(count: int) -> float:
        return count / session.taps / 1000

    taps, stop, raw = session.in_taps, session.with_stop, session.raw
    return [
        Figure(
            "written to storage a tap", a_tap(stop.storage), "KB", a_tap(raw.storage), Goal(8, "value"),
            f"of {session.taps} taps, start and stop of a session; write_bytes, checkpoints and closing included; "
            "floor: the same rows, as many commits, by plain sqlite3",
        ),
        Figure(
            "written to storage a tap, before closing", a_tap(taps.storage), "KB",
            note="only the checkpoints that fell due on the way",
        ),
        Figure("handed to the kernel a tap (wchar)", a_tap(stop.characters), "KB", a_tap(raw.characters)),
    ]  # fmt: skip
