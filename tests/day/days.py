"""Days in fast motion: one agent, one process, day after day."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from fakes.emsp import FakeEmsp, NoAnswer
from tests.day.judge import findings
from tests.day.place import Place, place_in
from tests.day.running import HANG_S, RunningAgent
from tests.day.sample import Sample, look
from tests.day.systemd import NotifySocket
from tests.day.traffic import Amounts, Traffic
from tests.scenario.world import command

QUARTERS = 4
LOOK_S = 0.05
"""For what has no event: rows in a file of another process."""
WATCHDOG_S = 30.0
"""As the unit has it; it is the one thing here that is not compressed."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long, and how much of a day's traffic. A part of it shows that all works, and no leak."""

    days: int = 3
    day_s: float = 120.0
    share: float = 1.0
    seed: int = 20261123


@dataclass
class Run:
    """What became of it."""

    samples: list[Sample] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    """Warnings and worse of the agent."""
    found: list[str] = field(default_factory=list)
    """What is wrong."""
    statuses: int = 0
    last_status: str = ""
    fed: int = 0
    hungry_s: float = 0.0


async def days(folder: Path, pace: Pace, tell: Callable[[str], None] = lambda _: None) -> Run:
    """Live through them; `tell` hears how far it is."""
    run = Run()
    systemd = NotifySocket(folder / "notify", watchdog_s=WATCHDOG_S)
    async with place_in(folder, day_s=pace.day_s, port=_free_port()) as place:
        invited = await command("peers", "invite", "acme", "--config", place.config)
        agent = RunningAgent(lambda pin, high: traffic.relay_moved(pin, closed=high))
        traffic = Traffic(place, agent, pace.seed)
        with systemd.listening():
            async with agent.life(place.config, systemd.environment):
                async with asyncio.timeout(HANG_S):
                    await systemd.ready()
                    await agent.until(lambda: any("OCPI server: listening" in line for line in agent.log))
                    await _register(place.acme, invited.out)
                run.samples.append(await look("start", 0, place, agent, systemd))
                await _live(place, agent, traffic, systemd, pace, run, tell)
        run.done, run.said = traffic.done + agent.synced, agent.said
        run.found = findings(run.samples, watchdog_s=WATCHDOG_S)
        run.found += _not_pruned(agent, pace) + _complaints(place)
    run.statuses, run.last_status = len(systemd.statuses), systemd.statuses[-1]
    run.fed, run.hungry_s = systemd.fed, systemd.longest_s
    if systemd.reloads != traffic.done["reloads"]:
        run.found.append(f"{traffic.done['reloads']} times SIGHUP, {systemd.reloads} times RELOADING")
    return run


async def _live(
    place: Place,
    agent: RunningAgent,
    traffic: Traffic,
    systemd: NotifySocket,
    pace: Pace,
    run: Run,
    tell: Callable[[str], None],
) -> None:
    amounts = Amounts().of(pace.share / QUARTERS)
    for day in range(1, pace.days + 1):
        began = monotonic()
        for quarter in range(1, QUARTERS + 1):
            await traffic.quarter(amounts, pace.day_s / QUARTERS)
            await _quiet(place, agent, day)
            run.samples.append(await look(f"day {day}, quarter {quarter}", day, place, agent, systemd))
            tell(run.samples[-1].label)
        if day < pace.days:
            agent.prune(monotonic() - began)


async def _quiet(place: Place, agent: RunningAgent, day: int) -> None:
    """Until nobody charges, all that was due has been told, and what is too old is gone."""
    async with asyncio.timeout(HANG_S):
        await agent.until(lambda: not agent.closed & {outlet.relay for outlet in place.outlets})
        while not place.is_told():  # noqa: ASYNC110  of another process
            await asyncio.sleep(LOOK_S)
        await agent.until(lambda: len(agent.pruned) == day - 1)


def _not_pruned(agent: RunningAgent, pace: Pace) -> list[str]:
    return [] if agent.pruned == [True] * (pace.days - 1) else [f"prunings: {agent.pruned}"]


def _complaints(place: Place) -> list[str]:
    return [f"{each} ({count} times)" for each, count in Counter(place.emsp.complaints + place.acme.complaints).items()]


async def _register(acme: FakeEmsp, invitation: str) -> None:
    said = dict(
        line.rsplit(maxsplit=1) for line in invitation.splitlines() if line.startswith(("versions URL", "token A"))
    )
    [url] = [value for name, value in said.items() if name.startswith("versions")]
    [token] = [value for name, value in said.items() if name.startswith("token")]
    while True:
        with suppress(NoAnswer):
            answer = await acme.register_with(url, token)
            break
        await asyncio.sleep(LOOK_S)
    assert answer.status == 201, answer


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
