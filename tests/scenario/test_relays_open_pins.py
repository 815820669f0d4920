"""A relay on a GPIO pin, and an agent that is ended at every single await of a charge: the pin is at its open level.

The agent runs in this process, on real files and a real serial line, so that it can be ended exactly there: at each
moment when a coroutine of it is about to wait, or has just been woken. What a killed process leaves is the kernel's
and the board's affair; there the pins are found closed, as some kernels leave them, and opened by who comes after.
"""

import asyncio
import gc
import shutil
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import gpiozero
import pytest

from agent.commands.relays import open_all
from agent.config import load
from agent.main import run_agent
from fakes.pins import WatchedFactory, mock_pins
from fakes.serial_line import SerialLine
from tests.ocpi_server.sudden_death import Death
from tests.scenario.world import HANG_S

RELAYS = {17: True, 18: False}
"""The second one closes when its pin is low."""
PLUGS = (24, 25)
UIDS = ("0180000001", "0180000002")
ENDS = ("SIGTERM", "SIGINT", "cancelled")
"""What a part does that fails is in `test_charge_crash` and `test_kill`."""
CALM_S = 0.05
"""In this time whatever is under way has its next moment."""
DATABASE_THREAD = "_connection_worker_thread"
GATE_MOMENTS = 6
"""Of each way to end."""


@dataclass
class Life:
    """What one life came to."""

    moments: int = 0
    """That the charge had, from the card to its end."""
    struck_at: str = ""
    """Where in the code it was ended."""
    closed: set[int] = field(default_factory=set)
    """Relays that are closed now."""
    were_closed: set[int] = field(default_factory=set)
    """Relays that have been closed."""
    driven: set[int] = field(default_factory=set)
    """Relays' pins that are still an output."""


def configuration(folder: Path) -> str:
    evses = "".join(
        f"""
        [[reader]]
        name = "reader-{number}"
        kind = "rdm6300"
        port = "{folder / f"reader-{number}"}"
        removal_s = 0.001
        [[evse]]
        uid = "E{number}"
        readers = ["reader-{number}"]
        plug = {{ gpio = {PLUGS[number]}, debounce_s = 0.001 }}
        relay = {{ gpio = {pin}, active_high = {str(active_high).lower()} }}
        """
        for number, (pin, active_high) in enumerate(RELAYS.items())
    )
    return f"""
        [party]
        country_code = "DE"
        party_id = "EXA"
        [location]
        id = "LOC1"
        [storage]
        directory = "{folder / "state"}"
        [clock]
        trusted = true
        [policy]
        unknown_offline = "accept"
        stop_after_s = 0.0
        [slowdown]
        refusals = 0
        {evses}
    """


