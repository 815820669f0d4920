"""What the PC/SC watch says of a reader's states as pcscd reports them, one after the other: no daemon, no thread."""

import asyncio

import pytest

scard = pytest.importorskip("smartcard.scard", reason="pyscard is not installed: make extras builds it")

from hw.readers.pcsc_service import Empty, Event, PcscWatch, _Slot  # noqa: E402  after the skip

READER = "A reader 00 00"


async def heard(*states: int) -> list[type[Event]]:
    """The kinds of event that these states of one reader come to."""
    events: list[Event] = []
    watch = PcscWatch("*", 1.0, events.append)
    watch._loop = asyncio.get_running_loop()
    slot = _Slot(READER)
    for state in states:
        watch._note(slot, state)
    await asyncio.sleep(0)
    return [type(event) for event in events]


@pytest.mark.parametrize("away", [scard.SCARD_STATE_UNAVAILABLE, scard.SCARD_STATE_UNKNOWN])
async def test_a_reader_that_was_away_and_comes_back_empty_is_said_to_be_empty(away: int) -> None:
    before = await heard(scard.SCARD_STATE_EMPTY, scard.SCARD_STATE_PRESENT | 1 << 16)
    after = await heard(
        scard.SCARD_STATE_EMPTY, scard.SCARD_STATE_PRESENT | 1 << 16, away, scard.SCARD_STATE_EMPTY | 2 << 16
    )
    assert (before, after) == ([Empty], [Empty, Empty])


async def test_a_reader_that_comes_back_with_its_card_is_not_said_to_be_empty() -> None:
    states = (scard.SCARD_STATE_EMPTY, scard.SCARD_STATE_PRESENT, scard.SCARD_STATE_UNAVAILABLE)
    assert await heard(*states, scard.SCARD_STATE_PRESENT) == [Empty]
