"""Sets a damaged whitelist aside and pulls it again: it can be had again, a driver's patience can't."""

import asyncio
import logging
from collections.abc import Sequence
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


class WhitelistRepair:
    """Whoever finds the damage first, a tap or a synchronisation, begins the repair; the others join it."""

    def __init__(self, whitelist: Rebuildable, syncs: Sequence[Syncing]) -> None:
        """`syncs` fill the new file, one after another."""
        self._whitelist = whitelist
        self._syncs = syncs
        self._task: asyncio.Task[None] | None = None

    def on_fault(self, error: StoreError) -> None:
        """Begin, once, for a damaged file; what else can be wrong with a file, a new one would not mend."""
        if isinstance(error, CorruptError) and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._pull_again())

    def repairing(self) -> list[Syncing]:
        """The same synchronisations, each of which mends the file where it meets the damage."""
        return [_RepairingSync(sync, self._whitelist) for sync in self._syncs]

    async def stop(self) -> None:
        """Give up; the next start sees to the rest."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _pull_again(self) -> None:
        try:
            await self._whitelist.rebuild()
            for sync in self._syncs:
                await sync.run_once()
        except AgentError as error:
            log.error("the whitelist is empty until its synchronisation succeeds: %s", error)


class _RepairingSync:
    def __init__(self, sync: Syncing, whitelist: Rebuildable) -> None:
        self._sync = sync
        self._whitelist = whitelist

    @property
    def peer(self) -> str:
        return self._sync.peer

    async def run_once(self) -> SyncReport:
        try:
            return await self._sync.run_once()
        except CorruptError as error:
            log.error("the whitelist is damaged, it is set aside and pulled again: %s", error)
            await self._whitelist.rebuild()
            return await self._sync.run_once()
