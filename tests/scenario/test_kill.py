"""The agent as a process that is killed at any moment, or told to stop: the relay's pin and the record, from outside.

A kill takes the process and leaves the operating system: what a power cut takes from the disk's cache is not shown
here. The pin's levels come through a pipe, each written before the agent's next step; what `state.db` holds is read
from a copy, so that the agent finds its files as the kill left them.
"""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fakes.emsp import FakeEmsp
from fakes.serial_line import SerialLine
from tests.scenario.world import (
    EVSES,
    HANG_S,
    PINS,
    REMOVAL_S,
    configuration,
    emsp_with,
    fill_whitelist,
    only,
    select,
    until,
)

ROOT = Path(__file__).parents[2]
KILLS = 12
CAMPAIGN_KILLS = 240
SEED = 20260601
MOST_CHANGES = 24
"""Of pins, in one life of the agent."""
A_START_S = 0.6
"""About what a start takes: some kills fall into it."""
BUSY = """
[breaker]
failures = 0
[sync]
every_min = 0.01
full_every_h = 0.0001
"""
"""The whitelist is written all the time, so that kills fall into that as well."""


class AgentProcess:
    """The agent's process, one after another on the same folder, and what its pins do."""

    def __init__(self, config: Path, lines: Sequence[SerialLine]) -> None:
        self.levels: list[tuple[int, bool]] = []
        """Every change of a pin in this life: BCM number and level."""
        self.tapped: dict[int, str] = {}
        """By pin, the card that was last held to its reader."""
        self.closings: list[tuple[str, str]] = []
        """EVSE and card of every closing, in all lives."""
        self.taps = 0
        """Cards held to a reader, in all lives."""
        self.lines = lines
        self._config = config
        self._news = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._read_out = asyncio.Event()

    async def start(self, *arguments: str) -> None:
        """Start it. Its readers are plugged in anew, so that `listens` can't take an earlier life's for this one's."""
        for line in self.lines:
            line.unplug()
            line.plug()
        self.levels, self.tapped = [], {}
        reading, writing = os.pipe()
        command = (sys.executable, "-m", "tests.scenario.agent_process", str(self._config), str(writing), *arguments)
        try:
            with self._config.with_name("stderr.log").open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *command, cwd=ROOT, pass_fds=(writing,), stdout=asyncio.subprocess.DEVNULL, stderr=log
                )
        finally:
            os.close(writing)
        self._read_out = asyncio.Event()
        asyncio.get_running_loop().add_reader(reading, self._read, reading, self._read_out)

    async def listens(self) -> None:
        """Return once both readers are read. Raises AssertionError when it ends before."""
        ready = asyncio.gather(*(line.wait_opened() for line in self.lines))
        gone = asyncio.ensure_future(self._running.wait())
        either: tuple[asyncio.Future[Any], ...] = (ready, gone)
        async with asyncio.timeout(HANG_S):
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for waiting in either:
            waiting.cancel()
        await asyncio.gather(*either, return_exceptions=True)
        assert self._running.returncode is None, self._config.with_name("stderr.log").read_text()[-2000:]

    def present(self, uid: str, evse: int) -> None:
        """Hold a card to the reader of an EVSE."""
        self.taps += 1
        self.tapped[PINS[evse]] = uid
        self.lines[evse].present(uid)

    async def changes(self, count: int, pin: int | None = None) -> None:
        """Wait until a pin, or all together, have changed so many times in this life."""
        async with asyncio.timeout(HANG_S):
            while sum(pin in {None, its} for its, _ in self.levels) < count:
                self._news.clear()
                await self._news.wait()

    def send(self, signum: signal.Signals) -> None:
        """Send a signal that is not to end it."""
        self._running.send_signal(signum)

    async def end_by(self, signum: signal.Signals) -> int:
        """Send a signal and wait for the end. Returns the exit code."""
        self._running.send_signal(signum)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end, and until everything that the pins did has been read. Returns the exit code."""
        async with asyncio.timeout(HANG_S):
            await self._read_out.wait()
            return await self._running.wait()

    async def clean_up(self) -> None:
        """End it if it still runs."""
        if self._process is not None and self._process.returncode is None:
            await self.end_by(signal.SIGKILL)

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not started"
        return self._process

    def _read(self, pipe: int, end: asyncio.Event) -> None:
        data = os.read(pipe, 65_536)
        for line in data.decode().splitlines():
            pin, level = (int(word) for word in line.split())
            self.levels.append((pin, bool(level)))
            if level:
                self.closings.append((EVSES[PINS.index(pin)], self.tapped.get(pin, "no card at all")))
        if not data:
            asyncio.get_running_loop().remove_reader(pipe)
            os.close(pipe)
            end.set()
        self._news.set()


@asynccontextmanager
async def charge_point(folder: Path, count: int = 2) -> AsyncIterator[tuple[AgentProcess, FakeEmsp, list[str]]]:
    """An agent that does not run yet, its eMSP, and `count` cards that it has whitelisted: ALWAYS, NEVER, in turn."""
    uids = [f"01{0x80000000 + number:08X}" for number in range(count)]
    cards = {uid: {"whitelist": ("ALWAYS", "NEVER")[number % 2]} for number, uid in enumerate(uids)}
    async with emsp_with(cards) as emsp:
        emsp.page_size = 100
        lines = [SerialLine(folder, name=f"reader-{number}") for number in (1, 2)]
        config = folder / "config.toml"
        config.write_text(configuration(folder, [emsp], lines, policy="deadline_s = 60.0", more=BUSY))
        agent = AgentProcess(config, lines)
        try:
            yield agent, emsp, uids
        finally:
            await agent.clean_up()
            for line in lines:
                line.unplug()


def copied(folder: Path, name: str) -> Path:
    """The database as it lies there, with its log: looking at it must not mend it."""
    side = folder / "copy"
    shutil.rmtree(side, ignore_errors=True)
    side.mkdir()
    for suffix in ("", "-wal"):
        if (part := folder / "state" / f"{name}{suffix}").exists():
            shutil.copy(part, side)
    return side / name


def authorizations(folder: Path) -> list[dict[str, Any]]:
    """What is on record, read from the file itself."""
    return select(folder / "state" / "state.db", "SELECT * FROM authorization ORDER BY id")


def integrity(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


async def draw_power(agent: AgentProcess, evse: int, uids: Iterator[str]) -> None:
    """Charge at one EVSE with one card after another until the process ends."""
    done = 0
    for uid in uids:
        agent.present(uid, evse)
        await agent.changes(done + 1, PINS[evse])
        await asyncio.sleep(REMOVAL_S)  # from here on the reader takes the same card for a new tap
        agent.present(uid, evse)
        await agent.changes(done + 2, PINS[evse])
        done += 2


@dataclass
class Tally:
    """What a row of kills came to."""

    kills: int = 0
    in_start: int = 0
    ended_by_restart: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    unrecorded: list[tuple[str, str]] = field(default_factory=list)

    def note(self, agent: AgentProcess, folder: Path, emsp: FakeEmsp) -> None:
        """Look at the files after a kill."""
        self.kills += 1
        assert integrity(copied(folder, "whitelist.db")) == "ok"
        state = copied(folder, "state.db")
        assert integrity(state) == "ok"
        self.records = select(state, "SELECT * FROM authorization ORDER BY id")
        started = [r for r in self.records if r["relay_closed"] and r["verdict"] == "accepted"]
        on_record = {(r["evse_uid"], r["uid"]) for r in started}
        self.unrecorded = [closing for closing in agent.closings if closing not in on_record]
        for evse in EVSES:
            closings = sum(where == evse for where, _ in agent.closings)
            assert closings <= sum(r["evse_uid"] == evse for r in started)
        asked = [r for r in started if r["source"] == "realtime"]
        assert all(r["authorization_reference"] in emsp.given_references[r["uid"]] for r in asked)

    async def note_restart(self, folder: Path) -> None:
        """Look at the files after the start that followed: what was running when the agent died is soon over."""
        open_before = {r["id"] for r in self.records if r["relay_closed"] and r["ended_at"] is None}
        await until(lambda: not any(r["relay_closed"] and r["ended_at"] is None for r in authorizations(folder)))
        now = {r["id"]: r for r in authorizations(folder)}
        assert {now[number]["ended_because"] for number in open_before} <= {"restart"}
        assert now.keys() >= {r["id"] for r in self.records}
        self.ended_by_restart += len(open_before)


async def kill_again_and_again(folder: Path, kills: int) -> tuple[Tally, AgentProcess]:
    chance, tally = random.Random(SEED), Tally()
    async with charge_point(folder, kills * (MOST_CHANGES + 2)) as (agent, emsp, uids):
        await fill_whitelist(folder / "config.toml")
        cards = iter(uids)
        for _ in range(kills):
            await agent.start()
            if chance.random() < 0.2:
                tally.in_start += 1
                await asyncio.sleep(chance.uniform(0.0, A_START_S))
            else:
                await agent.listens()
                await tally.note_restart(folder)
                assert agent.levels == [], "a relay moved before anybody tapped"
                drawing = [asyncio.ensure_future(draw_power(agent, evse, cards)) for evse in (0, 1)]
                await agent.changes(chance.randint(0, MOST_CHANGES))
                await asyncio.sleep(chance.uniform(0.0, 0.008))  # the experiment: any moment
                for drawer in drawing:
                    drawer.cancel()
                await asyncio.gather(*drawing, return_exceptions=True)
            await agent.end_by(signal.SIGKILL)
            tally.note(agent, folder, emsp)
        assert emsp.complaints == []
    return tally, agent


async def test_kill_at_any_moment_loses_no_record_and_leaves_nothing_running(tmp_path: Path) -> None:
    tally, agent = await kill_again_and_again(tmp_path, KILLS)
    assert tally.kills == KILLS
    assert len(agent.closings) > KILLS
    assert tally.unrecorded == []


@pytest.mark.campaign
async def test_hundreds_of_kills_lose_no_record(tmp_path: Path) -> None:
    tally, agent = await kill_again_and_again(tmp_path, CAMPAIGN_KILLS)
    print(
        f"\n{tally.kills} kills ({tally.in_start} while starting), {agent.taps} taps, {len(agent.closings)} closings, "
        f"{len(tally.records)} records, {tally.ended_by_restart} ended by the restart, "
        f"closings without a record: {len(tally.unrecorded)}"
    )
    assert tally.unrecorded == []


async def test_kill_while_the_databases_are_made_leaves_a_folder_that_starts(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    async with charge_point(tmp_path) as (agent, _, uids):
        for _ in range(3):
            await agent.start()
            await asyncio.sleep(chance.uniform(0.2, A_START_S))
            await agent.end_by(signal.SIGKILL)
        await agent.start()
        await agent.listens()
        agent.present(uids[0], 0)
        await agent.changes(1)
        assert agent.closings == [(EVSES[0], uids[0])]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
async def test_signal_to_stop_opens_the_relay_and_ends_the_record(tmp_path: Path, signum: signal.Signals) -> None:
    async with charge_point(tmp_path) as (agent, _, uids):
        await fill_whitelist(tmp_path / "config.toml")
        await agent.start()
        await agent.listens()
        agent.present(uids[0], 0)
        await agent.changes(1)
        assert await agent.end_by(signum) == 0
        assert agent.levels == [(PINS[0], True), (PINS[0], False)]
        assert only(authorizations(tmp_path))["ended_because"] == "shutdown"


async def test_sighup_reads_the_configuration_anew_and_leaves_the_relay_alone(tmp_path: Path) -> None:
    async with charge_point(tmp_path) as (agent, _, uids):
        config = tmp_path / "config.toml"
        await fill_whitelist(config)
        await agent.start()
        await agent.listens()
        agent.present(uids[0], 0)
        await agent.changes(1)
        config.write_text(config.read_text().replace("[policy]", '[policy]\nalways_invalid = "accept"'))
        agent.send(signal.SIGHUP)
        await until(lambda: "read anew: policy.always_invalid" in config.with_name("stderr.log").read_text())
        assert agent.levels == [(PINS[0], True)]
        assert await agent.end_by(signal.SIGTERM) == 0


async def test_part_that_calls_for_the_end_of_the_process_opens_its_relay_and_ends_nothing_else(tmp_path: Path) -> None:
    async with charge_point(tmp_path) as (agent, _, uids):
        await fill_whitelist(tmp_path / "config.toml")
        await agent.start("EXIT")
        await agent.listens()
        agent.present(uids[0], 0)
        await agent.changes(2)
        assert agent.levels == [(PINS[0], True), (PINS[0], False)]
        await until(lambda: [r["ended_because"] for r in authorizations(tmp_path)] == ["agent-fault", None])
        assert await agent.end_by(signal.SIGTERM) == 0
