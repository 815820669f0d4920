"""The Tokens module's objects as they travel: read leniently, written with only what is set.

What decides over a driver (`allowed`, `whitelist`, `valid`) and what names a token must be readable, or the object as a
whole is not. Everything else may be missing, null, unknown or in another case, and counts as missing where it can't be
read. What names a token holds no control characters:
it is printed, logged and put into URLs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple, Self, TypeVar

import msgspec

from agent import model
from agent.ocpi.envelope import UNREADABLE
from agent.ocpi.timestamps import as_utc

_T = TypeVar("_T")

_Id = Annotated[str, msgspec.Meta(max_length=64)]
"""OCPI allows 36 characters. Some peers go a little beyond, which harms nothing."""

_Words = Annotated[str, msgspec.Meta(max_length=256)]
"""OCPI allows 64 characters or fewer; only people read these."""

_LONGEST_TEXT: Final = 512
"""Characters: OCPI 2.2.1 types, DisplayText."""

_LONGEST_REFERENCE: Final = 255
"""Characters. OCPI allows 36; a longer one is passed on all the same, but a record has no room for a novel."""


class TokenType(StrEnum):
    """OCPI 2.2.1 mod_tokens, TokenType. A type that we don't know is another type: OTHER."""

    AD_HOC_USER = "AD_HOC_USER"
    APP_USER = "APP_USER"
    OTHER = "OTHER"
    RFID = "RFID"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls.__members__.get(str(value).upper(), cls.__members__["OTHER"])


class WhitelistType(StrEnum):
    """OCPI 2.2.1 mod_tokens, WhitelistType, in any case. It decides: an unknown one is unreadable."""

    ALWAYS = "ALWAYS"
    ALLOWED = "ALLOWED"
    ALLOWED_OFFLINE = "ALLOWED_OFFLINE"
    NEVER = "NEVER"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls.__members__.get(str(value).upper())


class AllowedType(StrEnum):
    """OCPI 2.2.1 mod_tokens, AllowedType, in any case. It decides: an unknown one is unreadable."""

    ALLOWED = "ALLOWED"
    BLOCKED = "BLOCKED"
    EXPIRED = "EXPIRED"
    NO_CREDIT = "NO_CREDIT"
    NOT_ALLOWED = "NOT_ALLOWED"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls.__members__.get(str(value).upper())


class EnergyContract(msgspec.Struct, omit_defaults=True):
    """OCPI 2.2.1 mod_tokens, EnergyContract."""

    supplier_name: _Words
    contract_id: _Words | None = None


class DisplayText(msgspec.Struct):
    """OCPI 2.2.1 types, DisplayText. A text without its language is still a text."""

    text: str
    language: str = ""


class LocationReferences(msgspec.Struct, omit_defaults=True):
    """OCPI 2.2.1 mod_tokens, LocationReferences."""

    location_id: str
    evse_uids: tuple[str, ...] | None = None


class Token(msgspec.Struct, omit_defaults=True, gc=False):
    """OCPI 2.2.1 mod_tokens, Token. `last_updated` is in UTC, whatever the peer wrote.

    Lengths are capped above OCPI's, but for the owner's: country and party go into headers and paths.
    """

    country_code: Annotated[str, msgspec.Meta(min_length=2, max_length=2)]
    party_id: Annotated[str, msgspec.Meta(min_length=1, max_length=3)]
    uid: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    type: TokenType
    contract_id: _Id
    issuer: _Words
    valid: bool
    whitelist: WhitelistType
    last_updated: datetime
    visual_number: _Words | None = None
    group_id: _Id | None = None
    language: _Words | None = None
    default_profile_type: _Words | None = None
    energy_contract: EnergyContract | None = None

    def __post_init__(self) -> None:
        # In place of patterns, which would take as long as all the rest of reading a page.
        if self.last_updated.tzinfo is not UTC:
            self.last_updated = as_utc(self.last_updated)
        owner = self.country_code + self.party_id
        if not (owner.isascii() and owner.isalnum() and self.country_code.isalpha()):
            raise ValueError("expected two letters as country_code, and letters and digits as party_id")
        if not (self.uid + self.contract_id + (self.group_id or "")).isprintable():
            raise ValueError("expected no control characters in uid, contract_id and group_id")


_NULL = msgspec.Raw(b"null")


