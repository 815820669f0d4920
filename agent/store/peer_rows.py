"""What is known of a peer, as values, and as the rows of the tables `peer` and `accepted_token`. Pure.

Reading and changing the tables is `agent.store.peers`'s.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from agent.store.database import from_us
from agent.store.writer import Row

TokenEncoding = Literal["base64", "plain"]
"""How a peer takes a credentials token: OCPI 2.2.1 transport_and_format, Authorization header, and its note."""


class PeerStatus(StrEnum):
    """How far we are with a peer."""

    INVITED = "invited"
    """It has a token A of ours and has not used it."""
    REGISTERING = "registering"
    """We began a registration and do not know of its end."""
    REGISTERED = "registered"
    ROTATING = "rotating"
    """Registered, and we began an exchange of new tokens of whose end we do not know."""
    UNREGISTERED = "unregistered"


REGISTERED = frozenset({PeerStatus.REGISTERED, PeerStatus.ROTATING})


class TokenKind(StrEnum):
    """What a credentials token that we issued opens: OCPI 2.2.1 credentials, Registration."""

    INVITE = "invite"
    """CREDENTIALS_TOKEN_A."""
    PENDING = "pending"
    """Sent in a request of ours whose answer we do not have."""
    CURRENT = "current"
    PREVIOUS = "previous"
    """Good until the current one has been used, for a day at most."""


@dataclass(frozen=True, slots=True)
class PeerRole:
    """OCPI 2.2.1 credentials, CredentialsRole."""

    role: str
    country_code: str
    party_id: str
    name: str = ""

    @property
    def party(self) -> tuple[str, str]:
        """Country and party, comparable: both are CiStrings."""
        return self.country_code.upper(), self.party_id.upper()


@dataclass(frozen=True, slots=True)
class PeerEndpoint:
    """OCPI 2.2.1 version_information_endpoint, Endpoint; `url` is absolute."""

    module: str
    role: str
    url: str


@dataclass(frozen=True, slots=True)
class PeerRelation:
    """All that is known of a peer. Its `repr` shows no token."""

    name: str
    status: PeerStatus
    created_at: datetime
    changed_at: datetime
    revision: int = 0
    """Another one after every change of what was agreed: who wants to change what he read, names it."""
    versions_url: str | None = None
    """Theirs."""
    version: str | None = None
    encoding: TokenEncoding = "base64"
    trailing_slash: bool = False
    """They answer only on paths that end with a slash, though they name them without."""
    ca_file: str | None = None
    """The only authority that they are trusted by; None for the system's."""
    their_token: str | None = field(default=None, repr=False)
    """What we send to them."""
    their_previous_token: str | None = field(default=None, repr=False)
    """What we sent before: good if the peer never learned that the exchange was complete."""
    endpoints: tuple[PeerEndpoint, ...] = ()
    roles: tuple[PeerRole, ...] = ()
    note: str = ""
    """For the operator: how to go on after an exchange that was cut off."""
    confirmed: bool = False
    """Whether the peer has used the current token: it knows that the exchange is complete."""
    invite_expires_at: datetime | None = None
    endings: int = 0
    """How often the relation has ended."""
    withdrawn: int = 0
    """Up to which ending the tokens that it had brought are withdrawn."""

    @property
    def is_to_be_withdrawn(self) -> bool:
        """Whether it has ended, since begun anew or not, and its tokens are still in the whitelist."""
        return self.withdrawn < self.endings

    @property
    def is_registered(self) -> bool:
        """Whether both sides may use each other's interfaces, in the middle of a rotation too."""
        return self.status in REGISTERED

    def endpoint(self, module: str, role: str) -> str | None:
        """Where `module` is served in `role`."""
        return next((e.url for e in self.endpoints if e.module == module and e.role == role), None)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A credentials token that somebody showed to us, and that we issued."""

    peer: str
    kind: TokenKind
    status: PeerStatus
    token: str = field(repr=False)
    unused: bool
    """It is current and this is its first use: to be confirmed."""
    roles: tuple[PeerRole, ...]
    renounced: bool = False
    """It was we who replaced it, maybe because others know it: the relation is not to be changed with it."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What a complete exchange with a peer brought."""

    versions_url: str
    version: str
    encoding: TokenEncoding
    their_token: str = field(repr=False)
    our_token: str = field(repr=False)
    """What we issued to them; stored as a hash."""
    endpoints: tuple[PeerEndpoint, ...]
    roles: tuple[PeerRole, ...]
    note: str = ""
    trailing_slash: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A party that is in the roles of two: a request in its name could be either's."""

    country_code: str
    party_id: str
    holder: str
    """Who has it already, for our operator alone: `peer hub-one`."""

    @property
    def party(self) -> str:
        """As operators write it: `DE-ABC`."""
        return f"{self.country_code}-{self.party_id}"


def columns_of(exchanged: Exchanged) -> Row:
    """What a complete exchange saves, in the order of its statement."""
    return (
        exchanged.versions_url,
        exchanged.version,
        exchanged.encoding,
        int(exchanged.trailing_slash),
        exchanged.their_token,
        json.dumps([[e.module, e.role, e.url] for e in exchanged.endpoints]),
        json.dumps([[r.role, r.country_code, r.party_id, r.name] for r in exchanged.roles]),
        exchanged.note,
    )


def relation_of(row: Row) -> PeerRelation:
    """One row, as `PeerStore` reads it."""
    name, status, created_at, changed_at, revision, *plain, endpoints, roles, note = row[:15]
    confirmed, expires_at, endings, withdrawn = row[15:]
    versions_url, version, encoding, trailing_slash, ca_file, their_token, their_previous_token = plain
    return PeerRelation(
        name,
        PeerStatus(status),
        from_us(created_at),
        from_us(changed_at),
        revision,
        versions_url,
        version,
        encoding,
        bool(trailing_slash),
        ca_file,
        their_token,
        their_previous_token,
        tuple(PeerEndpoint(*one) for one in json.loads(endpoints)),
        roles_of(roles),
        note,
        bool(confirmed),
        None if expires_at is None else from_us(expires_at),
        endings,
        withdrawn,
    )


def roles_of(column: str) -> tuple[PeerRole, ...]:
    """The column `roles`."""
    return tuple(PeerRole(*one) for one in json.loads(column))
