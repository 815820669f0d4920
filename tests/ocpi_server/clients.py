"""Clients of a server that answers little, over real sockets: with and without TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trustme

from agent.ocpi.server.asgi import welcome
from agent.ocpi.server.serve import OcpiServer

LONG_S = 30
"""Against hanging for ever."""

GOOD, BAD = b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /bad HTTP/1.1\r\nHost: x\r\n\r\n"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Knows whoever asks for /good."""
    if scope["path"] == "/good":
        welcome(scope)
    status = 200 if scope["path"] == "/good" else 404
    await send({"type": "http.response.start", "status": status, "headers": [(b"Content-Length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Clients:
    """Connections to one server that runs, by TCP alone, or with TLS where it has that."""

    def __init__(self, server: OcpiServer, trust: ssl.SSLContext | None) -> None:
        self.port = server.port
        self.running = asyncio.create_task(server.run())
        self._trust = trust
        self._writers: list[asyncio.StreamWriter] = []

    async def bare(self, address: str = "127.0.0.1") -> Stream:
        """Without a handshake."""
        return await self._connected(address, None)

    async def ready(self, address: str = "127.0.0.1") -> Stream:
        return await self._connected(address, self._trust)

    async def asking(self, sent: bytes, address: str = "127.0.0.1") -> Stream:
        """Its request has been answered, and the connection is idle."""
        reader, writer = await self.ready(address)
        await asked(reader, writer, sent)
        return reader, writer

    async def said(self, sent: bytes) -> bytes:
        """All that comes back until the server hangs up."""
        reader, writer = await self.ready()
        writer.write(sent)
        async with asyncio.timeout(LONG_S):
            return await reader.read()

    async def _connected(self, address: str, trust: ssl.SSLContext | None) -> Stream:
        async with asyncio.timeout(LONG_S):
            name = "127.0.0.1" if trust else None
            stream = await asyncio.open_connection(
                "127.0.0.1", self.port, local_addr=(address, 0), ssl=trust, server_hostname=name
            )
        self._writers.append(stream[1])
        return stream

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> None:
    writer.write(sent)
    async with asyncio.timeout(LONG_S):
        assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 ")


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Without a word; waits until it is."""
    async with asyncio.timeout(LONG_S):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def clients_of(app: Any = app, *, tls: bool = False, **settings: Any) -> AsyncIterator[Clients]:
    context = trust = None
    if tls:
        authority = trustme.CA()
        context, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(trust)
    server = OcpiServer(app, host="127.0.0.1", port=0, tls=context, **settings)
    clients = Clients(server, trust)
    try:
        yield clients
    finally:
        await clients.close()
