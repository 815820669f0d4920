"""What we ask of a peer: whether a token may charge, its list of tokens, and where it keeps both.

OCPI 2.2.1 mod_tokens, Sender Interface. Whatever the peer does comes back as a value; only `discover`, for which
no driver waits, raises.
"""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import msgspec

from agent import model
from agent.errors import ConfigError, PeerError
from agent.model import Outcome
from agent.ocpi.addressing import Encoding, Party, addressing, authorize_url, check_url, slashed, with_query
from agent.ocpi.answers import NOBODY_THERE, data_of, envelope_of, without
from agent.ocpi.connection import Connection, Reply
from agent.ocpi.envelope import UNREADABLE, Envelope
from agent.ocpi.failures import Failure, harmless
from agent.ocpi.headers import http_date, number
from agent.ocpi.paging import joined, next_url, origin, same_origin, server
from agent.ocpi.timestamps import wire_text
from agent.ocpi.tokens import (
    AUTHORIZATION_INFO,
    AuthorizationInfo,
    LocationReferences,
    Token,
    Unreadable,
    next_turn,
    read_list,
)
from agent.ocpi.trust import tls_context
from agent.ocpi.versions import DETAILS, VERSION, VERSIONS, Endpoint

__all__ = ["AuthorizeReply", "Endpoints", "Failure", "OcpiClient", "Page", "tls_context"]

AuthorizeReply = AuthorizationInfo | Failure

_SMALL = 65_536
"""Bytes of any answer that is one object: a hundred times what a peer needs."""

_LIMIT = 1000
"""Objects of a page whose address does not say how many were asked for."""

_MOST_LIMIT = 2000
"""A Link is the peer's: it may ask for more, but is not given the room for more."""

_OBJECTS_ANYWAY = 2000
"""Some peers have their own page size. So many objects are taken whatever was asked for, and else four times that."""

_OBJECT = 16 << 10
"""Bytes that an object may take: fifty times what one does."""

_PAGE_ANYWAY = 1 << 20

_GOOD_HEALTH = frozenset({Outcome.UNKNOWN, Outcome.REJECTED, Outcome.OVERSIZED})
"""What a probe may come to although all is well: some peers offer no list, some their list only in one piece."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What a peer's version details say."""

    version: str
    tokens_url: str
    """The Tokens module's sender interface."""
    all: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a peer's list of tokens: OCPI 2.2.1 transport_and_format, Paginated Response."""

    tokens: list[Token]
    unreadable: list[Unreadable] = field(default_factory=list)
    next_url: str | None = None
    """None on the last page."""
    date: datetime | None = None
    """The peer's clock when it answered."""
    total: int | None = None
    """X-Total-Count. Peers get it wrong: no more than a hint."""
    limit: int | None = None
    """X-Limit: as many objects as this, and the page is full. No more than a hint either."""

    @property
    def objects(self) -> int:
        """How many objects it has, the unreadable ones included."""
        return len(self.tokens) + len(self.unreadable)