class AuthorizationInfo(msgspec.Struct, omit_defaults=True):
    """OCPI 2.2.1 mod_tokens, AuthorizationInfo. Some peers send `info` as a bare text.

    `token` is required there, but the decision does not hang on it: see `token_of`.
    """

    allowed: AllowedType
    token: msgspec.Raw = _NULL
    location: LocationReferences | None = None
    authorization_reference: str | None = None
    info: DisplayText | str | None = None


class _Said(msgspec.Struct):
    allowed: AllowedType
    token: msgspec.Raw = _NULL
    location: msgspec.Raw = _NULL
    authorization_reference: msgspec.Raw = _NULL
    info: msgspec.Raw = _NULL


class _SaidText(msgspec.Struct):
    text: str
    language: msgspec.Raw = _NULL


_SAID = msgspec.json.Decoder(_Said)
_LOCATION = msgspec.json.Decoder(LocationReferences | None)
_REFERENCE = msgspec.json.Decoder(str | int | None)
_TEXT = msgspec.json.Decoder(_SaidText | str | None)
_LANGUAGE = msgspec.json.Decoder(str | None)


class _AuthorizationInfoDecoder:
    """Reads each field by itself: a refusal must not be lost over the language of the text that explains it."""

    def decode(self, buf: bytes | msgspec.Raw, /) -> AuthorizationInfo:
        """Raises one of UNREADABLE for `allowed`, and for the `location` of one who is ALLOWED: it may exclude us.

        Whatever else can't be read was not sent.
        """
        said = _SAID.decode(buf)
        return AuthorizationInfo(
            said.allowed, said.token, _location(said), _reference(said.authorization_reference), _text(said.info)
        )


AUTHORIZATION_INFO = _AuthorizationInfoDecoder()


def _location(said: _Said) -> LocationReferences | None:
    try:
        location: LocationReferences | None = _LOCATION.decode(said.location)
    except UNREADABLE as error:
        if said.allowed is AllowedType.ALLOWED:
            raise msgspec.ValidationError(f"ALLOWED, but the location is unreadable: {error}") from None
        return None
    return location


def _reference(raw: msgspec.Raw) -> str | None:
    """The reference unchanged, a number as its digits.

    OCPI 2.2.1 types, CiString: printable characters. With others it could be in no CDR, and is taken for not sent.
    """
    reference = _readable(_REFERENCE, raw)
    text = "" if reference is None else str(reference)
    return text if text.isprintable() and 0 < len(text) <= _LONGEST_REFERENCE else None


def _text(raw: msgspec.Raw) -> DisplayText | str | None:
    """The text as one printable line that is no longer than a DisplayText may be."""
    match _readable(_TEXT, raw):
        case _SaidText(text=text, language=language) if line := _line(text):
            return DisplayText(line, _line(_readable(_LANGUAGE, language) or ""))
        case str() as text if line := _line(text):
            return line
        case _:
            return None


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text[:_LONGEST_TEXT]).split())


def _readable(decoder: msgspec.json.Decoder[_T], raw: msgspec.Raw) -> _T | None:
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        return None


class Key(NamedTuple):
    """What names a Token object: OCPI 2.2.1 mod_tokens, Token. Empty where it could not be read."""

    country_code: str = ""
    party_id: str = ""
    uid: str = ""
    type: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object of a page that is no Token, with what is wrong with it."""

    index: int
    reason: str
    """Empty after the first of a page: who sends a thousand bad objects does not send a thousand kinds."""
    key: Key


class _Loose(msgspec.Struct):
    country_code: msgspec.Raw = _NULL
    party_id: msgspec.Raw = _NULL
    uid: msgspec.Raw = _NULL
    type: msgspec.Raw = _NULL


_OBJECTS = msgspec.json.Decoder(list[msgspec.Raw])
_TOKEN = msgspec.json.Decoder(Token, strict=False)
_LOOSE = msgspec.json.Decoder(_Loose)
_KEY_PART = msgspec.json.Decoder(_Words)
_KEY_UID = msgspec.json.Decoder(_Words | int)

_FIELDS: Final = {
    field.name: (msgspec.json.Decoder(field.type, strict=False), field.required)
    for field in msgspec.structs.fields(Token)
}
_PARTS = msgspec.json.Decoder(dict[str, msgspec.Raw])

_REASONS: Final = 20
"""Bad objects of a page whose reason is kept: a person reads no more."""

_AT_ONCE: Final = 50
"""Objects that are read before others get their turn: good ones take two microseconds each, bad ones a few."""

_COMMAS: Final = 32
"""An object's at most. A Token with all its fields has 14."""


