"""What both sides of a credentials exchange do: look at what the other party offers, and say who we are.

OCPI 2.2.1 credentials and version_information_endpoint. Who begins an exchange is `registration`'s and `reception`'s.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, Self

from agent.model import Outcome
from agent.ocpi.addressing import Encoding
from agent.ocpi.client import tls_context
from agent.ocpi.credentials import BusinessDetails, Credentials, CredentialsRole
from agent.ocpi.failures import Failure
from agent.ocpi.handshake import Handshake, slashed
from agent.ocpi.versions import VERSION, Endpoint, Version
from agent.store.peers import PeerEndpoint, PeerRole

ENCODINGS: tuple[Encoding, ...] = ("base64", "plain")
"""In the order in which they are tried: OCPI 2.2.1 transport_and_format, Authorization header, and its note."""

_REQUIRED = {"EMSP": (("tokens", "SENDER"),), "HUB": (("tokens", "SENDER"),)}
"""What a party in a role has to offer us beside credentials: without it there is nothing to agree on."""


class Platform(Protocol):
    """What an exchange needs of a client: `agent.ocpi.handshake.Handshake` has it."""

    @property
    def slash(self) -> bool:
        """Whether the peer wants a slash at the end of each path."""
        ...

    async def versions(self, url: str) -> list[Version] | Failure:
        """The versions that the peer speaks."""
        ...

    async def endpoints(self, url: str) -> list[Endpoint] | Failure:
        """Its modules in one version."""
        ...

    async def exchange(self, method: str, url: str, ours: Credentials) -> Credentials | Failure:
        """POST or PUT."""
        ...

    async def withdraw(self, url: str) -> Failure | None:
        """DELETE."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


Connect = Callable[[str, str, Encoding, str | None], Platform]
"""Takes the peer's name, a token, its encoding and the peer's `ca_file`. Raises ConfigError."""


@dataclass(frozen=True, slots=True)
class Us:
    """Who we are towards every peer: the CPO role of OCPI 2.2.1 credentials, CredentialsRole."""

    country_code: str
    party_id: str
    business_name: str
    versions_url: str
    """Where our own server is found from outside."""

    def credentials(self, token: str) -> Credentials:
        """Our credentials object with a token for one peer."""
        business = BusinessDetails(self.business_name)
        role = CredentialsRole("CPO", self.party_id, self.country_code, business)
        return Credentials(token, self.versions_url, (role,))


@dataclass(frozen=True, slots=True)
class Offer:
    """What a party offers in the version that we have in common."""

    version: str
    encoding: Encoding
    endpoints: tuple[PeerEndpoint, ...]

    @property
    def credentials_url(self) -> str:
        """Where credentials are exchanged. The role of this module means nothing (OCPI 2.2.1, Endpoint class)."""
        return next(endpoint.url for endpoint in self.endpoints if endpoint.module == "credentials")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a party's offer can't be used, as a sentence without the party's name."""

    status_code: int
    """What OCPI calls it: 3001, 3002 or 3003 (OCPI 2.2.1 status_codes)."""
    sentence: str
    unauthorized: bool = False


def new_token() -> str:
    """A credentials token of 256 random bits in 43 characters that any header carries."""
    return secrets.token_urlsafe(32)


def connect_as(us: Us, *, allow_http: bool, limit_s: float = 30.0) -> Connect:
    """How peers are reached: https, or http where it does not leave this machine or is allowed."""

    # 40 ms and 2 MB, so made once; a peer's own authority is read anew each time, for its file may be replaced.
    of_the_system = cache(tls_context)

    def connect(peer: str, token: str, encoding: Encoding, ca_file: str | None) -> Platform:
        return Handshake(
            peer,
            token,
            us=(us.country_code, us.party_id),
            encoding=encoding,
            tls=tls_context(Path(ca_file)) if ca_file else of_the_system(),
            allow_http=allow_http,
            limit_s=limit_s,
        )

    return connect


async def explore(
    open_with: Callable[[Encoding], Platform],
    versions_url: str,
    encodings: Sequence[Encoding] = ENCODINGS,
    roles: Iterable[str] | None = None,
) -> Offer | Problem:
    """Versions, details and the required endpoints, with the first of `encodings` that the peer does not reject.

    `roles` are the peer's where they are known; else it is taken for an eMSP.
    """
    problem = Problem(3001, "there is no encoding to try")
    for encoding in encodings:
        async with open_with(encoding) as platform:
            found = await _explore(platform, versions_url, encoding, roles)
        if not isinstance(found, Problem) or not found.unauthorized:
            return found
        problem = found
    return problem


async def _explore(
    platform: Platform, versions_url: str, encoding: Encoding, roles: Iterable[str] | None
) -> Offer | Problem:
    versions = await platform.versions(versions_url)
    if isinstance(versions, Failure):
        return _problem("versions", versions)
    urls = {version.version: version.url for version in versions}
    if VERSION not in urls:
        return Problem(3002, f"it offers OCPI {', '.join(sorted(urls)) or 'in no version'}, and not {VERSION}")
    listed = await platform.endpoints(urls[VERSION])
    if isinstance(listed, Failure):
        return _problem("version details", listed)
    end = slashed if platform.slash else str
    endpoints = tuple(PeerEndpoint(e.identifier, e.role, end(e.url)) for e in listed)
    missing = missing_endpoints(endpoints, roles)
    if missing:
        named = ", ".join(f"{e.module} {e.role}".strip() for e in endpoints) or "nothing"
        return Problem(3003, f"it does not offer {' and '.join(missing)} in OCPI {VERSION}, only: {named}")
    return Offer(VERSION, encoding, endpoints)


def missing_endpoints(endpoints: Iterable[PeerEndpoint], roles: Iterable[str] | None = None) -> list[str]:
    """What a party in these roles has to offer and does not: `credentials`, `tokens SENDER`."""
    there = {(endpoint.module, endpoint.role) for endpoint in endpoints}
    wanted = {pair for role in (roles or ("EMSP",)) for pair in _REQUIRED.get(role.upper(), ())}
    missing = [] if any(module == "credentials" for module, _ in there) else ["credentials"]
    return missing + [f"{module} {role}" for module, role in sorted(wanted - there)]


def roles_of(theirs: Credentials) -> tuple[PeerRole, ...]:
    """The roles of a credentials object as the store keeps them."""
    return tuple(PeerRole(r.role.upper(), r.country_code, r.party_id, r.name) for r in theirs.roles)


def _problem(step: str, failure: Failure) -> Problem:
    return Problem(3001, f"{step}: {failure.detail}", unauthorized=failure.outcome is Outcome.UNAUTHORIZED)
