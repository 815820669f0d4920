"""How long this machine keeps somebody waiting who only wants to wake up: in a process of its own, and in our loop.

What a bare sleeper beside the agent is late by, the agent could not have been spared.
"""

import asyncio
import gc
import json
import select
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from tests.bench.peer_process import ROOT

EVERY_S = 0.005


@dataclass(slots=True)
class Stalls:
    """Lateness in milliseconds; `machine` is filled when the measurement ends."""

    loop: list[float] = field(default_factory=list)
    """Of a timer in the agent's event loop."""
    collector: list[float] = field(default_factory=list)
    """Pauses of the garbage collector."""
    machine: list[float] = field(default_factory=list)
    """Of a process that does nothing else."""


@asynccontextmanager
async def watched() -> AsyncIterator[Stalls]:
    """Watch for stalls until the block ends."""
    stalls = Stalls()
    sleeper = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.stalls",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    timing = asyncio.create_task(_time_the_loop(stalls.loop))
    pause = _Pause(stalls.collector)
    gc.callbacks.append(pause)
    try:
        yield stalls
    finally:
        gc.callbacks.remove(pause)
        timing.cancel()
        told, _ = await sleeper.communicate(b"")
        stalls.machine += json.loads(told)


async def _time_the_loop(lateness: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + EVERY_S
        await asyncio.sleep(EVERY_S)
        lateness.append((loop.time() - due) * 1000)


class _Pause:
    def __init__(self, pauses: list[float]) -> None:
        self._pauses = pauses
        self._began = 0.0

    def __call__(self, phase: str, _info: dict[str, Any]) -> None:
        if phase == "start":
            self._began = monotonic()
        else:
            self._pauses.append((monotonic() - self._began) * 1000)


def main() -> None:
    """Sleep and note how late it ends, until standard input ends."""
    lateness = []
    while True:
        due = monotonic() + EVERY_S
        if select.select([sys.stdin], [], [], EVERY_S)[0]:
            break
        lateness.append((monotonic() - due) * 1000)
    print(json.dumps([round(late, 3) for late in lateness]))


if __name__ == "__main__":
    main()
