"""The whole agent at a serial reader whose cable is pulled again and again: every card after it is decided."""

import asyncio
import time
from pathlib import Path

from tests.scenario.world import HANG_S, world

PULLS = 50
DECIDED_WITHIN_S = 5.0
"""Of the port's return: what is asked of the agent."""


async def test_card_after_each_return_of_the_port_is_decided_and_recorded(tmp_path: Path) -> None:
    took = []
    cards = [f"{number:02X}A1B2FF80" for number in range(PULLS)]
    async with world(tmp_path, {}) as site:
        for card in cards:
            site.lines[0].unplug()
            site.lines[0].plug()
            returned_at = time.monotonic()
            async with asyncio.timeout(HANG_S):
                await site.lines[0].wait_opened()
            await site.tap(card)
            took.append(time.monotonic() - returned_at)
        assert [record["uid"] for record in site.records()] == cards
    assert max(took) < DECIDED_WITHIN_S, took
    print(f"\n{PULLS} pulled cables: decided {max(took):.2f} s after the port's return at the latest")
