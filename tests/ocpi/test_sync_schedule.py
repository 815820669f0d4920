"""When which peer is synced: on a clock that sleeping moves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise

import pytest

from agent.errors import BusyError, PeerError
from agent.runtime.sync_schedule import SyncSchedule
from agent.runtime.token_sync import SyncPausedError, SyncReport
from agent.store.whitelist import SyncKind

HANG_S = 30.0
"""Against hangs alone."""


class World:
    """A clock, and a journal of what was synced when. The turn after `last` never ends."""

    def __init__(self, last: int) -> None:
        self.at = 0.0
        self.turns: list[tuple[str, float]] = []
        self.running = 0
        self.over = asyncio.Event()
        self._last = last

    def clock(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds

    async def note(self, peer: str) -> None:
        self.turns.append((peer, self.at))
        if len(self.turns) >= self._last:
            self.over.set()
            await asyncio.Event().wait()


class Sync:
    """Takes `lasts_s` and fails as often as it has errors."""

    def __init__(self, peer: str, world: World, *, errors: list[Exception] | None = None, lasts_s: float = 0) -> None:
        self.peer = peer
        self._world = world
        self._errors = errors or []
        self._lasts_s = lasts_s

    async def run_once(self) -> SyncReport:
        self._world.running += 1
        assert self._world.running == 1
        await asyncio.sleep(0)
        self._world.running -= 1
        await self._world.note(self.peer)
        self._world.at += self._lasts_s
        if self._errors:
            raise self._errors.pop(0)
        return SyncReport(self.peer, SyncKind.FULL, 1, 2, 3, 4, resumed=False)


async def run(world: World, *syncs: Sync, spread: Callable[[], float] = lambda: 0.5) -> list[tuple[str, float]]:
    schedule = SyncSchedule(every=timedelta(hours=1), spread=spread, clock=world.clock, sleep=world.sleep)
    for sync in syncs:
        schedule.add(sync)
    async with running(schedule), asyncio.timeout(HANG_S):
        await world.over.wait()
    return world.turns


@asynccontextmanager
async def running(schedule: SyncSchedule) -> AsyncIterator[None]:
    task = asyncio.create_task(schedule.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_peer_is_synced_at_start_and_then_now_and_again() -> None:
    world = World(6)
    turns = await run(world, Sync("a", world, lasts_s=10), Sync("b", world))
    assert turns == [("a", 0), ("b", 10), ("a", 3610), ("b", 3620), ("a", 7220), ("b", 7230)]


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 2880), (1.0, 4320)])
async def test_the_interval_is_spread_by_a_fifth(drawn: float, seconds: float) -> None:
    world = World(2)
    assert await run(world, Sync("a", world), spread=lambda: drawn) == [("a", 0), ("a", pytest.approx(seconds))]


async def test_a_failure_is_tried_again_ever_more_rarely_but_no_more_rarely_than_a_success() -> None:
    world = World(10)
    failing = Sync("a", world, errors=[PeerError("down") for _ in range(9)])
    turns = await run(world, failing, spread=lambda: 1.0)
    pauses = [later[1] - earlier[1] for earlier, later in pairwise(turns)]
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


async def test_a_success_forgets_the_failures() -> None:
    world = World(3)
    syncs = Sync("a", world, errors=[PeerError("down")])
    assert await run(world, syncs, spread=lambda: 0.0) == [("a", 0), ("a", 30), ("a", pytest.approx(30 + 2880))]


async def test_a_failure_is_a_warning_and_a_result_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    world = World(3)
    await run(world, Sync("a", world, errors=[PeerError("peer a: it is down")]))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "tokens are not synced, next try in 45 s: peer a: it is down"),
        ("INFO", "peer a: full sync of tokens complete: 2 taken in, 3 skipped, 4 withdrawn, 0 missed once, on 1 pages"),
    ]


async def test_a_sync_by_somebody_else_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    world = World(3)
    turns = await run(world, Sync("a", world, errors=[BusyError("busy"), BusyError("busy")]))
    assert turns == [("a", 0), ("a", 60), ("a", 120)]
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


async def test_a_fault_is_logged_with_its_place_and_tried_again_like_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(3)
    turns = await run(world, Sync("a", world, errors=[ValueError("a port"), ValueError("a port")]))
    assert turns == [("a", 0), ("a", 45), ("a", 135)]
    first = caplog.records[0]
    assert (first.levelname, first.getMessage()) == (
        "ERROR",
        "peer a: tokens are not synced, next try in 45 s: a fault",
    )
    assert first.exc_info is not None
    assert first.exc_info[0] is ValueError


async def test_a_fault_with_one_peer_does_not_keep_the_next_from_its_turn() -> None:
    world = World(3)
    turns = await run(world, Sync("a", world, errors=[ValueError("a port")]), Sync("b", world))
    assert turns == [("a", 0), ("b", 0), ("a", 45)]


async def test_a_run_that_ends_with_its_time_goes_on_when_the_others_had_their_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(6)
    slow = Sync("a", world, errors=[SyncPausedError("time is up") for _ in range(3)], lasts_s=1800)
    turns = await run(world, slow, Sync("b", world))
    assert turns == [("a", 0), ("b", 1800), ("a", 1860), ("a", 3720), ("b", 5520), ("a", 5580)]
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


async def test_peer_that_joins_has_its_turn_at_once() -> None:
    world = World(1)
    schedule = SyncSchedule(every=timedelta(hours=1))
    async with running(schedule), asyncio.timeout(HANG_S):
        await asyncio.sleep(0)  # it runs, and waits for the first peer
        schedule.add(Sync("a", world))
        await world.over.wait()
    assert world.turns == [("a", 0)]


async def test_peer_that_joins_does_not_wait_for_the_turns_of_others() -> None:
    world = World(2)
    asleep = asyncio.Event()

    async def for_ever(_seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    schedule = SyncSchedule(every=timedelta(hours=1), clock=world.clock, sleep=for_ever)
    schedule.add(Sync("a", world))
    async with running(schedule), asyncio.timeout(HANG_S):
        await asleep.wait()
        schedule.add(Sync("b", world))
        await world.over.wait()
    assert world.turns == [("a", 0), ("b", 0)]


async def test_removed_peer_gives_up_what_is_under_way_and_the_others_go_on() -> None:
    stuck, other = World(1), World(1)
    schedule = SyncSchedule(every=timedelta(hours=1))
    schedule.add(Sync("a", stuck))
    schedule.add(Sync("b", other))
    async with running(schedule), asyncio.timeout(HANG_S):
        await stuck.over.wait()
        await schedule.remove("a")
        await other.over.wait()
    assert (stuck.turns, other.turns) == ([("a", 0)], [("b", 0)])


async def test_removing_a_peer_that_is_not_there_changes_nothing() -> None:
    world = World(1)
    schedule = SyncSchedule(every=timedelta(hours=1))
    schedule.add(Sync("a", world))
    await schedule.remove("b")
    async with running(schedule), asyncio.timeout(HANG_S):
        await world.over.wait()
    assert world.turns == [("a", 0)]
