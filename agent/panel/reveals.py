"""Who has seen which card's uid in clear: one JSON object a line, on the disk before the uid is shown."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from agent.errors import StoreError

FILE = "reveals.jsonl"

_MODE = 0o600


class Reveals:
    """Appends to one file. A line that a power cut has broken off is ended before the next one is begun."""

    def __init__(self, folder: Path, *, fsync: Callable[[int], None] = os.fsync) -> None:
        """`folder`: where the databases are."""
        self._path = folder / FILE
        self._fsync = fsync

    def add(self, line: dict[str, object]) -> None:
        """Take it down; it is on the disk when this returns. Blocks. Raises StoreError."""
        text = json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"
        try:
            # O_NOFOLLOW: whoever can put a link here must not have us write elsewhere.
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, _MODE)
            try:
                self._append(descriptor, text)
            finally:
                os.close(descriptor)
            self._keep_name()
        except OSError as error:
            raise StoreError(
                f"{self._path}: can't be written: {error.strerror}; without it no card's number is shown"
            ) from error

    def _append(self, descriptor: int, text: bytes) -> None:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            text = b"\n" + text
        while text:
            text = text[os.write(descriptor, text) :]
        self._fsync(descriptor)

    def _keep_name(self) -> None:
        """Each time: the file may have been put away, and nothing tells a new one from the one before for certain."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._fsync(folder)
        finally:
            os.close(folder)
