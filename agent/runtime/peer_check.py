"""Goes through what a peer must offer, and says what deviates and which setting would help.

Only asks: nothing is changed at the peer, and the one card that it is asked about does not exist.
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urljoin
from uuid import uuid4

import msgspec

from agent.ocpi.addressing import Addressing, Encoding, Party, addressing, authorize_url, with_query
from agent.ocpi.connection import Connection, Headers, Reply
from agent.ocpi.envelope import UNREADABLE, Envelope, decode
from agent.ocpi.failures import Failure, harmless
from agent.ocpi.handshake import slashed
from agent.ocpi.headers import number
from agent.ocpi.paging import next_url, same_origin
from agent.ocpi.tokens import decode_list
from agent.ocpi.versions import DETAILS, VERSION, VERSIONS, Endpoint

_T = TypeVar("_T")

_SMALL = 1 << 20
"""Bytes of an answer: some peers ignore `limit`, but a page of the list is larger than this only then."""


class Level(StrEnum):
    """What a finding means to the operator."""

    GOOD = "good"
    DEVIATES = "deviates"
    """Not as OCPI has it; the agent copes, or does with the setting named."""
    BROKEN = "broken"
    """The agent can't work with the peer like this."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    deviation: str = ""
    remedy: str = ""
    """The setting that helps, or whom to talk to."""


@dataclass(frozen=True, slots=True)
class CheckedPeer:
    """Whom to look at, and how to speak to it."""

    name: str
    token: str = field(repr=False)
    us: Party
    them: Party
    versions_url: str | None = None
    tokens_url: str | None = None
    """Instead of `versions_url`, as in the configuration."""
    encoding: Encoding = "base64"
    hub: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    reply: Reply
    envelope: Envelope | None
    url: str


async def check_peer(peer: CheckedPeer, *, tls: ssl.SSLContext | None, limit_s: float = 30.0) -> list[Finding]:
    """Everything, in order, until something is so broken that nothing further can be asked. Raises ConfigError."""
    connection = Connection(tls=tls, hang_s=limit_s, most_connections=1, most_idle=1)
    try:
        async with aclosing(_Check(peer, connection).findings()) as findings:
            return [finding async for finding in findings]
    finally:
        await connection.aclose()


