"""Who is let in, who is dropped, and that nobody holds up the others: with and without TLS."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import socket
import ssl
import sys
from asyncio import sslproto
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from agent.ocpi.server.gate import Limits
from agent.ocpi.server.serve import OcpiServer
from tests.ocpi_server.site import header, site_in

LONG_S = 30
"""Against hanging for ever."""

GOOD, BAD = b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /bad HTTP/1.1\r\nHost: x\r\n\r\n"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers well what asks for /good."""
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


async def pour(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(GOOD * 1000)
        await writer.drain()


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


@pytest.fixture(params=[False, True], ids=["plain", "TLS"])
def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_connection_that_never_shakes_hands_is_closed() -> None:
    async with clients_of(tls=True, handshake_s=0.05) as clients:
        reader, _ = await clients.bare()
        assert await is_closed(reader)


async def test_head_that_does_not_come_after_a_handshake_closes_the_connection() -> None:
    async with clients_of(tls=True, head_s=0.05) as clients:
        reader, _ = await clients.ready()
        assert await is_closed(reader)


async def test_handshakes_that_never_end_are_counted_and_give_way() -> None:
    async with clients_of(tls=True, most_connections=2) as clients:
        held = [await clients.bare() for _ in range(8)]
        assert [await is_closed(reader) for reader, _ in held[:6]] == [True] * 6
        await clients.asking(GOOD)


async def test_nonsense_in_place_of_a_handshake_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with clients_of(tls=True) as clients:
        reader, writer = await clients.bare()
        writer.write(GOOD)
        async with asyncio.timeout(LONG_S):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        await clients.asking(GOOD)
    assert caplog.records == []


async def test_handshake_that_came_to_nothing_leaves_no_memory_to_the_collector() -> None:
    async with clients_of(tls=True, most_connections=2) as clients:
        gc.collect()
        gc.disable()
        try:
            before = handshakes()
            evicted = [await clients.bare() for _ in range(4)][:2]
            assert [await is_closed(reader) for reader, _ in evicted] == [True, True]
            await clients.asking(GOOD)
            await clients.asking(GOOD)
            # Both ends of the two that are there.
            assert handshakes() - before == 4
        finally:
            gc.enable()


def handshakes() -> int:
    return sum(isinstance(one, sslproto.SSLProtocol) for one in gc.get_objects())


async def test_whoever_was_answered_well_stays_and_who_idles_longest_without_gives_way(*, tls: bool) -> None:
    async with clients_of(tls=tls, most_connections=3) as clients:
        peer = await clients.asking(GOOD)
        idle, _ = await clients.asking(BAD)
        later = await clients.asking(BAD)
        await clients.asking(BAD)
        assert await is_closed(idle)
        await asked(*peer, GOOD)
        await asked(*later, BAD)


async def test_of_none_but_peers_who_idles_longest_gives_way(*, tls: bool) -> None:
    async with clients_of(tls=tls, most_connections=2) as clients:
        used = await clients.asking(GOOD)
        idle, _ = await clients.asking(GOOD)
        await asked(*used, GOOD)
        await clients.asking(GOOD)
        assert await is_closed(idle)
        await asked(*used, GOOD)


async def test_nobody_gives_way_while_being_served(*, tls: bool, caplog: pytest.LogCaptureFixture) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await go_on.wait()
        await app(scope, receive, send)

    async with clients_of(slow, tls=tls, most_connections=1) as clients:
        reader, writer = await clients.ready()
        writer.write(GOOD)
        async with asyncio.timeout(LONG_S):
            await begun.wait()
        for _ in range(3):
            refused, _ = await clients.bare()
            assert await is_closed(refused)
        go_on.set()
        await asked(reader, writer, b"")
    # Not one for each.
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_who_keeps_a_body_back_gives_way(*, tls: bool) -> None:
    begun = asyncio.Event()

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "PUT":
            begun.set()
            await receive()
        await app(scope, receive, send)

    async with clients_of(reading, tls=tls, most_connections=1) as clients:
        reader, writer = await clients.ready()
        writer.write(b"PUT /good HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        async with asyncio.timeout(LONG_S):
            await begun.wait()
        await clients.asking(GOOD)
        assert await is_closed(reader)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere loopback has one address")
async def test_one_address_has_half_of_all_connections(*, tls: bool) -> None:
    async with clients_of(tls=tls, most_connections=6) as clients:
        peer, _ = await clients.asking(BAD, "127.0.0.2")
        held = [await clients.asking(BAD, "127.0.0.3") for _ in range(4)]
        assert await is_closed(held[0][0])
        await asked(*held[1], BAD)
        assert not peer.at_eof()


async def test_proxy_on_this_machine_may_have_all_connections() -> None:
    async with clients_of(most_connections=4) as clients:
        held = [await clients.asking(BAD) for _ in range(4)]
        for stream in held:
            await asked(*stream, BAD)


async def large(_scope: Any, _receive: Any, send: Any) -> None:
    """Answers with more than sockets hold between them."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"%d" % LARGE)]})
    await send({"type": "http.response.body", "body": bytes(LARGE)})


LARGE = 32 << 20


async def test_client_that_does_not_read_is_dropped(*, tls: bool) -> None:
    async with clients_of(large, tls=tls, drain_s=0.05) as clients:
        _, writer = await clients.ready()
        # Above twice its limit of 64 KiB, a StreamReader stops reading until it is read from.
        writer.write(GOOD)
        async with asyncio.timeout(LONG_S):
            with pytest.raises(ConnectionError):
                await pour(writer)


async def test_client_that_reads_all_in_the_end_is_kept(*, tls: bool) -> None:
    async with clients_of(large, tls=tls) as clients:
        reader, writer = await clients.ready()
        writer.write(GOOD * 2)
        async with asyncio.timeout(LONG_S):
            for _ in range(2):
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(LARGE)
        assert not reader.at_eof()


async def test_connection_ends_with_401_and_with_429(tmp_path: Path) -> None:
    async with site_in(tmp_path, limits=Limits(requests_per_minute=2)) as site:
        token = await site.agreed()
        port = int(site.url.split(":")[2].split("/")[0])
        known = f"GET /ocpi/versions HTTP/1.1\r\nHost: x\r\nAuthorization: {header(token)['Authorization']}\r\n\r\n"
        for sent, status in ((b"GET /ocpi/versions HTTP/1.1\r\nHost: x\r\n\r\n", b"401"), (known.encode() * 3, b"429")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            async with asyncio.timeout(LONG_S):
                last = (await reader.read()).rpartition(b"HTTP/1.1 ")[2]
            writer.close()
            assert last.startswith(status)
            assert last.lower().count(b"\r\nconnection: close\r\n") == 1


async def test_stop_ends_handshakes_at_once_and_finishes_what_is_being_served() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await go_on.wait()
        await app(scope, receive, send)

    async with clients_of(slow, tls=True, handshake_s=10 * LONG_S) as clients:
        reader, writer = await clients.ready()
        writer.write(GOOD)
        async with asyncio.timeout(LONG_S):
            await begun.wait()
        bare, _ = await clients.bare()
        clients.running.cancel()
        assert await is_closed(bare)
        assert not clients.running.done()
        go_on.set()
        async with asyncio.timeout(LONG_S):
            assert (await reader.read()).endswith(b"ok")
            await asyncio.gather(clients.running, return_exceptions=True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the numbers of files are not given out in order")
async def test_process_without_a_file_left_says_so_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with clients_of() as clients:
        await clients.asking(GOOD)
        caller = socket.socket()
        caller.settimeout(0)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            await asyncio.get_running_loop().sock_connect(caller, ("127.0.0.1", clients.port))
            async with asyncio.timeout(LONG_S):
                while not caplog.records:  # noqa: ASYNC110 - there is no other sign of it
                    await asyncio.sleep(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        reader, writer = await asyncio.open_connection(sock=caller)
        await asked(reader, writer, GOOD)
        writer.close()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "Too many open files" in caplog.text
