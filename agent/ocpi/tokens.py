"""The Tokens module's objects as they travel: read leniently, written with only what is set.

What decides over a driver (`allowed`, `whitelist`, `valid`) must be readable, or the object as a whole is not.
Everything else may be missing, null, unknown or in another case.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, NamedTuple, Self

import msgspec

from agent import model
from agent.ocpi.envelope import UNREADABLE
from agent.ocpi.timestamps import as_utc


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

    supplier_name: str
    contract_id: str | None = None


class DisplayText(msgspec.Struct):
    """OCPI 2.2.1 types, DisplayText. A text without its language is still a text."""

    text: str
    language: str = ""


class LocationReferences(msgspec.Struct, omit_defaults=True):
    """OCPI 2.2.1 mod_tokens, LocationReferences."""

    location_id: str
    evse_uids: tuple[str, ...] | None = None


class Token(msgspec.Struct, omit_defaults=True, gc=False):
    """OCPI 2.2.1 mod_tokens, Token. `last_updated` is in UTC, whatever the peer wrote."""

    country_code: Annotated[str, msgspec.Meta(min_length=1)]
    party_id: Annotated[str, msgspec.Meta(min_length=1)]
    uid: Annotated[str, msgspec.Meta(min_length=1)]
    type: TokenType
    contract_id: str
    issuer: str
    valid: bool
    whitelist: WhitelistType
    last_updated: datetime
    visual_number: str | None = None
    group_id: str | None = None
    language: str | None = None
    default_profile_type: str | None = None
    energy_contract: EnergyContract | None = None

    def __post_init__(self) -> None:
        if self.last_updated.tzinfo is not UTC:
            self.last_updated = as_utc(self.last_updated)


class AuthorizationInfo(msgspec.Struct, omit_defaults=True):
    """OCPI 2.2.1 mod_tokens, AuthorizationInfo. Some peers send `info` as a bare text.

    `token` is required there, but the decision does not hang on it: see `token_of`.
    """

    allowed: AllowedType
    token: msgspec.Raw = msgspec.Raw(b"null")
    location: LocationReferences | None = None
    authorization_reference: str | None = None
    info: DisplayText | str | None = None


AUTHORIZATION_INFO = msgspec.json.Decoder(AuthorizationInfo, strict=False)


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
    key: Key


class _Loose(msgspec.Struct):
    country_code: object = ""
    party_id: object = ""
    uid: object = ""
    type: object = ""


_PAGE = msgspec.json.Decoder(list[Token], strict=False)
_OBJECTS = msgspec.json.Decoder(list[msgspec.Raw])
_TOKEN = msgspec.json.Decoder(Token, strict=False)
_LOOSE = msgspec.json.Decoder(_Loose)


def decode_list(data: bytes | msgspec.Raw) -> tuple[list[Token], list[Unreadable]]:
    """Read a page: the tokens in it, and the objects that are none.

    A page without a bad object is read in one go; only another one is gone through object by object, for the
    correct ones are to be processed (OCPI 2.2.1 transport_and_format, GET). Raises one of UNREADABLE for what
    is no list.
    """
    try:
        return _PAGE.decode(data), []
    except UNREADABLE:
        pass
    tokens: list[Token] = []
    unreadable: list[Unreadable] = []
    for index, raw in enumerate(_OBJECTS.decode(data)):
        try:
            tokens.append(_TOKEN.decode(raw))
        except UNREADABLE as error:
            unreadable.append(Unreadable(index, str(error), _key(raw)))
    return tokens, unreadable


def _key(raw: msgspec.Raw) -> Key:
    try:
        loose = _LOOSE.decode(raw)
    except UNREADABLE:
        return Key()
    of_type = _text(loose.type)
    return Key(
        _text(loose.country_code), _text(loose.party_id), _text(loose.uid), str(TokenType(of_type)) if of_type else ""
    )


def _text(field: object) -> str:
    return field if isinstance(field, str) else ""


def to_model(tokens: Sequence[Token]) -> list[model.Token]:
    """The same tokens as the rest of the agent knows them."""
    # One call over the whole list: four times as fast as building each in Python, and a page has a thousand.
    return msgspec.convert(tokens, list[model.Token], from_attributes=True)


def token_of(info: AuthorizationInfo) -> model.Token | None:
    """The token that an answer is about; None where the peer left it out or wrote it unreadably.

    A driver who was allowed must not be refused because `issuer` was missing from an object that nobody needs now.
    """
    try:
        return to_model([_TOKEN.decode(info.token)])[0]
    except UNREADABLE:
        return None
