"""The composed agent in a real world: eMSPs over HTTP, readers on pseudo-terminals, gpiozero's mock pins, SQLite.

Where `stage` plays every port in memory under a clock of its own, here bytes, sockets and files are real, and so
is time. Nothing waits for "long enough": a test waits for a verdict, or until what it looks for is so.
"""

import asyncio
import gc
import io
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from agent.config import load
from agent.main import Agent, agent_of
from agent.model import Tap
from agent.runtime.charge_point import Settled
from fakes.emsp import FakeEmsp, Part
from fakes.pins import mock_pins
from fakes.serial_line import SerialLine

HANG_S = 60.0
"""Against hangs alone."""
POLL_S = 0.005
"""For what has no event to wait for: a row in a file, a file in a folder."""
PINS = (17, 18)
EVSES = ("DE*EXA*E1", "DE*EXA*E2")
REMOVAL_S = 0.01
"""So short that the same card may come again at once; the test of a held card sets its own."""

Cards = Mapping[str, dict[str, Any]]
"""By uid, what the eMSP believes of a card, as `FakeEmsp.card` takes it."""


@dataclass(frozen=True, slots=True)
class Switched:
    """A pin that changed its level; `at` is loop time."""

    pin: int
    level: bool
    at: float


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    code: int | None
    out: str
    err: str


@dataclass
class World:
    """A running agent and what surrounds it."""

    agent: Agent
    emsp: FakeEmsp
    lines: Sequence[SerialLine]
    switched: list[Switched]
    folder: Path
    _settled: "asyncio.Queue[Settled]"

    async def tap(self, uid: str, evse: int = 0) -> Settled:
        """Hold a card to the reader of an EVSE and wait for what comes of it."""
        assert self.lines[evse].present(uid), "nobody has the line open"
        return await self.settled()

    async def settled(self) -> Settled:
        """The next tap that is over."""
        async with asyncio.timeout(HANG_S):
            return await self._settled.get()

    async def taken_away(self, tap: Tap) -> None:
        """Return once the reader may take the same card for a new tap."""
        await until(lambda: asyncio.get_running_loop().time() > tap.at + REMOVAL_S)

    def is_closed(self, evse: int = 0) -> bool:
        """Whether the pin of an EVSE's relay is high, as a meter would show it."""
        levels = [change.level for change in self.switched if change.pin == PINS[evse]]
        return bool(levels and levels[-1])

    def records(self) -> list[dict[str, Any]]:
        """The authorizations in `state.db`, oldest first, read without the agent's code."""
        return select(self.folder / "state.db", "SELECT * FROM authorization ORDER BY id")

    def late_answers(self) -> list[dict[str, Any]]:
        """The late answers in `state.db`, oldest first."""
        return select(self.folder / "state.db", "SELECT * FROM late_answer ORDER BY id")


@asynccontextmanager
async def world(
    folder: Path,
    cards: Cards,
    *,
    policy: str = "deadline_s = 30.0",
    removal_s: float = REMOVAL_S,
    display: TextIO | None = None,
    synced: bool = True,
    more: str = "",
) -> AsyncIterator[World]:
    """An agent with two EVSEs that has its eMSP's list and is ready for cards. The deadline is long unless given.

    `more` are further tables of its configuration.

    On the way out the eMSP must have had nothing to complain of.
    """
    switched: list[Switched] = []
    settled: asyncio.Queue[Settled] = asyncio.Queue()
    async with AsyncExitStack() as stack:
        mock_pins(lambda pin, level: switched.append(Switched(pin, level, time.monotonic())))
        emsp = await stack.enter_async_context(emsp_with(cards))
        lines = [stack.enter_context(SerialLine(folder, name=f"reader-{number}")) for number in (1, 2)]
        tables = f"[breaker]\nfailures = 0\n{more}"
        text = configuration(folder, [emsp], lines, policy=policy, removal_s=removal_s, more=tables)
        path = folder / "config.toml"
        path.write_text(text)
        making = agent_of(
            load(path),
            path,
            on_settled=settled.put_nowait,
            display_stream=display or io.StringIO(),
        )
        agent = await stack.enter_async_context(making)
        if synced:
            await agent.syncs[0].run_once()
        await stack.enter_async_context(running(agent, emsp, lines))
        yield World(agent, emsp, lines, switched, folder / "state", settled)
        assert emsp.complaints == []


