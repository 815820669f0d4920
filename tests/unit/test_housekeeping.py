"""What is too old goes, behind the taps; by a clock that is not set nothing does."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from agent.errors import StoreError
from agent.runtime.clock import Clock
from agent.runtime.housekeeping import AGAIN_S, AT_ONCE, EVERY_S, FIRST_S, PAUSE_S, STEADY_S, Housekeeping
from tests.scenario.virtual_time import played

NOON = datetime(2026, 12, 24, 12, tzinfo=UTC)
KEEP = timedelta(days=400)
PRUNED_S = FIRST_S + STEADY_S
"""After a start with a clock that is set."""


@dataclass
class Kept:
    """A disk with moods, and so many records that are too old."""

    old: int = 0
    reaches: datetime | None = datetime(2099, 1, 1, tzinfo=UTC)
    """Of when the latest cards are."""
    refuses: bool = False
    asked: list[tuple[float, datetime]] = field(default_factory=list)
    settled: int = 0

    async def reached(self) -> datetime | None:
        self._try()
        return self.reaches

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
        self._boot = now - timedelta(seconds=loop.time())
        clock = Clock(lambda: self.now, loop.time, "boot")
        self._work = loop.create_task(Housekeeping(kept, kept, keep=keep, clock=clock).run())

    @property
    def now(self) -> datetime:
        """What the wall clock shows."""
        return self._boot + timedelta(seconds=asyncio.get_running_loop().time())

    def is_put(self, by: timedelta) -> None:
        """The wall clock is put right, or wrong."""
        self._boot += by

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
    assert kept.settled == 1
    await house.stop()


@played
async def test_what_is_older_than_it_is_kept_goes_a_little_at_a_time() -> None:
    kept = Kept(old=3 * AT_ONCE + 1)
    house = House(kept)
    await asyncio.sleep(PRUNED_S + 10 * PAUSE_S)
    assert kept.old == 0
    moments = [moment for moment, _ in kept.asked]
    assert [later - one for one, later in pairwise(moments)] == [PAUSE_S] * 4
    assert {before for _, before in kept.asked} == {NOON + timedelta(seconds=PRUNED_S) - KEEP}
    await house.stop()


@played
async def test_it_is_done_again_every_day() -> None:
    kept = Kept()
    house = House(kept)
    await asyncio.sleep(PRUNED_S + 1)
    kept.old, settled = 5, kept.settled
    await asyncio.sleep(EVERY_S)
    assert (kept.old, kept.settled) == (0, settled + 1)
    assert kept.asked[-1][1] == NOON + timedelta(seconds=PRUNED_S + EVERY_S) - KEEP
    await house.stop()


@played
async def test_clock_that_is_not_set_deletes_nothing_until_it_is() -> None:
    kept = Kept(old=5)
    house = House(kept, now=datetime(1970, 1, 1, tzinfo=UTC))
    await asyncio.sleep(EVERY_S)
    assert (kept.old, kept.asked) == (5, [])
    house.is_put(NOON - house.now)
    await asyncio.sleep(STEADY_S + AGAIN_S)
    assert kept.old == 0
    await house.stop()


@played
async def test_clock_that_is_years_ahead_for_a_while_after_a_start_deletes_nothing() -> None:
    kept = Kept(old=5)
    house = House(kept, now=NOON.replace(year=2036))
    await asyncio.sleep(STEADY_S)
    house.is_put(NOON - house.now)
    await asyncio.sleep(STEADY_S)
    assert (kept.old, kept.asked) == (5, [])
    await house.stop()


@played
async def test_clock_that_is_put_wrong_while_the_agent_runs_deletes_nothing() -> None:
    kept = Kept()
    house = House(kept)
    await asyncio.sleep(EVERY_S)
    kept.asked.clear()
    house.is_put(timedelta(days=3650))
    await asyncio.sleep(PRUNED_S + AGAIN_S)
    assert kept.asked == []
    await house.stop()


@played
async def test_clock_that_stays_years_ahead_deletes_nothing_that_the_latest_cards_are_not_past() -> None:
    kept = Kept(reaches=NOON)
    house = House(kept, now=NOON.replace(year=2036))
    await asyncio.sleep(PRUNED_S + 1)
    assert [before for _, before in kept.asked] == [NOON - KEEP]
    await house.stop()


@played
async def test_charger_without_cards_has_nothing_to_delete() -> None:
    kept = Kept(reaches=None)
    house = House(kept)
    await asyncio.sleep(PRUNED_S + 1)
    assert kept.asked == []
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
    await asyncio.sleep(PRUNED_S + 1)
    assert kept.old == 5
    kept.refuses = False
    await asyncio.sleep(STEADY_S)
    await asyncio.sleep(AGAIN_S)
    assert kept.old == 0
    await house.stop()
