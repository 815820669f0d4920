"""The agent as it runs on a charge point, inside the bench's process: only reader, pins and peer are played.

It is assembled by the agent's own composition root from a configuration, so what is measured is what is delivered.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from agent.config import parse
from agent.core.evse_state import Plug
from agent.main import Agent, agent_of
from agent.model import EndReason, Uid
from agent.runtime.charge_point import EvseTapLoop, Settled
from fakes.pins import Watcher, mock_pins
from fakes.serial_line import SerialLine
from tests.bench.cards import OWNER, PEER
from tests.bench.peer_process import Address, Peer
from tests.bench.place import BILLING, PLACE, fitting, lay_tariff

FIRST_PIN = 2
"""Relays are on the pins from here on; a Raspberry Pi has them up to 27."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A tap that is over, with the loop time at which its first byte went into the line."""

    settled: Settled
    written_at: float

    @property
    def tap_to_relay_s(self) -> float:
        """From the reader's last byte to the relay."""
        return self.settled.switched_at - self.settled.tap.at

    @property
    def line_to_relay_s(self) -> float:
        """From the writing of the frame to the relay: the kernel's way and the reader's wake-up included."""
        return self.settled.switched_at - self.written_at


@dataclass(frozen=True, slots=True)
class Rig:
    """A running agent, and the world's side of it."""

    agent: Agent
    evses: Sequence[EvseTapLoop]
    lines: Sequence[SerialLine]
    settled: dict[str, asyncio.Queue[Settled]]
    """By EVSE, the taps that are over."""

    async def tap(self, uid: Uid) -> Seen:
        """Hold a card to the first EVSE's reader and wait for the verdict; the EVSE is free again afterwards."""
        evse = self.evses[0]
        written_at = asyncio.get_running_loop().time()
        if not self.lines[0].present(uid):
            raise RuntimeError("the reader's line is not open: the agent's log says why")
        seen = Seen(await self.settled[evse.evse_uid].get(), written_at)
        if seen.settled.entry.relay_closed and not evse.state.relay_closed:
            raise RuntimeError("accepted, but the relay is not closed: the agent's log says why")
        await evse.end(EndReason.OPERATOR)
        return seen


@asynccontextmanager
async def running_agent(
    folder: Path,
    *,
    peer: Peer | None = None,
    evses: int = 1,
    settings: str = "",
    billed: bool = False,
    watcher: Watcher = lambda _pin, _level: None,
) -> AsyncIterator[Rig]:
    """An agent on `folder`'s databases that has opened its readers and finished the sync it begins with."""
    lines = [SerialLine(folder, name=f"reader-{number + 1}") for number in range(evses)]
    path = folder / "config.toml"
    config = parse(configuration(folder, lines, peer, settings, billed=billed), path)
    queues: dict[str, asyncio.Queue[Settled]] = {section.uid: asyncio.Queue() for section in config.evse}
    ready = asyncio.Event()
    mock_pins(watcher)
    async with AsyncExitStack() as stack:
        for line in lines:
            stack.enter_context(line)
        dark = stack.enter_context(_dark())
        agent = await stack.enter_async_context(
            agent_of(
                config,
                path,
                on_settled=lambda settled: queues[settled.entry.evse_uid].put_nowait(settled),
                on_ready=ready.set,
                display_stream=dark,
            )
        )
        for sync in agent.syncs:
            await sync.run_once()
        stack.push_async_callback(_cancelled, running := asyncio.create_task(agent.run()))
        await _before_end(ready.wait(), running)
        for line in lines:
            await _before_end(line.wait_opened(), running)
        await _before_end(_fitted(agent), running)
        yield Rig(agent, list(agent.evses.values()), lines, queues)


UNHURRIED = """
        [policy]
        stop_after_s = 0.0
        [slowdown]
        refusals = 0
        """
"""A bench has no impatient driver: the second tap of a card is meant to end the charge, however soon. Nor a guesser."""


def configuration(
    folder: Path, lines: Sequence[SerialLine], peer: Address | None, settings: str = "", *, billed: bool = False
) -> str:
    """A configuration like any other; `settings` are further tables of it.

    `billed`: with a tariff, whose file is written, and at each EVSE a meter and a car that is plugged in already.
    """
    evses = "".join(
        f"""
        [[reader]]
        name = "{line.path.name}"
        kind = "rdm6300"
        port = "{line.path}"
        removal_s = 0.02

        [[evse]]
        uid = "DE*EXA*E{number + 1}"
        readers = ["{line.path.name}"]
        relay = {{ gpio = {FIRST_PIN + number} }}
        {fitting(number) if billed else ""}
        """
        for number, line in enumerate(lines)
    )
    if billed:
        lay_tariff(folder)
    return f"""
        [party]
        country_code = "NL"
        party_id = "EXA"
        [location]
        id = "BENCH"
        {PLACE if billed else ""}
        [storage]
        directory = "{folder}"
        [clock]
        trusted = true
        {settings or UNHURRIED}
        {BILLING if billed else ""}
        {_peer_table(peer) if peer else ""}
        {evses}
        """


def _peer_table(peer: Address) -> str:
    # By versions_url, as in the field: the client then has its TLS context, and the memory figure its size.
    return f"""
        [[peer]]
        name = "{PEER}"
        country_code = "{OWNER[0]}"
        party_id = "{OWNER[1]}"
        versions_url = "{peer.versions_url}"
        token = "{peer.credentials_token}"
        """


def _dark() -> TextIO:
    """What a display writes to that nobody looks at."""
    return Path(os.devnull).open("w", encoding="utf-8")


async def _fitted(agent: Agent) -> None:
    """Return once every input has said how it is."""
    for evse in agent.evses.values():
        while evse.state.lost or (evse.settings.has_plug_sensor and evse.state.plug is not Plug.IN):  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0.01)


async def _before_end(awaited: Coroutine[Any, Any, object], running: asyncio.Task[None]) -> None:
    """Wait for something that an agent which ends will never bring."""
    waiting = asyncio.create_task(awaited)
    await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        waiting.cancel()
        running.result()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
