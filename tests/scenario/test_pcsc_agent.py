"""The whole agent behind a real PC/SC daemon that is killed again and again: every card after it is decided."""

import asyncio
import io
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agent.config import load
from agent.main import agent_of
from agent.runtime.charge_point import Settled
from fakes.emsp import Part
from fakes.pcscd import Pcscd, why_not
from fakes.pins import mock_pins
from fakes.serial_line import SerialLine
from fakes.vpcd import CardSlot
from tests.contract.needs import needs
from tests.scenario.world import HANG_S, configuration, emsp_with, select

KILLS = 50
DECIDED_WITHIN_S = 5.0
"""Of the daemon's return: what is asked of the agent, and twelve times what it takes."""


@pytest.fixture
def daemon() -> Iterator[Pcscd]:
    if reason := why_not():
        needs(reason)
    with Pcscd() as pcscd:
        yield pcscd


@asynccontextmanager
async def decided(folder: Path) -> AsyncIterator["asyncio.Queue[Settled]"]:
    """What the taps at an agent come to whose one reader is every PC/SC reader; it runs meanwhile."""
    settled: asyncio.Queue[Settled] = asyncio.Queue()
    async with AsyncExitStack() as stack:
        mock_pins()
        emsp = await stack.enter_async_context(emsp_with({}))
        text = configuration(folder, [emsp], [SerialLine(folder, name="desk")], policy="deadline_s = 30.0")
        path = folder / "config.toml"
        path.write_text(re.sub(r'kind = "rdm6300"\n\s*port = .*', 'kind = "pcsc"', text))
        making = agent_of(load(path), path, on_settled=settled.put_nowait, display_stream=io.StringIO())
        agent = await stack.enter_async_context(making)
        running = asyncio.create_task(agent.run())
        try:
            async with asyncio.timeout(HANG_S):
                await emsp.arrived(1, Part.LIST)
            yield settled
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_card_after_each_kill_of_the_daemon_is_decided_and_recorded(daemon: Pcscd, tmp_path: Path) -> None:
    took = []
    with CardSlot() as slot:
        async with decided(tmp_path) as settled:
            for number in range(KILLS):
                daemon.kill()
                slot.present(f"04{number:02X}A1B2C3D480")
                await asyncio.to_thread(daemon.start)
                returned_at = time.monotonic()
                async with asyncio.timeout(HANG_S):
                    await settled.get()
                took.append(time.monotonic() - returned_at)
    uids = [row["uid"] for row in select(tmp_path / "state" / "state.db", "SELECT uid FROM authorization ORDER BY id")]
    assert uids == [f"04{number:02X}A1B2C3D480" for number in range(KILLS)]
    assert max(took) < DECIDED_WITHIN_S, took
    print(f"\n{KILLS} kills of pcscd: decided {max(took):.2f} s after its return at the latest")
