"""A panel served over real sockets, on values that the test gives, and the clients that come to it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from agent.errors import StoreError
from agent.ocpi.server.asgi import Application
from agent.panel.app import PanelApp
from agent.panel.exchange import json_bytes
from agent.panel.guard import Guard
from agent.panel.login import Login
from agent.panel.pages import Page
from agent.panel.passwords import Credential, set_password
from agent.panel.place import Place
from agent.panel.server import PanelServer
from agent.panel.stream import Stream

HANG_S = 30.0
"""Against hangs alone."""
PASSWORD = "correct horse"
UID = "04A1B2C3D4E5F6"
INDEX = b"<!doctype html><title>panel</title>"
PAGES = {
    "/": Page(INDEX, "text/html; charset=utf-8", '"index"'),
    "/panel.js": Page(b"export {};\n", "text/javascript; charset=utf-8", '"script"'),
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
}
"""What every answer has."""


def quick(user: str, password: str = PASSWORD) -> Credential:
    """A line of the login file that costs no time to check: what the real ones cost is not these tests' matter."""
    blank = Credential(user, 2, 1, 1, b"salt-of-a-test", b"")
    return Credential(user, 2, 1, 1, blank.salt, blank.derived(password))


def logins(folder: Path, *users: str) -> Path:
    """A login file in which these have the usual password."""
    file = folder / "logins"
    for user in users:
        set_password(file, quick(user))
    return file


class Time:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Shown:
    """What the panel has to show, and what was asked of it."""

    value: dict[str, Any] = field(default_factory=lambda: {"at": "now", "number": 0})
    looks: int = 0
    asked: list[str] = field(default_factory=list)
    revealed: list[tuple[int, str, str]] = field(default_factory=list)
    disk_is_broken: bool = False

    async def look(self) -> bytes:
        self.looks += 1
        return json_bytes(self.value)[1:]

    async def explain(self, uid: str) -> object:
        if not uid or not uid.isascii():
            raise ValueError("that is no uid")
        self.asked.append(uid)
        return {"uid": "04A1…F6"}

    async def reveal(self, tap: int, user: str, client: str) -> str | None:
        if self.disk_is_broken:
            raise StoreError("reveals.jsonl: can't be written")
        self.revealed.append((tap, user, client))
        return UID if tap == 12 else None


@dataclass
class Served:
    """A panel at work."""

    app: PanelApp
    stream: Stream
    login: Login
    shown: Shown
    time: Time
    port: int
    tls: ssl.SSLContext | None

    @property
    def origin(self) -> str:
        """As the page's own browser writes it."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def client(self) -> httpx.AsyncClient:
        """A browser of its own, with cookies of its own."""
        verify = self.tls or True
        return httpx.AsyncClient(base_url=self.origin, verify=verify, timeout=HANG_S, trust_env=False)

    async def raw(self, data: bytes) -> bytes:
        """All that comes back for these bytes until the panel hangs up, or has answered with a length."""
        async with asyncio.timeout(HANG_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(length[0].partition(b":")[2])) if length else b""
            await hung_up(writer)
        return head + body

    async def watch(self, cookie: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A page that is open, on a connection whose reading is the test's matter."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
        head = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {cookie}\r\n\r\n"
        writer.write(head.encode())
        return reader, writer


async def token_of(client: httpx.AsyncClient) -> str:
    """What the page's requests bring along."""
    return str((await client.get("/state")).json()["token"])


async def post(
    client: httpx.AsyncClient, path: str, *, headers: Mapping[str, str] | None = None, **body: Any
) -> httpx.Response:
    """As the page does it."""
    own = {
        "origin": str(client.base_url).rstrip("/"),
        "sec-fetch-site": "same-origin",
        "x-panel-token": await token_of(client),
    }
    return await client.post(path, headers={**own, **(headers or {})}, **body)


async def log_in(client: httpx.AsyncClient, user: str = "anna", password: str = PASSWORD) -> httpx.Response:
    """As the page does it."""
    return await post(client, "/login", data={"user": user, "password": password})


async def event(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next state that a page which is open is sent."""
    async with asyncio.timeout(HANG_S):
        while True:
            line = await reader.readuntil(b"\n")
            if line.startswith(b"data: "):
                value: dict[str, Any] = json.loads(line[6:])
                return value


async def hung_up(writer: asyncio.StreamWriter) -> None:
    """Close the connection, however the other side feels about it."""
    writer.close()
    with suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


@asynccontextmanager
async def served(
    *,
    login_file: Path | None = None,
    certificate: Path | None = None,
    tls: ssl.SSLContext | None = None,
    world: Application | None = None,
    most: int = 64,
    every_s: float = 0.01,
    look_s: float = 0.05,
    drain_s: float = HANG_S,
    failed_s: float = 0.0,
    wrapped: Callable[[PanelApp], Application] = lambda app: app,
) -> AsyncIterator[Served]:
    """On a free port of the loopback; `tls` is the clients' side of `certificate`."""
    shown, time = Shown(), Time()
    stream = Stream(shown.look, most=most, every_s=every_s, look_s=look_s, fresh_s=0.0)
    login = Login(login_file, secure=certificate is not None, time=time, failed_s=failed_s)
    scheme = "https" if certificate else "http"
    app = PanelApp(
        guard=Guard(scheme=scheme, is_loopback=True),
        login=login,
        stream=stream,
        pages=PAGES,
        explains=shown.explain,
        reveals=shown.reveal,
        world=world,
        time=time,
    )
    server = PanelServer(wrapped(app), Place("127.0.0.1", 0, certificate), drain_s=drain_s)
    running = [asyncio.create_task(work) for work in (server.run(), stream.run())]
    try:
        yield Served(app, stream, login, shown, time, server.port, tls)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        server.close()  # for a test that was over before it ran


async def until(holds: Callable[[], bool]) -> None:
    """Return once it is so."""
    async with asyncio.timeout(HANG_S):
        while not holds():  # noqa: ASYNC110  what is looked at has no event
            await asyncio.sleep(0.002)
