"""Tokens pushed at our server, as many as it takes, next to the least that the same web server costs.

Every PUT is answered when the token is on the disk. Set $BENCH_LIBRARY_PYTHON to an interpreter with a FastAPI-based
OCPI library to have that measured as well, in turn with the others: see `server_load_library`.
"""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from datetime import datetime
from pathlib import Path
from time import perf_counter

from tests.bench.figure import Figure, Goal, Plan, milliseconds, spread
from tests.bench.server_load_generator import PREFIX, WARM_UP, Driven, Load, drive, last_updated
from tests.bench.server_load_server import Server, bare, ours, serving

CONNECTIONS = (1, 16)
EDITIONS = ("new tokens", "known tokens")
"""Each token is pushed once as a new one, and once more with a newer `last_updated`."""

LIBRARY_PYTHON = "BENCH_LIBRARY_PYTHON"
_OURS, _BARE, _LIBRARY = "ours", "bare", "library"

_Runs = dict[tuple[str, int, int], Driven]
"""By server, connections and edition."""


def push(plan: Plan) -> list[Figure]:
    """Requests a second and how long one takes, with 1 and with 16 connections."""
    return asyncio.run(_push(plan))


async def _push(plan: Plan) -> list[Figure]:
    folder = plan.folder / "push"
    folder.mkdir(parents=True, exist_ok=True)
    runs: _Runs = {}
    commits: list[float] = []
    python = os.environ.get(LIBRARY_PYTHON)
    async with AsyncExitStack() as stack:
        servers = {
            _OURS: await stack.enter_async_context(serving(ours(folder / _OURS))),
            _BARE: await stack.enter_async_context(serving(bare())),
        }
        if python:
            command = [python, "-m", "tests.bench.server_load_library", str(folder / _LIBRARY)]
            servers[_LIBRARY] = await stack.enter_async_context(serving(command))
        turns, count = plan.count(4, 1), plan.count(600, 10) + WARM_UP
        for turn in range(turns):
            await _in_turn(servers, turn, count, runs)
            commits += _commits(folder / "floor.db", plan.count(250, 5))
    _expect_stored(folder / _OURS, turns * len(CONNECTIONS) * count)
    return [
        *_against_library(runs, servers.get(_LIBRARY)),
        *(figure for each in CONNECTIONS for edition in range(2) for figure in _figures(runs, each, edition)),
        *spread(
            "a durable commit of a token", milliseconds(commits), "ms",
            note="plain sqlite3 in turn with the pushes; one connection can't push faster",
        ),
    ]  # fmt: skip


async def _in_turn(servers: dict[str, Server], turn: int, count: int, runs: _Runs) -> None:
    for connections in CONNECTIONS:
        first = (turn * len(CONNECTIONS) + CONNECTIONS.index(connections)) * count
        for edition in range(len(EDITIONS)):
            for name, server in servers.items():
                load = Load(server.port, server.path, server.answer, connections, first, count, edition)
                runs.setdefault((name, connections, edition), Driven()).add(await drive(load))


def _expect_stored(folder: Path, pushed: int) -> None:
    """Raise RuntimeError unless every token that was pushed lies in the database as it was pushed last."""
    last = datetime.fromisoformat(last_updated(len(EDITIONS) - 1))
    rows = "SELECT count(*), coalesce(sum(last_updated = ?), 0) FROM token WHERE uid_key LIKE ? AND NOT withdrawn"
    with closing(sqlite3.connect(folder / "whitelist.db")) as connection:
        found = connection.execute(rows, (int(last.timestamp() * 1_000_000), f"{PREFIX}%")).fetchone()
    if found != (pushed, pushed):
        raise RuntimeError(
            f"{pushed} tokens were pushed twice, and of {found[0]} that are stored {found[1]} are as last"
        )


def _commits(path: Path, times: int) -> list[float]:
    """Seconds that one durable commit of a row like a token's takes at least."""
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("CREATE TABLE IF NOT EXISTS token (id INTEGER PRIMARY KEY, content TEXT)")
    took: list[float] = []
    for _ in range(times):
        began = perf_counter()
        raw.execute("INSERT INTO token (content) VALUES (?)", ("x" * 100,))
        took.append(perf_counter() - began)
    raw.close()
    return took


def _figures(runs: _Runs, connections: int, edition: int) -> list[Figure]:
    mine, floor = runs[_OURS, connections, edition], runs[_BARE, connections, edition]
    name = f"push of {EDITIONS[edition]}, {connections} connection{'s'[: connections - 1]}"
    what = f"{len(mine.took_s)} durable PUTs; floor: bare ASGI, parses and echoes, stores nothing"
    return [
        Figure(f"{name}, rate", mine.rate, "/s", floor.rate, note=f"{what}; here a high ratio is good"),
        *spread(name, milliseconds(mine.took_s), "ms", milliseconds(floor.took_s)),
    ]


def _against_library(runs: _Runs, library: Server | None) -> list[Figure]:
    """The design's "at least five times as many", as time a push, which is to be a fifth."""
    if library is None:
        note = f"no FastAPI-based library was measured: set {LIBRARY_PYTHON} to an interpreter that has one"
        return [_a_push(runs, each, None, None, note) for each in CONNECTIONS]
    note = f"two editions; floor: {library.version}, its store a durable commit by sqlite3 in the loop"
    return [_a_push(runs, each, _time(runs, _LIBRARY, each), Goal(0.2, "ratio"), note) for each in CONNECTIONS]


def _a_push(runs: _Runs, connections: int, library: float | None, goal: Goal | None, note: str) -> Figure:
    name = f"time a push takes the server, {connections} connection{'s'[: connections - 1]}"
    return Figure(name, _time(runs, _OURS, connections), "ms", library, goal, note)


def _time(runs: _Runs, which: str, connections: int) -> float:
    """Milliseconds of the server's time a push: with more connections than one, less than a push waits."""
    both: Sequence[Driven] = [runs[which, connections, edition] for edition in range(len(EDITIONS))]
    return sum(run.elapsed_s for run in both) / sum(len(run.took_s) for run in both) * 1000
