"""What the objects that we own have in common: how strictly they are written, and how leniently they are read back.

Numbers are decimal from end to end: what is read from a record or a peer is sent on with the same digits. No float.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final, Generic, Self, TypeVar

import msgspec

from agent.ocpi.timestamps import to_second

_T = TypeVar("_T", bound=msgspec.Struct)

PRINTABLE: Final = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
"""OCPI 2.2.1 types, string: printable UTF-8."""

CountryCode = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2}\Z")]
"""ISO 3166-1 alpha-2."""

PartyId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]{1,3}\Z")]
"""Three characters by ISO 15118; some parties have fewer."""

Id = Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]{1,36}\Z")]
"""OCPI 2.2.1 types, CiString(36): printable ASCII."""

Id39 = Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]{1,39}\Z")]
"""CiString(39): room for what a credit CDR has appended."""

Text255 = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=PRINTABLE)]

Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
"""ISO 4217."""

_DECIMALS: Final = 4
"""Digits after the point: OCPI 2.2.1 types, number. More are read, but not written."""

_LARGEST: Final = 18
"""Digits before the point that a number may have: a peer's 1e999999999 would be a gigabyte when written out."""

_LONGEST: Final = 40
"""Digits altogether."""

_WRITTEN = msgspec.json.Encoder(decimal_format="number")


class Word(StrEnum):
    """An enumeration of OCPI's: written as the chapter has it, read in any case."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        said = str(value).casefold()
        return next((word for word in cls if word.value.casefold() == said), None)


class OurObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A class of OCPI's whose numbers are finite and whose moments are whole seconds in UTC, however it came about.

    Building one raises ValueError for a number that can't be written. Lengths and patterns are checked by `encode`
    and when it is read.
    """

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            match getattr(self, name):
                case Decimal() as number:
                    msgspec.structs.force_setattr(self, name, _plain(name, number))
                case datetime() as moment:
                    msgspec.structs.force_setattr(self, name, to_second(moment))
                case _:
                    pass


def encode(own: OurObject) -> bytes:
    """`own` as JSON with every digit that it has. Raises ValueError, naming the field, for what OCPI does not allow.

    The same object gives the same bytes, and so does what is read from them.
    """
    text = _WRITTEN.encode(own)
    try:
        # What is built in Python was checked by nobody; reading it checks every type, length and pattern.
        again = msgspec.json.decode(text, type=type(own))
        _STRICT.decode(text)
    except msgspec.ValidationError as error:
        raise ValueError(f"{type(own).__name__}: {error}") from None
    if _WRITTEN.encode(again) != text:
        raise ValueError(f"{type(own).__name__}: expected the words of enumerations as the chapter writes them")
    return text


class Lenient(Generic[_T]):
    """Reads a peer's copy of an object: null is not there, numbers may be strings, words in any case."""

    def __init__(self, of: type[_T]) -> None:
        self._decoder = msgspec.json.Decoder(of, strict=False)

    def decode(self, buf: bytes | msgspec.Raw, /) -> _T:
        """Raises one of `agent.ocpi.envelope.UNREADABLE` for what is no such object."""
        # Many peers write every field of the table, null where they have nothing. To OCPI 2.2.1 mod_sessions (GET,
        # Response Data) both are the same.
        return self._decoder.decode(_without_nulls(bytes(buf)) if b"null" in bytes(buf) else buf)


def _plain(name: str, number: Decimal) -> Decimal:
    """The same number as JSON writes it without an exponent, and zero without a sign."""
    if not number.is_finite() or number.adjusted() >= _LARGEST or len(number.as_tuple().digits) > _LONGEST:
        raise ValueError(f"{name}: expected a number of at most {_LARGEST} digits before the point")
    if number.is_zero() and number.is_signed():
        number = number.copy_abs()
    return Decimal(f"{number:f}") if _exponent(number) > 0 else number


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent


def _four_decimals(text: str) -> Decimal:
    number = Decimal(text)
    if -_exponent(number) > _DECIMALS:
        raise ValueError(f"expected at most {_DECIMALS} decimals, not {-_exponent(number)}")
    return number


_STRICT = msgspec.json.Decoder(float_hook=_four_decimals)
_ANYTHING = msgspec.json.Decoder(float_hook=Decimal)


def _without_nulls(text: bytes) -> bytes:
    return _WRITTEN.encode(_pruned(_ANYTHING.decode(text)))


def _pruned(value: object) -> object:
    match value:
        case dict():
            return {key: _pruned(inside) for key, inside in value.items() if inside is not None}
        case list():
            return [_pruned(inside) for inside in value]
        case _:
            return value
