"""An agent with two EVSEs on one LCUS board, which is killed in many ways; board and readers outlive it.

Cards are decided without a peer, for what is shown here is what becomes of the contacts.
"""

import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fakes.relay_boards import LcusBoard
from fakes.serial_line import SerialLine
from tests.scenario.world import HANG_S, REMOVAL_S, Finished, command, until

ROOT = Path(__file__).parents[2]
CHANNELS = (1, 2)
UIDS = ("0180000001", "0180000002")
A_START_S = 0.8
"""About what a start takes: some kills fall into it."""
A_TAP_S = 0.03
"""About what it takes from the card to the contact, the record's way to the disk included."""
AGAIN_S = 3.0
"""How long a driver waits before he tries again."""
FROM_OUTSIDE = (signal.SIGKILL, signal.SIGABRT, signal.SIGTERM, signal.SIGSEGV)
"""SIGABRT is what systemd's watchdog sends."""
OPENED = "2 relay(s) open\n"


class Charger:
    """What stands at the kerb, and the agent of the moment."""

    def __init__(self, folder: Path, board: LcusBoard, lines: list[SerialLine]) -> None:
        self.folder = folder
        self.board = board
        self.lines = lines
        self.config = folder / "config.toml"
        self._process: asyncio.subprocess.Process | None = None
        self.configure()

    def configure(self, *, more: str = "", relay: str = "") -> None:
        """Write the configuration: `more` at its beginning; `relay` replaces the first EVSE's."""
        self.config.write_text(more + _configuration(self, relay))

    async def start(self, death: str = "exit") -> None:
        """Start the agent. Its readers are plugged in anew: `listens` can't take an earlier life's for this one's."""
        for line in self.lines:
            line.unplug()
            line.plug()
        with (self.folder / "stderr.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.scenario.relays_open_process", str(self.config), death),
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
            )

    async def listens(self) -> None:
        """Return once both readers are read."""
        async with asyncio.timeout(HANG_S):
            for line in self.lines:
                await line.wait_opened()

    async def charges(self, death: str = "exit") -> None:
        """Start it, and have a charge begin at either EVSE."""
        await self.start(death)
        await self.listens()
        for channel in CHANNELS:
            await self.switch(channel, closed=True)

    async def switch(self, channel: int, *, closed: bool) -> None:
        """Hold the card to the reader until the contact is so: right after a start a card may be refused."""
        async with asyncio.timeout(HANG_S):
            while self.board.contact_closed(channel) is not closed:
                await self.tap(channel)
                with suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN_S):
                        await until(lambda: self.board.contact_closed(channel) is closed)

    async def tap(self, channel: int) -> None:
        """Hold the card of its driver to the reader."""
        self.lines[channel - 1].present(UIDS[channel - 1])

    def closed(self) -> list[int]:
        """The channels through which current flows."""
        return [channel for channel in CHANNELS if self.board.contact_closed(channel)]

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(signum)

    async def end_by(self, signum: signal.Signals) -> int:
        """Send a signal, and wait for the end. Returns the exit code."""
        self.send(signum)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end. Returns the exit code."""
        assert self._process is not None
        async with asyncio.timeout(HANG_S):
            return await self._process.wait()

    async def open_relays(self) -> Finished:
        """What the unit's ExecStopPost= does."""
        return await command("relays", "open", "--config", self.config)

    async def clean_up(self) -> None:
        """End it if it still runs."""
        if self._process is not None and self._process.returncode is None:
            await self.end_by(signal.SIGKILL)


@asynccontextmanager
async def charger_in(folder: Path, *, self_powered: bool = False) -> AsyncIterator[Charger]:
    """Such a charge point, its agent not yet started. `self_powered`: the board keeps its contacts without USB."""
    with (
        LcusBoard(folder, self_powered=self_powered) as board,
        SerialLine(folder, name="reader-1") as first,
        SerialLine(folder, name="reader-2") as second,
    ):
        charger = Charger(folder, board, [first, second])
        try:
            yield charger
        finally:
            await charger.clean_up()


