"""What the kernel brings on a file descriptor, taken in the event loop as it comes."""

import asyncio
import errno
import os
from types import TracebackType
from typing import NamedTuple, Self

from hw.readers.line_clock import LineClock


class Heard(NamedTuple):
    """Bytes that came."""

    at: float
    """The loop time at which they were taken."""
    chunk: bytes
    line_at: float
    """The same by the line's own clock: see `LineClock`."""


Arrival = Heard | OSError
"""What came, or why nothing comes any more."""

_READ_SIZE = 4096
"""What the kernel's line discipline holds, or 170 input events; what is left wakes us again at once."""


class Arrivals:
    """The arrivals of one open descriptor, which does not block; it is watched while this is entered.

    Only hands over, so that an error of whoever gets the taps ends its reader's `run` instead of vanishing in the
    loop's handler. Leaves the descriptor open.
    """

    def __init__(self, fd: int, clock: LineClock, size: int = _READ_SIZE) -> None:
        """`clock`: of this line, which goes on where it is opened again. `size`: at most so many bytes an arrival."""
        self._fd = fd
        self._clock = clock
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._taken: asyncio.Queue[Arrival] = asyncio.Queue()
        self._ended: OSError | None = None

    def __enter__(self) -> Self:
        self._loop.add_reader(self._fd, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.remove_reader(self._fd)
        self._clock.stop()

    @property
    def ended(self) -> OSError | None:
        """Why nothing comes any more, even before all that came has been taken; None while something may come."""
        return self._ended

    async def next(self) -> Arrival:
        """What comes next; after an OSError nothing does."""
        return await self._taken.get()

    async def silence(self, seconds: float) -> bool:
        """Wait that long, whatever comes; whether nothing did.

        Never true because the loop was late: what waits in the kernel when the time is over has come.
        """
        await asyncio.sleep(seconds)
        return self._taken.empty()

    async def next_within(self, seconds: float | None) -> Arrival | None:
        """What comes next, or None when nothing has within so many seconds, which is meant as in `silence`."""
        try:
            async with asyncio.timeout(seconds):
                return await self._taken.get()
        except TimeoutError:
            return None if self._taken.empty() else self._taken.get_nowait()

    def _take(self) -> None:
        """Take what has come, with the time first: the driver's deadline counts from here, not from the parsing."""
        at = self._loop.time()
        try:
            chunk = os.read(self._fd, self._size)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if chunk:
            self._taken.put_nowait(Heard(at, chunk, self._clock.heard(at)))
        else:
            self._end(OSError(errno.EIO, "the device hung up"))

    def _end(self, error: OSError) -> None:
        self._loop.remove_reader(self._fd)  # a dead device stays readable for ever
        self._ended = error
        self._taken.put_nowait(error)
