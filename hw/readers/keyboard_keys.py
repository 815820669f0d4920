"""From a keyboard's events to the cards that a wedge types. Pure: no device, and the times are in the events.

A wedge is a card reader that pretends to be a keyboard and types a card's number and Enter. What it sends are places on
a keyboard, not characters: one that was set up for French types the 1 with shift, for that is how a French keyboard
does it. Codes and values are those of Linux (linux/input-event-codes.h; Documentation/input/event-codes.rst).
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from hw.readers.line_frames import Digits, decimal_bytes, hex_bytes

Layout = Literal["us", "de", "fr"]

PAUSE_S = 0.3
"""A wedge types a key every 2 to 20 ms, a person at most ten a second; longer, and a number was broken off."""

FRESH_S = 2.0
"""After so long nothing that follows is the rest of a number that was broken off: no adapter keeps keys back for so
long, and a driver who has to try again has not done so yet."""

MAX_KEYS = 64
"""Characters a card may have: 36 of a uid and as many separators would be more than any reader types."""

FEWEST_BYTES = 3
"""The shortest number that readers type, 24 bits. Less is somebody at a keyboard."""

FEWEST_DIGITS = 4
"""Of a number that `number_bytes` fills up with zeros: a facility of its own has three digits, and is not the card."""

EVENT = struct.Struct("@llHHi")
"""struct input_event (linux/input.h): seconds, microseconds, type, code, value, in the machine's own sizes."""

_EV_SYN, _EV_KEY = 0, 1
_SYN_REPORT, _SYN_DROPPED = 0, 3
_RELEASED, _PRESSED = 0, 1  # 2 is the keyboard repeating a key that is held: never another character of a card

# Enter, and the keypad's. Not Tab: some wedges type it between the facility and the number of one card.
_ENDS = frozenset({28, 96})
_SHIFTS = frozenset({42, 54})
# Ctrl, Alt and Meta, left and right: with one of these held nothing is typed.
_OTHER_MODIFIERS = frozenset({29, 97, 56, 100, 125, 126})
# Caps lock turns letters alone around, as on Linux, and the case of a digit in hex means nothing. Wedges that type on
# the keypad see to Num Lock first.
_SILENT = frozenset({58, 69})

# Rows of keys by their first code, as the keys stand on a US keyboard: code -> character without and with shift.
_ROWS_US = {2: "1234567890-=", 16: "qwertyuiop[]", 30: "asdfghjkl;'`", 44: "zxcvbnm,./", 57: " "}
_SHIFTED_US = {2: "!@#$%^&*()_+", 16: "QWERTYUIOP{}", 30: 'ASDFGHJKL:"~', 44: "ZXCVBNM<>?", 57: " "}
_ROWS_DE = {2: "1234567890ß\u00b4", 16: "qwertzuiopü+", 30: "asdfghjklöä^", 44: "yxcvbnm,.-", 57: " "}
_SHIFTED_DE = {2: '!"§$%&/()=?`', 16: "QWERTZUIOPÜ*", 30: "ASDFGHJKLÖÄ°", 44: "YXCVBNM;:_", 57: " "}
_ROWS_FR = {2: "&é\"'(-è_çà)=", 16: "azertyuiop^$", 30: "qsdfghjklmù²", 44: "wxcvbn,;:!", 57: " "}
_SHIFTED_FR = {2: "1234567890°+", 16: "AZERTYUIOP¨£", 30: "QSDFGHJKLM%~", 44: "WXCVBN?./§", 57: " "}
# With shift the keypad moves a cursor.
_KEYPAD = {71: "789-", 75: "456+", 79: "1230."}


def _by_code(rows: dict[int, str]) -> dict[int, str]:
    return {first + place: char for first, row in rows.items() for place, char in enumerate(row)}


_LAYOUTS: dict[Layout, tuple[dict[int, str], dict[int, str]]] = {
    "us": (_by_code(_ROWS_US | _KEYPAD), _by_code(_SHIFTED_US)),
    "de": (_by_code(_ROWS_DE | _KEYPAD), _by_code(_SHIFTED_DE)),
    "fr": (_by_code(_ROWS_FR | _KEYPAD), _by_code(_SHIFTED_FR)),
}


class Event(NamedTuple):
    """One `struct input_event`."""

    at: float
    """Seconds, as the kernel stamped it."""
    type: int
    code: int
    value: int


