"""Which code shows which character: the ROMs A00 and A02 of the HD44780U (Hitachi ADE-207-272, table 4)."""

from agent.ports import Charset


def _from(code: int, characters: str) -> dict[str, int]:
    """Neighbours in the ROM; a blank stands for a code that we don't use."""
    return {character: code + step for step, character in enumerate(characters) if character != " "}


_ASCII = {chr(code): code for code in range(0x20, 0x7F)}

_A00 = {character: code for character, code in _ASCII.items() if character not in "\\~"}
_A00 |= {"¥": 0x5C, "→": 0x7E, "←": 0x7F}
_A00 |= {chr(0xFF61 + step): 0xA1 + step for step in range(63)}  # half-width katakana, as in JIS X 0201
_A00 |= {"·": 0xA5, "°": 0xDF}  # the katakana dot, and the ring of the semi-voiced mark
_A00 |= _from(0xE0, "αäβεµσρ √   ¢£ñö  θ∞ΩüΣπ") | {"μ": 0xE4, "ß": 0xE2}
_A00 |= _from(0xFA, "千万円÷ █")

_A02 = dict(_ASCII)
_A02 |= _from(0x10, "▶◀“”  ●↲↑↓→←≤≥▲▼") | {"⌂": 0x7F}
_A02 |= _from(0x80, "БДЖЗИЙЛПУЦЧШЩЪЫЭα ΓπΣσ τ ΘΩδ∞ ε∩")
_A02 |= {chr(code): code for code in range(0xA1, 0x100) if code not in (0xA8, 0xAC, 0xAD, 0xAF, 0xB4, 0xB8)}
_A02 |= {"ƒ": 0xA8, "Ю": 0xAC, "Я": 0xAD, "ω": 0xB8, "μ": 0xB5}

CODES: dict[Charset, dict[str, int]] = {Charset.HD44780_A00: _A00, Charset.HD44780_A02: _A02}

_UNKNOWN = ord("?")


def encode(text: str, rom: Charset) -> bytes:
    """The text in the ROM's codes; `?` for what it lacks. Raises KeyError for a charset that is no ROM."""
    codes = CODES[rom]
    return bytes(codes.get(character, _UNKNOWN) for character in text)
