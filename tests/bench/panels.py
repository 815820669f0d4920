"""What pages that are open and stalled cost a card, and the agent's memory."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agent.model import Source, WhitelistType
from tests.bench.cards import fill_whitelist
from tests.bench.figure import Figure, Goal, Plan, percentile, spread
from tests.bench.local_tap import WARM_UP, accepted
from tests.bench.peer_process import ROOT
from tests.bench.rig import Rig, running_agent

PAGES = 50
NOISE = 1.1
"""Two rows of the same taps differ by so much on a quiet machine."""


def panels(plan: Plan) -> list[Figure]:
    """Whitelisted taps with 50 stalled pages open, in turn with the same without any."""
    return asyncio.run(_panels(plan))


async def _panels(plan: Plan) -> list[Figure]:
    folder = plan.folder / "panels"
    await fill_whitelist(folder, plan.count(100_000, 1000))
    port, number = _free_port(), 0
    taps: dict[int, list[float]] = {0: [], PAGES: []}
    memory: dict[int, list[int]] = {0: [], PAGES: []}
    async with running_agent(folder, settings=f'[panel]\nlisten = "127.0.0.1:{port}"\n') as rig:
        for turn in range(plan.count(10, 1) + 1):
            for pages, row in taps.items():
                async with _stalled(rig, port, pages):
                    for _ in range(plan.count(100, 2) if turn else WARM_UP):
                        seen = await accepted(rig, number, WhitelistType.ALLOWED, Source.WHITELIST)
                        number += 1
                        if turn:
                            row.append(seen.tap_to_relay_s * 1000)
                    memory[pages].append(_resident_kb())
    alone, watched = taps[0], taps[PAGES]
    each_kb = (max(memory[PAGES]) - min(memory[0])) / PAGES
    name = f"whitelisted tap with {PAGES} stalled panels"
    return [
        Figure(
            f"{name} -> relay", percentile(watched, 50), "ms", percentile(alone, 50), Goal(NOISE, "ratio"),
            f"p50 of {len(watched)}; floor: without any, in turn with them",
        ),
        *spread(name, watched, "ms", alone),
        Figure("resident memory a stalled panel", each_kb, "KB", note="most with them less least without, a panel"),
    ]  # fmt: skip


@asynccontextmanager
async def _stalled(rig: Rig, port: int, count: int) -> AsyncIterator[None]:
    """So many pages, of a process of their own, open and unread."""
    panel = rig.agent.panel
    assert panel is not None, "it is configured"
    if count == 0:
        while panel.clients:  # noqa: ASYNC110  they leave without an event
            await asyncio.sleep(0.01)
        yield
        return
    command = (sys.executable, "-m", "tests.bench.stalled_pages", str(port), str(count))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        while panel.clients < count:  # noqa: ASYNC110  they come without an event
            await asyncio.sleep(0.01)
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


def _resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def _free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        port: int = line.getsockname()[1]
        return port
