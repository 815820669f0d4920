"""The lines of readers that write a card's number as text, from a stream of bytes. Pure: no port, no clock.

A line ends with CR, LF, CR LF or ETX; an STX begins one anew. There is no checksum, so a line counts only when it is
whole: its beginning was seen, it has nothing but printable characters and all of it is what the pattern says.
"""

import re
from typing import Literal

from hw.readers.line_pattern import MAX_LINE, checked_pattern

Digits = Literal["hex", "decimal"]

PAUSE_S = 0.2
"""Silence for so long means that no line is under way: at 1200 baud a character takes 8 ms and an adapter for USB holds
bytes back for 16 ms, while nobody holds two cards to a reader within it."""

FRESH_S = 2.0
"""After so much silence nothing that follows is the rest of a line that was broken off."""

_STX = 0x02
_ENDS = frozenset(b"\r\n\x03")
_PRINTABLE = frozenset(range(0x20, 0x7F)) | {0x09}

_HEX_BYTES = re.compile(r"[0-9A-Fa-f]{2}(?:[ :-]?[0-9A-Fa-f]{2})*")
_DECIMAL = re.compile(r"[0-9]+", re.ASCII)


class LineFormat:
    """What a card's line looks like: a regular expression for all of it, and how the number in it is written.

    The number is the group named `uid`, else the first group, else all of the line. Hex is pairs of digits, which may
    be separated by spaces, colons or hyphens: bytes in the order of the line. Decimal is one number, most significant
    byte first, in `number_bytes` bytes. Where that is None, its digits tell: as many bytes as always fit into so many
    digits, leading zeros included, and more only where the number needs them. 10 digits are 4 bytes, 13 are 5, 17 are
    7. So the hex, reversed and decimal forms of the card can all be had from it, and equal cards stay equal. A reader
    that leaves leading zeros away needs `number_bytes`, or a small number would be a shorter uid.
    """

    def __init__(self, pattern: str, digits: Digits, *, number_bytes: int | None = None) -> None:
        """Raises ValueError for a pattern that can't be used or could take for ever: see `checked_pattern`."""
        if number_bytes is not None and not 1 <= number_bytes <= 18:
            raise ValueError(f"number_bytes is {number_bytes}: a card's number has 1 to 18 bytes")
        self._pattern = checked_pattern(pattern)
        self._group: str | int = "uid" if "uid" in self._pattern.groupindex else min(self._pattern.groups, 1)
        self._number = hex_bytes if digits == "hex" else lambda text: decimal_bytes(text, number_bytes)

    def card(self, line: str) -> bytes | None:
        """The bytes of the card whose line this is; None for any other line."""
        found = self._pattern.fullmatch(line)
        return self._number(found.group(self._group) or "") if found else None


def hex_bytes(text: str) -> bytes | None:
    """The bytes of `04A1B2`, `04:A1:B2`, `04 A1 B2`; None for anything else, half bytes included."""
    return bytes.fromhex(re.sub("[ :-]", "", text)) if _HEX_BYTES.fullmatch(text) else None


def decimal_bytes(text: str, number_bytes: int | None = None) -> bytes | None:
    """A decimal number as bytes: see `LineFormat`. None for anything else, and where it has no room."""
    if not _DECIMAL.fullmatch(text) or len(text) > MAX_LINE:
        return None
    number = int(text)
    needed = (number.bit_length() + 7) // 8
    if number_bytes is None:
        return number.to_bytes(max(1, needed, _bytes_of(len(text))), "big")
    return number.to_bytes(number_bytes, "big") if needed <= number_bytes else None


def _bytes_of(digits: int) -> int:
    """How many bytes have every number of theirs in so many digits."""
    return int((10**digits).bit_length() - 1) // 8


class LineParser:
    """Finds every whole line that is a card's, whatever comes between and however the stream is cut up.

    Keeps at most `MAX_LINE` bytes. After `reset` it takes no line until it has seen where one begins: behind the end
    of another, at an STX, or after a `pause`. Of a line that a pause has broken off the rest is no line, either: it
    might well be another card's number.
    """

    pause_s: float | None = PAUSE_S
    """After so much silence `pause` is to be called."""

    def __init__(self, format_: LineFormat) -> None:
        self._format = format_
        self._line = bytearray()
        self._lost = True  # whether what comes before the next end can't be a whole line
        self._began = False  # whether a line is under way, whole or not
        self.bad = 0
        """Lines that were no card's: cut, overlong, with a character that is not printable, or of another form."""

    def push(self, chunk: bytes) -> list[bytes]:
        """Take what the line brought, in any portions; give the bytes of each card whose line it completed."""
        cards = []
        for byte in chunk:
            if byte in _ENDS:
                card = self._end()
                if card is not None:
                    cards.append(card)
            elif byte == _STX:
                self._break_off()
                self._begin()
            else:
                self._add(byte)
        return cards

    def pause(self) -> float | None:
        """Drop a half line, which counts as bad; where there was none, what comes next is the beginning of one.

        Returns the seconds of silence, from here on, after which it is to be called again; None where it need not be.
        """
        was_under_way = self._began
        self._break_off()
        self._begin()
        self._lost = was_under_way
        return FRESH_S if was_under_way else None

    def reset(self) -> None:
        """Drop a half line; it counts as bad. What comes next may be the rest of a line, and is no card."""
        self._break_off()
        self._begin()
        self._lost = True

    def _break_off(self) -> None:
        self.bad += self._began

    def _begin(self) -> None:
        self._line.clear()
        self._lost = self._began = False

    def _add(self, byte: int) -> None:
        self._began = True
        if not self._lost and (byte not in _PRINTABLE or len(self._line) == MAX_LINE):
            self._lost = True
            self._line.clear()
        if not self._lost:
            self._line.append(byte)

    def _end(self) -> bytes | None:
        """The card of the line that has ended, if it is one. An empty line is the second half of an end, or nothing."""
        card = None
        if self._began:
            card = None if self._lost else self._format.card(self._line.decode("ascii"))
            self.bad += card is None
        self._begin()
        return card
