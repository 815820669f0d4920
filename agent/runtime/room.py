"""Room on the disk that tokens must leave to the records."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.errors import StoreError

_LEAST_FREE: Final = 200 << 20
"""Bytes of the disk that tokens must leave free. At 8 KB a tap that is 25,000 taps, months of a charge point: the
records come first, for without one nobody may charge, and without a new token only its driver may not. Of a small
disk it is a tenth."""

FreeBytes = Callable[[Path], int]
"""How much a folder's disk still takes."""


def free_bytes(folder: Path) -> int:
    """For the agent, which is not root: `f_bfree` counts what is kept for that one, too. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def lack_of_room(folder: Path, free: FreeBytes = free_bytes) -> str:
    """What is wrong with the room in `folder`, in words; empty when there is enough for more tokens.

    Raises StoreError when nobody can tell.
    """
    try:
        found = os.statvfs(folder)
        left, kept = free(folder), min(_LEAST_FREE, found.f_blocks * found.f_frsize // 10)
    except OSError as error:
        raise StoreError(f"{folder}: can't tell how much room there is: {error.strerror}") from error
    if left >= kept:
        return ""
    return f"{folder} has {left >> 20} MiB free, and {kept >> 20} are kept for the records"


def check_room(folder: Path, given_up: str) -> None:
    """Raise StoreError when `folder` is too full for more tokens; `given_up` says what ends because of it."""
    if lack := lack_of_room(folder):
        raise StoreError(f"{given_up}: {lack}; make room and try again")
