"""When tokens are synced: every peer at start and then now and again, never two at once."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from agent.errors import AgentError, BusyError
from agent.runtime.token_sync import SyncPausedError, SyncReport

log = logging.getLogger(__name__)


class Syncing(Protocol):
    """One peer's sync, as the schedule sees it."""

    @property
    def peer(self) -> str:
        """The peer's name."""
        ...

    async def run_once(self) -> SyncReport:
        """Bring the whitelist up to date."""
        ...


@dataclass(slots=True)
class _Turn:
    sync: Syncing
    due: float
    failures: int = 0


class SyncSchedule:
    """Syncs every peer at start and then now and again, never two at once. None can keep the others from their turns.

    OCPI 2.2.1 transport_and_format, Pull and Push: hours, not minutes, and randomised, so that a fleet that came
    back from a power cut together does not call together for ever.
    """

    def __init__(
        self,
        syncs: Sequence[Syncing],
        *,
        every: timedelta,
        retry_first: timedelta = timedelta(minutes=1),
        spread: Callable[[], float] = random.random,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`spread` gives 0 to 1; `clock` counts seconds, the running loop's unless given."""
        self._syncs = tuple(syncs)
        self._every_s = every.total_seconds()
        self._retry_first_s = retry_first.total_seconds()
        self._spread = spread
        self._clock = clock
        self._sleep = sleep

    async def run(self) -> None:
        """Until cancelled; returns only when there is no peer. A sync that fails is tried again, ever more rarely."""
        clock = self._clock or asyncio.get_running_loop().time
        turns = [_Turn(sync, clock()) for sync in self._syncs]
        while turns:
            turn = min(turns, key=lambda turn: turn.due)
            if (wait_s := turn.due - clock()) > 0:
                await self._sleep(wait_s)
            turn.due = await self._take(turn) + clock()

    async def _take(self, turn: _Turn) -> float:
        """Sync one peer. Returns the seconds until its next turn."""
        try:
            report = await turn.sync.run_once()
        except BusyError as busy:
            log.info("peer %s: tokens are not synced now: %s", turn.sync.peer, busy)
            return self._retry_first_s
        except SyncPausedError as paused:
            turn.failures = 0
            log.info("the next peer has its turn: %s", paused)
            return self._retry_first_s
        except AgentError as error:
            wait_s = self._after_failure_s(turn)
            log.warning("tokens are not synced, next try in %.0f s: %s", wait_s, error)
            return wait_s
        except Exception:
            # Broad, for it supervises: a peer that finds a fault of ours must not stop the others.
            wait_s = self._after_failure_s(turn)
            log.exception("peer %s: tokens are not synced, next try in %.0f s: a fault", turn.sync.peer, wait_s)
            return wait_s
        turn.failures = 0
        log.info(
            "peer %s: %s sync of tokens complete: %d taken in, %d skipped, %d withdrawn, %d missed once, on %d pages",
            *(report.peer, report.kind, report.tokens, report.skipped, report.withdrawn, report.missed, report.pages),
        )
        return self._every_s * (0.8 + 0.4 * self._spread())

    def _after_failure_s(self, turn: _Turn) -> float:
        turn.failures += 1
        longest = min(self._retry_first_s * 2.0 ** min(turn.failures - 1, 30), self._every_s)
        return longest * (0.5 + 0.5 * self._spread())
