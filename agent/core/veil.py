"""A card's uid in words that others have written: masked, for screens and logs."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from agent.core.uid import masked

Veil = Callable[[str], str]


def veil_for(uids: Iterable[str | None]) -> Veil:
    """Masks these in a text, however they are spelled there. What is veiled has as many lines, and none is longer."""
    return _veil(frozenset(uid for uid in uids if uid is not None and len(_plain(uid)) >= SHORTEST))


SHORTEST = 6
"""Letters and digits of a uid: a shorter one would veil prices and times."""

SHORTEST_NUMBER = 8
"""Digits of one that may be spelled with something in between: `10:00:00` is a time."""

_APART = "[^0-9A-Za-z]{0,3}"
"""What may stand between two of them: people write dots, two blanks, dashes, and displays begin a new line."""


@lru_cache(maxsize=2)
def _veil(uids: frozenset[str]) -> Veil:
    """The same cards are looked for several times a second, and mostly in the same texts."""
    masks = {_plain(uid): masked(uid).upper() for uid in sorted(uids, key=len, reverse=True)}

    @lru_cache(maxsize=256)
    def veil(text: str) -> str:
        # A pattern of all of them takes longer to make than all of this; and hardly ever is one there at all.
        plain = _plain(text)
        found = tuple(uid for uid in masks if uid in plain)
        return _pattern_of(found).sub(lambda it: _mask(it[0], masks[_plain(it[0])]), text) if found else text

    return veil


@lru_cache(maxsize=1024)
def _plain(text: str) -> str:
    """Its letters and digits, as uids are compared."""
    return re.sub("[^0-9A-Za-z]+", "", text).upper()


@lru_cache(maxsize=32)
def _pattern_of(uids: tuple[str, ...]) -> re.Pattern[str]:
    apart = ["" if uid.isdigit() and len(uid) < SHORTEST_NUMBER else _APART for uid in uids]
    spelled = (between.join(uid) for between, uid in zip(apart, uids, strict=True))
    return re.compile("|".join(spelled), re.IGNORECASE | re.ASCII)


def _mask(found: str, mask: str) -> str:
    """The mask on the longest of the lines that the number runs over, dots on the others."""
    parts = found.split("\n")
    longest = max(range(len(parts)), key=lambda at: len(parts[at]))
    dots = ["…" if _plain(part) else part for part in parts]
    if len(mask) <= len(parts[longest]):
        dots[longest] = mask
    return "\n".join(dots)
