"""What a card's uid is called: from a reader's bytes, from what a person or a peer writes, and in a log.

Bytes become text here and nowhere else, once, at the reader's edge. OCPI compares uids without regard to case
(OCPI 2.2.1 types, CiString); upper case is ours.
"""

import re
from dataclasses import dataclass

from agent.model import Uid

MAX_LENGTH = 36
"""OCPI 2.2.1 mod_tokens, Token: uid is a CiString(36)."""

# Spaces and colons only ever separate bytes, so groups of any size are joined: `04 A1`, `04A1 B2C3`. A hyphen is also
# found in contract ids and in the UUIDs of app users, where it means something: only single bytes are joined there.
_SPELLED_BYTES = re.compile(r"(?:[0-9A-F]{2})+(?: (?:[0-9A-F]{2})+)+|(?:[0-9A-F]{2})+(?::(?:[0-9A-F]{2})+)+")
_HYPHENATED_BYTES = re.compile(r"[0-9A-F]{2}(?:-[0-9A-F]{2})+")

_SHOWN_FROM = 14
"""A uid of 7 bytes keeps 8 digits hidden when 6 are shown; of a shorter one too few would be left to guess."""


@dataclass(frozen=True, slots=True)
class UidFormat:
    """How the bytes of one reader become the uid that the peers' lists hold.

    Applied in this order: `keep_last`, `reverse`, then hex, decimal, or facility and number. Raises ValueError for
    settings that can't be. The facility of a Wiegand card is the bytes before the last two: `keep_last=2` drops it.
    """

    reverse: bool = False
    """Lists differ in which end of a uid they write first. (What a reader turns round its driver turns back.)"""
    keep_last: int | None = None
    """At most so many bytes from the end, as the driver hands them over: 4 drops the maker's byte of an EM4100 card."""
    decimal_digits: int | None = None
    """None: hex. Else the number in decimal with leading zeros: 10 is what EM4100 cards have printed on them."""
    facility_digits: tuple[int, int] | None = None
    """Else the last two bytes and those before them, each in decimal with leading zeros, facility first, joined.

    (3, 5) with `keep_last=3` is the other number on EM4100 cards, printed as FFF,NNNNN, and what Wiegand 26 readers
    call facility and number; (5, 5) is that of Wiegand 34.
    """

    def __post_init__(self) -> None:
        if self.keep_last is not None and self.keep_last < 1:
            raise ValueError(f"keep_last is {self.keep_last}: at least one byte of the uid must stay")
        if self.decimal_digits is not None and not 1 <= self.decimal_digits <= MAX_LENGTH:
            raise ValueError(f"decimal_digits is {self.decimal_digits}: a uid has 1 to {MAX_LENGTH} characters")
        if self.facility_digits is not None:
            self._check_facility(*self.facility_digits)

    def to_uid(self, raw: bytes) -> Uid:
        """Name the card with these bytes. Raises ValueError, without the uid in its text, for what is no uid."""
        if not raw:
            raise ValueError("the reader gave a uid without any bytes")
        kept = raw if self.keep_last is None else raw[-self.keep_last :]
        ordered = kept[::-1] if self.reverse else kept
        if self.facility_digits is not None:
            return _checked(self._facility_and_number(ordered, *self.facility_digits))
        if self.decimal_digits is not None:
            return _checked(_decimal(ordered, self.decimal_digits, f"decimal_digits = {self.decimal_digits}"))
        return _checked(ordered.hex().upper())

    def _check_facility(self, facility: int, number: int) -> None:
        if self.decimal_digits is not None:
            raise ValueError("facility_digits and decimal_digits are two forms of a uid: only one of them can be set")
        if facility < 3 or number < 5 or facility + number > MAX_LENGTH:
            raise ValueError(
                f"facility_digits is ({facility}, {number}): a facility needs 3 digits or more, the number 5 or more, "
                f"and a uid has {MAX_LENGTH} characters at most"
            )

    @staticmethod
    def _facility_and_number(ordered: bytes, facility: int, number: int) -> str:
        if len(ordered) < 3:
            raise ValueError(f"a uid of {len(ordered)} bytes has no facility before its number of two bytes")
        setting = f"facility_digits = ({facility}, {number})"
        return _decimal(ordered[:-2], facility, setting) + _decimal(ordered[-2:], number, setting)


def canonical(text: str) -> Uid:
    """The form to compare by of what a person types or a peer writes: `04:a1:b2` and `04A1B2` are the same.

    Separators go only where nothing but bytes in hex is left; a uid of another kind keeps its own. Raises ValueError,
    without the uid in its text, when it is empty, longer than OCPI allows or not printable ASCII.
    """
    uid = text.strip().upper()
    if not text.isascii() or not uid.isprintable():
        raise ValueError("the uid has characters outside printable ASCII")
    if _SPELLED_BYTES.fullmatch(uid) or _HYPHENATED_BYTES.fullmatch(uid):
        uid = re.sub("[: -]", "", uid)
    return _checked(uid)


def looks_random(uid: Uid) -> bool:
    """Whether it may be one that a phone has made up: four bytes beginning 08 (ISO/IEC 14443-3, 6.4.4).

    A reader knows it of the card's own bytes; this is for a uid that somebody has typed, in hex and unreversed.
    """
    return len(uid) == 8 and uid.startswith("08")


def masked(uid: str) -> str:
    """A uid for logs and screens: enough to tell two cards apart, too little to copy one.

    `04A1…9F`; of a uid shorter than 7 bytes only the last two characters; of one too short even for that, none.
    """
    if len(uid) >= _SHOWN_FROM:
        return f"{uid[:4]}…{uid[-2:]}"
    return f"…{uid[-2:]}" if len(uid) > 4 else "…"


def _decimal(part: bytes, digits: int, setting: str) -> str:
    """The number in exactly so many digits. Raises ValueError, naming the setting, where it has more."""
    text = str(int.from_bytes(part, "big")).zfill(digits)
    if len(text) != digits:
        raise ValueError(f"a number of {len(part)} bytes needs more than {setting}")
    return text


def _checked(uid: str) -> Uid:
    if not uid:
        raise ValueError("the uid is empty")
    if len(uid) > MAX_LENGTH:
        raise ValueError(f"the uid has {len(uid)} characters; OCPI allows {MAX_LENGTH}")
    return Uid(uid)
