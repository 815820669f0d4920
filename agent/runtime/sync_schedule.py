"""When tokens are synced: every peer at start and then now and again, never two at once."""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

from agent.errors import AgentError, BusyError
from agent.runtime.token_sync import SyncPausedError, SyncReport

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Syncing(Protocol):
    """One peer's sync, as the schedule sees it."""

    @property
    def peer(self) -> str:
        """The peer's name."""
        ...

    async def run_once(self) -> SyncReport:
        """Bring the whitelist up to date."""
        ...


@dataclass(slots=True, eq=False)
class _Turn:
    sync: Syncing
    due: float = -math.inf
    failures: int = 0


class SyncSchedule:
    """Syncs every peer at start and then now and again, never two at once. None can keep the others from their turns.

    OCPI 2.2.1 transport_and_format, Pull and Push: hours, not minutes, and randomised, so that a fleet that came
    back from a power cut together does not call together for ever.
    """

    def __init__(
        self,
        *,
        every: timedelta,
        retry_first: timedelta = timedelta(minutes=1),
        spread: Callable[[], float] = random.random,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`spread` gives 0 to 1; `clock` counts seconds, the running loop's unless given."""
        self._turns: dict[str, _Turn] = {}
        self._changed = asyncio.Event()
        self._taking: tuple[_Turn, asyncio.Task[SyncReport]] | None = None
        self._every_s = every.total_seconds()
        self._retry_first_s = retry_first.total_seconds()
        self._spread = spread
        self._clock = clock
        self._sleep = sleep

    def use(self, every: timedelta) -> None:
        """Sync so often from now on; who would have to wait longer than that has an earlier turn."""
        self._every_s = every.total_seconds()
        for turn in self._turns.values():
            turn.due = min(turn.due, self._now() + self._interval_s())
        self._changed.set()

    def add(self, sync: Syncing) -> None:
        """Sync with one more peer, from now on; in place of what was there of the same name."""
        self._turns[sync.peer] = _Turn(sync)
        self._changed.set()

    async def remove(self, peer: str) -> None:
        """Sync with it no more; what is under way is given up first, its pages stored so far stay."""
        turn = self._turns.pop(peer, None)
        if self._taking is not None and self._taking[0] is turn:
            _, task = self._taking
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def run(self) -> None:
        """Until cancelled. A sync that fails is tried again, ever more rarely."""
        clock = self._now
        while True:
            self._changed.clear()
            turn = min(self._turns.values(), key=lambda turn: turn.due, default=None)
            if turn is None:
                await self._changed.wait()
            elif (wait_s := turn.due - clock()) > 0:
                await self._pause(wait_s)
            else:
                turn.due = await self._take(turn) + clock()

    def _interval_s(self) -> float:
        return self._every_s * (0.8 + 0.4 * self._spread())

    def _now(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()

    async def _pause(self, wait_s: float) -> None:
        """Until the next turn is due, or there is a peer that has had none."""
        waits = [asyncio.create_task(wait) for wait in (_awaited(self._sleep(wait_s)), _awaited(self._changed.wait()))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _report(self, turn: _Turn) -> SyncReport | None:
        """What came of one synchronisation; None of one that `remove` gave up."""
        task = asyncio.ensure_future(_awaited(turn.sync.run_once()))
        self._taking = turn, task
        try:
            await asyncio.wait({task})
            return None if task.cancelled() else task.result()
        finally:
            self._taking = None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _take(self, turn: _Turn) -> float:
        """Sync one peer. Returns the seconds until its next turn."""
        try:
            report = await self._report(turn)
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
        if report is None:
            return self._retry_first_s
        log.info(
            "peer %s: %s sync of tokens complete: %d taken in, %d skipped, %d withdrawn, %d missed once, on %d pages",
            *(report.peer, report.kind, report.tokens, report.skipped, report.withdrawn, report.missed, report.pages),
        )
        return self._interval_s()

    def _after_failure_s(self, turn: _Turn) -> float:
        turn.failures += 1
        longest = min(self._retry_first_s * 2.0 ** min(turn.failures - 1, 30), self._every_s)
        return longest * (0.5 + 0.5 * self._spread())


async def _awaited(awaitable: Awaitable[_T]) -> _T:
    """A coroutine of it, for a task."""
    return await awaitable
