"""Every reader's behaviours (`agent.ports.Reader`), over every driver; `test_reader.py` has what serial lines add.

A card of its own ends a test as a fence: when its tap is there, everything before it has been read.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.model import Tap
from agent.ports import ReaderState
from tests.contract.at_work import ReaderAtWork, held_open, reading
from tests.contract.behaviours import Reads
from tests.contract.rigs.kinds import ReaderRig
from tests.contract.suite import over

RANDOM = "08A1B2C3"
"""ISO 14443-3: a 4-byte uid that begins with 08 is made up anew each time."""

REPEATS = 5


@asynccontextmanager
async def at_work(rig: ReaderRig) -> AsyncIterator[ReaderAtWork]:
    """Its reader, ready to read."""
    async with reading(rig.reader) as work:
        await work.is_now(ReaderState.READY)
        yield work


async def fence(rig: ReaderRig, work: ReaderAtWork, card: str) -> None:
    """Hold a card that was not there before; once it has tapped, whatever came before it has been read."""
    before = len(work.taps)
    await rig.hold(card)
    await work.until(lambda: len(work.taps) > before and work.uids[-1] == card)
    await rig.take_away(card)


def cards_with_every_byte(length: int) -> list[str]:
    """Cards of this many bytes that have all 256 values between them; their first byte is a maker's (ISO 7816-6)."""
    step = length - 1
    chunks = [bytes((start + offset) % 256 for offset in range(step)) for start in range(0, 256, step)]
    return [f"04{chunk.hex()}".upper() for chunk in chunks]


@over(Reads.ONE_TAP)
async def test_a_card_is_one_tap_with_its_uid(rig: ReaderRig) -> None:
    card, other, *_ = rig.cards
    async with at_work(rig) as work:
        await rig.hold(card)
        await work.tapped(1)
        await rig.take_away(card)
        await fence(rig, work, other)
        assert work.uids == [card, other]


@over(Reads.EVERY_BYTE)
async def test_every_byte_value_of_a_uid_survives(rig: ReaderRig) -> None:
    cards = cards_with_every_byte(max(len(card) for card in rig.cards) // 2)
    async with at_work(rig) as work:
        for card in cards:
            await fence(rig, work, card)
        assert work.uids == cards


@over(Reads.EVERY_LENGTH)
async def test_every_uid_length_that_it_knows_is_read(rig: ReaderRig) -> None:
    async with at_work(rig) as work:
        for card in rig.cards:
            await fence(rig, work, card)
        assert work.uids == list(rig.cards)


@over(Reads.HELD)
async def test_a_held_card_is_one_tap(rig: ReaderRig) -> None:
    card, other, *_ = rig.cards
    async with at_work(rig) as work:
        for _ in range(REPEATS):
            await rig.hold(card)
            await work.tapped(1)
        await rig.take_away(card)
        await fence(rig, work, other)
        assert work.uids == [card, other]


@over(Reads.BESIDE)
async def test_a_second_card_beside_it_is_a_tap(rig: ReaderRig) -> None:
    card, beside, *_ = rig.cards
    async with at_work(rig) as work:
        await rig.hold(card)
        await work.tapped(1)
        await rig.hold(beside)
        await work.tapped(2)
        assert work.uids == [card, beside]


@over(Reads.AGAIN)
async def test_a_card_taken_away_and_held_again_is_a_second_tap(rig: ReaderRig) -> None:
    card, *_ = rig.cards
    async with at_work(rig) as work:
        for taps in (1, 2, 3):
            await rig.hold(card)
            await work.tapped(taps)
            await rig.take_away(card)
        assert work.uids == [card] * 3


@over(Reads.RANDOM)
async def test_a_random_uid_is_marked(rig: ReaderRig) -> None:
    card, *_ = rig.cards
    async with at_work(rig) as work:
        await fence(rig, work, RANDOM)
        await fence(rig, work, card)
        assert [(tap.uid, tap.is_random) for tap in work.taps] == [(RANDOM, True), (card, False)]


@over(Reads.BAD_FRAME)
async def test_a_bad_frame_is_counted_and_no_tap(rig: ReaderRig) -> None:
    card, *_ = rig.cards
    async with at_work(rig) as work:
        await fence(rig, work, card)
        before = rig.reader.bad_frames
        await rig.spoil()
        await fence(rig, work, card)
        assert work.uids == [card, card]
        assert rig.reader.bad_frames == before + 1


@over(Reads.CARRIES)
async def test_a_tap_carries_reader_raw_bytes_and_a_time_that_is_now(rig: ReaderRig) -> None:
    card, *_ = rig.cards
    async with at_work(rig) as work:
        before = asyncio.get_running_loop().time()
        await rig.hold(card)
        await work.tapped(1)
        tap: Tap = work.taps[0]
        assert before <= tap.at <= asyncio.get_running_loop().time()
        assert tap.reader == rig.reader.name
        assert tap.raw != b""


@over(Reads.MISSING)
async def test_missing_at_start_is_said_once_with_what_to_do(rig: ReaderRig) -> None:
    await rig.unplug()
    async with reading(rig.reader) as work:
        advice = await work.is_now(ReaderState.MISSING)
        assert len(advice.split()) >= 5
        await rig.plug()
        await work.is_now(ReaderState.READY)
        assert [state for state, _ in work.states] == [ReaderState.MISSING, ReaderState.READY]
        assert work.taps == []


@over(Reads.COMES_BACK)
async def test_a_reader_that_comes_back_reads_by_itself(rig: ReaderRig) -> None:
    async with at_work(rig) as work:
        for card in rig.cards[:3]:
            await rig.unplug()
            await work.is_now(ReaderState.MISSING)
            await rig.plug()
            await work.is_now(ReaderState.READY)
            await fence(rig, work, card)
        assert work.uids == list(rig.cards[:3])
        assert [state for state, _ in work.states] == [
            ReaderState.READY,
            *[ReaderState.MISSING, ReaderState.READY] * len(work.uids),
        ]


@over(Reads.UNPLUGGED)
async def test_a_reader_unplugged_with_a_card_on_it_taps_nothing_out_of_nothing(rig: ReaderRig) -> None:
    card, other, *_ = rig.cards
    async with at_work(rig) as work:
        await rig.hold(card)
        await work.tapped(1)
        await rig.unplug()
        await work.is_now(ReaderState.MISSING)
        await rig.plug()
        await work.is_now(ReaderState.READY)
        await rig.take_away(card)
        await fence(rig, work, other)
        assert work.uids == [card, other]


@over(Reads.CANCELLED)
async def test_a_cancelled_reader_has_given_its_device_back(rig: ReaderRig) -> None:
    before = held_open()
    for card in rig.cards[:3]:  # another each time: PC/SC takes one that is back within seconds for the same tap
        async with at_work(rig) as work:
            await fence(rig, work, card)
        assert held_open() <= before


@over(Reads.LISTENER_FAILS)
async def test_an_error_of_who_gets_the_taps_ends_the_reader(rig: ReaderRig) -> None:
    card, *_ = rig.cards
    work = ReaderAtWork(rig.reader, fail_with=LookupError("the tap loop is broken"))
    await work.is_now(ReaderState.READY)
    await rig.hold(card)
    with pytest.raises(LookupError, match="the tap loop is broken"):
        await work.ended()
    await rig.take_away(card)
    async with at_work(rig):
        assert work.taps == []
