"""A damaged whitelist is set aside once and filled again by every peer, however long one of them is away."""

import asyncio

import pytest

from agent.errors import CorruptError, PeerError, StoreError
from agent.runtime.sync_schedule import Syncing
from agent.runtime.token_sync import SyncReport
from agent.runtime.whitelist_repair import WhitelistRepair
from agent.store.whitelist import SyncKind

DAMAGE = CorruptError("whitelist.db: malformed")


class File:
    """Counts how often it was set aside."""

    def __init__(self) -> None:
        self.rebuilt = 0

    async def rebuild(self) -> None:
        self.rebuilt += 1


class Sync:
    """One peer's: raises what it is told to, in turn, then succeeds."""

    def __init__(self, peer: str, *raises: Exception) -> None:
        self.peer = peer
        self.raises = list(raises)
        self.done = asyncio.Event()

    async def run_once(self) -> SyncReport:
        if self.raises:
            raise self.raises.pop(0)
        self.done.set()
        return SyncReport(self.peer, SyncKind.FULL, 1, 1, 0, 0, resumed=False)


def repair_of(file: File, *syncs: Syncing) -> WhitelistRepair:
    return WhitelistRepair(file, lambda: syncs, sleep=lambda _seconds: asyncio.sleep(0))


async def test_every_peer_fills_the_new_file_though_one_is_away_at_first() -> None:
    file, away, there = File(), Sync("away", PeerError("down"), PeerError("down")), Sync("there")
    repair = repair_of(file, away, there)
    repair.on_fault(DAMAGE)
    async with asyncio.timeout(10):
        await away.done.wait()
        await there.done.wait()
    assert file.rebuilt == 1
    await repair.stop()


async def test_second_finder_of_the_damage_joins_the_repair() -> None:
    file, sync = File(), Sync("acme")
    repair = repair_of(file, sync)
    repair.on_fault(DAMAGE)
    repair.on_fault(DAMAGE)
    async with asyncio.timeout(10):
        await sync.done.wait()
    assert file.rebuilt == 1
    await repair.stop()


async def test_synchronisation_that_meets_the_damage_begins_the_repair() -> None:
    file, sync = File(), Sync("acme", DAMAGE)
    repair = repair_of(file, sync)
    watched = repair.watched(sync)
    with pytest.raises(CorruptError):
        await watched.run_once()
    async with asyncio.timeout(10):
        await sync.done.wait()
    assert file.rebuilt == 1
    await repair.stop()


async def test_fault_that_a_new_file_would_not_mend_begins_nothing() -> None:
    file, sync = File(), Sync("acme")
    repair = repair_of(file, sync)
    repair.on_fault(StoreError("whitelist.db: permission denied"))
    await asyncio.sleep(0)
    assert file.rebuilt == 0
    assert not sync.done.is_set()


async def test_peer_that_leaves_during_the_repair_is_pulled_from_no_more() -> None:
    file, there, away = File(), Sync("there"), Sync("away", *(PeerError("down") for _ in range(1000)))
    peers: list[Syncing] = [away, there]
    asked = asyncio.Event()

    async def a_round(_seconds: float) -> None:
        peers.remove(away)
        asked.set()

    repair = WhitelistRepair(file, lambda: peers, sleep=a_round)
    repair.on_fault(DAMAGE)
    async with asyncio.timeout(10):
        await asked.wait()
        await there.done.wait()
    await asyncio.sleep(0)
    assert len(away.raises) == 999
    await repair.stop()


async def test_peer_that_joins_during_the_repair_fills_the_new_file_as_well() -> None:
    file, away, late = File(), Sync("away", PeerError("down")), Sync("late")
    peers: list[Syncing] = [away]

    async def a_round(_seconds: float) -> None:
        peers.append(late)

    repair = WhitelistRepair(file, lambda: peers, sleep=a_round)
    repair.on_fault(DAMAGE)
    async with asyncio.timeout(10):
        await late.done.wait()
    await repair.stop()


async def test_file_that_is_damaged_again_during_the_repair_is_rebuilt_again_after_a_pause() -> None:
    file, sync = File(), Sync("acme", PeerError("down"))
    pauses: list[float] = []
    paused = asyncio.Event()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        paused.set()
        if len(pauses) == 1:
            await asyncio.Event().wait()  # between two rounds, when the damage is met again

    repair = WhitelistRepair(file, lambda: [sync], sleep=pause)
    repair.on_fault(DAMAGE)
    async with asyncio.timeout(10):
        await paused.wait()
        repair.on_fault(DAMAGE)
        await sync.done.wait()
    assert file.rebuilt == 2
    assert pauses == [60.0, 60.0]
    await repair.stop()
