"""Goes through what a peer must offer, and says what deviates and which setting would help.

Only asks: nothing is changed at the peer, and the one card that it is asked about does not exist.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from uuid import uuid4

import msgspec

from agent.model import Outcome
from agent.ocpi.addressing import Addressing, Encoding, Party, addressing, authorize_url, slashed, with_query
from agent.ocpi.connection import Connection, Headers, Reply
from agent.ocpi.envelope import UNREADABLE, Envelope, decode
from agent.ocpi.failures import Failure, harmless
from agent.ocpi.handshake import NOT_HERE
from agent.ocpi.headers import number
from agent.ocpi.paging import joined, next_url, origin, same_origin, server
from agent.ocpi.tokens import Token, decode_list
from agent.ocpi.versions import DETAILS, VERSION, VERSIONS, Endpoint
from agent.runtime.peer_remedies import NONE_NEEDED, OPERATOR, Remedies

_T = TypeVar("_T")

_SMALL = 1 << 20
"""Bytes of an answer: some peers ignore `limit`, but a page of the list is larger than this only then."""

_LOOKED_AT = 25
"""Tokens: enough to see whose they are."""

_NAMED = 3
"""Of the owners whose tokens are skipped: more would be no sentence any more."""

_REFUSED = frozenset({400, 401, 403})
"""What a peer answers to a credentials token in the wrong encoding; 400 where it chokes on it."""


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
    trailing_slash: bool = False
    owners: frozenset[Party] | None = None
    """Whose tokens it may bring, in upper case; None for everybody's."""
    registered: bool = False
    """By the handshake; else it has a table in the configuration."""
    renewal: str = "ask its operator"
    """How our credentials token is renewed."""


@dataclass(frozen=True, slots=True)
class _Answer:
    reply: Reply
    envelope: Envelope | None
    url: str

    @property
    def code(self) -> int | None:
        """OCPI's own."""
        return None if self.envelope is None else self.envelope.status_code

    @property
    def succeeded(self) -> bool:
        """Whether there is data to look at."""
        there = self.envelope is not None and self.envelope.has_data
        return there and 200 <= self.reply.status < 300 and (self.code or 0) // 1000 == 1

    @property
    def is_elsewhere(self) -> bool:
        """Nothing of OCPI is at this path: a 404 with 2004 is an answer."""
        return self.reply.status in NOT_HERE and self.code != 2004


async def check_peer(peer: CheckedPeer, *, tls: ssl.SSLContext | None, limit_s: float = 30.0) -> list[Finding]:
    """Everything, in order, until something is so broken that nothing further can be asked. Raises ConfigError.

    `limit_s` is for each request. Whatever the peer answers, it becomes a finding.
    """
    connection = Connection(tls=tls, hang_s=limit_s, most_connections=1, most_idle=1)
    try:
        return await _Check(peer, connection, limit_s).findings()
    finally:
        await connection.aclose()