def events_in(chunk: bytes) -> Iterator[Event]:
    """The events of one read; the kernel gives whole ones only (Documentation/input/input.rst)."""
    whole = len(chunk) - len(chunk) % EVENT.size
    for seconds, microseconds, type_, code, value in EVENT.iter_unpack(chunk[:whole]):
        yield Event(seconds + microseconds / 1_000_000, type_, code, value)


class KeyParser:
    """Finds every card that was typed whole: between two ends, without a long pause, and with nothing lost in it.

    Only digits of the card and separators as in `hex_bytes` make one; any other key spoils it. After `reset` the keys
    up to the next end are no card, unless `pause` says that none was being typed, or a pause in the keys does. Nor are
    they within `FRESH_S` of a number that was broken off: its rest would be another card's number.
    """

    def __init__(self, layout: Layout, digits: Digits, *, number_bytes: int | None = None) -> None:
        """`number_bytes` is as in `LineFormat`, for decimal numbers."""
        self._plain, self._shifted = _LAYOUTS[layout]
        self._number: Callable[[str], bytes | None] = (
            hex_bytes if digits == "hex" else lambda text: decimal_bytes(text, number_bytes)
        )
        self._text = ""
        self._typing = False  # whether a card is under way, whole or not
        self._lost = True  # whether what comes before the next end can't be whole
        self._overrun = False  # whether the kernel had no room, up to the next report
        self._held: set[int] = set()
        self._last_at: float | None = None
        self.bad = 0
        """Cards that were broken off, spoiled, overlong or no number."""

    def push(self, events: Iterable[Event]) -> list[bytes]:
        """Take what was typed, in any portions; give the bytes of each card that it completed."""
        return [card for event in events if (card := self._take(event)) is not None]

    def pause(self) -> None:
        """No key came for `FRESH_S`, or none since the keyboard was grabbed: the next one begins a card.

        A half card is dropped, and counts as bad.
        """
        self.bad += self._typing
        self._begin()

    def reset(self) -> None:
        """Drop a half card; it counts as bad. No key is held, and the next one may be in the middle of a card."""
        self.pause()
        self._lost = True
        self._overrun = False
        self._held.clear()
        self._last_at = None

    def _begin(self) -> None:
        self._text = ""
        self._typing = self._lost = False

    def _take(self, event: Event) -> bytes | None:
        if event.type == _EV_SYN:
            self._synchronise(event)
        elif event.type == _EV_KEY and not self._overrun:
            if event.value == _RELEASED:
                self._held.discard(event.code)
            elif event.value == _PRESSED:
                return self._press(event.code, event.at)
        return None

    def _synchronise(self, event: Event) -> None:
        if event.code == _SYN_DROPPED:
            # Keys are missing, and so may be the release of a shift: what follows up to the report is void as well.
            self.reset()
            self._overrun, self._last_at = True, event.at
        elif event.code == _SYN_REPORT:
            self._overrun = False

    def _press(self, code: int, at: float) -> bytes | None:
        if self._last_at is not None:
            self._waited(at - self._last_at)
        self._last_at = at
        if code in _ENDS:
            return self._end()
        if code in _SHIFTS or code in _OTHER_MODIFIERS:
            self._held.add(code)
        elif code not in _SILENT:
            self._type(self._character(code))
        return None

    def _waited(self, gap_s: float) -> None:
        """Judge the time since the last key. A clock that went back says nothing of it."""
        if 0 <= gap_s <= PAUSE_S:
            return
        was_broken_off = self._typing and gap_s < FRESH_S
        self.pause()
        self._lost = was_broken_off

    def _character(self, code: int) -> str | None:
        """What a key types as things stand; None for nothing that a card could have."""
        if self._held & _OTHER_MODIFIERS:
            return None
        return (self._shifted if self._held & _SHIFTS else self._plain).get(code)

    def _type(self, character: str | None) -> None:
        self._typing = True
        if character is None or len(self._text) == MAX_KEYS:
            self._lost = True
        if not self._lost:
            self._text += character or ""

    def _end(self) -> bytes | None:
        """The card that has ended, if it is one. Nothing before an end is the second of two ends, and no card."""
        card = None
        if self._typing:
            card = None if self._lost or len(self._text) < FEWEST_DIGITS else self._number(self._text)
            if card is not None and len(card) < FEWEST_BYTES:
                card = None
            self.bad += card is None
        self._begin()
        return card