@dataclass
class Tally:
    """What a row of deaths came to."""

    deaths: Counter[str] = field(default_factory=Counter)
    remedies: Counter[str] = field(default_factory=Counter)
    left_closed: int = 0
    """Contacts that current went through when the agent was dead."""
    still_closed: list[str] = field(default_factory=list)
    """Those that no remedy has opened: none, it is hoped."""


async def die_again_and_again(folder: Path, deaths: int, seed: int) -> Tally:
    """Kill the agent at random moments of starts, taps and stops, and open the relays in turn by either remedy."""
    draw, tally = random.Random(seed), Tally()
    async with charger_in(folder) as charger:
        await charger.start()
        for _ in range(deaths):
            await _live_a_little(charger, draw)
            how = draw.choice((*FROM_OUTSIDE, signal.SIGUSR1))
            await charger.end_by(how)
            left = charger.closed()
            tally.deaths[how.name] += 1
            tally.left_closed += len(left)
            remedy = draw.choice(("relays open", "next start"))
            tally.remedies[remedy] += 1
            if remedy == "relays open":
                finished = await charger.open_relays()
                if (finished.code, finished.out) != (0, OPENED):
                    tally.still_closed.append(f"{how.name}: relays open: {finished}")
                if charger.closed():
                    tally.still_closed.append(f"{how.name}: {left} -> {charger.closed()} after relays open")
                await charger.start()
            else:
                await charger.start()
                await charger.listens()
                if charger.closed():
                    tally.still_closed.append(f"{how.name}: {left} -> {charger.closed()} after the next start")
    return tally


async def _live_a_little(charger: Charger, draw: random.Random) -> None:
    """Up to a random moment: in the start, or of charges that begin and end at both EVSEs."""
    if draw.random() < 0.15:
        await asyncio.sleep(draw.uniform(0.0, A_START_S))
        return
    await charger.listens()
    for _ in range(draw.randint(0, 2)):  # whole charges before
        await _charge(charger, draw.choice(CHANNELS))
    for channel in CHANNELS:
        if draw.random() < 0.8:
            await charger.tap(channel)
    await asyncio.sleep(draw.choice((0.0, draw.uniform(0.0, A_TAP_S), draw.uniform(0.0, 10 * A_TAP_S))))
    if draw.random() < 0.3:  # and in the end of a charge
        for channel in charger.closed():
            await charger.tap(channel)
        await asyncio.sleep(draw.uniform(0.0, A_TAP_S))


async def _charge(charger: Charger, channel: int) -> None:
    for closed in (True, False):
        await charger.switch(channel, closed=closed)
        await asyncio.sleep(REMOVAL_S)  # from here on the reader takes the same card for a new tap


def _configuration(charger: Charger, relay: str) -> str:
    evses = "".join(
        f"""
        [[reader]]
        name = "{line.path.name}"
        kind = "rdm6300"
        port = "{line.path}"
        removal_s = {REMOVAL_S / 2}
        reopen_s = 0.02
        [[evse]]
        uid = "E{channel}"
        readers = ["{line.path.name}"]
        relay = {relay if relay and channel == 1 else _channel(charger, channel)}
        """
        for channel, line in zip(CHANNELS, charger.lines, strict=True)
    )
    return f"""
        [party]
        country_code = "DE"
        party_id = "EXA"
        [location]
        id = "LOC1"
        [storage]
        directory = "{charger.folder / "state"}"
        [clock]
        trusted = true
        [policy]
        unknown_offline = "accept"
        stop_after_s = 0.0
        [slowdown]
        refusals = 0
        {evses}
    """


def _channel(charger: Charger, channel: int) -> str:
    return f'{{ kind = "lcus", port = "{charger.board.path}", channel = {channel} }}'
