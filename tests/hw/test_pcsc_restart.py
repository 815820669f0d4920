"""`kill -9 pcscd` and restart, again and again: a card held up after each taps within 5 s of the daemon's return."""

import asyncio
import random
import time

import pytest

from agent.ports import ReaderState
from fakes.pcscd import Pcscd
from fakes.vpcd import CardSlot
from hw.readers.pcsc_reader import REOPEN_S, PcscReader
from tests.contract.at_work import ReaderAtWork, reading
from tests.contract.needs import needs
from tests.contract.rigs.pcsc import hex_uid, unavailable

ROUNDS = 10
CAMPAIGN_ROUNDS = 50
DECIDED_S = 5.0
"""What is promised. It takes half a second, of which pcscd's own look for cards, every 0.4 s, is the most."""


def uid_of(number: int) -> str:
    """Another card each time, of each length in turn, with bytes >= 0x80."""
    return ("04", "80FF", "04FFA1FFB28000")[number % 3] + f"A1{number:02X}" + ("FFB2E4C3", "", "F0")[number % 3]


async def a_round(work: ReaderAtWork, daemon: Pcscd, slot: CardSlot, number: int) -> float:
    """Kill, start, hold up a card; the seconds from the daemon's return to the tap."""
    daemon.kill()
    slot.remove()  # what lay there is gone before it returns
    await asyncio.to_thread(daemon.start)
    returned_at = time.monotonic()
    slot.present(uid_of(number))
    await work.tapped(number + 1)
    return work.taps[-1].at - returned_at


async def restarts(rounds: int, reopen_s: float) -> list[float]:
    """The seconds that each round took."""
    if (reason := unavailable()) is not None:
        needs(reason)
    with Pcscd() as daemon, CardSlot() as slot:
        reader = PcscReader("front", to_uid=hex_uid, reopen_s=reopen_s)
        async with reading(reader) as work:
            await work.is_now(ReaderState.MISSING)
            took = [await a_round(work, daemon, slot, number) for number in range(rounds)]
            assert work.uids == [uid_of(number) for number in range(rounds)]
            assert work.states[-1][0] is ReaderState.READY
            assert reader.bad_frames == 0
    print(f"\n{rounds} kills of pcscd: a tap {min(took):.2f} to {max(took):.2f} s after its return")
    return took


async def test_pcscd_killed_again_and_again_a_card_taps_soon_after_each_return() -> None:
    assert max(await restarts(ROUNDS, reopen_s=0.1)) <= DECIDED_S


@pytest.mark.campaign
async def test_campaign_pcscd_killed_50_times_as_configured_by_default() -> None:
    assert max(await restarts(CAMPAIGN_ROUNDS, REOPEN_S)) <= DECIDED_S


@pytest.mark.campaign
async def test_campaign_pcscd_killed_at_any_moment_of_an_exchange_reads_no_wrong_uid() -> None:
    if (reason := unavailable()) is not None:
        needs(reason)
    chance = random.Random(5)
    with Pcscd() as daemon, CardSlot() as slot:
        async with reading(PcscReader("front", to_uid=hex_uid, reopen_s=0.05)) as work:
            for number in range(CAMPAIGN_ROUNDS):
                await asyncio.to_thread(daemon.start)
                slot.present(uid_of(number))
                await asyncio.sleep(chance.uniform(0.0, 0.5))  # the moment is what is varied
                daemon.kill()
                slot.remove()
            await asyncio.to_thread(daemon.start)
            slot.present(uid_of(CAMPAIGN_ROUNDS))
            await work.until(lambda: work.uids[-1:] == [uid_of(CAMPAIGN_ROUNDS)])
            given = [uid_of(number) for number in range(CAMPAIGN_ROUNDS + 1)]
            assert [uid for uid in given if uid in work.uids] == work.uids
