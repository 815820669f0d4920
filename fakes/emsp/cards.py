"""The tokens that the device believes in: cards told to it one by one, and a population of any size that is never held.

The list is in the order of creation, as OCPI recommends: the population first, then the cards.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

from fakes.emsp.messages import ocpi_time, written

POPULATED_SINCE = datetime(2024, 1, 1, tzinfo=UTC)
"""`last_updated` of a population's first token; each further one is a second younger."""

_POPULATED_UID = re.compile("04[0-9A-Fa-f]{12}")
_FIRST_POPULATED_UID = 0x04_0000_0000_0000


class Reference(Enum):
    """What a card's authorizations are given."""

    FRESH = "fresh"
    """A new reference each time, unique and of 36 characters."""


@dataclass(frozen=True, slots=True)
class Card:
    """What the eMSP believes of one token, and what it says when asked about it."""

    uid: str
    country_code: str
    party_id: str
    contract_id: str
    last_updated: datetime
    type: str = "RFID"
    issuer: str = "Fake eMSP"
    valid: bool = True
    whitelist: str = "ALLOWED"
    group_id: str | None = None
    language: str | None = None
    visual_number: str | None = None
    allowed: str = "ALLOWED"
    known: bool = True
    listed: bool = True
    evse_uids: tuple[str, ...] | None = None
    """The EVSEs that the answer's location names; None for those that were asked about."""
    location: bool = True
    """Whether an ALLOWED answer names the location at all: OCPI leaves it optional."""
    info: tuple[str, str] | None = None
    """`(language, text)` for the driver."""
    reference: str | Reference | None = Reference.FRESH
    token_json: bytes = field(init=False, default=b"", repr=False, compare=False)

    def __post_init__(self) -> None:
        """Write the Token object once: an authorization has no time for it."""
        object.__setattr__(self, "token_json", self._token())

    @property
    def key(self) -> tuple[str, str]:
        """What tells tokens apart; OCPI compares uids without regard to case."""
        return self.uid.upper(), self.type

    def _token(self) -> bytes:
        optional = {"visual_number": self.visual_number, "group_id": self.group_id, "language": self.language}
        return written(
            {
                "country_code": self.country_code,
                "party_id": self.party_id,
                "uid": self.uid,
                "type": self.type,
                "contract_id": self.contract_id,
                "issuer": self.issuer,
                "valid": self.valid,
                "whitelist": self.whitelist,
                **{name: value for name, value in optional.items() if value is not None},
                "last_updated": ocpi_time(self.last_updated),
            }
        )


class Cards:
    """Every token, by key and in the order of the list."""

    def __init__(self) -> None:
        self.populated = 0
        self._template = b""
        self._told: dict[tuple[str, str], Card] = {}
        self._in_front: dict[tuple[str, str], None] = {}

    def populate(self, count: int, *, country_code: str, party_id: str, whitelist: str) -> None:
        """Have `count` valid RFID tokens, made up whenever somebody asks for them."""
        self.populated = count
        owner = written({"country_code": country_code, "party_id": party_id})[:-1]
        contract = f"{country_code}-{party_id}-C".encode()
        self._template = (
            owner.replace(b"%", b"%%")
            + b',"uid":"04%012X","type":"RFID","contract_id":"'
            + contract.replace(b"%", b"%%")
            + b'%08d","issuer":"Fake eMSP","valid":true,"whitelist":"'
            + whitelist.encode()
            + b'","last_updated":"%b%02dZ"}'
        )

    def tell(self, card: Card, *, in_front: bool = False) -> None:
        """Believe `card` from now on. A token that is there already keeps its place in the list."""
        if in_front:
            self._in_front[card.key] = None
        self._told[card.key] = card

    def find(self, uid: str, of_type: str) -> Card | bytes | None:
        """The card; or a populated token's JSON; or None for what is not known."""
        card = self._told.get((uid.upper(), of_type))
        if card is not None:
            return card if card.known else None
        position = self._position(uid, of_type)
        return None if position is None else next(self._made_up(range(position, position + 1)))

    def matching(self, since: datetime | None, before: datetime | None) -> list["Stretch"]:
        """The list between two times, the first included, as stretches that make their tokens up when read."""
        told = [card for key, card in self._told.items() if self._elsewhere(key) and _within(card, since, before)]
        front = [card for card in map(self._told.__getitem__, reversed(self._in_front)) if _within(card, since, before)]
        return [front, *self._population(since, before), told]

    def page(self, stretches: list["Stretch"], offset: int, limit: int) -> list[bytes]:
        """Up to `limit` tokens of the list from `offset` on, as JSON."""
        tokens: list[bytes] = []
        for stretch in stretches:
            wanted = stretch[offset : offset + limit - len(tokens)]
            offset = max(0, offset - len(stretch))
            tokens += self._made_up(wanted) if isinstance(wanted, range) else [card.token_json for card in wanted]
        return tokens

    def _elsewhere(self, key: tuple[str, str]) -> bool:
        return key not in self._in_front and self._position(*key) is None

    def _position(self, uid: str, of_type: str) -> int | None:
        if of_type != "RFID" or not _POPULATED_UID.fullmatch(uid):
            return None
        position = int(uid, 16) - _FIRST_POPULATED_UID
        return position if position < self.populated else None

    def _population(self, since: datetime | None, before: datetime | None) -> Iterator["Stretch"]:
        """The population's tokens between two times, with the cards that were told about in their places."""
        first = 0 if since is None else -((POPULATED_SINCE - since) // timedelta(seconds=1))
        last = self.populated if before is None else -((POPULATED_SINCE - before) // timedelta(seconds=1))
        first, last = max(first, 0), min(last, self.populated)
        told = ((self._position(*key), card) for key, card in self._told.items() if key not in self._in_front)
        for position, card in sorted((place, card) for place, card in told if place is not None):
            yield range(first, min(position, last))
            first = max(first, position + 1)
            yield [card] if _within(card, since, before) else []
        yield range(first, last)

    def _made_up(self, positions: range) -> Iterator[bytes]:
        minute, prefix = -1, b""
        for position in positions:
            its_minute, second = divmod(position, 60)
            if its_minute != minute:
                minute = its_minute
                prefix = ocpi_time(POPULATED_SINCE + timedelta(minutes=minute))[:-3].encode()
            yield self._template % (position, position, prefix, second)


Stretch = range | Sequence[Card]
"""A part of the list: positions of the population, or cards."""


def populated_uid(position: int) -> str:
    """The uid of a population's token, counted from 0."""
    return f"{_FIRST_POPULATED_UID + position:014X}"


def _within(card: Card, since: datetime | None, before: datetime | None) -> bool:
    if not (card.known and card.listed):
        return False
    return (since is None or card.last_updated >= since) and (before is None or card.last_updated < before)
