"""What the bytes of a card come to, whichever end of them its reader sends first."""

import random

import pytest

from agent.core.uid import UidFormat
from agent.model import Tap
from hw.readers.taps import Taps

AN_HOUR = 3600.0


def tap_of(card: str, *, sends_reversed: bool, to_uid: UidFormat | None = None) -> Tap | None:
    """The tap that a card comes to at a reader that sends it so, with the setting that belongs to it."""
    sent = bytes.fromhex(card)[::-1] if sends_reversed else bytes.fromhex(card)
    name = (to_uid or UidFormat()).to_uid
    taps = Taps("front", name, AN_HOUR, 0.0, flag_random=True, sends_reversed=sends_reversed)
    return taps.tap(sent, 1.0, 1.0)


BOTH_WAYS = pytest.mark.parametrize("sends_reversed", [False, True])


@BOTH_WAYS
def test_phone_is_known_whichever_end_its_reader_sends_first(*, sends_reversed: bool) -> None:
    tap = tap_of("08A1B2C3", sends_reversed=sends_reversed)
    assert tap is not None
    assert (tap.uid, tap.raw, tap.is_random) == ("08A1B2C3", bytes.fromhex("08A1B2C3"), True)


@BOTH_WAYS
@pytest.mark.parametrize("card", ["04A1B208", "04A1B288", "C3000008"])
def test_card_that_only_ends_like_a_phone_or_a_cut_one_is_a_card(card: str, *, sends_reversed: bool) -> None:
    tap = tap_of(card, sends_reversed=sends_reversed)
    assert tap is not None
    assert (tap.uid, tap.is_random) == (card, False)


@BOTH_WAYS
def test_cut_uid_is_no_tap_whichever_end_its_reader_sends_first(*, sends_reversed: bool) -> None:
    assert tap_of("8804A1B2", sends_reversed=sends_reversed) is None


def test_list_that_holds_the_uid_turned_round_is_for_the_uid_settings_alone() -> None:
    tap = tap_of("08A1B2C3", sends_reversed=False, to_uid=UidFormat(reverse=True))
    assert tap is not None
    assert (tap.uid, tap.is_random) == ("C3B2A108", True)


def test_phone_held_to_a_reader_that_sends_the_last_byte_first_is_one_tap() -> None:
    chance = random.Random(9)
    taps = Taps("front", UidFormat().to_uid, AN_HOUR, 0.0, flag_random=True, sends_reversed=True)
    found = [taps.tap(chance.randbytes(3) + b"\x08", at / 2, at / 2) for at in range(20)]
    assert sum(tap is not None for tap in found) == 1
