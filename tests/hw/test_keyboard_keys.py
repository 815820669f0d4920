"""Key events and the cards they type, against a wedge that was written from the pictures of the keyboards."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.keyboard import (
    DOWN,
    EV_KEY,
    EV_SYN,
    KEY_CAPSLOCK,
    KEY_ENTER,
    KEY_KPENTER,
    KEY_LEFTCTRL,
    KEY_LEFTSHIFT,
    KEY_RIGHTSHIFT,
    REPEAT,
    SYN_DROPPED,
    SYN_REPORT,
    UP,
    Layout,
    Typist,
)
from hw.readers.keyboard_keys import EVENT, FRESH_S, MAX_KEYS, PAUSE_S, Event, KeyParser, events_in
from hw.readers.line_frames import Digits

LAYOUTS = pytest.mark.parametrize("layout", ["us", "de", "fr"])
KEY_S = 0.004
KEY_TAB = 15
CARD = bytes.fromhex("04FFA1FFB2FF80")
TEXT = "04FFA1FFB2FF80"
OTHER = bytes.fromhex("8000FFFE")


class Desk:
    """A wedge and the parser of its keys, with a clock in the events."""

    def __init__(
        self,
        layout: Layout = "us",
        digits: Digits = "hex",
        set_to: Layout | None = None,
        number_bytes: int | None = None,
    ) -> None:
        """`set_to`: the layout in which the wedge types, where it is not the parser's."""
        self.parser = KeyParser(layout, digits, number_bytes=number_bytes)
        self.parser.pause()
        self.typist = Typist(set_to or layout, self.put)
        self.cards: list[bytes] = []
        self.at = 1000.0

    def put(self, type_: int, code: int, value: int) -> None:
        self.cards += self.parser.push([Event(self.at, type_, code, value)])
        if type_ == EV_SYN:
            self.at += KEY_S


@LAYOUTS
@pytest.mark.parametrize(
    "text", [TEXT, TEXT.lower(), "04:FF:a1:ff:B2:FF:80", "04-FF-A1-FF-B2-FF-80", "04 FFA1FFB2 FF80"]
)
def test_card_in_every_spelling_and_layout_is_read(layout: Layout, text: str) -> None:
    desk = Desk(layout)
    desk.typist.type(text)
    assert (desk.cards, desk.parser.bad) == ([CARD], 0)


@given(
    st.sampled_from(["us", "de", "fr"]),
    st.binary(min_size=3, max_size=10),
    st.sampled_from(["lower", "upper"]),
    st.sampled_from([KEY_LEFTSHIFT, KEY_RIGHTSHIFT]),
    st.integers(0, 3),
    st.sampled_from(["keypad", "row"]),
    st.integers(0, 2),
)
def test_any_card_in_any_layout_types_back_to_itself(
    layout: Layout, raw: bytes, spelling: str, shift: int, repeats: int, digits: str, caps_locks: int
) -> None:
    desk = Desk(layout)
    desk.typist.shift, desk.typist.repeats, desk.typist.keypad = shift, repeats, digits == "keypad"
    for _ in range(caps_locks):
        desk.typist.tap(KEY_CAPSLOCK)
    desk.typist.type(getattr(raw.hex(), spelling)())
    assert (desk.cards, desk.parser.bad) == ([raw], 0)


@given(st.sampled_from(["us", "de", "fr"]), st.sampled_from([(3, 8), (4, 10), (5, 13), (7, 17), (10, 25)]), st.data())
def test_any_card_in_decimal_types_back_to_itself(layout: Layout, size: tuple[int, int], data: st.DataObject) -> None:
    raw = data.draw(st.binary(min_size=size[0], max_size=size[0]))
    desk = Desk(layout, "decimal")
    desk.typist.keypad = data.draw(st.booleans())
    desk.typist.type(f"{int.from_bytes(raw, 'big'):0{size[1]}d}")
    assert (desk.cards, desk.parser.bad) == ([raw], 0)


@pytest.mark.parametrize(("layout", "set_to"), [("us", "fr"), ("fr", "us"), ("de", "fr"), ("fr", "de")])
def test_reader_set_to_another_layout_is_no_wrong_card(layout: Layout, set_to: Layout) -> None:
    desk = Desk(layout, set_to=set_to)
    desk.typist.type(TEXT)
    assert (desk.cards, desk.parser.bad) == ([], 1)


def test_keypads_enter_ends_a_card_too() -> None:
    desk = Desk()
    desk.typist.enter = KEY_KPENTER
    desk.typist.type(TEXT)
    assert desk.cards == [CARD]


def test_number_in_two_parts_with_a_tab_between_is_no_card_and_does_not_spoil_the_next() -> None:
    desk = Desk(digits="decimal", number_bytes=4)
    desk.typist.enter = KEY_TAB
    desk.typist.type("188")
    desk.typist.enter = KEY_ENTER
    desk.typist.type("24910")
    desk.typist.type("3012345678")
    assert (desk.cards, desk.parser.bad) == ([(3012345678).to_bytes(4, "big")], 1)


