"""A peer's configuration modules with one credentials token: versions, version details and credentials.

Whatever the peer does comes back as a value. Which of these are called, and what follows, is `agent.runtime`'s.
"""

import asyncio
import ssl
from dataclasses import replace
from ipaddress import ip_address
from typing import Self, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit
from uuid import uuid4

import msgspec

from agent.model import Outcome
from agent.ocpi.addressing import Encoding, Party, addressing
from agent.ocpi.answers import data_of, envelope_of, without
from agent.ocpi.connection import Connection, Reply
from agent.ocpi.credentials import CREDENTIALS, Credentials
from agent.ocpi.failures import Failure
from agent.ocpi.paging import origin, server
from agent.ocpi.versions import DETAILS, VERSIONS, Endpoint, Version

_SMALL = 65_536
"""Bytes of any answer here: a hundred times what a peer needs."""

_CALLS_BACK = 4
"""Times as long for a POST or PUT: before it answers, the peer asks us for versions and details, maybe twice."""

_NOT_HERE = frozenset({301, 302, 307, 308, 404})
"""What is said of a path without its slash."""

_OURS = frozenset({"credentials", "tokens"})
"""The modules that we send a token to: where they are must be fit for one."""

_T = TypeVar("_T")


def may_carry_token(url: str, *, allow_http: bool) -> bool:
    """Whether a credentials token may be sent to `url`: encrypted, or not leaving this machine, or as allowed."""
    try:
        scheme, host, _ = origin(url)
    except ValueError:
        return False
    return scheme == "https" or allow_http or _is_loopback(host)


def slashed(url: str) -> str:
    """`url` with a slash at the end of its path."""
    parts = urlsplit(url)
    return url if parts.path.endswith("/") else urlunsplit(parts._replace(path=f"{parts.path}/"))


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
        limit_s: float = 30.0,
    ) -> None:
        """Raises ConfigError for a token that no header can carry. `tls` None leaves https URLs out of reach."""
        self._addressing = addressing(peer, token, encoding, us=us, them=us, hub=False)
        self._secrets: tuple[str, ...] = self._addressing.secrets
        self._connection = Connection(tls=tls, hang_s=_CALLS_BACK * limit_s, most_connections=2, most_idle=1)
        self.slash = False
        """Whether the peer turned out to answer only on paths that end with a slash, though it names them without."""
        self._allow_http = allow_http
        self._limit_s = limit_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def versions(self, url: str) -> list[Version] | Failure:
        """OCPI 2.2.1 version_information_endpoint, GET; with absolute URLs."""
        found = await self._get(url, VERSIONS)
        return found if isinstance(found, Failure) else [Version(v.version.strip(), _joined(url, v.url)) for v in found]

    async def endpoints(self, url: str) -> list[Endpoint] | Failure:
        """OCPI 2.2.1 version_information_endpoint, GET of the version details; with absolute URLs."""
        found = await self._get(url, DETAILS)
        if isinstance(found, Failure):
            return found
        absolute = [Endpoint(e.identifier.lower(), _joined(url, e.url), e.role.upper()) for e in found.endpoints]
        for endpoint in absolute:
            if endpoint.identifier in _OURS and not may_carry_token(endpoint.url, allow_http=self._allow_http):
                return self._refused(endpoint.url)
        return absolute

    async def exchange(self, method: str, url: str, ours: Credentials) -> Credentials | Failure:
        """POST or PUT our credentials and return theirs: OCPI 2.2.1 credentials."""
        self._secrets = (*self._secrets, ours.token)
        limit_s = _CALLS_BACK * self._limit_s
        reply = await self._send(method, url, msgspec.json.encode(ours), limit_s=limit_s)
        theirs = data_of(reply, CREDENTIALS, self._secrets)
        return _placed(theirs, url) if isinstance(theirs, Failure) else theirs

    async def withdraw(self, url: str) -> Failure | None:
        """DELETE our credentials at the peer; None when it says that it has done so."""
        answer = envelope_of(await self._send("DELETE", url), self._secrets)
        return answer if isinstance(answer, Failure) else None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connection.aclose()

    async def _get(self, url: str, decoder: msgspec.json.Decoder[_T]) -> _T | Failure:
        found = data_of(await self._send("GET", url), decoder, self._secrets)
        return _placed(found, url) if isinstance(found, Failure) else found

    async def _send(
        self, method: str, url: str, content: bytes | None = None, *, limit_s: float | None = None
    ) -> Reply | Failure:
        if not may_carry_token(url, allow_http=self._allow_http):
            return self._refused(url)
        headers = self._addressing.platform(str(uuid4()))
        if content is not None:
            headers.append((b"Content-Type", b"application/json"))
        first = slashed(url) if self.slash else url
        try:
            async with asyncio.timeout(limit_s or self._limit_s):
                reply = await self._connection.send(method, first, headers, most_bytes=_SMALL, content=content)
                if first == slashed(url) or not (isinstance(reply, Reply) and reply.status in _NOT_HERE):
                    return reply
                again = await self._connection.send(method, slashed(url), headers, most_bytes=_SMALL, content=content)
        except TimeoutError:
            return Failure(Outcome.TIMEOUT, f"no answer within {limit_s or self._limit_s:g} s")
        if isinstance(again, Reply) and again.status not in _NOT_HERE:
            self.slash = True
            return again
        return reply

    def _refused(self, url: str) -> Failure:
        try:
            where = server(url)
        except ValueError:
            where = "what is no URL"
        detail = f"expected an https URL, not {where}: over plain HTTP anybody on the way reads the token"
        return without(Failure(Outcome.MALFORMED, detail), self._secrets)


def _joined(base: str, url: str) -> str:
    """`url` made absolute; what is no URL stays what it is, for whoever uses it to complain."""
    try:
        return urljoin(base, url.strip())
    except ValueError:
        return url


def _placed(failure: Failure, url: str) -> Failure:
    """The same failure with the place where it happened."""
    return replace(failure, detail=f"{failure.detail} ({_shown(url)})")


def _shown(url: str) -> str:
    """A URL of a configuration module without its user and its query, where some peers put secrets."""
    return f"{server(url)}{urlsplit(url).path}"
