"""A charger's controller as a process of its own, which can lose its power, and who plays the world around it.

    charger = Charger(config_path, readers=[line])
    await charger.start()
    await charger.listens()
    charger.plug(24, inserted=True)
    line.present("04A1B2C3D4")
    await charger.closed(17)
    await charger.power_cut()

A composition root: the process, `python -m fakes.charger CONFIG --levels FD`, is the real agent, logging to standard
error, on mock pins. A power cut takes the process and leaves the operating system: what it takes from a disk's cache
is not shown here.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.errors import AgentError
from fakes.pins import WatchedFactory, Watcher, mock_pins, write_levels
from fakes.serial_line import SerialLine

LAST_LINES = 5
"""Of its log, shown when it has ended by itself: they hold the error that ended it."""


class Charger:
    """The charger, from outside: its power, its plugs, its contactors, its displays. Pins have BCM numbers.

    World side: `start`, `plug`, `power_cut`, `stop`. It remembers over restarts which plugs are in. A wait raises
    AgentError, with the end of the log, when the process ends by itself meanwhile; none has a time limit.
    """

    def __init__(
        self, config: Path, readers: Sequence[SerialLine] = (), *, on_level: Watcher = lambda _pin, _level: None
    ) -> None:
        """It has no power yet. The log goes into `charger.log` beside the configuration, one life after another."""
        self.levels: list[tuple[int, bool]] = []
        """Every change of an output since the last start."""
        self.shown: list[str] = []
        """What its displays have shown since the last start: `[EVSE] line | line`."""
        self.log = config.with_name("charger.log")
        self._config = config
        self._readers = readers
        self._on_level = on_level
        self._inputs: dict[int, bool] = {}
        self._closed: set[int] = set()
        self._process: asyncio.subprocess.Process | None = None
        self._controls: int | None = None
        self._pipes: tuple[_Lines, ...] = ()
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._gone()

    @property
    def is_on(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Switch it on. Its readers are plugged in anew: what an earlier life has opened can't pass for this one's."""
        if self.is_on:
            raise RuntimeError("the charger is on already")
        if self._process is not None:
            await self._gone()  # it may have ended by itself
        for line in self._readers:
            line.unplug()
            line.plug()
        self.levels, self.shown = [], []
        levels, levels_end = os.pipe()
        shown, shown_end = os.pipe()
        controls_end, self._controls = os.pipe()
        high = ",".join(str(pin) for pin, level in self._inputs.items() if level)
        command = (
            *(sys.executable, "-P", "-m", "fakes.charger", str(self._config)),
            *("--levels", str(levels_end), "--inputs", str(controls_end), f"--high={high}"),
        )
        try:
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    pass_fds=(levels_end, controls_end),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=shown_end,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for who plays; this one is stopped by `stop`
                )
        finally:
            for end in (levels_end, shown_end, controls_end):
                os.close(end)
        self._pipes = (
            _Lines(levels, self._take_level, on_end=self._news.set),
            _Lines(shown, self._take_text, on_end=self._news.set),
        )

    async def listens(self) -> None:
        """Return once all its readers are read: now a card is seen."""
        opened = asyncio.gather(*(line.wait_opened() for line in self._readers))
        opened.add_done_callback(lambda _: self._news.set())
        try:
            await self._until(opened.done)
        finally:
            opened.cancel()
            await asyncio.gather(opened, return_exceptions=True)

    def plug(self, pin: int, *, inserted: bool) -> None:
        """Plug a car in, or pull the plug: the contact that the pin sees, high while the plug is in."""
        self._inputs[pin] = inserted
        if self._controls is not None:
            with suppress(BrokenPipeError):
                os.write(self._controls, f"{pin} {int(inserted)}\n".encode())

    def is_closed(self, pin: int) -> bool:
        """Whether the relay at the pin is closed, as far as is known; without power it is open."""
        return pin in self._closed

    async def closed(self, pin: int) -> None:
        """Wait until the relay at the pin is closed."""
        await self._until(lambda: pin in self._closed)

    async def opened(self, pin: int) -> None:
        """Wait until the relay at the pin is open."""
        await self._until(lambda: pin not in self._closed)

    async def shows(self, text: str) -> str:
        """Wait until a display has shown a text with this in it since the start, and return the first such line."""
        await self._until(lambda: any(text in line for line in self.shown))
        return next(line for line in self.shown if text in line)

    def last_words(self) -> str:
        """The end of its log, in one line."""
        return " / ".join(self.log.read_text(errors="replace").splitlines()[-LAST_LINES:])

    async def power_cut(self) -> None:
        """Cut the power, SIGKILL to the process: every relay falls open. Raises AgentError when it had ended before."""
        await self._signal(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to stop and wait for its end. Returns the exit code. Raises AgentError when it had ended before."""
        return await self._signal(signal.SIGTERM)

    async def _signal(self, signum: signal.Signals) -> int:
        if not self.is_on:
            raise await self._ended_by_itself()
        with suppress(ProcessLookupError):  # ended, and not yet reaped: its exit code will tell
            self._running.send_signal(signum)
        return await self._gone()

    async def _gone(self) -> int:
        """Wait for the end, and until all that it has done before is known. Returns the exit code."""
        code = await self._running.wait()
        for pipe in self._pipes:
            await pipe.at_end.wait()
        if self._controls is not None:
            os.close(self._controls)
            self._controls = None
        for pin in tuple(self._closed):
            self._switched(pin, level=False)
        return code

    async def _until(self, so: Callable[[], bool]) -> None:
        """Wait until it is so. Raises AgentError when the process has ended before."""
        while not so():
            if all(pipe.at_end.is_set() for pipe in self._pipes):
                raise await self._ended_by_itself()
            self._news.clear()
            await self._news.wait()

    async def _ended_by_itself(self) -> AgentError:
        code = await self._gone()
        return AgentError(
            f"the charger's agent has ended by itself, exit code {code}; its log ends: {self.last_words()}"
        )

    @property
    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the charger has not been started")
        return self._process

    def _take_level(self, line: str) -> None:
        pin, level = line.split()
        self._switched(int(pin), level=level == "1")

    def _take_text(self, line: str) -> None:
        self.shown.append(line)
        self._news.set()

    def _switched(self, pin: int, *, level: bool) -> None:
        self.levels.append((pin, level))
        (self._closed.add if level else self._closed.discard)(pin)
        self._on_level(pin, level)
        self._news.set()


class _Lines:
    """Hands over the lines that come out of a pipe, as they come; `at_end` is set when nobody writes any more."""

    def __init__(self, pipe: int, on_line: Callable[[str], None], *, on_end: Callable[[], None]) -> None:
        self.at_end = asyncio.Event()
        self._pipe = pipe
        self._on_line = on_line
        self._on_end = on_end
        self._begun = b""
        asyncio.get_running_loop().add_reader(pipe, self._read)

    def _read(self) -> None:
        data = os.read(self._pipe, 65_536)
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._on_line(line.decode(errors="replace"))
        if not data:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self.at_end.set()
            self._on_end()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the agent until told to stop, or until nobody holds the other end of the inputs any more."""
    parser = argparse.ArgumentParser(prog="python -m fakes.charger", description="The agent on mock pins.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--levels", type=int, required=True, help="gets a line `17 1` for each change of an output")
    parser.add_argument("--inputs", type=int, help="a line `24 1` in it drives an input")
    parser.add_argument("--high", default="", help="the inputs that are high from the start: 24,25")
    given = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)  # a line a request, with the card's uid in it
    pins = _board(write_levels(given.levels))
    for pin in filter(None, given.high.split(",")):
        pins.drive(int(pin), high=True)
    asyncio.run(_run(given.config, pins, given.inputs))


def _board(watcher: Watcher) -> WatchedFactory:
    """Mock pins of which only outputs are told; one that was an output stays one."""
    outputs: set[int] = set()

    def tell(pin: int, level: bool) -> None:  # noqa: FBT001  # a Watcher's signature
        if pin in outputs or pins.is_output(pin):
            outputs.add(pin)
            watcher(pin, level)

    pins = mock_pins(tell)
    return pins


async def _run(config_path: Path, pins: WatchedFactory, inputs: int | None) -> None:
    from agent.config import load  # noqa: PLC0415  who plays the world needs no agent in its process
    from agent.main import run_agent  # noqa: PLC0415

    if inputs is not None:
        _Lines(inputs, lambda line: _drive(pins, line), on_end=lambda: signal.raise_signal(signal.SIGTERM))
    await run_agent(load(config_path), config_path)


def _drive(pins: WatchedFactory, line: str) -> None:
    pin, level = line.split()
    pins.drive(int(pin), high=level == "1")


if __name__ == "__main__":
    main()
