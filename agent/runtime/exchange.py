"""What both sides of a credentials exchange do: look at what the other party offers, and say who we are.

OCPI 2.2.1 credentials and version_information_endpoint. Who begins an exchange is `registration`'s and `reception`'s.
"""

import logging
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Protocol, Self

from agent.model import Outcome
from agent.ocpi.addressing import Encoding, Party, slashed, token_forms
from agent.ocpi.client import tls_context
from agent.ocpi.credentials import BusinessDetails, Credentials, CredentialsRole
from agent.ocpi.failures import Failure, harmless
from agent.ocpi.handshake import LIMIT_S, Handshake, is_local_http, may_carry_token
from agent.ocpi.versions import VERSION, Endpoint, Version
from agent.store.peers import Claim, Exchanged, PeerEndpoint, PeerRelation, PeerRole, PeerStore

log = logging.getLogger(__name__)

ENCODINGS: tuple[Encoding, ...] = ("base64", "plain")
"""In the order in which they are tried: OCPI 2.2.1 transport_and_format, Authorization header, and its note."""

_REQUIRED = (("tokens", "SENDER"),)
"""What a party has to offer us, a CPO, beside credentials (OCPI 2.2.1 credentials, Required endpoints not available).

It is the same for every role, each for its own reason. An EMSP issues the tokens that drivers hold to us. A HUB brings
those of the parties behind it. Another CPO is the operator's own backend, which hands on what it has got from both.
NSP, NAP, SCSP, OTHER and roles of newer versions want what a charge point alone does not serve, and issue nothing:
without tokens there is no module that both have, which is what 3003 is for; with them such a peer is as good as any.
"""

_TOKEN_NOT_TAKEN = frozenset({Outcome.UNAUTHORIZED, Outcome.REJECTED})
"""What a token in the wrong encoding comes to: 401 or 403; 400 where the peer chokes on it; 2xxx with HTTP 200."""


class Platform(Protocol):
    """What an exchange needs of a client: `agent.ocpi.handshake.Handshake` has it."""

    @property
    def slash(self) -> bool:
        """Whether the peer wants a slash at the end of each path."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """What the peer was sent and its words are not to be shown with."""
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

    @property
    def party(self) -> Party:
        """Country and party, comparable."""
        return self.country_code.upper(), self.party_id.upper()

    @property
    def is_local(self) -> bool:
        """Whether we are found on this machine alone, as a peer is then that names such URLs of its own."""
        return is_local_http(self.versions_url)

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
    """At their URLs as the party gives them, made absolute."""
    trailing_slash: bool
    """Whether it turned out to answer only on paths that end with a slash, though it names them without."""

    @property
    def credentials_url(self) -> str:
        """Where credentials are exchanged."""
        url = credentials_url(self.endpoints, trailing_slash=self.trailing_slash)
        assert url is not None
        return url


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a party's offer can't be used, as a sentence without the party's name."""

    status_code: int
    """What OCPI calls it: 3001, 3002 or 3003 (OCPI 2.2.1 status_codes)."""
    sentence: str
    coarse: str
    """The same for the party itself, which has chosen what we asked: the step, and not what else is found there."""
    token_not_taken: bool = False
    """The token in another encoding may do."""


def new_token() -> str:
    """A credentials token of 256 random bits in 43 characters that any header carries."""
    return secrets.token_urlsafe(32)


def connect_as(us: Us, *, allow_http: bool, limit_s: float = LIMIT_S) -> Connect:
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
            local_http=us.is_local,
            limit_s=limit_s,
        )

    return connect


def may_be_theirs(url: str, us: Us, *, allow_http: bool) -> bool:
    """Whether a peer may name this as its versions URL: https, or http as allowed, or on the machine that we are on.

    The last only where we are found there ourselves: else it would have us ask whatever listens on ours.
    """
    return may_carry_token(url, allow_http=allow_http, local=us.is_local)


_OURSELVES = "this charge point"
_OUR_CPO = f"{_OURSELVES} (is it your own backend? Then name it in ocpi.server.bring_for_others first)"


def taken_with_ours(taken: Mapping[Party, str], us: Us) -> dict[Party, str]:
    """Who has each party that no registration can bring: peers of the configuration, by their names, and we."""
    return {party: f"peer {name}" for party, name in taken.items()} | {us.party: _OURSELVES}


def claimed(roles: Iterable[PeerRole], taken: Mapping[Party, str], *, for_others: bool) -> Claim | None:
    """The first party among `roles` that is in `taken`.

    The operator's own backend may be the CPO that we are; that a peer is that, is not for the peer to say: it has to
    be one of those that are trusted to bring tokens `for_others`.
    """
    for role in roles:
        holder = taken.get(role.party)
        if holder is _OURSELVES and role.role == "CPO":
            holder = None if for_others else _OUR_CPO
        if holder is not None:
            return Claim(*role.party, holder)
    return None


