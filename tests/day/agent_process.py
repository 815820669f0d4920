"""The agent as a process of its own on mock pins, with a line in and a line out for whoever plays the world.

    python -m tests.day.agent_process CONFIG IN OUT

IN takes `pin 24 1`, which drives an input; `prune 120`, which deletes what was over 120 s ago; and `count`. OUT gives
`17 1` for each change of a pin, `pruned 40`, and `counted 250000 8100 {"dict":900}`: blocks of memory that Python's
allocator has given out, objects that its collector knows, and those by type of which there are many. IN at its end
stops the agent.

It is `agent.main.run_agent` and nothing less. Only retention is driven from here: the agent looks daily, and not before
its clock has run for an hour, and no setting shortens that. `Housekeeping` is the agent's own, on a connection of its
own to the same file, under a clock that is put forward.
"""

import asyncio
import gc
import json
import os
import signal
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.cli.options import log_in_background
from agent.config import Config, load
from agent.main import run_agent
from agent.runtime.clock import Clock
from agent.runtime.housekeeping import STEADY_S, Housekeeping
from agent.store.database import open_state
from agent.store.journal import Journal
from agent.store.sessions import SessionStore
from fakes.pins import WatchedFactory, mock_pins, write_levels
from tests.day.lines import lines_of

OFTEN = 10
"""Objects of one type."""


class Orders:
    """What the world wants of the process."""

    def __init__(self, config: Config, pins: WatchedFactory, out: int) -> None:
        self._config = config
        self._pins = pins
        self._out = out
        self._pruning: asyncio.Task[None] | None = None

    async def follow(self, orders: int) -> None:
        """Until the pipe ends; then the agent is told to stop."""
        async for line in lines_of(orders):
            self._carry_out(*line.split())
        if self._pruning is not None:
            await self._pruning
        signal.raise_signal(signal.SIGTERM)

    def _carry_out(self, order: str, *words: str) -> None:
        match order:
            case "pin":
                self._pins.drive(int(words[0]), high=words[1] == "1")
            case "prune":
                self._pruning = asyncio.create_task(self._prune(timedelta(seconds=float(words[0]))))
            case _:
                self._count()

    async def _prune(self, keep: timedelta) -> None:
        database = await open_state(Path(self._config.storage.directory) / "state.db")
        try:
            sessions = SessionStore(database)
            hopped, loop = timedelta(0), asyncio.get_running_loop()
            clock = Clock(lambda: datetime.now(UTC) + hopped, lambda: loop.time() + hopped.total_seconds(), "day")
            housekeeping = Housekeeping(sessions, Journal(database), keep=keep, clock=clock)
            await housekeeping.tidy()  # by a clock that it sees for the first time it deletes nothing
            hopped = timedelta(seconds=STEADY_S + 1)
            done = await housekeeping.tidy()
        finally:
            await database.close()
        self._say(f"pruned {int(done)}")

    def _count(self) -> None:
        for pin in self._pins.pins.values():
            pin.clear_states()  # gpiozero's mock pins remember all that they ever were, which no real pin does
        gc.collect()
        blocks, objects = sys.getallocatedblocks(), gc.get_objects()
        types = Counter(type(each).__qualname__.replace(" ", "_") for each in objects)
        often = {name: count for name, count in types.items() if count >= OFTEN}
        self._say(f"counted {blocks} {len(objects)} {json.dumps(often, separators=(',', ':'))}")

    def _say(self, line: str) -> None:
        os.write(self._out, f"{line}\n".encode())


async def _run(path: Path, pins: WatchedFactory, orders: int, out: int) -> None:
    config = load(path)
    log_in_background(config.log.level)
    following = asyncio.create_task(Orders(config, pins, out).follow(orders))
    try:
        await run_agent(config, path)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def main(path: str, orders: str, out: str) -> None:
    """Run until told to stop."""
    pins = mock_pins(write_levels(int(out)))
    asyncio.run(_run(Path(path), pins, int(orders), int(out)))


if __name__ == "__main__":
    main(*sys.argv[1:])