@pytest.mark.parametrize("text", ["7", "188"])
def test_number_of_too_few_digits_is_no_card_though_it_is_filled_up_with_zeros(text: str) -> None:
    desk = Desk(digits="decimal", number_bytes=4)
    desk.typist.type(text)
    assert (desk.cards, desk.parser.bad) == ([], 1)


def test_number_without_its_leading_zeros_is_read_where_it_is_filled_up() -> None:
    desk = Desk(digits="decimal", number_bytes=4)
    desk.typist.type("24910")
    assert (desk.cards, desk.parser.bad) == ([(24910).to_bytes(4, "big")], 0)


def test_two_cards_right_behind_each_other_are_two() -> None:
    desk = Desk()
    desk.typist.type(TEXT)
    desk.typist.type("8000FFFE")
    assert (desk.cards, desk.parser.bad) == ([CARD, OTHER], 0)


def test_enter_alone_is_nothing() -> None:
    desk = Desk()
    desk.typist.type("")
    assert (desk.cards, desk.parser.bad) == ([], 0)


@pytest.mark.parametrize("shift", [KEY_LEFTSHIFT, KEY_RIGHTSHIFT])
def test_shift_held_for_a_whole_french_number_is_read(shift: int) -> None:
    desk = Desk("fr", "decimal", set_to="us")  # the digits' keys, bare; the shift is ours
    desk.typist.press(shift)
    for key in (11, 2, 3, 4, 5, 6, 7, 8, 9, 10):
        desk.typist.tap(key)
    desk.typist.release(shift)
    desk.typist.type("")
    assert desk.cards == [(123456789).to_bytes(4, "big")]


def test_one_of_two_shifts_released_still_shifts() -> None:
    desk = Desk("fr", "decimal", set_to="us")
    desk.typist.press(KEY_LEFTSHIFT)
    desk.typist.press(KEY_RIGHTSHIFT)
    desk.typist.release(KEY_LEFTSHIFT)
    desk.typist.type("12345678")
    assert desk.cards == [(12345678).to_bytes(3, "big")]


def test_key_that_the_kernel_repeats_is_typed_once() -> None:
    desk = Desk()
    desk.typist.repeats = 50
    desk.typist.type("8000FFFE")
    assert desk.cards == [OTHER]


@pytest.mark.parametrize("key", [1, 14, 59, 103, 105, 108, 111, 113, 26, 41, 44, 200], ids=lambda key: f"key{key}")
def test_key_that_no_card_has_spoils_it_and_not_the_next(key: int) -> None:
    desk = Desk()
    for character in "8000":
        desk.typist.tap({"8": 9, "0": 11}[character])
    desk.typist.tap(key)
    desk.typist.type("FFFE04")
    desk.typist.type("8000FFFE")
    assert (desk.cards, desk.parser.bad) == ([OTHER], 1)


@pytest.mark.parametrize("modifier", [29, 97, 56, 100, 125, 126])
def test_keys_with_another_modifier_type_nothing(modifier: int) -> None:
    desk = Desk()
    desk.typist.press(modifier)
    desk.typist.type("8000FFFE")
    desk.typist.release(modifier)
    assert (desk.cards, desk.parser.bad) == ([], 1)
    desk.typist.type("8000FFFE")
    assert desk.cards == [OTHER]


def test_card_broken_off_does_not_join_the_next() -> None:
    desk = Desk()
    for key in (11, 5, 33, 33):  # 04FF, and the card is gone
        desk.typist.tap(key)
    desk.at += FRESH_S + KEY_S
    desk.typist.type("8000FFFE")
    assert (desk.cards, desk.parser.bad) == ([OTHER], 1)


@pytest.mark.parametrize("gap_s", [PAUSE_S + KEY_S, FRESH_S - 4 * KEY_S])
def test_rest_of_a_number_that_stalled_is_no_card(gap_s: float) -> None:
    desk = Desk()
    for key in (11, 5, 30, 2, 48, 3):  # 04A1B2
        desk.typist.tap(key)
    desk.at += gap_s
    desk.typist.type("8000FFFE")
    assert (desk.cards, desk.parser.bad) == ([], 2)
    desk.typist.type("8000FFFE")
    assert desk.cards == [OTHER]


def test_pause_right_before_enter_drops_the_card() -> None:
    desk = Desk()
    for key in (11, 5, 33, 33, 11, 5, 33, 33):
        desk.typist.tap(key)
    desk.at += PAUSE_S + KEY_S
    desk.typist.type("")
    assert (desk.cards, desk.parser.bad) == ([], 1)