@asynccontextmanager
async def emsp_with(cards: Cards, **device: Any) -> AsyncIterator[FakeEmsp]:
    """An eMSP that knows these cards."""
    async with FakeEmsp(**device) as emsp:
        for uid, beliefs in cards.items():
            emsp.card(uid, **beliefs)
        yield emsp


@asynccontextmanager
async def running(agent: Agent, emsp: FakeEmsp, lines: Sequence[SerialLine]) -> AsyncIterator[None]:
    """Run the agent; begins once its readers listen and it has done with the eMSP what it does at start."""
    asked_before = sum(request.part is Part.LIST for request in emsp.requests)
    task = asyncio.create_task(agent.run())
    try:
        async with asyncio.timeout(HANG_S):
            for line in lines:
                await line.wait_opened()
            await emsp.arrived(asked_before + 2, Part.LIST)  # a probe and a sync
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        gc.unfreeze()  # what the agent took out of the collector's sight, for a process that is its alone


NO_SLOWDOWN = "[slowdown]\nrefusals = 0"
"""Cards come faster here than from people."""


def configuration(
    folder: Path,
    emsps: Sequence[FakeEmsp],
    lines: Sequence[SerialLine],
    *,
    policy: str = "",
    removal_s: float = REMOVAL_S,
    location: str = "",
    peer: str = "",
    fitted: Sequence[str] = ("", ""),
    more: str = "[breaker]\nfailures = 0",
) -> str:
    """A configuration file like any other, with an EVSE for each line: the same line twice is one reader for two.

    `location`, `peer` and, by EVSE, `fitted` are further keys of those tables; `more` are further tables.
    """
    peers = "".join(
        f"""
        [[peer]]
        name = "{emsp.device.party_id.lower()}"
        country_code = "{emsp.device.country_code}"
        party_id = "{emsp.device.party_id}"
        versions_url = "{emsp.versions_url}"
        token = "{emsp.credentials_token}"
        {peer}
        """
        for emsp in emsps
    )
    readers = "".join(
        f"""
        [[reader]]
        name = "{line.path.name}"
        kind = "rdm6300"
        port = "{line.path}"
        removal_s = {removal_s}
        reopen_s = 0.02
        """
        for line in dict.fromkeys(lines)
    )
    evses = "".join(
        f"""
        [[evse]]
        uid = "{uid}"
        readers = ["{line.path.name}"]
        relay = {{ gpio = {pin} }}
        {keys}
        """
        for uid, pin, line, keys in zip(EVSES, PINS, lines, fitted, strict=False)
    )
    return f"""
        [party]
        country_code = "DE"
        party_id = "EXA"
        [location]
        id = "LOC1"
        {location}
        [storage]
        directory = "{folder / "state"}"
        [clock]
        trusted = true
        [policy]
        {policy}
        stop_after_s = 0.0
        {"" if "[slowdown]" in more else NO_SLOWDOWN}
        {more}
        {peers}
        {readers}
        {evses}
    """


async def fill_whitelist(config: Path) -> None:
    """Make both databases as a first start does, and pull the tokens of every peer."""
    mock_pins()
    async with agent_of(load(config), config, display_stream=io.StringIO()) as agent:
        for sync in agent.syncs:
            await sync.run_once()


async def command(*arguments: str | Path) -> Finished:
    """Run `chargepoint-agent` with these arguments, and wait for its end."""
    async with command_process(*arguments) as process, asyncio.timeout(HANG_S):
        out, err = await process.communicate()
    return Finished(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def command_process(
    *arguments: str | Path, output: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`chargepoint-agent` with these arguments, on mock pins. What still runs at the end is killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from agent.cli import main; main()", *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={**os.environ, "GPIOZERO_PIN_FACTORY": "mock", "COLUMNS": "200"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Return once it is so."""
    async with asyncio.timeout(HANG_S):
        while not condition():  # noqa: ASYNC110  for what has no event: see POLL_S
            await asyncio.sleep(POLL_S)


def select(path: Path, sql: str) -> list[dict[str, Any]]:
    """Rows of a database of the agent's, read without its code."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def only(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The one row that there must be."""
    [row] = rows
    return row
