"""A peer's configuration modules with one credentials token: versions, version details and credentials.

Whatever the peer does comes back as a value. Which of these are called, and what follows, is `agent.runtime`'s.
"""

import asyncio
import ssl
from dataclasses import replace
from ipaddress import ip_address
from typing import Self, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from agent.model import Outcome
from agent.ocpi.addressing import Encoding, Party, addressing, slashed, token_forms
from agent.ocpi.answers import data_of, envelope_of, without
from agent.ocpi.connection import Connection, Reply, Unsent
from agent.ocpi.credentials import CREDENTIALS, Credentials
from agent.ocpi.failures import Failure, harmless
from agent.ocpi.paging import joined, origin, same_origin, server
from agent.ocpi.versions import DETAILS, VERSIONS, Endpoint, Version

_SMALL = 65_536
"""Bytes of any answer here: a hundred times what a peer needs."""

LIMIT_S = 30.0
"""For one request."""

_CALLS_BACK = 4
"""Times as long for a POST or PUT: before it answers, the peer asks us for versions and details, maybe twice."""

LONGEST_EXCHANGE_S = _CALLS_BACK * LIMIT_S

NOT_HERE = frozenset({301, 302, 307, 308, 404})
"""What is said of a path without its slash."""

_OURS = frozenset({"credentials", "tokens"})
"""The modules that we send a token to: where they are must be fit for one."""

_T = TypeVar("_T")


def may_carry_token(url: str, *, allow_http: bool, local: bool = True) -> bool:
    """Whether a credentials token may be sent to `url`: encrypted, or not leaving this machine, or as allowed.

    `local`: whether the second will do. Whoever may have us ask anything on this machine can use what listens there.
    """
    try:
        scheme, host, _ = origin(url)
    except ValueError:
        return False
    return scheme == "https" or allow_http or (local and _is_loopback(host))


def is_local_http(url: str) -> bool:
    """Whether `url` is plain http on this machine."""
    return may_carry_token(url, allow_http=False) and not may_carry_token(url, allow_http=False, local=False)