class OcpiClient:
    """Asks one peer. May be used by any number of tasks at once; `aclose` when done.

    Every method can be cancelled at any time, which closes the connection it was using and leaks none. There is no
    limit on the time of a request except against hanging for ever: callers have their deadlines.
    """

    def __init__(
        self,
        peer: str,
        *,
        token: str,
        us: Party,
        them: Party,
        versions_url: str | None = None,
        tokens_url: str | None = None,
        encoding: Encoding = "base64",
        hub: bool = False,
        trailing_slash: bool = False,
        tls: ssl.SSLContext | None = None,
        most_page_bytes: int = 32 << 20,
        hang_s: float = 60.0,
        most_connections: int = 64,
    ) -> None:
        """Raises ConfigError for a URL or a credentials token that can't be used.

        With `tokens_url`, versions are never asked; with `versions_url` alone the first request discovers it.
        A page has at most `most_page_bytes`, and fewer where few objects were asked for. `tls` replaces trust in
        the system's certificates. To a `hub`, a question about a token whose owner is not known goes without
        OCPI-to, for the hub to route. With `trailing_slash` every path that is asked for ends with a slash: some
        frameworks answer on such paths alone, whatever addresses they give.
        """
        url = tokens_url or versions_url or ""
        wrong = check_url(url)
        if wrong is not None:
            raise ConfigError(f'peer "{peer}": versions_url or tokens_url: {wrong}')
        scheme = origin(url)[0]
        self.peer = peer
        self._configured = tokens_url
        self._tokens_url = tokens_url
        self._versions_url = versions_url
        self._most_page_bytes = most_page_bytes
        self._trailing_slash = trailing_slash
        self._addressing = addressing(peer, token, encoding, us=us, them=them, hub=hub)
        self._secrets = self._addressing.secrets
        if tls is None and (scheme == "https" or tokens_url is None):
            # Versions on http may lead to tokens on https. Only where no TLS can come is it saved.
            tls = tls_context()
        self._connection = Connection(tls=tls, hang_s=hang_s, most_connections=most_connections)

    @property
    def tokens_url(self) -> str | None:
        """The Tokens sender interface; None until it is configured or discovered."""
        return self._tokens_url

    async def authorize(
        self,
        uid: str,
        location: model.LocationReferences,
        *,
        correlation_id: str,
        to: Party | None = None,
        listed: bool = False,
    ) -> AuthorizeReply:
        """Ask in real time whether the RFID token `uid`, sent in the case given, may charge at `location`.

        `to` is the token's owner where known. A peer that lists the token knows it: for a `listed` one a 404 that
        says nothing of OCPI is a fault on the way, for another it is "unknown". OCPI 2.2.1 mod_tokens, POST.
        """
        if not uid.strip("."):
            # A path segment of dots means another path, percent-encoded or not (RFC 3986, 5.2.4).
            return Failure(Outcome.REJECTED, "not asked: this uid can't stand in a URL")
        tokens_url = await self._ready()
        if isinstance(tokens_url, Failure):
            return tokens_url
        body = msgspec.json.encode(LocationReferences(location.location_id, location.evse_uids or None))
        headers = self._addressing.routed(correlation_id, to)
        headers.append((b"Content-Type", b"application/json"))
        url = authorize_url(tokens_url, uid, trailing_slash=self._trailing_slash)
        reply = await self._connection.send("POST", url, headers, most_bytes=_SMALL, content=body)
        return data_of(reply, AUTHORIZATION_INFO, (*self._secrets, uid), bare_404_is_answer=not listed)

    async def probe(self) -> Failure | None:
        """Whether the peer answers: one small request, which also keeps a connection warm. None when it does.

        A peer that answers without offering a list, or with too long a one, is in good health. Where nothing of
        OCPI is any more, a discovered address is forgotten: the next request discovers it again.
        """
        tokens_url = await self._ready()
        if isinstance(tokens_url, Failure):
            return tokens_url
        headers = self._addressing.routed(str(uuid4()), self._addressing.them)
        url = with_query(self._ended(tokens_url), "limit=1")
        reply = await self._connection.send("GET", url, headers, most_bytes=_SMALL)
        answer = envelope_of(reply, self._secrets, bare_404_is_answer=False)
        if answer == NOBODY_THERE:
            self._tokens_url = self._configured
        return answer if isinstance(answer, Failure) and answer.outcome not in _GOOD_HEALTH else None

    async def discover(self) -> Endpoints:
        """Where the peer's modules are, asked anew. Raises PeerError with what the peer does not offer."""
        found = await self._discover()
        if isinstance(found, Failure):
            raise PeerError(f"peer {self.peer}: {found.detail}")
        return found

    async def list_url(self, *, limit: int, date_from: datetime | None = None) -> str | Failure:
        """Where the list of tokens begins, in pages of `limit`; with `date_from` only what changed since then."""
        tokens_url = await self._ready()
        if isinstance(tokens_url, Failure):
            return tokens_url
        since = "" if date_from is None else f"&date_from={wire_text(date_from)}"
        return with_query(self._ended(tokens_url), f"limit={limit}{since}")

    async def page(
        self, url: str, *, correlation_id: str | None = None, give_way: Callable[[], Awaitable[None]] = next_turn
    ) -> Page | Failure:
        """Pull one page of the list of tokens: OCPI 2.2.1 mod_tokens, GET on the sender interface.

        `url` comes from `list_url` or is the `next_url` of the page before; credentials go to no other server.
        `give_way` lets others go first: it is called between the steps of reading the page.
        """
        tokens_url = await self._ready()
        if isinstance(tokens_url, Failure):
            return tokens_url
        url = self._ended(url)
        if not same_origin(url, tokens_url):
            return Failure(Outcome.MALFORMED, f"the page is on another server than {server(tokens_url)}")
        headers = self._addressing.routed(correlation_id or str(uuid4()), self._addressing.them)
        limit = _limit_of(url)
        most_bytes = min(self._most_page_bytes, max(limit * _OBJECT, _PAGE_ANYWAY))
        reply = await self._connection.send("GET", url, headers, most_bytes=most_bytes)
        answer = envelope_of(reply, self._secrets)
        if isinstance(answer, Failure):
            return answer
        assert isinstance(reply, Reply)
        return await self._page(url, reply, answer, limit, give_way)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connection.aclose()

    async def _page(
        self, url: str, reply: Reply, answer: Envelope, limit: int, give_way: Callable[[], Awaitable[None]]
    ) -> Page | Failure:
        most = max(4 * limit, _OBJECTS_ANYWAY)
        try:
            objects = await read_list(answer.data, most_objects=most, give_way=give_way)
        except UNREADABLE as error:
            return self._failure(f"the page is no list of tokens: {error}")
        if objects is None:
            return Failure(Outcome.OVERSIZED, f"the page has more than {most} objects, {limit} were asked for")
        tokens, unreadable = objects
        following = next_url(reply.headers.get_list("link"), url)
        if following is not None and not same_origin(following, url):
            return self._failure(f"the next page is on another server, {server(following)}, not {server(url)}")
        return Page(
            tokens,
            [replace(bad, reason=harmless(bad.reason, [bad.key.uid])) for bad in unreadable],
            following and self._ended(following),
            http_date(reply.headers.get("date")),
            number(reply.headers.get("x-total-count")),
            number(reply.headers.get("x-limit")),
        )

    async def _ready(self) -> str | Failure:
        if self._tokens_url is not None:
            return self._tokens_url
        found = await self._discover()
        return found if isinstance(found, Failure) else found.tokens_url

    async def _discover(self) -> Endpoints | Failure:
        if self._versions_url is None:
            return Failure(Outcome.NO_PEER, "no versions_url is configured")
        versions = await self._get("versions", self._versions_url, VERSIONS)
        if isinstance(versions, Failure):
            return versions
        offered = {version.version.strip(): version.url for version in versions}
        if VERSION not in offered:
            return self._failure(f"offers OCPI {', '.join(sorted(offered)) or 'in no version'}, but not {VERSION}")
        url = joined(self._versions_url, offered[VERSION])
        details = await self._get("version details", url, DETAILS)
        return details if isinstance(details, Failure) else self._take_over(url, details.endpoints)

    def _take_over(self, details_url: str, endpoints: list[Endpoint]) -> Endpoints | Failure:
        for endpoint in endpoints:
            if endpoint.serves("tokens", "SENDER"):
                tokens_url = joined(details_url, endpoint.url)
                if not self._may_follow(tokens_url):
                    return self._leads_astray("the tokens endpoint", tokens_url)
                self._tokens_url = tokens_url
                return Endpoints(VERSION, tokens_url, tuple(endpoints))
        named = ", ".join(f"{endpoint.identifier} {endpoint.role}".strip() for endpoint in endpoints) or "nothing"
        return self._failure(f"offers no tokens SENDER in OCPI {VERSION}, only: {named}")

    async def _get(self, what: str, url: str, decoder: msgspec.json.Decoder[_T]) -> _T | Failure:
        if not self._may_follow(url):
            return self._leads_astray(what, url)
        headers = self._addressing.platform(str(uuid4()))
        reply = await self._connection.send("GET", self._ended(url), headers, most_bytes=_SMALL)
        data = data_of(reply, decoder, self._secrets)
        return replace(data, detail=f"{what}: {data.detail}") if isinstance(data, Failure) else data

    def _ended(self, url: str) -> str:
        return slashed(url) if self._trailing_slash else url

    def _may_follow(self, url: str) -> bool:
        """Whether the credentials token may go there: to any server, but not in clear where it was encrypted so far."""
        try:
            scheme = origin(url)[0]
        except ValueError:
            return False
        return scheme == "https" or urlsplit(self._versions_url or "").scheme == "http"

    def _leads_astray(self, what: str, url: str) -> Failure:
        scheme = "http or https" if urlsplit(self._versions_url or "").scheme == "http" else "https"
        return self._failure(f"{what}: expected an {scheme} URL, not {server(url)}")

    def _failure(self, detail: str) -> Failure:
        return without(Failure(Outcome.MALFORMED, detail), self._secrets)


def _limit_of(url: str) -> int:
    """How many objects a page's address asks for."""
    limits = [number(value) for name, value in parse_qsl(urlsplit(url).query) if name == "limit"]
    return min(limits[0] or _LIMIT, _MOST_LIMIT) if limits else _LIMIT
