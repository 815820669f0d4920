"""Drivers at work in a contract suite: what each has said so far, and waiting for what it is to say."""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.model import MeterReading, Tap
from agent.ports import ContactFeedback, Meter, PlugSensor, Reader, ReaderState, RelayBoard
from tests.contract.person import PERSON


class Working:
    """A driver's `run`, cancelled at the end; an error in it ends whoever waits for a word of it."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._said = asyncio.Event()

    def start(self, run: Coroutine[Any, Any, None]) -> None:
        """Let it work."""
        self._task = asyncio.create_task(run)
        self._task.add_done_callback(lambda _: self._said.set())

    def said(self) -> None:
        """Wake whoever waits."""
        self._said.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for this; raises what ended the driver meanwhile."""
        while not holds():
            self._said.clear()
            if self._task is not None and self._task.done():
                self._task.result()
                raise AssertionError("the driver's run has returned")
            await self._said.wait()

    async def ended(self) -> None:
        """Wait for its end by itself; raises what ended it."""
        assert self._task is not None
        await self._task

    async def cancel(self) -> None:
        """End it; what it raised other than its own cancellation comes out."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()


class ReaderAtWork(Working):
    """A reader and its taps."""

    def __init__(self, reader: Reader, fail_with: Exception | None = None) -> None:
        """`fail_with` is what whoever gets the taps raises."""
        super().__init__()
        self.taps: list[Tap] = []
        self.states: list[tuple[ReaderState, str]] = []
        self._fail_with = fail_with
        self.start(reader.run(self._on_tap, self._on_state))

    @property
    def uids(self) -> list[str]:
        """The taps' uids."""
        return [tap.uid for tap in self.taps]

    async def tapped(self, count: int) -> None:
        """Wait for that many taps in all."""
        await self.until(lambda: len(self.taps) >= count)

    async def is_now(self, state: ReaderState) -> str:
        """Wait until the newest state is this; what was said with it."""
        await self.until(lambda: bool(self.states) and self.states[-1][0] is state)
        return self.states[-1][1]

    def _on_tap(self, tap: Tap) -> None:
        if self._fail_with is not None:
            raise self._fail_with
        self.taps.append(tap)
        self.said()

    def _on_state(self, state: ReaderState, text: str) -> None:
        self.states.append((state, text))
        self.said()


class Watched(Working):
    """A driver whose `run` tells values and whether it works, in the order in which it said them."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[bool, str] | bool | MeterReading] = []

    @property
    def states(self) -> list[tuple[bool, str]]:
        """Whether it works, each time that it said so."""
        return [heard for heard in self.heard if isinstance(heard, tuple)]

    @property
    def values(self) -> list[bool]:
        """What it saw."""
        return [heard for heard in self.heard if isinstance(heard, bool)]

    @property
    def readings(self) -> list[MeterReading]:
        """What it read."""
        return [heard for heard in self.heard if isinstance(heard, MeterReading)]

    async def works(self) -> None:
        """Wait until the newest word is that it works."""
        await self.until(lambda: bool(self.states) and self.states[-1][0])

    async def lost(self) -> str:
        """Wait until the newest word is that it is lost; with what advice."""
        await self.until(lambda: bool(self.states) and not self.states[-1][0])
        return self.states[-1][1]

    def on_value(self, value: bool | MeterReading) -> None:  # noqa: FBT001  # the ports' signature
        """Take down what it saw."""
        self.heard.append(value)
        self.said()

    def on_state(self, works: bool, text: str) -> None:  # noqa: FBT001  # the ports' signature
        """Take down whether it works."""
        self.heard.append((works, text))
        self.said()


@asynccontextmanager
async def reading(reader: Reader) -> AsyncIterator[ReaderAtWork]:
    """A reader at work."""
    work = ReaderAtWork(reader)
    try:
        yield work
    finally:
        await work.cancel()


@asynccontextmanager
async def watching(driver: PlugSensor | ContactFeedback | Meter | RelayBoard | None) -> AsyncIterator[Watched]:
    """A sensor, a meter or a relay's board at work; None for a relay without a board: nothing is ever said."""
    work = Watched()
    match driver:
        case None:
            pass
        case _ if hasattr(driver, "close_contact"):
            work.start(driver.run(work.on_state))  # type: ignore[call-arg, arg-type]
        case _:
            work.start(driver.run(work.on_value, work.on_state))  # type: ignore[call-arg, arg-type]
    try:
        yield work
    finally:
        await work.cancel()


def held_open() -> Counter[str]:
    """Which devices this process has open, and how many threads: what a cancelled driver must have given back."""
    files = Counter(_target(fd) for fd in Path("/proc/self/fd").iterdir())
    devices = Counter({name: count for name, count in files.items() if name.startswith(("/dev/", "socket:"))})
    devices.pop(os.devnull, None)
    devices["threads"] = sum(thread.name != PERSON for thread in threading.enumerate())
    return devices


def _target(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except FileNotFoundError:  # the listing's own
        return ""
