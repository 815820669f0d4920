"""The HTTP server itself: clients that are slow, send nonsense, or are too many; and that it stops."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.errors import ConfigError
from agent.ocpi.server.gate import Limits
from agent.ocpi.server.serve import OcpiServer
from agent.serving import Serving
from agent.store.peers import PeerStore
from agent.store.sessions import SessionStore
from agent.store.whitelist import Whitelist
from tests.ocpi_server.site import Site, card, header, site_in
from tests.scenario.world import configuration

LONG_S = 30
"""Against hanging for ever."""


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[Site]:
    """A site that waits no time at all for a head or a body."""
    async with site_in(tmp_path, limits=Limits(body_s=0.05), head_s=0.05) as site:
        yield site


async def said(site: Site, sent: bytes, *, hang_up: bool = False) -> bytes:
    """What comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.split(":")[2].split("/")[0]))
    writer.write(sent)
    if hang_up:
        writer.write_eof()
    try:
        async with asyncio.timeout(LONG_S):
            return await reader.read()
    finally:
        writer.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def killed(running: asyncio.Task[None]) -> None:
    """End a server by what it runs inside, as a crash there would."""
    [inner] = [task for task in asyncio.all_tasks() if task.get_name() == "OCPI server"]
    inner.cancel()
    await asyncio.gather(running, return_exceptions=True)


def request(method: str, path: str, token: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} /ocpi{path} HTTP/1.1", "Host: x", f"Authorization: {header(token)['Authorization']}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("sent", [b"", b"GET /ocpi/ver", b"GET /ocpi/versions HTTP/1.1\r\nHost: x\r\nA: "])
async def test_head_that_does_not_come_closes_the_connection(hasty: Site, sent: bytes) -> None:
    assert await said(hasty, sent) == b""


async def test_head_of_a_second_request_that_does_not_come_closes_the_connection(hasty: Site) -> None:
    token = await hasty.agreed()
    answer = await said(hasty, request("GET", "/versions", token) + b"GET /ocpi/ver")
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_body_that_does_not_come_is_408(hasty: Site) -> None:
    token = await hasty.agreed()
    answer = await said(hasty, request("PUT", "/2.2.1/tokens/DE/ABC/04", token, b"{", Content_Length="100"))
    assert answer.startswith(b"HTTP/1.1 408")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status_code"] == 2000


async def test_body_that_announces_more_than_anybody_reads_is_413_at_once(hasty: Site) -> None:
    token = await hasty.agreed()
    answer = await said(hasty, request("PUT", "/2.2.1/tokens/DE/ABC/04", token, Content_Length="99999999999"))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


async def test_body_without_a_length_and_without_an_end_is_413(served_site: Site) -> None:
    token = await served_site.agreed()
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    sent = request("PUT", "/2.2.1/tokens/DE/ABC/04", token, chunk * 33, Transfer_Encoding="chunked")
    assert (await said(served_site, sent)).startswith(b"HTTP/1.1 413")


async def test_body_in_chunks_is_read_as_one(served_site: Site) -> None:
    token = await served_site.agreed()
    body = json.dumps(card("04")).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:50], body[50:])) + b"0\r\n\r\n"
    sent = request("PUT", "/2.2.1/tokens/DE/ABC/04", token, chunks, Transfer_Encoding="chunked", Connection="close")
    assert (await said(served_site, sent)).startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET /\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"])
async def test_what_is_no_http_is_400_with_an_envelope(served_site: Site, sent: bytes) -> None:
    answer = await said(served_site, sent)
    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status_code"] == 2000


