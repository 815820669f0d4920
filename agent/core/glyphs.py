"""Fits any text to a small display: what is harmless, what the display can show, where a line ends.

Everything here takes any string, a peer's as well as ours, and never raises. What is said, and in which
language, belongs into `texts`.
"""
# ruff: noqa: RUF001, RUF002 - look-alike characters are this module's trade: it names each one on purpose

import re
import unicodedata
from collections.abc import Iterator
from itertools import accumulate, takewhile

MAX_TEXT = 512
"""OCPI 2.2.1 types, DisplayText: `text` has at most 512 characters."""

_READ_AT_MOST = 8 * MAX_TEXT
"""Work is bounded before anything is cleaned: a peer's text may be megabytes of escape sequences."""

_MARKS_PER_CHARACTER = 3
"""Enough for every living script; piled up without end, they would cover the neighbouring lines."""

_ANSI_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]?"  # colours, cursor, clear screen
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links, device strings
    r"|\x1b[ -/]*[0-~]?"
)
"""The seven-bit forms only: the eight-bit ones also occur in wrongly decoded UTF-8, which must stay readable."""

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0") | frozenset(
    map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)
"""What shows nothing although its category is a letter, symbol or mark: fillers, joiners, variation selectors."""

_SPELLINGS = """
    ä=ae ö=oe ü=ue Ä=Ae Ö=Oe Ü=Ue ß=ss ẞ=SS æ=ae Æ=Ae œ=oe Œ=Oe ø=o Ø=O ł=l Ł=L đ=d Đ=D ð=d Ð=D þ=th Þ=Th ı=i
    ‐=- ‑=- ‒=- –=- —=- ―=- −=- ·=- •=- ‘=' ’=' ‚=' ‛=' ′=' ´=' ʼ=' ‹=' ›=' “=" ”=" „=" ‟=" ″=" «=" »="
    …=... €=EUR £=GBP ¢=ct ⁄=/ ×=x °=deg →=-> ←=<- ¡=! ¿=? \\=/ ~=-
"""
_ASCII = frozenset(map(chr, range(0x20, 0x7F)))
_KATAKANA = frozenset(map(chr, range(0xFF61, 0xFFA0)))
"""Half-width, as in JIS X 0201."""
_GLYPH_SETS = {
    # Where the yen sign and the arrow stand in JIS, the backslash and the tilde don't. Its beta serves as a sharp s,
    # its semi-voiced mark as a degree sign, its katakana dot as a middle dot.
    "hd44780-a00": _ASCII - frozenset("\\~") | _KATAKANA | frozenset("¥→←°·αäßβεµμσρ√¢£ñöθ∞ΩüΣπ÷千万円█"),
    # Latin-1's accents and signs are not in it, nor its soft hyphen and its hard blank.
    "hd44780-a02": _ASCII
    | frozenset(map(chr, range(0xA1, 0x100))) - frozenset("\u00a8\u00ac\u00ad\u00af\u00b4\u00b8")
    | frozenset("▶◀“”●↲↑↓→←≤≥▲▼⌂БДЖЗИЙЛПУЦЧШЩЪЫЭЮЯαΓπΣσμτΘΩδ∞ε∩ωƒ"),
}
"""What no codec knows: the character ROMs A00 (Japanese standard font) and A02 (European) of the Hitachi HD44780U, data
sheet ADE-207-272, table 4. By the value of `agent.ports.Charset`."""

_REPLACEMENTS = dict(pair.split("=") for pair in _SPELLINGS.split())
"""What a driver still reads as the same; German's umlauts need two letters, other accents are just left off."""


def sanitise(text: str) -> str:
    """Remove what could harm a display, a terminal or the reader's trust, and fold white space to single blanks.

    Gone are control characters, escape sequences, bidirectional overrides, zero-width and unassigned characters
    and marks without a letter. The rest is in NFC and at most 512 characters long (OCPI DisplayText).
    """
    plain = _ANSI_ESCAPE.sub(" ", text[:_READ_AT_MOST])
    visible = "".join(" " if c.isspace() else c for c in plain if _harmless(c))
    composed = unicodedata.normalize("NFC", visible)
    return " ".join("".join(_characters(composed))[:MAX_TEXT].split())


def can_show(text: str, charset: str) -> bool:
    """Whether at least half of the letters and digits survive on a display that knows `charset` only."""
    said = [c for c in sanitise(text) if c.isalnum()]
    return bool(said) and 2 * sum(_replace(c, charset) != "?" for c in said) >= len(said)


