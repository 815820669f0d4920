"""Frames of 125 kHz readers, against streams that were cut, spliced, flipped and chopped.

The oracle looks at the whole stream at once with a regular expression; the parser sees one byte after the other.
"""

import random
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.readers.frames import FrameKind, FrameParser

TAILS = {FrameKind.RDM6300: b"\x03", FrameKind.ID12LA: b"\r\n\x03"}
KINDS = pytest.mark.parametrize("kind", list(FrameKind))
STREAMS = 100_000


def frame(data: bytes, kind: FrameKind, *, error: int = 0) -> bytes:
    checksum = data[0] ^ data[1] ^ data[2] ^ data[3] ^ data[4] ^ error
    return b"\x02" + (data + bytes([checksum])).hex().upper().encode() + TAILS[kind]


def oracle(stream: bytes, kind: FrameKind) -> list[bytes]:
    found = re.findall(b"\x02([0-9A-Fa-f]{12})" + TAILS[kind], stream)
    numbers = [int(digits, 16).to_bytes(6, "big") for digits in found]
    return [n[:5] for n in numbers if n[0] ^ n[1] ^ n[2] ^ n[3] ^ n[4] == n[5]]


def parse(kind: FrameKind, *chunks: bytes) -> list[bytes]:
    parser = FrameParser(kind)
    return [data for chunk in chunks for data in parser.push(chunk)]


CARD = bytes.fromhex("04A1B2FF80")
OTHER = bytes.fromhex("8000FFFE7F")


def test_frame_of_the_id12la_data_sheet_is_read() -> None:
    # ID-2/12/20LA data sheet, Data Formats: data 0C 00 06 21 A5, checksum 8E
    assert parse(FrameKind.ID12LA, b"\x020C000621A58E\r\n\x03") == [bytes.fromhex("0C000621A5")]


def test_frame_of_an_rdm6300_is_read() -> None:
    assert parse(FrameKind.RDM6300, b"\x020C000621A58E\x03") == [bytes.fromhex("0C000621A5")]


@KINDS
def test_lower_case_digits_are_read(kind: FrameKind) -> None:
    assert parse(kind, frame(CARD, kind).lower()) == [CARD]


@KINDS
def test_frame_of_the_other_kind_is_bad(kind: FrameKind) -> None:
    other = next(k for k in FrameKind if k is not kind)
    parser = FrameParser(kind)
    assert parser.push(frame(CARD, other)) == []
    assert (parser.good, parser.bad) == (0, 1)


@KINDS
@pytest.mark.parametrize("error", [1 << bit for bit in range(8)])
def test_wrong_checksum_is_counted_and_dropped(kind: FrameKind, error: int) -> None:
    parser = FrameParser(kind)
    broken = frame(CARD, kind, error=error)
    assert parser.push(broken) == []
    assert (parser.good, parser.bad, parser.discarded_bytes) == (0, 1, len(broken))


@KINDS
def test_good_frame_behind_every_cut_of_another_is_not_lost(kind: FrameKind) -> None:
    whole = frame(CARD, kind)
    for length in range(1, len(whole)):
        parser = FrameParser(kind)
        assert parser.push(whole[:length] + frame(OTHER, kind)) == [OTHER]
        assert (parser.good, parser.bad, parser.discarded_bytes) == (1, 1, length)


@KINDS
def test_frame_behind_garbage_is_read_and_the_garbage_counted(kind: FrameKind) -> None:
    garbage = bytes(byte for byte in range(256) if byte != 2)
    parser = FrameParser(kind)
    assert parser.push(garbage + frame(CARD, kind) + garbage) == [CARD]
    assert (parser.good, parser.bad, parser.discarded_bytes) == (1, 0, 2 * len(garbage))


@KINDS
def test_half_frame_before_a_reset_does_not_join_what_comes_after(kind: FrameKind) -> None:
    whole, parser = frame(CARD, kind), FrameParser(kind)
    parser.push(whole[:7])
    parser.reset()
    assert parser.push(whole[7:]) == []
    assert (parser.good, parser.bad, parser.discarded_bytes) == (0, 1, len(whole))


@KINDS
@pytest.mark.parametrize("flood", [b"\x02", b"A", b"\x02A", b"\x80"])
def test_endless_noise_keeps_less_than_a_frame(kind: FrameKind, flood: bytes) -> None:
    parser = FrameParser(kind)
    parser.push(flood * 20_000)
    assert len(flood) * 20_000 - parser.discarded_bytes < len(frame(CARD, kind))


PIECES = st.one_of(
    st.binary(min_size=5, max_size=5).map(lambda data: frame(data, FrameKind.RDM6300)),
    st.binary(min_size=5, max_size=5).map(lambda data: frame(data, FrameKind.ID12LA)),
    st.binary(max_size=8),
    st.lists(st.sampled_from(b"\x02\x03\r\n0Af\xff"), max_size=20).map(bytes),
)


@KINDS
@given(stream=st.lists(PIECES, max_size=6).map(b"".join), cuts=st.lists(st.integers(0, 120), max_size=12))
def test_stream_in_any_portions_gives_what_the_whole_gives(kind: FrameKind, stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(stream)]
    chunks = [stream[begin:end] for begin, end in pairwise(edges)]
    whole, portions = FrameParser(kind), FrameParser(kind)
    assert [data for chunk in chunks for data in portions.push(chunk)] == whole.push(stream) == oracle(stream, kind)
    assert (portions.good, portions.bad, portions.discarded_bytes) == (whole.good, whole.bad, whole.discarded_bytes)


def cut(whole: bytes, dice: random.Random) -> bytes:
    return whole[: dice.randrange(len(whole))]


def flipped(whole: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(whole))
    return whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :]


def spliced(whole: bytes, dice: random.Random) -> bytes:
    return cut(whole, dice) + flipped(whole, dice)[dice.randrange(len(whole)) :]


def noise(whole: bytes, dice: random.Random) -> bytes:
    return dice.randbytes(dice.randrange(len(whole)))


def untouched(whole: bytes, dice: random.Random) -> bytes:
    return whole


HARM: list[Callable[[bytes, random.Random], bytes]] = [untouched, cut, flipped, spliced, noise]


def random_stream(kind: FrameKind, dice: random.Random) -> bytes:
    wholes = [frame(dice.randbytes(5), kind, error=dice.choice((0, 0, 0, 1))) for _ in range(dice.randint(1, 4))]
    return b"".join(dice.choice(HARM)(whole, dice) for whole in wholes)


@KINDS
def test_harmed_streams_yield_exactly_the_whole_frames_with_a_right_checksum(kind: FrameKind) -> None:
    dice = random.Random(f"frames of {kind}")
    streams = yielded = bad = 0
    for _ in range(STREAMS // len(FrameKind)):
        stream = random_stream(kind, dice)
        middle = dice.randint(0, len(stream))
        parser = FrameParser(kind)
        found = parser.push(stream[:middle]) + parser.push(stream[middle:])
        assert found == oracle(stream, kind), stream.hex()
        assert 0 <= len(stream) - parser.discarded_bytes - parser.good * len(frame(CARD, kind)) < len(frame(CARD, kind))
        streams, yielded, bad = streams + 1, yielded + len(found), bad + parser.bad
    print(f"{streams} streams of {kind}: {yielded} good frames, {bad} bad ones")  # shown by pytest -s
    assert streams * len(FrameKind) == STREAMS
    assert yielded > streams // 4
    assert bad > streams // 4
