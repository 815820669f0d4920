"""Lines that readers write: what of a stream is a whole card, and which patterns may be let loose on it."""

import random
import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.readers.line_frames import FRESH_S, LineFormat, LineParser, decimal_bytes, hex_bytes
from hw.readers.line_pattern import MAX_LINE, checked_pattern

CARD = bytes.fromhex("04A1B2FF80")
NOISE = 1_000_000


def parser(pattern: str = "[0-9A-F]{10}") -> LineParser:
    """A parser at the beginning of a line."""
    fresh = LineParser(LineFormat(pattern, "hex"))
    fresh.pause()
    return fresh


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\n\r", b"\x03", b"\r\n\x03", b"\x03\r\n"])
@pytest.mark.parametrize("begin", [b"", b"\x02"])
def test_line_between_any_ends_is_one_card(begin: bytes, end: bytes) -> None:
    lines = parser()
    assert lines.push((begin + b"04A1B2FF80" + end) * 2) == [CARD, CARD]
    assert lines.bad == 0


@pytest.mark.parametrize(
    ("pattern", "line", "card"),
    [
        ("[0-9A-F]{10}", "04A1B2FF80", CARD),
        ("UID: ([0-9A-F]{10})", "UID: 04A1B2FF80", CARD),
        (r"(\d+),(?P<uid>[0-9A-F]+)", "17,04A1B2FF80", CARD),
        (r".*", "04:A1:B2:FF:80", CARD),
        (r".*", "04 a1 b2 ff 80", CARD),
        ("[0-9A-F]{10}", " 04A1B2FF80", None),
        ("[0-9A-F]{10}", "04A1B2FF80 ", None),
        ("[0-9A-F]{10}", "04A1B2FF8", None),
        ("[0-9A-F]{10}", "04A1B2FF800", None),
        ("(no card)|([0-9A-F]{10})", "04A1B2FF80", None),
        (".*", "04A1B2FF8", None),
        (".*", "04:A1:B2:FF:8", None),
    ],
)
def test_line_is_a_card_only_as_a_whole(pattern: str, line: str, card: bytes | None) -> None:
    assert LineFormat(pattern, "hex").card(line) == card


@pytest.mark.parametrize(
    ("line", "raw"),
    [
        ("0077777777", "04A2CB71"),  # 10 digits: 4 bytes, as EM4100 readers write it
        ("4294967295", "FFFFFFFF"),
        ("0000000001", "00000001"),
        ("0000000128", "00000080"),
        ("9999999999", "02540BE3FF"),  # more than 4 bytes hold
        ("0019892731776", "04A1B2FF80"),
        ("00000000", "000000"),
        ("00005090081505279", "0004A1207FFFFF"),
        ("1" * 18, "018ABEF7846071C7"),
        ("0" * 25, "00" * 10),
        ("7", "07"),
        ("", None),
        ("12A4", None),
        ("-123456789", None),
        ("1_000", None),
        ("0x1234", None),
        ("9" * 257, None),
    ],
)
def test_decimal_number_is_as_many_bytes_as_its_digits_always_hold(line: str, raw: str | None) -> None:
    found = decimal_bytes(line)
    assert (None if found is None else found.hex().upper()) == raw


@pytest.mark.parametrize(
    ("line", "raw"), [("7", "00000007"), ("0000000128", "00000080"), ("4294967295", "FFFFFFFF"), ("4294967296", None)]
)
def test_reader_without_leading_zeros_is_told_how_many_bytes_there_are(line: str, raw: str | None) -> None:
    found = decimal_bytes(line, number_bytes=4)
    assert (None if found is None else found.hex().upper()) == raw


@given(st.sampled_from([(3, 8), (4, 10), (5, 13), (7, 17), (10, 25)]), st.data())
def test_every_card_written_in_decimal_is_itself_again(size: tuple[int, int], data: st.DataObject) -> None:
    raw = data.draw(st.binary(min_size=size[0], max_size=size[0]))
    assert decimal_bytes(f"{int.from_bytes(raw, 'big'):0{size[1]}d}") == raw


