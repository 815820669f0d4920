"""One at a time changes the whitelist in bulk, over all processes."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import BusyError, StoreError


@contextmanager
def alone(lock_file: Path) -> Iterator[None]:
    """Hold the right to sync, which the kernel takes back when the process dies. Raises BusyError, StoreError."""
    try:
        handle = lock_file.open("a")
    except OSError as error:
        raise StoreError(f"{lock_file}: can't be opened to lock it: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another sync is running (it holds {lock_file}): wait for it to end") from None
        yield