def decode_list(data: bytes | msgspec.Raw) -> tuple[list[Token], list[Unreadable]]:
    """Read a page: the tokens in it, and the objects that are none.

    Object by object, for the correct ones are to be processed (OCPI 2.2.1 transport_and_format, GET); a whole page at
    once takes as long. Raises one of UNREADABLE for what is no list.
    """
    tokens: list[Token] = []
    unreadable: list[Unreadable] = []
    for _ in _one_by_one(_OBJECTS.decode(data), tokens, unreadable):
        pass
    return tokens, unreadable


async def next_turn() -> None:
    """Give way to what the event loop has waiting."""
    await asyncio.sleep(0)


async def read_list(
    data: bytes | msgspec.Raw, *, most_objects: int, give_way: Callable[[], Awaitable[None]] = next_turn
) -> tuple[list[Token], list[Unreadable]] | None:
    """`decode_list` for a page of any size and content: None for more than `most_objects`, and taps go on meanwhile.

    `give_way` is called between its steps. Raises one of UNREADABLE for what is no list.
    """
    # The commas are counted in a millisecond, where to build three million zeros takes half a gigabyte.
    if bytes(data).count(b",") > most_objects * _COMMAS:
        return None
    await give_way()
    objects = _OBJECTS.decode(data)
    if len(objects) > most_objects:
        return None
    tokens: list[Token] = []
    unreadable: list[Unreadable] = []
    for _ in _one_by_one(objects, tokens, unreadable):
        await give_way()
    return tokens, unreadable


def _one_by_one(objects: list[msgspec.Raw], tokens: list[Token], unreadable: list[Unreadable]) -> Iterator[None]:
    """Sorts `objects` into the other two, with a break now and then."""
    for index, raw in enumerate(objects):
        if index and index % _AT_ONCE == 0:
            yield
        try:
            tokens.append(_token(raw))
        except UNREADABLE as error:
            reason = str(error) if len(unreadable) < _REASONS else ""
            unreadable.append(Unreadable(index, reason, _key(raw)))


def _key(raw: msgspec.Raw) -> Key:
    try:
        loose = _LOOSE.decode(raw)
    except UNREADABLE:
        return Key()
    country_code, party_id, of_type = (
        _readable(_KEY_PART, part) or "" for part in (loose.country_code, loose.party_id, loose.type)
    )
    # Somewhere in between a table took it for a number: its digits are enough to know which card is on the list.
    uid = _readable(_KEY_UID, loose.uid)
    return Key(country_code, party_id, "" if uid is None else str(uid), str(TokenType(of_type)) if of_type else "")


def _token(raw: msgspec.Raw) -> Token:
    """The Token in `raw`. Raises one of UNREADABLE."""
    try:
        return _TOKEN.decode(raw)
    except UNREADABLE as error:
        return _reduced(raw, error)


def _reduced(raw: msgspec.Raw, error: Exception) -> Token:
    """The same Token without those of its optional fields that can't be read; raises `error` where that is no mend.

    A card's block must not be lost over a supplier without a name.
    """
    fields: dict[str, Any] = {}
    try:
        for name, part in _PARTS.decode(raw).items():
            if name in _FIELDS:
                decoder, required = _FIELDS[name]
                fields[name] = decoder.decode(part) if required else _readable(decoder, part)
        if not str(fields.get("group_id") or "").isprintable():
            del fields["group_id"]
        return Token(**fields)
    except (*UNREADABLE, TypeError, ValueError):  # a field that is required is missing or unreadable
        raise error from None


def to_model(tokens: Sequence[Token]) -> list[model.Token]:
    """The same tokens as the rest of the agent knows them."""
    # One call over the whole list: four times as fast as building each in Python, and a page has a thousand.
    return msgspec.convert(tokens, list[model.Token], from_attributes=True)


def token_of(info: AuthorizationInfo) -> model.Token | None:
    """The token that an answer is about; None where the peer left it out or wrote it unreadably.

    A driver who was allowed must not be refused because `issuer` was missing from an object that nobody needs now.
    """
    try:
        return to_model([_token(info.token)])[0]
    except UNREADABLE:
        return None
