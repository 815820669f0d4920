"""Where an agent keeps what it keeps: a folder that one agent at a time works in, and two databases."""

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.config import Config
from agent.errors import BusyError, StoreError
from agent.store.database import open_state
from agent.store.journal import Journal
from agent.store.peers import PeerStore
from agent.store.sessions import SessionStore
from agent.store.whitelist import Whitelist


@dataclass(frozen=True, slots=True)
class Stores:
    """The two databases, open, and nobody else's while they are."""

    whitelist: Whitelist
    journal: Journal
    sessions: SessionStore
    peers: PeerStore
    folder: Path


def storage_folder(config: Config) -> Path:
    """The directory of the databases, made if need be. Raises StoreError."""
    folder = Path(config.storage.directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: can't be made: {error}; see storage.directory in the configuration") from error
    return folder


@asynccontextmanager
async def stores_of(config: Config) -> AsyncIterator[Stores]:
    """Both databases; the caller holds the folder's lock. Raises StoreError."""
    folder = storage_folder(config)
    async with AsyncExitStack() as stack:
        state = await open_state(folder / "state.db")
        stack.push_async_callback(state.close)
        whitelist = await Whitelist.open(folder / "whitelist.db")
        stack.push_async_callback(whitelist.close)
        yield Stores(whitelist, Journal(state), SessionStore(state), PeerStore(state), folder)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, as an agent does while it runs.

    Two agents that switch one relay would each open it under the other's driver. The lock is the directory's own: to
    take it, nothing needs to be written. Raises BusyError when another process holds it, StoreError when it can't be
    had at all.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"{folder}: can't be opened: {error}; the agent's user must be able to read it") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise BusyError(f"{folder}: another agent is running on these databases; stop it first") from None
    except OSError as error:
        os.close(fd)
        raise StoreError(f"{folder}: can't be locked: {error}; use a local disk") from error
    try:
        yield
    finally:
        os.close(fd)
