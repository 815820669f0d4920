"""HTTP to one peer: warm connections, capped bodies, and every failure a value. Nothing of OCPI's content.

It drives httpx's transport, not its client. A client would log every URL, and with it the uid, at INFO; keep
cookies; and could be talked into redirects and proxies. Going without is also what keeps a tap lean.
"""

import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from agent.model import Outcome
from agent.ocpi.bounds import Network
from agent.ocpi.failures import Failure, hung_up, of_transport
from agent.ocpi.headers import number, retry_after_s
from agent.ocpi.trust import tls_context

Headers = Sequence[tuple[bytes, bytes]]

_BROKEN = (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError, OverflowError)
"""What the transport raises for a network or a peer; some errors of TLS come out of it as they are.

The last two are a host and a port that no socket takes.
"""

_ERROR_PAGE = 65_536
"""Bytes that are read of an answer which is an error anyway: enough to leave the connection usable."""

_KEEPALIVE = [
    # A mobile network's NAT forgets an idle connection within minutes and tells nobody. With these the kernel
    # notices, and the pool replaces the connection before a tap does.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 45),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP answer of any status."""

    status: int
    headers: httpx.Headers
    body: bytes
    repeated: bool = False
    """An earlier sending of the same request may have arrived as well: over a connection that was just closed."""

    @property
    def retry_after_s(self) -> float | None:
        """How long the peer asks to be left alone, in seconds."""
        return retry_after_s(self.headers, datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Unsent(Failure):
    """There was no connection to send the request over: the peer has seen nothing of it."""


@dataclass(slots=True)
class _Attempt:
    """Watches one request: whether its connection was new, and how far request and answer came."""

    reused: bool = True
    begun: bool = False
    answered: bool = False

    async def trace(self, event: str, _info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.started":
            self.reused = False
        elif event == "http11.send_request_headers.started":
            self.begun = True
        elif event == "http11.receive_response_headers.complete":
            self.answered = True

    def may_be_repeated(self, error: BaseException) -> bool:
        """Only the race with a server that closes an idle connection: it never saw the request."""
        return self.reused and not self.answered and hung_up(error)

    def came_to(self, failure: Failure) -> Failure:
        return failure if self.begun else Unsent(failure.outcome, failure.detail, failure.retry_after_s)


@dataclass(slots=True)
class Connection:
    """Sends requests to one peer. Cancelling a request closes its connection and no other."""

    tls: ssl.SSLContext | None = None
    """Whom to trust for https; None for the system's authorities, which are read when the first such URL comes."""
    hang_s: float = 60.0
    """For each phase of a request: a guard against hanging for ever. Callers set the limits that mean something."""
    most_connections: int = 64
    most_idle: int = 8
    idle_s: float = 3600.0
    """How long a connection is kept for the next tap. The server decides sooner, and the pool notices."""
    _transport: httpx.AsyncHTTPTransport = field(init=False)
    _of_the_system: httpx.AsyncHTTPTransport | None = field(init=False, default=None)
    _timeout: dict[str, float] = field(init=False)
    _closed: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        # At DEBUG it logs every header of an answer, and some peers repeat there what they were sent.
        logging.getLogger("httpcore").setLevel(logging.INFO)
        # Without an authority in it a client's context trusts nobody: what is not asked for is never unverified.
        self._transport = self._trusting(self.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        self._timeout = dict.fromkeys(("connect", "read", "write", "pool"), self.hang_s)

    async def send(
        self, method: str, url: str, headers: Headers, *, most_bytes: int, content: bytes | None = None
    ) -> Reply | Failure:
        """One request, and its whole answer if that has at most `most_bytes`.

        Repeated when a kept connection turns out to be closed: the server had not read it then. A server that was
        restarted has closed all of them, so this ends with a new connection at the latest.
        """
        repeated = False
        while True:
            attempt = _Attempt()
            try:
                answer = await self._attempt(method, url, headers, content, most_bytes, attempt)
            except _BROKEN as error:
                if self._closed or not attempt.may_be_repeated(error):
                    return attempt.came_to(of_transport(error))
                repeated = True
            else:
                return replace(answer, repeated=True) if repeated and isinstance(answer, Reply) else answer

    async def aclose(self) -> None:
        """Close every connection. What is under way fails as unreachable, and is not sent again."""
        self._closed = True
        await self._transport.aclose()
        if self._of_the_system is not None:
            await self._of_the_system.aclose()

    def _trusting(self, tls: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(
            max_connections=self.most_connections,
            max_keepalive_connections=self.most_idle,
            keepalive_expiry=self.idle_s,
        )
        transport = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits, socket_options=_KEEPALIVE)
        # httpcore takes a network of one's own, and httpx has no way to say so; a test finds out if this is not it.
        transport._pool._network_backend = Network()  # noqa: SLF001
        return transport

    def _transport_for(self, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        if self.tls is not None or url.scheme != "https":
            return self._transport
        if self._of_the_system is None:
            # Where they are in one file, 40 ms and 2 MB, which a peer on plain http does not cost.
            self._of_the_system = self._trusting(tls_context())
        return self._of_the_system

    async def _attempt(
        self, method: str, url: str, headers: Headers, content: bytes | None, most_bytes: int, attempt: _Attempt
    ) -> Reply | Failure:
        extensions = {"timeout": self._timeout, "trace": attempt.trace}
        identified = [*headers, (b"X-Request-ID", str(uuid4()).encode())]
        request = httpx.Request(method, url, headers=identified, content=content, extensions=extensions)
        response = await self._transport_for(request.url).handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        try:
            return await _read(response, stream, most_bytes)
        finally:
            await stream.aclose()


async def _read(response: httpx.Response, stream: httpx.AsyncByteStream, most_bytes: int) -> Reply | Failure:
    status, headers = response.status_code, response.headers
    good = 200 <= status < 300
    if status < 200:
        return Reply(status, headers, b"")
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        # We asked for none. Unpacking is where a small answer becomes a large one.
        if good:
            return Failure(Outcome.MALFORMED, "the answer is compressed, which was not asked for")
        return Reply(status, headers, b"")
    body = await _body(headers, stream, most_bytes if good else _ERROR_PAGE)
    if body is None:
        if good:
            return Failure(Outcome.OVERSIZED, f"the answer is larger than {_size(most_bytes)}")
        return Reply(status, headers, b"")
    return Reply(status, headers, body)


async def _body(headers: httpx.Headers, stream: httpx.AsyncByteStream, most_bytes: int) -> bytes | None:
    """The body, or None as soon as it is clear that it is larger."""
    if (number(headers.get("content-length")) or 0) > most_bytes:
        return None
    parts: list[bytes] = []
    length = 0
    async for part in stream:
        length += len(part)
        if length > most_bytes:
            return None
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _size(number: int) -> str:
    return f"{number >> 20} MiB" if number >= 1 << 20 else f"{number >> 10} KiB"