class _Check:
    def __init__(self, peer: CheckedPeer, connection: Connection) -> None:
        self._peer = peer
        self._connection = connection
        self._address = self._addressed(peer.encoding)
        self._correlation_id = str(uuid4())
        self._broken = False
        self._tokens_url: str | None = None

    async def findings(self) -> AsyncGenerator[Finding, None]:
        """Each as it is made."""
        tokens_url = self._peer.tokens_url
        if tokens_url is None:
            async for finding in self._modules():
                yield finding
            tokens_url = self._tokens_url
        if tokens_url is None or self._broken:
            return
        for step in (self._list, self._unknown_card, self._wrong_token):
            async for finding in step(tokens_url):
                yield finding

    async def _modules(self) -> AsyncIterator[Finding]:
        url = self._peer.versions_url or ""
        answer = await self._get(url)
        if isinstance(answer, _Answer) and answer.reply.status == 401:
            other: Encoding = "plain" if self._peer.encoding == "base64" else "base64"
            self._address = self._addressed(other)
            answer = await self._get(url)
            if isinstance(answer, _Answer) and answer.reply.status != 401:
                said = f"it takes the credentials token in {other} only"
                yield Finding(Level.DEVIATES, "Authorization header", said, f'token_encoding = "{other}"')
        versions = self._data(answer, VERSIONS)
        if isinstance(versions, str):
            yield self._is_broken("versions", versions)
            return
        for finding in self._manners("versions", answer, functional=False):
            yield finding
        urls = {version.version.strip(): urljoin(url, version.url) for version in versions}
        if VERSION not in urls:
            yield self._is_broken("versions", f"it offers {', '.join(sorted(urls)) or 'nothing'}, and not {VERSION}")
            return
        answer = await self._get(urls[VERSION])
        details = self._data(answer, DETAILS)
        if isinstance(details, str):
            yield self._is_broken("version details", details)
            return
        for finding in self._manners("version details", answer, functional=False):
            yield finding
        for finding in self._endpoints(urls[VERSION], details.endpoints):
            yield finding

    def _endpoints(self, url: str, endpoints: list[Endpoint]) -> list[Finding]:
        found = []
        if not any(endpoint.identifier.lower() == "credentials" for endpoint in endpoints):
            found.append(
                Finding(Level.DEVIATES, "endpoints", "no credentials module", "exchange tokens by hand: [[peer]] token")
            )
        tokens = next((e.url for e in endpoints if e.serves("tokens", "SENDER")), None)
        if tokens is None:
            found.append(self._is_broken("endpoints", "no tokens module in the role SENDER"))
        else:
            self._tokens_url = urljoin(url, tokens)
            found.append(Finding(Level.GOOD, "endpoints"))
        return found

    async def _list(self, tokens_url: str) -> AsyncIterator[Finding]:
        answer = await self._get(with_query(tokens_url, "limit=1"), functional=True)
        what = "list of tokens"
        if isinstance(answer, str) or answer.reply.status != 200 or answer.envelope is None:
            yield Finding(Level.BROKEN, what, _said(answer), "ask its operator for the Tokens sender interface")
            return
        try:
            tokens, unreadable = decode_list(answer.envelope.data)
        except UNREADABLE as error:
            yield Finding(Level.BROKEN, what, harmless(f"its data is no list: {error}"))
            return
        for finding in self._manners(what, answer, functional=True):
            yield finding
        for bad in unreadable[:1]:
            reason = harmless(f"an object is no Token: {bad.reason}")
            yield Finding(Level.DEVIATES, what, reason, "its operator has to mend it: such tokens are skipped")
        count, headers = len(tokens) + len(unreadable), answer.reply.headers
        total, following = number(headers.get("x-total-count")), next_url(headers.get_list("link"), answer.url)
        for name in ("X-Total-Count", "X-Limit"):
            if number(headers.get(name)) is None:
                yield Finding(Level.DEVIATES, "paging", f"{name} is missing or no number", "none needed")
        if count > 1:
            yield Finding(Level.DEVIATES, "paging", "it ignores limit", "page_size has no effect")
        if total is not None and total > count and following is None:
            yield Finding(Level.BROKEN, "paging", "there are more tokens, but no Link to the next page")
        if following is not None and not same_origin(following, tokens_url):
            yield Finding(Level.BROKEN, "paging", "Link leads to another server, where no token is sent")

    async def _unknown_card(self, tokens_url: str) -> AsyncIterator[Finding]:
        uid = uuid4().hex[:14].upper()
        body = b'{"location_id":"CHECK","evse_uids":["CHECK"]}'
        answer = await self._send("POST", authorize_url(tokens_url, uid), functional=True, content=body)
        what = "authorization of an unknown card"
        if isinstance(answer, str):
            yield Finding(Level.BROKEN, what, answer)
            return
        code = answer.envelope.status_code if answer.envelope else None
        if answer.reply.status == 404 and code == 2004:
            yield Finding(Level.GOOD, what)
        elif answer.reply.status == 404 or code == 2004:
            said = f"HTTP {answer.reply.status} with {code or 'no envelope'}, expected HTTP 404 with 2004"
            yield Finding(Level.DEVIATES, what, said, "none needed: either is taken for unknown")
        elif code == 1000:
            yield Finding(Level.DEVIATES, what, "it answers for a card that does not exist", "ask its operator")
        else:
            yield Finding(Level.BROKEN, what, _said(answer), "taps are decided as if it did not answer")

    async def _wrong_token(self, tokens_url: str) -> AsyncIterator[Finding]:
        right, self._address = self._address, self._addressed("base64", token=f"wrong-{uuid4()}")
        answer = await self._get(with_query(tokens_url, "limit=1"), functional=True)
        self._address = right
        what = "a credentials token that it does not know"
        if isinstance(answer, str):
            yield Finding(Level.BROKEN, what, answer)
        elif answer.reply.status != 401:
            said = f"HTTP {answer.reply.status}, expected 401"
            level = Level.BROKEN if answer.reply.status < 300 else Level.DEVIATES
            yield Finding(level, what, said, "anybody may read its tokens" if level is Level.BROKEN else "none needed")
        elif answer.envelope is None:
            yield Finding(Level.DEVIATES, what, "401 without an OCPI envelope", "none needed")
        else:
            yield Finding(Level.GOOD, what)

    def _manners(self, what: str, answer: "_Answer | str", *, functional: bool) -> list[Finding]:
        """What every good answer must have beside its data."""
        if isinstance(answer, str) or answer.envelope is None:
            return []
        headers = answer.reply.headers
        faults = []
        if not headers.get("x-request-id"):
            faults.append("no X-Request-ID")
        if headers.get("x-correlation-id") != self._correlation_id:
            faults.append("X-Correlation-ID is not the request's")
        if functional and not headers.get("ocpi-from-party-id"):
            faults.append("no OCPI-from and OCPI-to headers")
        if not headers.get("content-type", "").startswith("application/json"):
            faults.append("Content-Type is not application/json")
        if not _is_time(answer.envelope.timestamp):
            faults.append("timestamp is missing or no DateTime in UTC")
        if answer.envelope.status_code != 1000:
            faults.append(f"status_code {answer.envelope.status_code} in place of 1000")
        return [Finding(Level.DEVIATES, what, fault, "none needed") for fault in faults] or [Finding(Level.GOOD, what)]

    def _data(self, answer: "_Answer | str", decoder: msgspec.json.Decoder[_T]) -> _T | str:
        if isinstance(answer, str) or answer.envelope is None or not answer.envelope.has_data:
            return _said(answer)
        try:
            return decoder.decode(answer.envelope.data)
        except UNREADABLE as error:
            return harmless(f"its data can't be used: {error}", self._address.secrets)

    async def _get(self, url: str, *, functional: bool = False) -> "_Answer | str":
        answer = await self._send("GET", url, functional=functional)
        if isinstance(answer, _Answer) and answer.reply.status == 404 and slashed(url) != url and not functional:
            return await self._send("GET", slashed(url), functional=functional)
        return answer

    async def _send(self, method: str, url: str, *, functional: bool, content: bytes | None = None) -> "_Answer | str":
        """An answer of any status, or why there is none."""
        routed = self._address.routed(self._correlation_id, self._peer.them)
        headers: Headers = routed if functional else self._address.platform(self._correlation_id)
        if content is not None:
            headers = [*headers, (b"Content-Type", b"application/json")]
        reply = await self._connection.send(method, url, headers, most_bytes=_SMALL, content=content)
        if isinstance(reply, Failure):
            return harmless(reply.detail, self._address.secrets)
        try:
            return _Answer(reply, decode(reply.body), url)
        except UNREADABLE:
            return _Answer(reply, None, url)

    def _addressed(self, encoding: Encoding, token: str | None = None) -> Addressing:
        peer = self._peer
        return addressing(peer.name, token or peer.token, encoding, us=peer.us, them=peer.them, hub=peer.hub)

    def _is_broken(self, what: str, deviation: str) -> Finding:
        self._broken = True
        return Finding(Level.BROKEN, what, deviation, "ask its operator")


def _said(answer: _Answer | str) -> str:
    if isinstance(answer, str):
        return answer
    if answer.envelope is None:
        return f"HTTP {answer.reply.status}, and no OCPI envelope"
    words = f"HTTP {answer.reply.status}, OCPI {answer.envelope.status_code} {answer.envelope.message}"
    return harmless(words) + ("" if answer.envelope.has_data else ", and no data")


def _is_time(value: object) -> bool:
    if not isinstance(value, str) or len(value) > 25:
        return False
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return False
    return moment.utcoffset() in {None, timedelta(0)}
