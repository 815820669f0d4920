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

    Applied in this order: `keep_last`, `reverse`, then hex or decimal. Raises ValueError for settings that can't be.
    """

    reverse: bool = False
    """Readers differ in which end of a uid they send first."""
    keep_last: int | None = None
    """At most so many bytes from the end, as the reader sends them: 4 drops the maker's byte of an EM4100 card."""
    decimal_digits: int | None = None
    """None: hex. Else the number in decimal with leading zeros: 10 is what EM4100 cards have printed on them."""

    def __post_init__(self) -> None:
        if self.keep_last is not None and self.keep_last < 1:
            raise ValueError(f"keep_last is {self.keep_last}: at least one byte of the uid must stay")
        if self.decimal_digits is not None and not 1 <= self.decimal_digits <= MAX_LENGTH:
            raise ValueError(f"decimal_digits is {self.decimal_digits}: a uid has 1 to {MAX_LENGTH} characters")

    def to_uid(self, raw: bytes) -> Uid:
        """Name the card with these bytes. Raises ValueError, without the uid in its text, for what is no uid."""
        if not raw:
            raise ValueError("the reader gave a uid without any bytes")
        kept = raw if self.keep_last is None else raw[-self.keep_last :]
        ordered = kept[::-1] if self.reverse else kept
        return _checked(ordered.hex().upper() if self.decimal_digits is None else self._decimal(ordered))

    def _decimal(self, ordered: bytes) -> str:
        text = str(int.from_bytes(ordered, "big")).zfill(self.decimal_digits or 0)
        if len(text) != self.decimal_digits:
            raise ValueError(f"a uid of {len(ordered)} bytes needs more than decimal_digits = {self.decimal_digits}")
        return text


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


def masked(uid: str) -> str:
    """A uid for logs and screens: enough to tell two cards apart, too little to copy one.

    `04A1…9F`; of a uid shorter than 7 bytes only the last two characters; of one too short even for that, none.
    """
    if len(uid) >= _SHOWN_FROM:
        return f"{uid[:4]}…{uid[-2:]}"
    return f"…{uid[-2:]}" if len(uid) > 4 else "…"


def _checked(uid: str) -> Uid:
    if not uid:
        raise ValueError("the uid is empty")
    if len(uid) > MAX_LENGTH:
        raise ValueError(f"the uid has {len(uid)} characters; OCPI allows {MAX_LENGTH}")
    return Uid(uid)
