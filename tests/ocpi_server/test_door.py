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
from pathlib import Path
from typing import Any

import pytest

from agent.ocpi.server.gate import Limits
from agent.ocpi.server.newcomers import Newcomers, Pace
from agent.ocpi.server.serve import OcpiServer
from tests.ocpi_server.clients import BAD, GOOD, LONG_S, app, asked, clients_of, is_closed
from tests.ocpi_server.site import header, site_in


async def pour(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(GOOD * 1000)
        await writer.drain()


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


async def test_whoever_is_known_stays_and_of_strangers_who_idles_longest_gives_way(*, tls: bool) -> None:
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


UNFINISHED = b"PUT /good HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"


class Reading:
    """Reads a body before it answers."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.read: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "PUT":
            self.begun.set()
            message = await receive()
            self.read.append(message["type"])
            if message["type"] == "http.disconnect":
                return
        await app(scope, receive, send)

    async def keep_back(self, writer: asyncio.StreamWriter) -> None:
        """Send a request without its body, and return once that is waited for."""
        self.begun.clear()
        writer.write(UNFINISHED)
        async with asyncio.timeout(LONG_S):
            await self.begun.wait()


async def test_who_keeps_a_body_back_gives_way(*, tls: bool) -> None:
    reading = Reading()
    async with clients_of(reading, tls=tls, most_connections=1) as clients:
        reader, writer = await clients.ready()
        await reading.keep_back(writer)
        await clients.asking(GOOD)
        assert await is_closed(reader)


async def test_good_answer_makes_nobody_known(*, tls: bool) -> None:
    async def anybodys(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/anybodys":
            scope["extensions"].clear()
            scope["path"] = "/good"
        await app(scope, receive, send)

    async with clients_of(anybodys, tls=tls, most_connections=2) as clients:
        peer = await clients.asking(GOOD)
        stranger, _ = await clients.asking(b"GET /anybodys HTTP/1.1\r\nHost: x\r\n\r\n")
        await clients.asking(BAD)
        assert await is_closed(stranger)
        await asked(*peer, GOOD)


async def test_who_is_known_and_keeps_a_body_back_gives_way_after_those_who_idle(*, tls: bool) -> None:
    reading = Reading()
    async with clients_of(reading, tls=tls, most_connections=2) as clients:
        reader, writer = await clients.asking(GOOD)
        await reading.keep_back(writer)
        idle, _ = await clients.asking(GOOD)
        later = await clients.asking(GOOD)
        assert await is_closed(idle)
        await reading.keep_back(later[1])
        await clients.asking(GOOD)
        assert await is_closed(reader)
        await asked(*later, b"123456789")


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


async def test_stop_does_not_wait_for_a_request_that_has_not_come_whole(
    *, tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    reading = Reading()
    async with clients_of(reading, tls=tls) as clients:
        streams = [await clients.asking(GOOD), await clients.ready()]
        for _, writer in streams:
            await reading.keep_back(writer)
        partly, writer = await clients.asking(BAD)
        writer.write(GOOD[:-2])
        clients.running.cancel()
        assert [await is_closed(reader) for reader in (streams[0][0], streams[1][0], partly)] == [True] * 3
        await asyncio.gather(clients.running, return_exceptions=True)
    # In place of being cancelled when the server's time was over.
    assert reading.read == ["http.disconnect"] * 2
    assert caplog.records == []


async def test_stop_does_not_wait_for_a_stranger_who_does_not_read(
    *, tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    is_stuck = asyncio.Event()

    async def more(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(LARGE), "more_body": True})
        is_stuck.set()
        await send({"type": "http.response.body", "body": b""})

    async with clients_of(more, tls=tls) as clients:
        _, writer = await clients.ready()
        writer.write(GOOD)
        async with asyncio.timeout(LONG_S):
            await is_stuck.wait()
            clients.running.cancel()
            await asyncio.gather(clients.running, return_exceptions=True)
    # uvicorn says so when its time is over.
    assert caplog.records == []


class Time:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_handshakes_from_one_origin_have_a_pace(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    async with clients_of(tls=True, newcomers=Newcomers(tls=True, local=Pace(1, 2), clock=time)) as clients:
        await clients.asking(BAD)
        await clients.asking(BAD, "127.0.0.2")
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            refused, _ = await clients.bare(address)
            assert await is_closed(refused)
        time.now += 1
        await clients.asking(BAD)
        refused, _ = await clients.bare()
        assert await is_closed(refused)
    # Not one for each.
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "too fast" in caplog.text


class Noting(Newcomers):
    """Tells when something was given back."""

    def __init__(self) -> None:
        super().__init__(tls=True, local=Pace(1, 1), clock=Time())
        self.given_back = asyncio.Event()

    def give_back(self, origin: str) -> None:
        super().give_back(origin)
        self.given_back.set()


async def test_whoever_is_known_may_have_a_connection_for_each_request() -> None:
    newcomers = Noting()
    async with clients_of(tls=True, newcomers=newcomers) as clients:
        for _ in range(8):
            newcomers.given_back.clear()
            _, writer = await clients.asking(GOOD)
            writer.close()
            async with asyncio.timeout(LONG_S):
                await newcomers.given_back.wait()


async def test_whoever_is_known_may_leave_them_open() -> None:
    async with clients_of(tls=True, newcomers=Newcomers(tls=True, local=Pace(1, 1), clock=Time())) as clients:
        for _ in range(8):
            await clients.asking(GOOD)


async def test_connection_for_which_there_is_no_certificate_is_closed_and_holds_no_place() -> None:
    def context() -> ssl.SSLContext:
        raise RuntimeError("a fault")

    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: unheard.append(told.get("exception")))
    server = OcpiServer(app, host="127.0.0.1", port=0, tls=context, most_connections=2)
    running = asyncio.create_task(server.run())
    async with asyncio.timeout(LONG_S):
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert await is_closed(reader)
            writer.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    gc.collect()
    assert {str(error) for error in unheard} == {"a fault"}


async def test_proxy_on_this_machine_may_have_a_connection_for_each_request_without_tls() -> None:
    async with clients_of(newcomers=Newcomers(tls=False, local=Pace(1, 1), clock=Time())) as clients:
        for _ in range(8):
            await clients.asking(BAD)


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
