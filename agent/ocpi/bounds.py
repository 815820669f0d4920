"""What is looked at of a peer's answer before h11 reads it: one odd answer must not keep the charge point waiting.

h11 reads what has come in one go, and a card waits meanwhile. A line of blanks that ends in a NUL costs it the square
of its length, a second at 16 KiB and half a minute at the 100 KiB that it would take; short lines and short chunks cost
some microseconds each. So it is handed what comes in small pieces, and what no peer sends is refused here.
"""

import asyncio
import re
import ssl
from collections.abc import Iterable
from typing import Any, Final

import h11
import httpcore

from agent.ocpi.headers import END_OF_HEAD, NO_TEXT

HEAD_BYTES: Final = 32 << 10
"""Of a status line and its headers: a peer sends one thousand, a hub with a long `Link` two or three."""

HEAD_LINES: Final = 200

_PIECE_BYTES = 16 << 10
"""Read at once; then whatever else waits has its turn."""

_BLANKS = b" " * 512
"""In a row of a head."""
_BLANKS_IN_CHUNKS = b" " * 2048
"""In a row of what comes in chunks: behind the last one h11 reads lines as it does in a head. It costs 20 ms."""

_INTERIM = re.compile(rb"HTTP/1\.[01] 1")


class Network(httpcore.AsyncNetworkBackend):
    """The network as httpcore knows it, with bounds on what comes from there."""

    def __init__(self) -> None:
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As httpcore's own."""
        return _Bounded(await self._network.connect_tcp(host, port, timeout, local_address, socket_options))

    async def sleep(self, seconds: float) -> None:
        """As httpcore's own."""
        await self._network.sleep(seconds)


class _Bounded(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._head: bytearray | None = bytearray()
        """What has come of an answer's head; None once it was whole."""
        self._row: bytes | None = None
        """Of an answer in chunks: the blanks that what has come of it ends with."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(min(max_bytes, _PIECE_BYTES), timeout)
        if len(data) == _PIECE_BYTES:
            await asyncio.sleep(0)
        try:
            if self._row is not None:
                self._check_blanks(self._row + data.replace(b"\t", b" "))
            if self._head is not None:
                self._head += data
                self._check_head(self._head)
        except h11.RemoteProtocolError as error:
            raise httpcore.RemoteProtocolError(str(error)) from error  # as whatever else is no HTTP
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._head is None:
            self._head, self._row = bytearray(), None  # the next request, and so the next answer
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Bounded(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  httpcore's
        return self._stream.get_extra_info(info)

    def _check_blanks(self, came: bytes) -> None:
        if _BLANKS_IN_CHUNKS in came:
            raise h11.RemoteProtocolError("a row of blanks")
        self._row = came[len(came.rstrip(b" ")) :]

    def _check_head(self, head: bytearray) -> None:
        """Of each, for interim ones may come first (RFC 9110, 15.2); they count together."""
        begin = 0
        while True:
            end = END_OF_HEAD.search(head, begin, HEAD_BYTES)
            stop = end.end() if end else len(head)
            if stop > HEAD_BYTES or head.count(b"\n", 0, stop) > HEAD_LINES:
                raise h11.RemoteProtocolError("its head is too large")
            if end is None:
                return
            lines = bytes(head[begin:stop])
            if NO_TEXT.search(lines) or _BLANKS in lines.replace(b"\t", b" "):
                raise h11.RemoteProtocolError("its head holds what is no text")
            if not _INTERIM.match(lines):
                self._head = None
                if b"transfer-encoding" in lines.lower():
                    self._check_blanks(bytes(head[stop:]).replace(b"\t", b" "))
                return
            begin = stop
