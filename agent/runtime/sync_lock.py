"""Locks between processes. The kernel takes one back when its process dies, however that comes about."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import BusyError, StoreError


@contextmanager
def locked(file: Path, busy: str) -> Iterator[None]:
    """Hold `file`. Raises BusyError with the words `busy` when somebody else does, StoreError."""
    try:
        # To lock it, it need not be written: it may be somebody else's, made by a command that root gave.
        descriptor = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{file}: can't be opened to lock it: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(busy) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(lock_file: Path) -> Iterator[None]:
    """Hold the right to change the whitelist in bulk. Raises BusyError, StoreError."""
    with locked(lock_file, f"another sync is running (it holds {lock_file}): wait for it to end"):
        yield
