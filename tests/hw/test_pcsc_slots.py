"""What the PC/SC watch says of a reader's states as pcscd reports them, one after the other: no daemon, no thread."""

import asyncio

import pytest

scard = pytest.importorskip("smartcard.scard", reason="pyscard is not installed: make extras builds it")

from agent.ports import ReaderState  # noqa: E402  after the skip
from hw.readers.pcsc_reader import _readers_told  # noqa: E402  after the skip
from hw.readers.pcsc_service import Empty, Event, PcscWatch, Readers, _readers, _Slot  # noqa: E402  after the skip

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


def test_reader_that_pcscd_can_not_reach_does_not_count_as_there() -> None:
    there, away = _Slot("A"), _Slot("B", scard.SCARD_STATE_UNAVAILABLE)
    assert _readers({"A": there, "B": away}, ["A", "B", "C"]) == Readers(("A",), ("A", "B", "C"), ("B",))


@pytest.mark.parametrize("state", [scard.SCARD_STATE_UNAWARE, scard.SCARD_STATE_EMPTY, scard.SCARD_STATE_PRESENT])
def test_reader_of_which_nothing_bad_is_known_counts_as_there(state: int) -> None:
    assert _readers({"A": _Slot("A", state)}, ["A"]) == Readers(("A",), ("A",))


def test_reader_whose_only_antenna_can_not_be_reached_is_missing_with_its_name() -> None:
    state, text = _readers_told("*", (), (READER,), (READER,))
    assert state is ReaderState.MISSING
    assert text.startswith(f"{READER} does not answer pcscd: pull its plug")


def test_reader_with_one_of_two_antennas_that_can_not_be_reached_is_ready_and_names_it() -> None:
    state, text = _readers_told("*", ("A",), ("A", "B"), ("B",))
    assert state is ReaderState.READY
    assert "PC/SC found A: hold a card to it; B does not answer pcscd" in text
