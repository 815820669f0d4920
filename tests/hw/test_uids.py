"""What a raw uid tells: random uids and cut ones, over every first byte and every length."""

import pytest

from hw.readers.uids import is_cut, is_random

LENGTHS = range(13)


def test_every_first_byte_of_four_only_08_is_random() -> None:
    assert [first for first in range(256) if is_random(bytes([first, 0xA1, 0xB2, 0xC3]))] == [0x08]


def test_every_first_byte_of_four_only_88_is_cut() -> None:
    assert [first for first in range(256) if is_cut(bytes([first, 0x04, 0xB2, 0xC3]))] == [0x88]


def test_every_length_beginning_08_only_four_bytes_are_random() -> None:
    assert [length for length in LENGTHS if is_random(b"\x08" * length)] == [4]


def test_every_length_beginning_88_only_four_bytes_are_cut() -> None:
    assert [length for length in LENGTHS if is_cut(b"\x88" * length)] == [4]


@pytest.mark.parametrize("uid", ["A1B2C308", "80A1B2C3", "B2C3A188", "77A1B2C3"])
def test_the_mark_elsewhere_than_first_means_nothing(uid: str) -> None:
    raw = bytes.fromhex(uid)
    assert not is_random(raw)
    assert not is_cut(raw)