def fits(text: str, columns: int, rows: int, charset: str) -> bool:
    """Whether `fit` shows all of the text without breaking a word."""
    shown = _transliterate(sanitise(text), charset)
    return all(_width(word) <= columns for word in shown.split()) and len(list(_wrap(shown, columns))) <= rows


def fit(text: str, columns: int, rows: int, charset: str) -> tuple[str, ...]:
    """Lay the text out in at most `rows` lines of at most `columns` columns, all of it encodable in `charset`.

    Lines end between words where they can; what has no room ends in an ellipsis. East Asian wide characters
    count as two columns, combining marks as none. A display without columns or rows gets no lines.

    `charset` is a value of `agent.ports.Charset`: what the charset lacks is written in its letters (`ß` as `ss`,
    `–` as `-`), and as `?` where there is no such spelling.
    """
    if columns < 1 or rows < 1:
        return ()
    lines = lay_out(text, columns, charset)
    if len(lines) <= rows:
        return lines
    return (*lines[: rows - 1], _with_ellipsis(" ".join(lines[rows - 1 :]), columns, charset))


def lay_out(text: str, columns: int, charset: str) -> tuple[str, ...]:
    """All of the text, in as many lines as it takes; otherwise as `fit`."""
    return tuple(_wrap(_transliterate(sanitise(text), charset), columns)) if columns > 0 else ()


def has_glyphs(text: str, charset: str) -> bool:
    """Whether a display of that charset can show the text as it is."""
    glyphs = _GLYPH_SETS.get(charset)
    if glyphs is not None:
        return glyphs.issuperset(text)
    try:
        text.encode(charset)
    except UnicodeEncodeError:
        return False
    return True


def _harmless(c: str) -> bool:
    return c.isspace() or (unicodedata.category(c)[0] != "C" and c not in _INVISIBLE)


def _is_mark(c: str) -> bool:
    return unicodedata.category(c)[0] == "M"


def _characters(text: str) -> Iterator[str]:
    """What a reader sees as one character each: a letter with its marks. Marks without a letter are left out."""
    current = ""
    for c in text:
        if not _is_mark(c):
            if current:
                yield current
            current = c
        elif current and current != " " and len(current) <= _MARKS_PER_CHARACTER:
            current += c
    if current:
        yield current


def _replace(character: str, charset: str) -> str:
    """Spell one character in the charset; `?` when there is no way."""
    if has_glyphs(character, charset):
        return character
    known = _REPLACEMENTS.get(character)
    if known is not None:
        return known
    parts = [p for p in unicodedata.normalize("NFKD", character) if not _is_mark(p)]
    spelled = "".join(p if has_glyphs(p, charset) else _REPLACEMENTS.get(p, "?") for p in parts)
    return spelled if spelled.strip("? ") else "?"


def _transliterate(text: str, charset: str) -> str:
    return " ".join("".join(_replace(c, charset) for c in _characters(text)).split())


def _width(text: str) -> int:
    """Columns that the text takes; marks that are drawn over their letter take none."""
    return sum(_character_width(c) for c in text)


def _character_width(c: str) -> int:
    if unicodedata.category(c) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(c) in {"W", "F"} else 1


def _wrap(text: str, columns: int) -> Iterator[str]:
    """Break between words, and inside a word only where it is wider than a whole line."""
    line = ""
    for word in text.split():
        for piece in _pieces(word, columns):
            # No piece joins its own word's last one here: a piece ends only where the next character has no room.
            if line and _width(line) + 1 + _width(piece) <= columns:
                line = f"{line} {piece}"
            else:
                if line:
                    yield line
                line = piece
    if line:
        yield line


def _pieces(word: str, columns: int) -> Iterator[str]:
    piece = ""
    for character in _characters(word):
        # A wide character on a display of one column has no room at all.
        shown = character if _width(character) <= columns else "?"
        if piece and _width(piece) + _width(shown) > columns:
            yield piece
            piece = ""
        piece += shown
    if piece:
        yield piece


def _with_ellipsis(text: str, columns: int, charset: str) -> str:
    """As much of the text as a line holds beside an ellipsis."""
    ellipsis = ("…" if has_glyphs("…", charset) else "...")[:columns]
    starts = accumulate(_characters(text), initial="")
    kept = [*takewhile(lambda start: _width(start) + len(ellipsis) <= columns, starts)]
    return kept[-1].rstrip() + ellipsis
