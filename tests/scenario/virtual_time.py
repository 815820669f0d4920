"""Stories in a time that costs nothing: a clock that jumps to whatever is due next.

Only for what has no thread and no socket in it.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

NOW = datetime(2027, 6, 1, 12, 0, tzinfo=UTC)


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, moves the clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing will ever happen again: the test hangs")
            self.now += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which time costs nothing."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def stand_still(self, seconds: float) -> None:
        """As if a callback had kept everybody waiting."""
        self._clock.now += seconds


def in_virtual_time(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(story())


def played(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """The story as a test, in virtual time."""

    @wraps(story)
    def test() -> None:
        in_virtual_time(story)

    return test


class WallClock:
    """The wall clock of a controller; `error` is what it is wrong by."""

    def __init__(self) -> None:
        self._began = asyncio.get_running_loop().time()
        self.error = timedelta(0)
        self.is_trusted = True
        """Whether anybody has told it the time, as `agent.runtime.clock_source` finds out."""

    @property
    def true(self) -> datetime:
        """What the time really is."""
        return NOW + timedelta(seconds=asyncio.get_running_loop().time() - self._began)

    def now(self) -> datetime:
        """What the clock shows."""
        return self.true + self.error

    def starts_in(self, year: int) -> None:
        """There is no battery: at power-on it shows the first moment of a year."""
        self.error = datetime(year, 1, 1, tzinfo=UTC) - self.true

    def starts_where_it_stopped(self, off: timedelta) -> None:
        """There is no battery, but a file: at power-on it shows, but for the start itself, when it lost its power."""
        self.error = timedelta(seconds=20) - off
        self.is_trusted = False

    def is_put_right(self) -> None:
        """The network has told it the time."""
        self.error = timedelta(0)
        self.is_trusted = True