@given(st.binary(min_size=1, max_size=10), st.sampled_from(["", " ", ":", "-"]))
def test_every_card_written_in_hex_is_itself_again(raw: bytes, separator: str) -> None:
    text = separator.join(f"{byte:02X}" for byte in raw)
    assert hex_bytes(text) == raw
    assert hex_bytes(text.lower()) == raw


def test_half_line_at_the_beginning_is_no_card_and_the_next_is() -> None:
    lines = LineParser(LineFormat("[0-9A-F]{4,10}", "hex"))
    lines.reset()
    assert lines.push(b"B2FF80\r\n04A1B2FF80\r\n") == [CARD]
    assert lines.bad == 1


def test_end_of_a_line_at_the_beginning_is_nothing_bad() -> None:
    lines = LineParser(LineFormat("[0-9A-F]{4,10}", "hex"))
    assert lines.push(b"\n04A1B2FF80\r\n") == [CARD]
    assert lines.bad == 0


def test_line_that_begins_after_a_pause_or_with_stx_is_a_card() -> None:
    lines = LineParser(LineFormat("[0-9A-F]{4,10}", "hex"))
    lines.pause()
    assert lines.push(b"04A1B2FF80\r") == [CARD]
    lines.reset()
    assert lines.push(b"\x0204A1B2FF80\x03") == [CARD]
    assert lines.bad == 0


def test_half_line_before_a_reset_does_not_join_what_comes_after() -> None:
    lines = parser("[0-9A-F]{4,10}")
    lines.push(b"04A1")
    lines.reset()
    assert lines.push(b"B2FF80\r\n") == []
    assert lines.bad == 2


def test_half_line_before_a_pause_does_not_join_what_comes_after() -> None:
    lines = parser("[0-9A-F]{4,10}")
    lines.push(b"04A1")
    assert lines.pause() == FRESH_S
    assert lines.pause() is None
    assert lines.push(b"8000FFFE7F\r\n") == [bytes.fromhex("8000FFFE7F")]
    assert lines.bad == 1


def test_rest_of_a_line_that_stalled_is_no_card() -> None:
    lines = parser("[0-9A-F]{4,14}")
    lines.push(b"04A1B2")
    lines.pause()
    assert lines.push(b"C3D4E5F6\r\n") == []
    assert lines.push(b"8000FFFE7F\r\n") == [bytes.fromhex("8000FFFE7F")]
    assert lines.bad == 2


def test_stx_in_a_line_begins_it_anew() -> None:
    lines = parser("[0-9A-F]{4,10}")
    assert lines.push(b"8000\x0204A1B2FF80\r") == [CARD]
    assert lines.bad == 1


@pytest.mark.parametrize("spoiler", [0x00, 0x01, 0x07, 0x1B, 0x7F, 0x80, 0xFF])
def test_character_that_is_not_printable_spoils_its_line_alone(spoiler: int) -> None:
    lines = parser(".*")
    assert lines.push(b"04A1B2" + bytes([spoiler]) + b"FF80\r\n04A1B2FF80\r\n") == [CARD]
    assert lines.bad == 1


def test_longest_line_is_read_and_a_longer_one_dropped_and_counted() -> None:
    lines = parser(" *(.*)")
    card = b"04A1B2FF80\n".rjust(MAX_LINE + 1)
    assert lines.push(card) == [CARD]
    assert lines.push(b" " + card) == []
    assert lines.bad == 1


@pytest.mark.parametrize("flood", [b"A", b"\xff", b"\x02A", b" \t"])
def test_endless_noise_keeps_no_more_than_a_line(flood: bytes) -> None:
    lines = parser()
    lines.push(flood * 20_000)
    assert len(lines._line) <= MAX_LINE


PIECES = st.one_of(
    st.binary(min_size=5, max_size=5).map(lambda card: card.hex().upper().encode() + b"\r\n"),
    st.binary(max_size=8),
    st.lists(st.sampled_from(b"\x02\x03\r\n0Af\xff"), max_size=20).map(bytes),
)