class Kerb:
    """One life of an agent with two EVSEs that is ended at a moment of two charges at once."""

    def __init__(self, folder: Path, end: str, at: int | None) -> None:
        self.life = Life()
        self.config = folder / "config.toml"
        self.config.write_text(configuration(folder))
        self._folder = folder
        self._end = end
        self._at = at
        self._death = Death(self._strike)
        self._news = asyncio.Event()
        self._pins = mock_pins(self._moved)
        self._agent: asyncio.Task[None] | None = None

    async def live(self) -> None:
        """Start, charge, and end; returns when the agent has ended."""
        self._death.watch_tasks_of(asyncio.get_running_loop())
        with ExitStack() as stack:
            lines = [stack.enter_context(SerialLine(self._folder, name=f"reader-{number}")) for number in (0, 1)]
            for pin in PLUGS:
                self._pins.drive(pin, high=True)
            self._agent = asyncio.create_task(self._death.watch(run_agent(load(self.config), self.config)))
            async with asyncio.timeout(HANG_S):
                for line in lines:
                    await line.wait_opened()
                self._death.arm(None)
                await self._calm()
                self._death.arm(self._at)
                await self._charge(lines)
                self.life.moments = self._death.moments
                self._death.disarm()
                if not self.life.struck_at:
                    self._agent.cancel()
                await asyncio.gather(self._agent, return_exceptions=True)
        self.life.driven = {pin for pin in RELAYS if self._pins.is_output(pin)}

    async def _charge(self, lines: list[SerialLine]) -> None:
        for line, uid in zip(lines, UIDS, strict=True):
            line.present(uid)
        await self._until(lambda: len(self.life.closed) == len(RELAYS))
        lines[0].present(UIDS[0])
        self._pins.drive(PLUGS[1], high=False)
        await self._until(lambda: not self.life.closed)
        if not self.life.struck_at:
            await self._calm()

    async def _calm(self) -> None:
        """Return when the agent has nothing to do but to wait."""
        seen = -1
        while seen != self._death.moments:
            seen = self._death.moments
            await asyncio.sleep(CALM_S)

    async def _until(self, so: Callable[[], bool]) -> None:
        assert self._agent is not None
        ended = self._agent
        while not so() and not ended.done():
            self._news.clear()
            news = asyncio.ensure_future(self._news.wait())
            await asyncio.wait({news, ended}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()

    def _moved(self, pin: int, level: bool) -> None:  # noqa: FBT001  a Watcher's signature
        if pin in RELAYS and self._pins.is_output(pin):
            is_closed = level is RELAYS[pin]
            (self.life.closed.add if is_closed else self.life.closed.discard)(pin)
            if is_closed:
                self.life.were_closed.add(pin)
        self._news.set()

    def _strike(self, _number: int, where: str) -> None:
        assert self._agent is not None
        self.life.struck_at = where
        self._news.set()
        if self._end == "cancelled":
            self._agent.cancel()
        else:
            signal.raise_signal(signal.Signals[self._end])


def live(folder: Path, end: str, at: int | None) -> Life:
    """One life in an event loop of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with asyncio.Runner() as runner:
        kerb = Kerb(folder, end, at)
        runner.run(kerb.live())
        life = kerb.life
    del kerb
    _clear_away()
    return life


def _clear_away() -> None:
    """Let go of an agent that was ended while it closed its databases, as the end of its process would.

    Tasks that it began last were never run, and its databases' threads answer to an event loop that is gone; found
    by a later test, either would pass for its fault. A thread holds what it was asked to do until it ends.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        gc.unfreeze()  # what the agent took out of the collector's sight, for a process that is its alone
        gc.collect()
        for thread in threading.enumerate():
            if DATABASE_THREAD in thread.name:
                thread.join(HANG_S)
                del thread
        gc.collect()


@pytest.fixture(autouse=True)
def ended_as_a_process() -> Iterator[None]:
    """Nothing of an agent that was ended in a test is found by the next one."""

    def told(failed: threading.ExceptHookArgs) -> None:
        is_of_the_end = failed.thread is not None and DATABASE_THREAD in failed.thread.name
        if not (is_of_the_end and str(failed.exc_value) == "Event loop is closed"):
            tells(failed)

    factory, tells = gpiozero.Device.pin_factory, threading.excepthook
    threading.excepthook = told
    yield
    gpiozero.Device.pin_factory = factory
    _clear_away()
    threading.excepthook = tells


def moments(folder: Path) -> int:
    """How many moments the two charges have, about: threads race, and no two runs are the same."""
    life = live(folder, "", None)
    assert life.were_closed == set(RELAYS)
    return life.moments


@pytest.mark.parametrize("end", ENDS)
def test_agent_that_ends_at_an_await_of_a_charge_leaves_its_pins_at_the_open_level(tmp_path: Path, end: str) -> None:
    count = moments(tmp_path / "count")
    struck = 0
    for at in range(1, count, max(1, count // GATE_MOMENTS)):
        life = live(tmp_path / "life", end, at)
        struck += bool(life.struck_at)
        assert (life.closed, life.driven) == (set(), set()), life.struck_at
    assert struck > 0


@pytest.mark.campaign
@pytest.mark.parametrize("end", ENDS)
def test_agent_that_ends_at_each_await_of_a_charge_leaves_its_pins_at_the_open_level(tmp_path: Path, end: str) -> None:
    count = moments(tmp_path / "count")
    places: Counter[str] = Counter()
    closed_before = 0
    for at in range(1, count + 1):
        life = live(tmp_path / "life", end, at)
        assert (life.closed, life.driven) == (set(), set()), life.struck_at
        places[life.struck_at] += 1
        closed_before += bool(life.were_closed)
    print(f"\n{end}: {count} moments, {len(places)} places, a relay had closed before {closed_before}")


def left_closed(pins: WatchedFactory) -> None:
    """As a kernel leaves the pins that keeps an output's level when its process dies."""
    for pin, active_high in RELAYS.items():
        pins.pin(pin).output_with_state(int(active_high))


def test_pins_that_a_killed_agent_has_left_closed_are_opened_by_relays_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(configuration(tmp_path))
    levels: list[tuple[int, bool]] = []
    pins = mock_pins(lambda pin, level: levels.append((pin, level)))
    left_closed(pins)
    levels.clear()
    open_all(config)
    assert capsys.readouterr().out == "2 relay(s) open\n"
    assert levels == [(pin, not active_high) for pin, active_high in RELAYS.items()]


def test_pins_that_a_killed_agent_has_left_closed_are_opened_by_the_next_start_before_anything_else(
    tmp_path: Path,
) -> None:
    async def start() -> None:
        levels: list[tuple[int, bool]] = []
        pins = mock_pins(lambda pin, level: levels.append((pin, level)))
        left_closed(pins)
        levels.clear()
        with SerialLine(tmp_path, name="reader-0") as first, SerialLine(tmp_path, name="reader-1") as second:
            agent = asyncio.create_task(run_agent(load(config), config))
            async with asyncio.timeout(HANG_S):
                await first.wait_opened()
                await second.wait_opened()
            found = list(levels)
            agent.cancel()
            await asyncio.gather(agent, return_exceptions=True)
        assert found == [(pin, not active_high) for pin, active_high in RELAYS.items()]

    config = tmp_path / "config.toml"
    config.write_text(configuration(tmp_path))
    with asyncio.Runner() as runner:
        runner.run(start())
