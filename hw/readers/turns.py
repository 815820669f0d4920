"""The turns of a driver's own loop, for whoever asks whether it still turns."""

import asyncio


class Turns:
    """Lets `agent.ports.Pulsing` be answered by the loop itself, wherever that runs. All of it is the event loop's."""

    def __init__(self) -> None:
        self._asked: set[asyncio.Future[None]] = set()
        self._is_without_loop = False

    @property
    def is_asked(self) -> bool:
        """Whether anybody waits for a turn. May be looked at from any thread."""
        return bool(self._asked)

    async def next(self) -> None:
        """Return when the loop turns the next time; at once where there is none that could hang."""
        if self._is_without_loop:
            return
        asked = asyncio.get_running_loop().create_future()
        self._asked.add(asked)
        try:
            await asked
        finally:
            self._asked.discard(asked)

    def turned(self) -> None:
        """The loop has come around."""
        self._is_without_loop = False
        for asked in self._asked:
            if not asked.done():
                asked.set_result(None)

    def without_loop(self) -> None:
        """There is no loop, and none is to be expected until it turns."""
        self.turned()
        self._is_without_loop = True
