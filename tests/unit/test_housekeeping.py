"""What is too old goes, behind the taps; by a clock that is not set nothing does."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from agent.errors import StoreError
from agent.runtime.clock import Clock
from agent.runtime.housekeeping import AGAIN_S, AT_ONCE, EVERY_S, FIRST_S, PAUSE_S, Housekeeping
from tests.scenario.virtual_time import played

NOON = datetime(2026, 12, 24, 12, tzinfo=UTC)
KEEP = timedelta(days=400)


@dataclass
class Kept:
    """A disk with moods, and so many records that are too old."""

    old: int = 0
    refuses: bool = False
    asked: list[tuple[float, datetime]] = field(default_factory=list)
    settled: int = 0

    async def prune(self, before: datetime, most: int) -> int:
        self._try()
        self.asked.append((asyncio.get_running_loop().time(), before))
        gone = min(self.old, most)
        self.old -= gone
        return gone

    async def settle_open_check(self) -> None:
        self._try()
        self.settled += 1

    def _try(self) -> None:
        if self.refuses:
            raise StoreError("state.db: disk full: free some space")


class House:
    """The service at work on what is kept."""

    def __init__(self, kept: Kept, *, keep: timedelta | None = KEEP, now: datetime = NOON) -> None:
        loop = asyncio.get_running_loop()
        self._began, self.now = loop.time(), now
        clock = Clock(lambda: self.now, loop.time, "boot")
        self._work = loop.create_task(Housekeeping(kept, kept, keep=keep, clock=clock).run())

    async def stop(self) -> None:
        self._work.cancel()
        with suppress(asyncio.CancelledError):
            await self._work


@played
async def test_start_is_left_alone_for_a_minute() -> None:
    kept = Kept(old=1)
    house = House(kept)
    await asyncio.sleep(FIRST_S - 1)
    assert (kept.asked, kept.settled) == ([], 0)
    await asyncio.sleep(2)
    assert (kept.old, kept.settled) == (0, 1)
    await house.stop()


@played
async def test_what_is_older_than_it_is_kept_goes_a_little_at_a_time() -> None:
    kept = Kept(old=3 * AT_ONCE + 1)
    house = House(kept)
    await asyncio.sleep(FIRST_S + 10 * PAUSE_S)
    assert kept.old == 0
    moments = [moment for moment, _ in kept.asked]
    assert [later - one for one, later in pairwise(moments)] == [PAUSE_S] * 4
    assert {before for _, before in kept.asked} == {NOON - KEEP}
    await house.stop()


@played
async def test_it_is_done_again_every_day() -> None:
    kept = Kept()
    house = House(kept)
    await asyncio.sleep(FIRST_S + 1)
    kept.old, house.now = 5, NOON + timedelta(days=1)
    await asyncio.sleep(EVERY_S)
    assert (kept.old, kept.settled) == (0, 2)
    assert kept.asked[-1][1] == NOON + timedelta(days=1) - KEEP
    await house.stop()


@played
async def test_clock_that_is_not_set_deletes_nothing_until_it_is() -> None:
    kept = Kept(old=5)
    house = House(kept, now=datetime(1970, 1, 1, tzinfo=UTC))
    await asyncio.sleep(EVERY_S)
    assert (kept.old, kept.asked) == (5, [])
    house.now = NOON
    await asyncio.sleep(AGAIN_S)
    assert kept.old == 0
    await house.stop()


@played
async def test_what_is_kept_for_ever_is_never_deleted() -> None:
    kept = Kept(old=5)
    house = House(kept, keep=None)
    await asyncio.sleep(FIRST_S + EVERY_S + 1)
    assert (kept.old, kept.asked, kept.settled) == (5, [], 2)
    await house.stop()


@played
async def test_what_the_disk_refuses_is_tried_again() -> None:
    kept = Kept(old=5, refuses=True)
    house = House(kept)
    await asyncio.sleep(FIRST_S + 1)
    assert kept.old == 5
    kept.refuses = False
    await asyncio.sleep(AGAIN_S)
    assert kept.old == 0
    await house.stop()
