"""Keeps `state.db` from growing for ever: deletes what need not be kept, a little at a time, behind the taps."""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Final, Protocol

from agent.errors import StoreError
from agent.runtime.clock import Clock

log = logging.getLogger(__name__)

FIRST_S: Final = 60.0
"""After a start: then whoever waits for it has been served, and what it found open has been ended or goes on."""
EVERY_S: Final = 86_400.0
"""What is kept for days need not go by the hour."""
AGAIN_S: Final = 600.0
"""How soon it is looked again whether the clock has been set and runs steadily, or the disk is well."""
STEADY_S: Final = 3600.0
"""A clock that started wrong is put right within minutes, where anything can: what goes by it then is gone for good."""
JUMP: Final = timedelta(minutes=1)
"""By this it is no longer the clock that was believed; less is drift."""
AT_ONCE: Final = 20
"""Authorizations that go in one transaction: a tap that comes meanwhile waits for a few milliseconds."""
PAUSE_S: Final = 1.0
"""Between two of them: the disk is the taps'."""


class Prunable(Protocol):
    """What is needed of `agent.store.sessions.SessionStore`."""

    async def reached(self) -> datetime | None:
        """The earliest of the times at which the latest cards were held; None: there were none. Raises StoreError."""
        ...

    async def prune(self, before: datetime, most: int) -> int:
        """Delete at most so many authorizations that were over before; returns how many. Raises StoreError."""
        ...


class OpenCheck(Protocol):
    """What is needed of `agent.store.journal.Journal`."""

    async def settle_open_check(self) -> None:
        """Remember up to which authorization all have their end. Raises StoreError."""
        ...


class Housekeeping:
    """Tidies up a minute after the start, and daily."""

    def __init__(self, sessions: Prunable, journal: OpenCheck, *, keep: timedelta | None, clock: Clock) -> None:
        """`keep`: how long records are kept; None for ever."""
        self._sessions = sessions
        self._journal = journal
        self._keep = keep
        self._clock = clock
        self._started: datetime | None = None
        """When this boot began by the wall clock: it stays where it was while both clocks agree."""
        self._steady_from = 0.0

    async def run(self) -> None:
        """Until cancelled. What the disk refuses is tried again.

        By a clock that is not set nothing is deleted, nor by one that was put right within the last `STEADY_S`.
        """
        wait_s = FIRST_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = EVERY_S if await self.tidy() else AGAIN_S

    async def tidy(self) -> bool:
        """Do it now; whether it is done for today. What is deleted goes in steps, with a pause after each."""
        try:
            await self._journal.settle_open_check()
            return self._keep is None or await self._is_pruned(self._keep)
        except StoreError as error:
            log.warning("what is too old can't be deleted now, it is tried again: %s", error)
            return False

    async def _is_pruned(self, keep: timedelta) -> bool:
        if not self._is_steady():
            return False
        reached = await self._sessions.reached()
        if reached is None:
            return True
        # A clock may be steady and ahead by years: then the cards have not come so far yet.
        before, deleted = min(self._clock.now(), reached) - keep, 0
        # To the last: fewer than asked for may be what a peer still had to be told a moment ago.
        while gone := await self._sessions.prune(before, AT_ONCE):
            deleted += gone
            await asyncio.sleep(PAUSE_S)
        if deleted:
            log.info("deleted %d authorization(s) of before %s, as storage.keep_days has it", deleted, before.date())
        return True

    def _is_steady(self) -> bool:
        if not self._clock.is_known:
            self._started = None
            return False
        now, started = self._clock.monotonic(), self._clock.at(0.0)
        if self._started is None or abs(started - self._started) > JUMP:
            self._steady_from = now
        self._started = started
        return now - self._steady_from >= STEADY_S
