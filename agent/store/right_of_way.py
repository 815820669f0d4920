"""Keeps a tap from waiting for the conversion of a sync's page, which is done in small steps, and in none meanwhile."""

import asyncio
from contextlib import suppress
from types import TracebackType

MOST_S = 0.002
"""How long one step waits: for several lookups. A page of 1,000 tokens has fifty steps, so that even under lookups
without end some pages come through every second."""


class RightOfWay:
    """What is done inside `with` goes first; what can wait calls `give_way` now and then.

    A lookup's thread takes Python's interpreter lock five times. While the event loop converts a page it waits for each
    of them, and while the event loop is idle for hardly any.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._over = asyncio.Event()

    def __enter__(self) -> None:
        self._under_way += 1
        self._over.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._over.set()

    async def give_way(self) -> None:
        """Return not before the event loop's next turn, and while something goes first only after MOST_S seconds."""
        await asyncio.sleep(0)
        if self._under_way:
            with suppress(TimeoutError):
                async with asyncio.timeout(MOST_S):
                    await self._over.wait()