@given(stream=st.lists(PIECES, max_size=6).map(b"".join), cuts=st.lists(st.integers(0, 120), max_size=12))
def test_stream_in_any_portions_gives_what_the_whole_gives(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(stream)]
    whole, portions = parser("[0-9A-Fa-f]{2,20}"), parser("[0-9A-Fa-f]{2,20}")
    found = [card for begin, end in pairwise(edges) for card in portions.push(stream[begin:end])]
    assert found == whole.push(stream)
    assert portions.bad == whole.bad


@pytest.mark.parametrize(
    "pattern",
    [
        "([0-9A-F]+)+",
        "([0-9A-F]*)*",
        "(a|a)*",
        "(?:a|ab)+c",
        "(?:[0-9A-F]{2}:?)+",
        "(?:a?){40}a{40}",
        "((a{1,9}){1,9}){1,9}b",
        ".*.*.*.*x",
        "(x+x+)+y",
        "a?" * 30 + "a" * 30,
        "(?P<uid>(?:0|00)+)",
        r"(\d+\s*)+",
    ],
)
def test_pattern_that_could_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="too many ways"):
        checked_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(?=a)a", "(?!a).", "(?i)a", "(?P<a>x)(?P=a)", "(?>a+)", "(?#c)a", "(a)(?(1)b)"])
def test_what_can_not_be_weighed_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="only plain"):
        checked_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(", "[0-9", "*", "a**", "(?P<1>a)"])
def test_what_is_no_regular_expression_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        checked_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "[0-9A-F]{10}",
        "[0-9]{8,10}",
        r"\s*UID:\s*([0-9A-F]+)",
        r"(?P<uid>[^]a\]+*(|)]+),.*",
        r"(?:[0-9A-F]{2}:){3,9}[0-9A-F]{2}",
        "(?:[0-9A-F]{2}:?){4,10}",
        r"\(a\)\*\+{",
        "(?:[0-9]++,)*",
        "(?:a|b|c)d{3}",
        "x{,}y{2,}z{,4}",
        r".*+|\d*",
    ],
)
def test_pattern_that_ends_soon_is_taken(pattern: str) -> None:
    assert checked_pattern(pattern).pattern == pattern


@pytest.mark.parametrize("pattern", ["A*A*A*x", "A+[A-F]+[0-9A]+x", "(?:A?){20}A{20}x", "(?:AA?){10}.*x"])
@pytest.mark.parametrize("length", [20, 100, MAX_LINE])
def test_worst_line_for_a_pattern_that_was_taken_ends(pattern: str, length: int) -> None:
    lines, before = parser(pattern), time.process_time()
    assert lines.push(b"A" * length + b"\r\n") == []
    print(f"{pattern} against {length} characters: {time.process_time() - before:.3f} s")  # shown by pytest -s
    assert lines.bad == 1


@pytest.mark.parametrize("number_bytes", [0, -1, 19])
def test_impossible_size_of_a_number_is_refused(number_bytes: int) -> None:
    with pytest.raises(ValueError, match="number_bytes"):
        LineFormat(".*", "decimal", number_bytes=number_bytes)


def test_noise_of_a_lines_own_characters_yields_exactly_the_whole_lines() -> None:
    noise = bytes(random.Random("lines of noise").choices(b"0123456789ABCDEF\r\n\x02\x03:\xff", k=NOISE))
    lines, before = parser(), time.process_time()
    found = [card.hex().upper() for begin in range(0, NOISE, 999) for card in lines.push(noise[begin : begin + 999])]
    # What stands between ends, behind its last STX; a line without a checksum is a card whenever it looks like one.
    whole = [line.rpartition(b"\x02")[2].decode("latin-1") for line in re.split(rb"[\r\n\x03]", b"\n" + noise)[:-1]]
    assert found == [line for line in whole if re.fullmatch("[0-9A-F]{10}", line)]
    print(f"{NOISE} bytes: {len(found)} lines, {lines.bad} bad, {time.process_time() - before:.2f} s")  # by pytest -s
    assert len(found) > 500
