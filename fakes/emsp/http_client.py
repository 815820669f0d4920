"""One HTTP/1.1 request over a connection of its own. Nothing of OCPI.

It reads while it still writes: a server that answers before it has heard the whole body is heard. A connection is
not used twice: the other side is killed and started again between two requests, and an idle one would lie.
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import h11

Body = bytes | AsyncIterable[bytes]
"""All of it at once, or in pieces that are sent when they come."""

_PIECE = 65_536


class NoAnswer(Exception):  # noqa: N818  (it is what happened)
    """No whole HTTP answer came: refused, not trusted, closed, no HTTP, or not in time. What the server did is open."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names in lower case, of a repeated one the last."""

    status: int
    headers: dict[str, str]
    body: bytes


async def exchange(
    method: str,
    url: str,
    headers: list[tuple[str, str]],
    body: Body,
    *,
    trust: ssl.SSLContext | None,
    patience_s: float,
) -> Answer:
    """Send one request and return its answer. Host and framing are added where `headers` lack them. Raises NoAnswer."""
    where = urlsplit(url)
    tls = (trust or ssl.create_default_context()) if where.scheme == "https" else None
    port = where.port or (443 if tls else 80)
    target = (where.path or "/") + (f"?{where.query}" if where.query else "")
    head = h11.Request(method=method, target=target, headers=_framed(method, headers, body, where.netloc))
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(patience_s):
            _, line = await loop.create_connection(_Line, where.hostname or "", port, ssl=tls)
            return await line.exchange(head, body)
    except (OSError, h11.RemoteProtocolError) as error:  # TimeoutError is an OSError
        raise NoAnswer(f"{method}: {type(error).__name__} {error}".strip()) from error


class _Line(asyncio.Protocol):
    """The connection of one request."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.CLIENT)
        self._answered: asyncio.Future[Answer] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None
        self._head: h11.Response | None = None
        self._body = bytearray()

    async def exchange(self, head: h11.Request, body: Body) -> Answer:
        """Send, and return the answer as soon as it is whole. The connection is closed afterwards in any case."""
        sending = asyncio.create_task(self._send(head, body))
        try:
            either: set[asyncio.Future[Any]] = {sending, self._answered}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            return await self._answered
        finally:
            sending.cancel()
            if self._transport is not None:
                self._transport.abort()
            await asyncio.wait({sending, self._gone})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server is there."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """The server is gone, or the answer is there and the line was closed."""
        self._transport = None
        self._writable.set()
        if not self._answered.done():
            self._answered.set_exception(error or ConnectionError("closed before the whole answer was there"))
        self._gone.set_result(None)

    def pause_writing(self) -> None:
        """The server reads more slowly than we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The server has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if not self._answered.done():
            self._http.receive_data(data)
            self._read()

    def eof_received(self) -> None:
        """The server has said all: the end of an answer that has no length."""
        if not self._answered.done():
            self._http.receive_data(b"")
            self._read()

    def _read(self) -> None:
        try:
            while (event := self._http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Response):
                    self._head = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                elif isinstance(event, h11.EndOfMessage) and self._head is not None:
                    self._answered.set_result(self._answer(self._head))
                    return
                elif isinstance(event, h11.ConnectionClosed):
                    return
        except h11.RemoteProtocolError as error:
            self._answered.set_exception(error)

    def _answer(self, head: h11.Response) -> Answer:
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        return Answer(head.status_code, headers, bytes(self._body))

    async def _send(self, head: h11.Request, body: Body) -> None:
        self._write(head)
        async for piece in _pieces(body):
            self._write(h11.Data(data=piece))
            await self._writable.wait()
        self._write(h11.EndOfMessage())

    def _write(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._http.send(event) or b"")


def _framed(method: str, headers: list[tuple[str, str]], body: Body, host: str) -> list[tuple[str, str]]:
    present = {name.lower() for name, _ in headers}
    added = [] if "host" in present else [("Host", host)]
    if not present & {"content-length", "transfer-encoding"}:
        if not isinstance(body, bytes):
            added.append(("Transfer-Encoding", "chunked"))
        elif body or method not in {"GET", "DELETE"}:
            added.append(("Content-Length", str(len(body))))
    return [*added, *headers]


async def _pieces(body: Body) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        for at in range(0, len(body), _PIECE):
            yield body[at : at + _PIECE]
    else:
        async for piece in body:
            yield piece
