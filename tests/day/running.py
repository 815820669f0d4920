"""The running agent from outside: its pins, its log, its place in /proc."""

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.day.lines import lines_of

ROOT = Path(__file__).parents[2]
HANG_S = 120.0
"""Against hangs alone."""
_LEVEL = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")
_SYNCED = re.compile(r"(\w+) sync of tokens complete")
_UID = re.compile(r"[0-9A-F]{8,}|\d+(\.\d+)?")


class RunningAgent:
    """One life of the agent. `closed` holds the pins of outputs that are high: the relays that are closed."""

    def __init__(self, on_move: Callable[[int, bool], None]) -> None:
        """`on_move` hears of each pin that changes."""
        self.closed: set[int] = set()
        self.log: deque[str] = deque(maxlen=400)
        """The end of it."""
        self.said: Counter[str] = Counter()
        """Warnings and worse, without what differs from one to the next."""
        self.synced: Counter[str] = Counter()
        """Full and delta syncs that were completed."""
        self.pruned: list[bool] = []
        """How each pruning ended."""
        self._on_move = on_move
        self._news = asyncio.Event()
        self._counted: tuple[int, int, dict[str, int]] | None = None
        self._orders = -1
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None, "not started"
        return self._process.pid

    def drive(self, pin: int, *, high: bool) -> None:
        """Give an input a level."""
        self._order(f"pin {pin} {int(high)}")

    def prune(self, keep_s: float) -> None:
        """Have what was over so long ago deleted, in the background."""
        self._order(f"prune {keep_s}")

    async def count(self) -> tuple[int, int, dict[str, int]]:
        """Blocks of memory that are given out, objects, and objects by type, once all garbage has been collected."""
        self._counted = None
        self._order("count")
        async with asyncio.timeout(HANG_S):
            await self.until(lambda: self._counted is not None)
        return self._taken()

    def _taken(self) -> tuple[int, int, dict[str, int]]:
        assert self._counted is not None
        return self._counted

    async def until(self, so: Callable[[], bool]) -> None:
        """Return once it is so; looked at whenever the agent has said something. Raises RuntimeError at its end."""
        while not so():
            assert self._process is not None
            if self._process.returncode is not None:
                raise RuntimeError(f"the agent has ended, exit code {self._process.returncode}: {list(self.log)[-5:]}")
            self._news.clear()
            await self._news.wait()

    async def within(self, seconds: float, so: Callable[[], bool]) -> bool:
        """Whether it became so in this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.until(so)
        return so()

    def hang_up(self) -> None:
        """SIGHUP: read the configuration anew."""
        os.kill(self.pid, signal.SIGHUP)

    def _order(self, line: str) -> None:
        os.write(self._orders, f"{line}\n".encode())

    @asynccontextmanager
    async def life(self, config: Path, environment: Mapping[str, str]) -> AsyncIterator[None]:
        """Start it; on the way out it is stopped by SIGTERM, which it must obey in good order."""
        orders, self._orders = os.pipe()
        out, out_end = os.pipe()
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.day.agent_process", str(config), str(orders), str(out_end)),
                cwd=ROOT,
                pass_fds=(orders, out_end),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "MALLOC_ARENA_MAX": "2", **environment},  # as the unit has it
            )
        finally:
            os.close(orders)
            os.close(out_end)
        reading = [asyncio.create_task(self._read_out(out)), asyncio.create_task(self._read_log(process))]
        try:
            yield
            process.terminate()
            async with asyncio.timeout(HANG_S):
                await asyncio.gather(*reading)
                code = await process.wait()
            if code != 0:
                raise RuntimeError(f"the agent has not stopped in good order, exit code {code}: {list(self.log)[-5:]}")
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            os.close(self._orders)

    async def _read_out(self, out: int) -> None:
        async for line in lines_of(out):
            match line.split():
                case ["counted", blocks, objects, types]:
                    self._counted = int(blocks), int(objects), json.loads(types)
                case ["pruned", done]:
                    self.pruned.append(done == "1")
                case [pin, level]:
                    (self.closed.add if level == "1" else self.closed.discard)(int(pin))
                    self._on_move(int(pin), level == "1")
            self._news.set()
        self._news.set()

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            text = line.decode(errors="replace").rstrip()
            self.log.append(text)
            if synced := _SYNCED.search(text):
                self.synced[f"{synced[1]} syncs"] += 1
            if level := _LEVEL.search(text):
                self.said[f"{level[0]} {_UID.sub('#', text[level.end() :].strip())[:200]}"] += 1
            self._news.set()
