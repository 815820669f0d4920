"""`python -m tests.scenario.demo_process [--once] [--json]`: the demo, with a panel that keeps the contract."""

import asyncio
import sys
from contextlib import suppress

from fakes.demo import play
from tests.panel.world_page import StubLives

if __name__ == "__main__":
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(play(once="--once" in sys.argv, as_json="--json" in sys.argv, panel=True, life_of=StubLives()))
