"""One relay of a HID board is one program's: the kernel lets any number of programs write to a hidraw node.

What keeps the others out is an open-file-description lock (Linux 3.15, fcntl(2)) on one byte of the node: the byte at
the channel's number, so that two agents may still share a board. Every agent asks for it; a program of another kind
need not. The kernel gives it back when its holder ends, however that ends.
"""

import fcntl
import os
import struct
from pathlib import Path
from typing import Protocol


class Hold(Protocol):
    """What one driver has to itself until it is closed."""

    def is_on(self, path: bytes) -> bool:
        """Whether the node at `path` is the one that is held: a board plugged in again has another one."""
        ...

    def close(self) -> None:
        """Let others have it. May be called twice; never raises."""
        ...


class NodeHold:
    """The lock on one byte of a node. Raises BlockingIOError where somebody else has it, else OSError."""

    def __init__(self, path: bytes, channel: int) -> None:
        """Where `path` is no node there is nothing to lock: libusb, which names boards otherwise, shares none."""
        self._fd: int | None = None
        self._path = path
        if not path.startswith(b"/"):
            return
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(channel))
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def is_on(self, path: bytes) -> bool:
        """As `Hold.is_on`."""
        if self._fd is None:
            return path == self._path
        try:
            there = Path(os.fsdecode(path)).stat()
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._fd))

    def close(self) -> None:
        """As `Hold.close`."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _flock(byte: int) -> bytes:
    """`struct flock` with its 64-bit offsets, for one byte; a pid has to be 0 for a lock of this kind."""
    return struct.pack("@hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)


_fits: type[Hold] = NodeHold
