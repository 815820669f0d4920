"""Sets a damaged whitelist aside and pulls it again: it can be had again, a driver's patience can't."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from agent.errors import AgentError, CorruptError, StoreError
from agent.runtime.sync_schedule import Syncing
from agent.runtime.token_sync import SyncReport

log = logging.getLogger(__name__)


class Rebuildable(Protocol):
    """What a repair needs of the whitelist."""

    async def rebuild(self) -> None:
        """Set the file aside and begin with an empty one. Raises StoreError."""
        ...


RETRY_S = 60.0
"""How soon a peer that could not be pulled from is tried again: without its tokens, its drivers are unknown here."""


class WhitelistRepair:
    """Whoever finds the damage first, a tap or a sync, begins the repair; it ends when all peers are back."""

    def __init__(
        self,
        whitelist: Rebuildable,
        syncs: Callable[[], Iterable[Syncing]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`syncs`, of whoever is a peer then, fill the new file, one after another."""
        self._whitelist = whitelist
        self._syncs = syncs
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._rebuilding = False
        self._again = False

    def on_fault(self, error: StoreError) -> None:
        """Begin, once, for a damaged file; what else can be wrong with a file, a new one would not mend."""
        if not isinstance(error, CorruptError) or self._rebuilding:
            return
        log.error("the whitelist is damaged, it is set aside and pulled again: %s", error)
        if self._task is not None and not self._task.done():
            self._task.cancel()  # it pulls into a file that is damaged again
            self._again = True
        self._rebuilding = True
        self._task = asyncio.get_running_loop().create_task(self._rebuild())

    def watched(self, sync: Syncing) -> Syncing:
        """The same synchronisation, which begins the repair where it meets the damage."""
        return _WatchedSync(sync, self.on_fault)

    async def stop(self) -> None:
        """Give up; the next start sees to the rest."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _rebuild(self) -> None:
        try:
            if self._again:  # a disk that spoils every file would keep us at it all the time
                await self._sleep(RETRY_S)
            await self._whitelist.rebuild()
        except StoreError as error:
            log.error("the damaged whitelist can't be set aside: %s", error)
            return
        finally:
            self._rebuilding = False
        done: set[Syncing] = set()
        # Whoever is a peer in each round: the tokens of one that has left must not come back.
        while missing := [sync for sync in self._syncs() if sync not in done]:
            done |= {sync for sync in missing if await _pulled(sync)}
            if done.issuperset(self._syncs()):
                break
            await self._sleep(RETRY_S)
        self._again = False


async def _pulled(sync: Syncing) -> bool:
    try:
        await sync.run_once()
    except AgentError as error:
        log.error("peer %s: its tokens are missing until it can be pulled from: %s", sync.peer, error)
        return False
    return True


class _WatchedSync:
    def __init__(self, sync: Syncing, on_fault: Callable[[StoreError], None]) -> None:
        self._sync = sync
        self._on_fault = on_fault

    @property
    def peer(self) -> str:
        return self._sync.peer

    async def run_once(self) -> SyncReport:
        try:
            return await self._sync.run_once()
        except CorruptError as error:
            self._on_fault(error)
            raise
