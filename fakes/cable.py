"""The cables of emulated devices: what can be plugged in, and a pseudo-terminal that is a serial line to a driver."""

import asyncio
import fcntl
import os
import tty
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self


class Pluggable(ABC):
    """Plugged in on entering, and out on leaving."""

    @abstractmethod
    def plug(self) -> None:
        """Plug it in; nothing happens where it is."""

    @abstractmethod
    def unplug(self) -> None:
        """Pull it out; nothing happens where it is not plugged in."""

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()


class TerminalCable:
    """A serial line at `path` while it is plugged in. `hear` is called with what drivers send, in the event loop."""

    def __init__(self, path: Path, hear: Callable[[bytes], None]) -> None:
        self.path = path
        self._hear = hear
        self._ends: tuple[int, int] | None = None

    @property
    def is_plugged(self) -> bool:
        """Whether it is plugged in."""
        return self._ends is not None

    @property
    def is_locked(self) -> bool:
        """Whether a driver has the line open now, for itself alone as it should."""
        if self._ends is None:
            return False
        try:
            fcntl.flock(self._ends[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._ends[1], fcntl.LOCK_UN)
        return False

    def plug(self) -> None:
        """Plug it in, within an event loop."""
        assert self._ends is None, "it is plugged in"
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._ends = master, slave  # the slave stays open here, or the master would hang up between two drivers
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        asyncio.get_running_loop().add_reader(master, lambda: self._hear(os.read(master, 4096)))

    def unplug(self) -> None:
        """Pull it out: the path is gone, and who has the line open gets an error."""
        assert self._ends is not None, "it is not plugged in"
        ends, self._ends = self._ends, None
        asyncio.get_running_loop().remove_reader(ends[0])
        self.path.unlink(missing_ok=True)
        for end in ends:
            os.close(end)

    def send(self, data: bytes) -> int:
        """Put bytes on the line, whoever may listen; how many of them found room. Never blocks."""
        if self._ends is None:
            return 0
        try:
            return os.write(self._ends[0], data)
        except BlockingIOError:
            return 0