class _Check:
    def __init__(self, peer: CheckedPeer, connection: Connection, limit_s: float) -> None:
        self._peer = peer
        self._connection = connection
        self._limit_s = limit_s
        self._remedies = Remedies(peer.name, peer.registered, peer.hub, peer.renewal)
        self._encoding = peer.encoding
        self._slash = peer.trailing_slash
        self._address = self._addressed(peer.encoding)
        self._correlation_id = str(uuid4())
        self._found: list[Finding] = []

    async def findings(self) -> list[Finding]:
        """Each in the order in which it was made."""
        tokens_url = self._peer.tokens_url or await self._modules(self._peer.versions_url or "")
        if tokens_url is None:
            return self._found
        if not self._may_carry_token(tokens_url):
            self._note(Level.BROKEN, "endpoints", f"tokens: {_not_https(tokens_url)}", OPERATOR)
        elif await self._list(tokens_url):
            await self._unknown_card(tokens_url)
            await self._wrong_token(tokens_url)
        return self._found

    async def _modules(self, url: str) -> str | None:
        """Where the tokens are."""
        versions = await self._configuration("versions", url, VERSIONS)
        if versions is None:
            return None
        urls = {version.version.strip(): joined(url, version.url) for version in versions}
        if VERSION not in urls:
            offered = harmless(", ".join(sorted(urls)), self._address.secrets) or "nothing"
            self._note(Level.BROKEN, "versions", f"it offers {offered}, and not {VERSION}", OPERATOR)
            return None
        details = await self._configuration("version details", urls[VERSION], DETAILS)
        return None if details is None else self._endpoints(urls[VERSION], details.endpoints)

    async def _configuration(self, what: str, url: str, decoder: msgspec.json.Decoder[_T]) -> _T | None:
        answer = await self._asked("GET", url, functional=False)
        if isinstance(answer, Failure) or not answer.succeeded:
            self._unusable(what, answer)
            return None
        assert answer.envelope is not None
        try:
            data = decoder.decode(answer.envelope.data)
        except UNREADABLE as error:
            self._note(Level.BROKEN, what, f"its data can't be used: {error}", OPERATOR)
            return None
        self._manners(what, answer, functional=False)
        return data

    def _endpoints(self, url: str, endpoints: list[Endpoint]) -> str | None:
        what = "endpoints"
        if not any(endpoint.identifier.lower() == "credentials" for endpoint in endpoints):
            self._note(Level.DEVIATES, what, "no credentials module", "exchange tokens by hand: [[peer]] token")
        tokens = next((e.url for e in endpoints if e.serves("tokens", "SENDER")), None)
        if tokens is None:
            self._note(Level.BROKEN, what, "no tokens module in the role SENDER", OPERATOR)
            return None
        self._note(Level.GOOD, what)
        return joined(url, tokens)

    async def _list(self, tokens_url: str) -> bool:
        """Whether there is anybody to be asked for more."""
        what = "list of tokens"
        answer = await self._asked("GET", with_query(tokens_url, f"limit={_LOOKED_AT}"))
        if isinstance(answer, Failure) and answer.outcome is Outcome.OVERSIZED:
            self._note(Level.DEVIATES, "paging", f"{answer.detail}, for limit={_LOOKED_AT}", self._remedies.oversized)
            return True
        if isinstance(answer, Failure) or not answer.succeeded:
            self._unusable(what, answer)
            return not isinstance(answer, Failure)
        assert answer.envelope is not None
        try:
            tokens, unreadable = decode_list(answer.envelope.data)
        except UNREADABLE as error:
            self._note(Level.BROKEN, what, f"its data is no list: {error}", OPERATOR)
            return True
        self._manners(what, answer, functional=True)
        for bad in unreadable[:1]:
            remedy = "its operator has to mend it: such tokens are skipped"
            self._note(Level.DEVIATES, what, f"an object is no Token: {bad.reason}", remedy)
        self._owners(tokens)
        self._paging(answer, len(tokens) + len(unreadable))
        return True

    def _owners(self, tokens: list[Token]) -> None:
        wanted = self._peer.owners
        if wanted is None:
            return
        foreign = [token for token in tokens if (token.country_code.upper(), token.party_id.upper()) not in wanted]
        if foreign:
            named = sorted({f"{t.country_code}-{t.party_id}".upper() for t in foreign})
            more = " and others" if len(named) > _NAMED else ""
            said = f"{len(foreign)} of {len(tokens)} tokens are of {', '.join(named[:_NAMED])}{more}, and are skipped"
            self._note(Level.DEVIATES, "owners of the tokens", said, self._remedies.owners(named[:_NAMED]))

    def _paging(self, answer: "_Answer", count: int) -> None:
        what, headers = "paging", answer.reply.headers
        total, following = number(headers.get("x-total-count")), next_url(headers.get_list("link"), answer.url)
        for name in ("X-Total-Count", "X-Limit"):
            if number(headers.get(name)) is None:
                self._note(Level.DEVIATES, what, f"{name} is missing or no number", NONE_NEEDED)
        if count > _LOOKED_AT:
            said = f"it ignores limit: {count} objects where {_LOOKED_AT} were asked for"
            self._note(Level.DEVIATES, what, said, self._remedies.many(count))
        if total is not None and total > count and following is None:
            self._note(Level.BROKEN, what, "there are more tokens, but no Link to the next page", OPERATOR)
        if following is not None and not same_origin(following, answer.url):
            self._note(Level.BROKEN, what, "Link leads to another server, where no token is sent", OPERATOR)

    async def _unknown_card(self, tokens_url: str) -> None:
        what = "authorization of an unknown card"
        uid = uuid4().hex[:14].upper()
        body = b'{"location_id":"CHECK","evse_uids":["CHECK"]}'
        answer = await self._asked("POST", authorize_url(tokens_url, uid), content=body)
        if isinstance(answer, Failure):
            self._unusable(what, answer)
        elif answer.reply.status == 404 and answer.code == 2004:
            self._note(Level.GOOD, what)
        elif answer.reply.status == 404 or answer.code == 2004:
            said = f"HTTP {answer.reply.status} with {answer.code or 'no envelope'}, expected HTTP 404 with 2004"
            self._note(Level.DEVIATES, what, said, "none needed: either is taken for unknown")
        elif answer.succeeded:
            self._note(Level.DEVIATES, what, "it answers for a card that does not exist", OPERATOR)
        else:
            helps = self._remedies.refused(answer.reply.status)
            self._note(Level.BROKEN, what, _said(answer), f"{helps}. Taps are decided as if it did not answer")

    async def _wrong_token(self, tokens_url: str) -> None:
        what = "a credentials token that it does not know"
        right, self._address = self._address, self._addressed(self._encoding, token=f"wrong-{uuid4()}")
        answer = await self._send("GET", with_query(tokens_url, "limit=1"), functional=True)
        self._address = right
        if isinstance(answer, Failure):
            self._unusable(what, answer)
        elif answer.succeeded:
            said = f"HTTP {answer.reply.status}, expected 401"
            self._note(Level.BROKEN, what, said, f"{OPERATOR}: anybody may read its tokens")
        elif answer.reply.status != 401:
            self._note(Level.DEVIATES, what, f"HTTP {answer.reply.status}, expected 401", NONE_NEEDED)
        elif answer.envelope is None:
            self._note(Level.DEVIATES, what, "401 without an OCPI envelope", NONE_NEEDED)
        else:
            self._note(Level.GOOD, what)

    def _manners(self, what: str, answer: "_Answer", *, functional: bool) -> None:
        """What every good answer must have beside its data."""
        assert answer.envelope is not None
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
        if answer.code != 1000:
            faults.append(f"status_code {answer.code} in place of 1000")
        for fault in faults:
            self._note(Level.DEVIATES, what, fault, NONE_NEEDED)
        if not faults:
            self._note(Level.GOOD, what)

    async def _asked(
        self, method: str, url: str, *, functional: bool = True, content: bytes | None = None
    ) -> "_Answer | Failure":
        """An answer of any status, or why there is none; with the settings that help the peer to give one."""

        async def send() -> _Answer | Failure:
            return await self._send(method, url, functional=functional, content=content)

        answer = await self._in_other_encoding(await send(), send)
        answer = await self._on_other_paths(answer, send)
        # Some look for the path first and for the token then.
        return await self._in_other_encoding(answer, send)

    async def _in_other_encoding(
        self, answer: "_Answer | Failure", send: Callable[[], Awaitable["_Answer | Failure"]]
    ) -> "_Answer | Failure":
        if isinstance(answer, Failure) or answer.reply.status not in _REFUSED or self._encoding != self._peer.encoding:
            return answer
        self._turn_encoding()
        again = await send()
        if isinstance(again, Failure) or again.reply.status in _REFUSED:
            self._turn_encoding()
            return answer
        said = f"it takes the credentials token in {self._encoding} only"
        self._note(Level.DEVIATES, "Authorization header", said, self._remedies.encoding(self._encoding))
        return again

    async def _on_other_paths(
        self, answer: "_Answer | Failure", send: Callable[[], Awaitable["_Answer | Failure"]]
    ) -> "_Answer | Failure":
        if isinstance(answer, Failure) or not answer.is_elsewhere or self._slash != self._peer.trailing_slash:
            return answer
        self._slash = not self._slash
        again = await send()
        if isinstance(again, Failure) or again.is_elsewhere:
            self._slash = not self._slash
            return answer
        said = f"it answers only on paths {'with' if self._slash else 'without'} a slash at their end"
        self._note(Level.DEVIATES, "paths", said, self._remedies.slash(wanted=self._slash))
        return again

    async def _send(
        self, method: str, url: str, *, functional: bool, content: bytes | None = None
    ) -> "_Answer | Failure":
        if not self._may_carry_token(url):
            return Failure(Outcome.MALFORMED, _not_https(url))
        url = slashed(url) if self._slash else url
        routed = self._address.routed(self._correlation_id, self._peer.them)
        headers: Headers = routed if functional else self._address.platform(self._correlation_id)
        if content is not None:
            headers = [*headers, (b"Content-Type", b"application/json")]
        try:
            async with asyncio.timeout(self._limit_s):
                reply = await self._connection.send(method, url, headers, most_bytes=_SMALL, content=content)
        except TimeoutError:
            return Failure(Outcome.TIMEOUT, f"no answer within {self._limit_s:g} s")
        if isinstance(reply, Failure):
            return reply
        try:
            return _Answer(reply, decode(reply.body), url)
        except UNREADABLE:
            return _Answer(reply, None, url)

    def _may_carry_token(self, url: str) -> bool:
        """As everywhere: to any server, but not in clear where our own setting is an encrypted one."""
        set_by_us = self._peer.tokens_url or self._peer.versions_url or ""
        try:
            return origin(url)[0] == "https" or origin(set_by_us)[0] == "http"
        except ValueError:
            return False

    def _turn_encoding(self) -> None:
        self._encoding = "plain" if self._encoding == "base64" else "base64"
        self._address = self._addressed(self._encoding)

    def _addressed(self, encoding: Encoding, token: str | None = None) -> Addressing:
        peer = self._peer
        return addressing(peer.name, token or peer.token, encoding, us=peer.us, them=peer.them, hub=peer.hub)

    def _unusable(self, what: str, answer: "_Answer | Failure") -> None:
        helps = self._remedies
        remedy = helps.no_answer(answer) if isinstance(answer, Failure) else helps.refused(answer.reply.status)
        self._note(Level.BROKEN, what, _said(answer), remedy)

    def _note(self, level: Level, what: str, deviation: str = "", remedy: str = "") -> None:
        """Take down a finding: what the peer's words are in it is made harmless."""
        self._found.append(Finding(level, what, harmless(deviation, self._address.secrets), remedy))


def _not_https(url: str) -> str:
    return f"expected an https URL, not {server(url)}"


def _said(answer: _Answer | Failure) -> str:
    if isinstance(answer, Failure):
        return answer.detail
    if answer.envelope is None:
        return f"HTTP {answer.reply.status}, and no OCPI envelope"
    no_data = "" if answer.envelope.has_data else ", no data"
    words = f": {answer.envelope.message}" if answer.envelope.message else ""
    return f"HTTP {answer.reply.status}, OCPI {answer.code}{no_data}{words}"


def _is_time(value: object) -> bool:
    if not isinstance(value, str) or len(value) > 25:
        return False
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return False
    return moment.utcoffset() in {None, timedelta(0)}