def test_slow_wedge_is_read() -> None:
    desk = Desk()
    slow: Callable[[int, int, int], None] = desk.put

    def put(type_: int, code: int, value: int) -> None:
        slow(type_, code, value)
        if type_ == EV_SYN:
            desk.at += PAUSE_S / 2 - KEY_S - 1e-6

    Typist("us", put).type("80001234")
    assert desk.cards == [bytes.fromhex("80001234")]


def test_clock_that_is_set_back_drops_the_half_card() -> None:
    desk = Desk()
    desk.typist.tap(11)
    desk.at -= 3600
    desk.typist.type("8000FFFE")  # for all that is known, the rest of it
    assert (desk.cards, desk.parser.bad) == ([], 2)
    desk.typist.type("8000FFFE")
    assert desk.cards == [OTHER]


def test_longest_text_is_weighed_and_a_longer_one_dropped_and_counted() -> None:
    desk = Desk("us", "decimal")
    desk.typist.type("0" * MAX_KEYS)
    desk.typist.type("0" * (MAX_KEYS + 1))
    assert ([len(card) for card in desk.cards], desk.parser.bad) == ([26], 1)


@pytest.mark.parametrize(("digits", "text"), [("hex", "04A1"), ("decimal", "12345"), ("hex", "1"), ("hex", "04A1B")])
def test_number_that_is_too_short_or_half_a_byte_is_no_card(digits: Digits, text: str) -> None:
    desk = Desk("us", digits)
    desk.typist.type(text)
    assert (desk.cards, desk.parser.bad) == ([], 1)


def test_what_is_typed_when_the_keyboard_is_grabbed_is_no_card() -> None:
    desk = Desk()
    desk.parser.reset()
    desk.typist.type("A1B2FF80")  # what is left of a card
    desk.typist.type("8000FFFE")
    assert (desk.cards, desk.parser.bad) == ([OTHER], 1)


def test_card_after_a_pause_behind_the_grab_is_one() -> None:
    desk = Desk()
    desk.parser.reset()
    desk.typist.tap(11)
    desk.at += FRESH_S + KEY_S
    desk.typist.type("8000FFFE")
    assert (desk.cards, desk.parser.bad) == ([OTHER], 1)


def test_keys_that_the_kernel_dropped_spoil_their_card_alone() -> None:
    desk = Desk()
    for key in (11, 5, 33):
        desk.typist.tap(key)
    desk.put(EV_SYN, SYN_DROPPED, 0)
    desk.put(EV_KEY, 9, DOWN)  # void up to the report
    desk.put(EV_KEY, 28, DOWN)
    desk.put(EV_SYN, SYN_REPORT, 0)
    desk.typist.type("A1B2FF80")
    desk.typist.type("8000FFFE")
    assert (desk.cards, desk.parser.bad) == ([OTHER], 2)


def test_card_long_after_dropped_keys_is_read() -> None:
    desk = Desk()
    desk.typist.tap(11)
    desk.put(EV_SYN, SYN_DROPPED, 0)
    desk.put(EV_SYN, SYN_REPORT, 0)
    desk.at += PAUSE_S + KEY_S
    desk.typist.type("8000FFFE")
    assert (desk.cards, desk.parser.bad) == ([OTHER], 1)


def test_shift_whose_release_was_dropped_does_not_shift_for_ever() -> None:
    desk = Desk()
    desk.typist.press(KEY_LEFTSHIFT)
    desk.put(EV_SYN, SYN_DROPPED, 0)
    desk.put(EV_KEY, KEY_LEFTSHIFT, UP)
    desk.put(EV_SYN, SYN_REPORT, 0)
    desk.at += PAUSE_S + KEY_S
    desk.typist.type("80001234")
    assert desk.cards == [bytes.fromhex("80001234")]


def test_control_key_that_is_only_repeated_changes_nothing() -> None:
    desk = Desk()
    desk.put(EV_KEY, KEY_LEFTCTRL, REPEAT)
    desk.typist.type("8000FFFE")
    assert desk.cards == [OTHER]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 255), st.integers(0, 2), st.floats(0, 1)), max_size=200))
def test_any_events_never_crash_and_the_next_card_is_read(steps: list[tuple[int, int, int, float]]) -> None:
    desk = Desk()
    for type_, code, value, wait in steps:
        desk.at += wait
        desk.put(type_, code, value)
    for key in range(256):  # whatever was held is let go
        desk.put(EV_KEY, key, UP)
    desk.put(EV_SYN, SYN_REPORT, 0)
    desk.at += FRESH_S + KEY_S
    desk.typist.type("8000FFFE")
    assert desk.cards[-1:] == [OTHER]


def test_events_of_one_read_are_taken_apart_and_half_an_event_is_none() -> None:
    read = EVENT.pack(17, 250_000, 1, 30, 1) + EVENT.pack(17, 250_000, 0, 0, 0)
    assert list(events_in(read + read[:5])) == [Event(17.25, 1, 30, 1), Event(17.25, 0, 0, 0)]
