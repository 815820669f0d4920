"""What a month of charging costs those who come after it: an agent that starts, who looks at it, the next driver.

Beside everything the same with an empty `state.db`, in turn with it.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from time import perf_counter

from agent.charges import ReportKind
from agent.model import Source, WhitelistType
from fakes.emsp import Kind, Weather
from fakes.serial_line import SerialLine
from tests.bench.cards import fill_whitelist
from tests.bench.fast_motion import fast_motion
from tests.bench.figure import Figure, Goal, Plan, milliseconds, percentile, spread
from tests.bench.local_tap import WARM_UP, accepted
from tests.bench.peer_process import ROOT, Address, listening, peer
from tests.bench.program import agent, started
from tests.bench.rig import Rig, configuration, running_agent

SESSIONS = 10_000
TOKENS = 1000
COMMANDS = ("authorizations", "sessions", "cdrs list")

_GOAL = Goal(1.1, "ratio")


def month(plan: Plan) -> list[Figure]:
    """The start, the commands and a whitelisted tap with 10,000 sessions on record, and with none."""
    folder = plan.folder / "month"
    count = plan.count(SESSIONS, 5)
    full, empty = folder / "full", folder / "empty"
    asyncio.run(_lay_out(full, count))
    asyncio.run(_lay_out(empty, 0))
    with listening(populate=0, cards=0, reports=True) as emsp:
        configs = _configured(full, emsp), _configured(empty, emsp)
        ready = _in_turn(_start, configs, plan.count(15, 1))
    commands = {words: _in_turn(partial(_run, words), configs, plan.count(15, 1)) for words in COMMANDS}
    taps = asyncio.run(_taps(full, empty, plan.count(1000, 5)))
    return [
        *_beside(f"ready after the start, {count} sessions", "s", *ready),
        *(figure for words, took in commands.items() for figure in _beside(f"`{words}`, {count} sessions", "s", *took)),
        *_beside(f"whitelisted tap -> relay, {count} sessions", "ms", *taps),
        Figure(f"state.db, {count} sessions", (full / "state.db").stat().st_size / 1e6, "MB"),
    ]


async def _lay_out(folder: Path, sessions: int) -> None:
    await fill_whitelist(folder, TOKENS)
    async with fast_motion(folder, durable=False) as books:
        for _ in range(sessions):
            await books.charge()
            await books.tell(*ReportKind)
        await books.stores.journal.settle_open_check()


def _configured(folder: Path, emsp: Address) -> Path:
    path = folder / "config.toml"
    path.write_text(configuration(folder, [SerialLine(folder, name="reader-1")], emsp, billed=True), "utf-8")
    return path


def _in_turn(
    measured: Callable[[Path], float], configs: tuple[Path, Path], times: int
) -> tuple[list[float], list[float]]:
    """Seconds with either; the first time brings the files into the page cache."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(times + 1):
        for config, each in zip(configs, took, strict=True):
            each.append(measured(config))
    return took[0][1:], took[1][1:]


def _start(config: Path) -> float:
    """Until the agent is ready."""
    with started(agent(config)) as program:
        return program.wait_for("ready:")


def _run(words: str, config: Path) -> float:
    """A command from its beginning to its end."""
    command = [str(Path(sys.executable).with_name("chargepoint-agent")), *words.split(), "--config", str(config)]
    began = perf_counter()
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return perf_counter() - began


async def _taps(full: Path, empty: Path, count: int) -> tuple[list[float], list[float]]:
    """Two agents in one process, the same card at the one and at the other."""
    async with AsyncExitStack() as stack:
        emsp = await stack.enter_async_context(peer(reports=True))
        rigs = [
            await stack.enter_async_context(running_agent(place, peer=emsp, billed=True)) for place in (full, empty)
        ]
        # What is due waits meanwhile: telling it is measured by itself.
        await emsp.weather(Weather(Kind.DOWN))
        return await in_turn(rigs[0], rigs[1], count)


async def in_turn(first: Rig, second: Rig, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds from tap to relay of whitelisted taps at both."""
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(count + WARM_UP):
        for rig, times in zip((first, second), took, strict=True):
            # A quarter of the list is of this kind; a card may come again, for nothing runs.
            seen = await accepted(rig, number % (TOKENS // 4), WhitelistType.ALLOWED, Source.WHITELIST)
            times.append(seen.tap_to_relay_s)
    return milliseconds(took[0][WARM_UP:]), milliseconds(took[1][WARM_UP:])


def _beside(name: str, unit: str, values: Sequence[float], floors: Sequence[float]) -> list[Figure]:
    what = f"p50 of {len(values)}; floor: an empty state.db"
    return [
        Figure(name, percentile(values, 50), unit, percentile(floors, 50), _GOAL, what),
        *spread(name, values, unit, floors),
    ]
