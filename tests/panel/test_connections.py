"""The panel's connections: what strangers hold, what an odd request costs, and that none of it holds up the end."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme

from agent.panel.server import MOST_CONNECTIONS
from tests.panel.panels import HANG_S, Served, hung_up, logins, served, token_of

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def ends() -> AsyncIterator[AsyncExitStack]:
    """Closes connections when all is over."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def serving() -> AsyncIterator[AsyncExitStack]:
    """Ends the panel, if the test does not."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(params=[False, True], ids=["plain", "TLS"])
async def panel(
    request: pytest.FixtureRequest, tmp_path: Path, ends: AsyncExitStack, serving: AsyncExitStack
) -> Served:
    """Its end is before that of the connections."""
    certificate = trust = None
    if request.param:
        authority, certificate = trustme.CA(), tmp_path / "panel.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
    return await serving.enter_async_context(
        served(login_file=logins(tmp_path, "anna"), certificate=certificate, tls=trust)
    )


async def connected(panel: Served, ends: AsyncExitStack, address: str = "127.0.0.1") -> Stream:
    async with asyncio.timeout(HANG_S):
        name = "127.0.0.1" if panel.tls else None
        stream = await asyncio.open_connection(
            "127.0.0.1", panel.port, ssl=panel.tls, server_hostname=name, local_addr=(address, 0)
        )
    ends.push_async_callback(hung_up, stream[1])
    return stream


async def script_got(stream: Stream, panel: Served) -> None:
    """Anybody gets this one."""
    reader, writer = stream
    writer.write(f"GET /panel.js HTTP/1.1\r\nHost: 127.0.0.1:{panel.port}\r\n\r\n".encode())
    async with asyncio.timeout(HANG_S):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b"export {};\n")


async def login_begun(writer: asyncio.StreamWriter, panel: Served, token: str) -> None:
    """Its body does not come."""
    head = (
        f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{panel.port}\r\nSec-Fetch-Site: same-origin\r\n"
        f"X-Panel-Token: {token}\r\nContent-Length: 10\r\n\r\n"
    )
    writer.write(head.encode())
    await writer.drain()


async def test_head_with_too_many_lines_is_431(panel: Served, ends: AsyncExitStack) -> None:
    reader, writer = await connected(panel, ends)
    writer.write(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{panel.port}\r\n".encode() + b"a:\r\n" * 99 + b"\r\n")
    async with asyncio.timeout(HANG_S):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 431")


async def test_logins_without_a_body_do_not_hold_up_the_end(
    panel: Served, ends: AsyncExitStack, serving: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    async with panel.client() as browser:
        token = await token_of(browser)
    for _ in range(20):
        stream = await connected(panel, ends)
        await script_got(stream, panel)
        await login_begun(stream[1], panel, token)
    # The server has them by now: it answers in turn.
    await script_got(await connected(panel, ends), panel)
    await serving.aclose()
    # Of being cancelled when the server's time is over there would be a traceback each.
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_strangers_who_keep_bodies_back_do_not_keep_a_browser_out(tmp_path: Path, ends: AsyncExitStack) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel:
        async with panel.client() as browser:
            token = await token_of(browser)
        for number in range(MOST_CONNECTIONS):
            stream = await connected(panel, ends, f"127.0.0.{2 + number % 3}")
            await script_got(stream, panel)
            await login_begun(stream[1], panel, token)
        for _ in range(3):
            await script_got(await connected(panel, ends, "127.0.0.99"), panel)
