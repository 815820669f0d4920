"""Locks between processes. The kernel takes one back when its process dies, however that comes about."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import BusyError, StoreError


@contextmanager
def locked(file: Path, busy: str) -> Iterator[None]:
    """Hold `file`. Raises BusyError with the words `busy` when somebody else does, StoreError."""
    try:
        handle = file.open("a")
    except OSError as error:
        raise StoreError(f"{file}: can't be opened to lock it: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(busy) from None
        yield


@contextmanager
def alone(lock_file: Path) -> Iterator[None]:
    """Hold the right to change the whitelist in bulk. Raises BusyError, StoreError."""
    with locked(lock_file, f"another sync is running (it holds {lock_file}): wait for it to end"):
        yield