async def test_head_with_too_many_lines_is_431_with_an_envelope(served_site: Site) -> None:
    token = await served_site.agreed()
    answer = await said(served_site, request("GET", "/versions", token)[:-2] + b"a:\r\n" * 99 + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status_code"] == 2000


async def test_client_that_hangs_up_within_a_body_leaves_the_server_well(served_site: Site) -> None:
    token = await served_site.agreed()
    await said(served_site, request("PUT", "/2.2.1/tokens/DE/ABC/04", token, b"{", Content_Length="9"), hang_up=True)
    sent = request("GET", "/versions", token, Connection="close")
    assert (await said(served_site, sent)).startswith(b"HTTP/1.1 200")


async def test_upgrade_is_ignored(served_site: Site) -> None:
    token = await served_site.agreed()
    sent = request("GET", "/versions", token, Connection="upgrade, close", Upgrade="websocket")
    assert (await said(served_site, sent)).startswith(b"HTTP/1.1 200")


async def test_stopped_server_has_given_its_port_back() -> None:
    async def app(scope: object, receive: object, send: object) -> None: ...

    server = OcpiServer(app, host="127.0.0.1", port=0)
    running = asyncio.create_task(server.run())
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    running.cancel()
    async with asyncio.timeout(LONG_S):
        await asyncio.gather(running, return_exceptions=True)
        assert await reader.read() == b""
    writer.close()
    again = OcpiServer(app, host="127.0.0.1", port=server.port)
    again.close()


async def test_server_that_breaks_down_has_given_its_port_back() -> None:
    async def app(scope: object, receive: object, send: object) -> None: ...

    server = OcpiServer(app, host="127.0.0.1", port=0)
    running = asyncio.create_task(server.run())
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(LONG_S):
        await killed(running)
        assert await reader.read() == b""
    writer.close()
    OcpiServer(app, host="127.0.0.1", port=server.port).close()


async def test_request_under_way_when_the_server_breaks_down_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def app(scope: object, receive: object, send: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    server = OcpiServer(app, host="127.0.0.1", port=0)
    running = asyncio.create_task(server.run())
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(LONG_S):
        await begun.wait()
        await killed(running)
        assert ended.is_set()
        assert await reader.read() == b""
    writer.close()
    assert caplog.records == []


async def test_agents_server_runs_again_after_a_crash(tmp_path: Path) -> None:
    port = free_port()
    server = f'[ocpi.server]\nenabled = true\nport = {port}\npublic_url = "https://127.0.0.1:{port}/ocpi"\n'
    evse = '[[evse]]\nuid = "E1"\nreaders = ["r"]\nrelay = { gpio = 17 }\n'
    reader = '[[reader]]\nname = "r"\nkind = "rdm6300"\nport = "/dev/ttyS0"\n'
    config = tmp_path / "config.toml"
    config.write_text(configuration(tmp_path, [], [], more=server + evse + reader), encoding="utf-8")
    store, whitelist = await PeerStore.open(tmp_path / "state.db"), await Whitelist.open(tmp_path / "whitelist.db")
    sessions = await SessionStore.open_file(tmp_path / "state.db")
    serving = Serving(load(config), config, store, whitelist, sessions)
    for _ in range(2):
        serving.listen()
        running = asyncio.create_task(serving.run())
        async with asyncio.timeout(LONG_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await killed(running)
    await sessions.close()
    await store.close()
    await whitelist.close()


def test_port_that_is_taken_is_a_configuration_error() -> None:
    async def app(scope: object, receive: object, send: object) -> None: ...

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="can't listen"):
        OcpiServer(app, host="127.0.0.1", port=taken.getsockname()[1])


async def test_answer_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    at_once: list[int] = []

    async def app(scope: object, receive: Any, send: Any) -> None:
        connection = receive.__self__.transport.get_extra_info("socket")
        at_once.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Connection", b"close")]})
        await send({"type": "http.response.body", "body": b""})

    server = OcpiServer(app, host="127.0.0.1", port=0)
    running = asyncio.create_task(server.run())
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(LONG_S):
        await reader.read()
    writer.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert at_once == [1]


async def test_what_is_no_http_gets_ids_to_name_in_a_complaint(served_site: Site) -> None:
    answer = (await said(served_site, b"nonsense\r\n\r\n")).lower()
    assert b"\r\nx-request-id: " in answer
    assert b"\r\nx-correlation-id: " in answer


async def test_body_that_breaks_off_is_400(served_site: Site) -> None:
    token = await served_site.agreed()
    sent = request("PUT", "/2.2.1/tokens/DE/ABC/04", token, b"5\r\nabcdeNO\r\nzz\r\n", Transfer_Encoding="chunked")
    answer = await said(served_site, sent)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400")


async def test_request_whose_body_breaks_off_while_it_is_served_is_answered_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: object, receive: Any, send: Any) -> None:
        # Between the closing and the loss of a connection there is one turn of the loop: no event tells of it.
        while not receive.__self__.transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    server = OcpiServer(app, host="127.0.0.1", port=0)
    running = asyncio.create_task(server.run())
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
    async with asyncio.timeout(LONG_S):
        answer = await reader.read()
    writer.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400")
    assert caplog.records == []


async def test_whole_url_as_the_target_is_the_path_in_it(served_site: Site) -> None:
    token = await served_site.agreed()
    sent = request("GET", "/versions", token, Connection="close").replace(b"GET ", b"GET http://any.example:1")
    assert (await said(served_site, sent)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "OPTIONS", "POST"])
async def test_nested_body_of_a_method_that_is_not_offered_is_405(served_site: Site, method: str) -> None:
    token = await served_site.agreed()
    body = b"[" * 100
    sent = request(method, "/2.2.1/tokens/DE/ABC/04", token, body, Content_Length="100", Connection="close")
    answer = await said(served_site, sent)
    assert answer.startswith(b"HTTP/1.1 405")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status_code"] == 2000


async def test_head_is_answered_as_get_without_the_body(served_site: Site) -> None:
    token = await served_site.agreed()
    head, _, body = (await said(served_site, request("HEAD", "/versions", token, Connection="close"))).partition(
        b"\r\n\r\n"
    )
    assert head.startswith(b"HTTP/1.1 200")
    assert body == b""


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="a machine without IPv6")
async def test_server_on_every_interface_of_ipv6_is_reached_by_ipv4_with_its_own_address() -> None:
    clients: list[str] = []

    async def app(scope: Any, receive: object, send: Any) -> None:
        clients.append(scope["client"][0])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Connection", b"close")]})
        await send({"type": "http.response.body", "body": b""})

    server = OcpiServer(app, host="::", port=0)
    running = asyncio.create_task(server.run())
    for address, forwarded in (("127.0.0.1", ""), ("::1", ""), ("127.0.0.1", "X-Forwarded-For: 192.0.2.1\r\n")):
        reader, writer = await asyncio.open_connection(address, server.port)
        writer.write(f"GET / HTTP/1.1\r\nHost: x\r\n{forwarded}\r\n".encode())
        async with asyncio.timeout(LONG_S):
            await reader.read()
        writer.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert clients == ["127.0.0.1", "::1", "192.0.2.1"]