async def explore(
    open_with: Callable[[Encoding], Platform], versions_url: str, encodings: Sequence[Encoding] = ENCODINGS
) -> Offer | Problem:
    """Versions, details and the required endpoints, with the first of `encodings` that the peer does not reject."""
    first: Problem | None = None
    for encoding in encodings:
        async with open_with(encoding) as platform:
            found = await _explore(platform, versions_url, encoding)
        if not isinstance(found, Problem) or not found.token_not_taken:
            return found
        first = first or found
    return first or Problem(3001, "there is no encoding to try", "versions")


async def _explore(platform: Platform, versions_url: str, encoding: Encoding) -> Offer | Problem:
    versions = await platform.versions(versions_url)
    if isinstance(versions, Failure):
        return _problem("versions", versions)
    urls = {version.version: version.url for version in versions}
    if VERSION not in urls:
        offered = harmless(", ".join(sorted(urls)), platform.secrets) or "in no version"
        sentence = f"versions: it offers OCPI {offered}, and not {VERSION}"
        return Problem(3002, sentence, f"versions: {VERSION} is not offered")
    listed = await platform.endpoints(urls[VERSION])
    if isinstance(listed, Failure):
        return _problem("version details", listed)
    endpoints = tuple(PeerEndpoint(e.identifier, e.role, e.url) for e in listed)
    missing = missing_endpoints(endpoints)
    if missing:
        named = ", ".join(f"{e.module} {e.role}".strip() for e in endpoints)
        does_not = f"it does not offer {' and '.join(missing)} in OCPI {VERSION}"
        only = harmless(named, platform.secrets) or "nothing"
        return Problem(3003, f"version details: {does_not}, only: {only}", f"version details: {does_not}")
    return Offer(VERSION, encoding, endpoints, platform.slash)


def missing_endpoints(endpoints: Iterable[PeerEndpoint]) -> list[str]:
    """What a party has to offer and does not: `credentials`, `tokens SENDER`."""
    there = {(endpoint.module, endpoint.role) for endpoint in endpoints}
    missing = [] if any(module == "credentials" for module, _ in there) else ["credentials"]
    return missing + [f"{module} {role}" for module, role in _REQUIRED if (module, role) not in there]


def credentials_url(endpoints: Iterable[PeerEndpoint], *, trailing_slash: bool) -> str | None:
    """Where a party exchanges credentials. The role of this module means nothing (OCPI 2.2.1, Endpoint class)."""
    url = next((endpoint.url for endpoint in endpoints if endpoint.module == "credentials"), None)
    return slashed(url) if url is not None and trailing_slash else url


def roles_of(theirs: Credentials) -> tuple[PeerRole, ...]:
    """The roles of a credentials object as the store keeps them; each once.

    "A Hub SHALL NOT report all the other connected parties as a role" (OCPI 2.2.1 credentials): what a hub names
    beside itself is not believed. It would own the tokens of others; that is `bring_for_others`, for us to give.
    """
    roles = [
        PeerRole(harmless(r.role).upper(), r.country_code, r.party_id, harmless(r.name, token_forms(theirs.token)))
        for r in theirs.roles
    ]
    hubs = [role for role in roles if role.role == "HUB"]
    return tuple({(role.role, role.party): role for role in reversed(hubs or roles)}.values())[::-1]


async def conclude(
    store: PeerStore,
    relation: PeerRelation,
    offer: Offer,
    theirs: Credentials,
    our_token: str,
    *,
    at: datetime,
    note: str = "",
    invite: str | None = None,
) -> Claim | None:
    """Store all that a complete exchange brought; None when that is done, and see `PeerStore.complete`."""
    exchanged = Exchanged(
        theirs.url,
        offer.version,
        offer.encoding,
        theirs.token,
        our_token,
        offer.endpoints,
        roles_of(theirs),
        note,
        offer.trailing_slash,
    )
    claim = await store.complete(relation.name, exchanged, revision=relation.revision, at=at, invite=invite)
    if claim is None:
        _warn_of_new_roles(relation, exchanged.roles)
        sent = f"{offer.encoding}, on trailing slashes" if offer.trailing_slash else offer.encoding
        log.info("peer %s: credentials exchanged, OCPI %s, token sent in %s", relation.name, offer.version, sent)
    return claim


def _warn_of_new_roles(relation: PeerRelation, roles: Iterable[PeerRole]) -> None:
    """A registered peer that speaks for more than it did may be somebody else who has its token."""
    known = {(role.role, role.party) for role in relation.roles}
    new = [f"{role.role} {role.country_code}-{role.party_id}" for role in roles if (role.role, role.party) not in known]
    if relation.is_registered and new:
        log.warning("peer %s: has added to its roles: %s", relation.name, ", ".join(new))


_COARSE = re.compile(r"HTTP \d{3}|OCPI \d{4}|expected an https URL")
_OUT_OF_REACH = frozenset({Outcome.UNREACHABLE, Outcome.TIMEOUT})


def _problem(step: str, failure: Failure) -> Problem:
    known = _COARSE.match(failure.detail)
    coarse = known[0] if known else "unreachable" if failure.outcome in _OUT_OF_REACH else "no OCPI answer"
    return Problem(
        3001, f"{step}: {failure.detail}", f"{step}: {coarse}", token_not_taken=failure.outcome in _TOKEN_NOT_TAKEN
    )
