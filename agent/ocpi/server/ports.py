"""What the server needs of the rest: whose a token is, and what the modules do with a request.

A request that can't be fulfilled is a value, `Refusal`. Exceptions are broken parts; the server answers them with 500.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from agent import model
from agent.charges import Page
from agent.ocpi.addressing import Party
from agent.ocpi.credentials import Credentials
from agent.ocpi.tokens import Token, TokenType


class Access(StrEnum):
    """How far a caller's credentials token opens our interfaces."""

    CONFIGURATION = "configuration"
    """Versions and credentials: OCPI 2.2.1 transport_and_format, Authorization header, on CREDENTIALS_TOKEN_A."""
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, as its credentials token says."""

    peer: str
    access: Access
    token: str = field(repr=False)
    parties: frozenset[Party] = frozenset()
    """The roles that the peer gave in the handshake, in upper case."""
    pushes_for_others: bool = False
    """By configuration: a hub or a backend that brings the tokens of any owner."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not fulfilled."""

    status_code: int
    """OCPI 2.2.1 status_codes."""
    message: str
    """For the peer's developer; goes over the wire."""
    http_status: int = 200
    """A request that reached the OCPI layer gets 200, whatever became of it (OCPI 2.2.1 status_codes)."""


class TokenKey(NamedTuple):
    """What the path and the query of a request name: OCPI 2.2.1 mod_tokens, Receiver Interface."""

    country_code: str
    party_id: str
    uid: str
    type: TokenType


class Stored(StrEnum):
    """What became of a pushed token."""

    CREATED = "created"
    UPDATED = "updated"
    STALE = "stale"
    """A newer one is here; nothing was changed."""


class Callers(Protocol):
    """Knows the credentials tokens that we issued."""

    async def caller(self, candidates: Sequence[str]) -> Caller | None:
        """Whose one of at most two readings of a header is, as of now; None for nobody's."""
        ...


class CredentialsReceiver(Protocol):
    """The Credentials module: OCPI 2.2.1 credentials."""

    async def shown(self, caller: Caller) -> Credentials:
        """GET."""
        ...

    async def may_register(self, caller: Caller) -> Refusal | None:
        """Whether a POST is in place at all, before its body is looked at."""
        ...

    async def register(self, caller: Caller, theirs: Credentials) -> Credentials | Refusal:
        """POST."""
        ...

    async def may_update(self, caller: Caller) -> Refusal | None:
        """The same of a PUT."""
        ...

    async def update(self, caller: Caller, theirs: Credentials) -> Credentials | Refusal:
        """PUT."""
        ...

    async def unregister(self, caller: Caller) -> Refusal | None:
        """DELETE."""
        ...


class TokensReceiver(Protocol):
    """The Tokens module's receiver interface: OCPI 2.2.1 mod_tokens. A success means that it is on disk."""

    async def get(self, caller: Caller, key: TokenKey) -> model.Token | Refusal:
        """GET."""
        ...

    async def put(self, caller: Caller, key: TokenKey, token: Token) -> Stored | Refusal:
        """PUT."""
        ...

    async def patch(self, caller: Caller, key: TokenKey, changes: dict[str, msgspec.Raw]) -> Stored | Refusal:
        """PATCH."""
        ...


class ReportsSender(Protocol):
    """The sender interfaces of the Sessions and CDRs modules: OCPI 2.2.1 mod_sessions, mod_cdrs.

    `last_updated` is from `date_from` on and before `date_to`; None does not restrict. Of those, `limit` objects from
    the `offset`th on come back, as they were written. However others change meanwhile, one that does not never gets
    a place further ahead: who reads page by page would miss it.
    """

    async def sessions_of(
        self, peer: str, date_from: datetime | None, date_to: datetime | None, offset: int, limit: int, /
    ) -> Page:
        """The sessions that are told to `peer`, and no others."""
        ...

    async def cdrs_of(
        self, peer: str, date_from: datetime | None, date_to: datetime | None, offset: int, limit: int, /
    ) -> Page:
        """The same of its CDRs."""
        ...