def place(url: str) -> str:
    """A URL without its user and its query, where some peers put secrets."""
    try:
        return f"{server(url)}{urlsplit(url).path}"
    except ValueError:
        return server(url)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Handshake:
    """Speaks to one peer's configuration modules with one token in one encoding; `aclose` when done.

    Redirects are not followed, answers are capped, and no request takes for ever. URLs are used as the
    peer gives them; where there is nothing, a slash is added, for some frameworks answer on such paths alone.
    """

    def __init__(
        self,
        peer: str,
        token: str,
        *,
        us: Party,
        encoding: Encoding = "base64",
        tls: ssl.SSLContext | None = None,
        allow_http: bool = False,
        local_http: bool = True,
        limit_s: float = LIMIT_S,
    ) -> None:
        """Raises ConfigError for a token that no header can carry. `tls` None stands for the system's authorities.

        `local_http`: whether the peer may name plain http URLs of this machine, beside the server that it is asked at.
        """
        self._addressing = addressing(peer, token, encoding, us=us, them=us, hub=False)
        self.secrets: tuple[str, ...] = self._addressing.secrets
        """Every form of every token that the peer was sent: what it says is not to be shown with one in it."""
        self._connection = Connection(tls=tls, hang_s=_CALLS_BACK * limit_s, most_connections=2, most_idle=1)
        # A kept connection that breaks has its request sent again; a POST or PUT must not be, it may have been read.
        self._unrepeated = Connection(tls=tls, hang_s=_CALLS_BACK * limit_s, most_connections=2, most_idle=0)
        self.slash = False
        """Whether the peer turned out to answer only on paths that end with a slash, though it names them without."""
        self._allow_http = allow_http
        self._local_http = local_http
        self._asked_at = ""
        self._limit_s = limit_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def versions(self, url: str) -> list[Version] | Failure:
        """OCPI 2.2.1 version_information_endpoint, GET; with absolute URLs.

        Whose URL this is, and whether it may be asked, is for the caller to know.
        """
        self._asked_at = url
        found = await self._get(url, VERSIONS)
        if isinstance(found, Failure):
            return found
        return [Version(harmless(v.version), joined(url, v.url)) for v in found]

    async def endpoints(self, url: str) -> list[Endpoint] | Failure:
        """OCPI 2.2.1 version_information_endpoint, GET of the version details; with absolute URLs."""
        if not self._may_be_named(url):
            return self._refused(url)
        found = await self._get(url, DETAILS)
        if isinstance(found, Failure):
            return found
        absolute = [
            Endpoint(harmless(e.identifier).lower(), joined(url, e.url), harmless(e.role).upper())
            for e in found.endpoints
        ]
        for endpoint in absolute:
            if endpoint.identifier in _OURS and not self._may_be_named(endpoint.url):
                return self._refused(endpoint.url)
        return absolute

    async def exchange(self, method: str, url: str, ours: Credentials) -> Credentials | Failure:
        """POST or PUT our credentials and return theirs: OCPI 2.2.1 credentials."""
        self.secrets = (*self.secrets, *token_forms(ours.token))
        limit_s = _CALLS_BACK * self._limit_s
        reply = await self._send(method, url, msgspec.json.encode(ours), limit_s=limit_s)
        theirs = data_of(reply, CREDENTIALS, self.secrets)
        return self._placed(theirs, url) if isinstance(theirs, Failure) else theirs

    async def withdraw(self, url: str) -> Failure | None:
        """DELETE our credentials at the peer; None when it says that it has done so."""
        reply = await self._send("DELETE", url)
        answer = envelope_of(reply, self.secrets)
        if not isinstance(answer, Failure):
            return None
        # OCPI 2.2.1 credentials, DELETE: 405 is for a client that is not registered.
        gone = isinstance(reply, Reply) and reply.status == 405
        return replace(answer, outcome=Outcome.UNKNOWN) if gone else answer

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connection.aclose()
        await self._unrepeated.aclose()

    def _may_be_named(self, url: str) -> bool:
        """Whether a token may be sent to a URL that the peer names."""
        if may_carry_token(url, allow_http=self._allow_http, local=self._local_http):
            return True
        return may_carry_token(url, allow_http=False) and same_origin(url, self._asked_at)

    async def _get(self, url: str, decoder: msgspec.json.Decoder[_T]) -> _T | Failure:
        found = data_of(await self._send("GET", url), decoder, self.secrets)
        return self._placed(found, url) if isinstance(found, Failure) else found

    async def _send(
        self, method: str, url: str, content: bytes | None = None, *, limit_s: float | None = None
    ) -> Reply | Failure:
        if not may_carry_token(url, allow_http=self._allow_http):
            return self._refused(url)
        headers = self._addressing.platform(str(uuid4()))
        if content is not None:
            headers.append((b"Content-Type", b"application/json"))
        connection = self._unrepeated if method in {"POST", "PUT"} else self._connection
        ways = [slashed(url), url] if self.slash else [url, slashed(url)]
        try:
            async with asyncio.timeout(limit_s or self._limit_s):
                reply = await connection.send(method, ways[0], headers, most_bytes=_SMALL, content=content)
                if ways[0] == ways[1] or not _is_elsewhere(reply):
                    return reply
                again = await connection.send(method, ways[1], headers, most_bytes=_SMALL, content=content)
        except TimeoutError:
            return Failure(Outcome.TIMEOUT, f"no answer within {limit_s or self._limit_s:g} s")
        if isinstance(again, Failure) or _is_elsewhere(again):
            return reply
        self.slash = self.slash or ways[1] != url
        return again

    def _refused(self, url: str) -> Failure:
        detail = f"expected an https URL, not {server(url)}: over plain HTTP anybody on the way reads the token"
        return without(Unsent(Outcome.MALFORMED, detail), self.secrets)

    def _placed(self, failure: Failure, url: str) -> Failure:
        """The same failure with the place where it happened."""
        return replace(failure, detail=f"{failure.detail} ({harmless(place(url), self.secrets)})")


def _is_elsewhere(reply: Reply | Failure) -> bool:
    return isinstance(reply, Reply) and reply.status in NOT_HERE
