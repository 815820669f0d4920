"""A browser that is none, and the panel as its contract has it: what stands between a person and the world's side."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from agent.config import Config
from agent.ocpi.server.asgi import Application, Receive, Scope, Send
from agent.ocpi.server.serve import OcpiServer
from fakes.world import Life, life_without_panel

HANG_S = 60.0
"""Against hangs alone."""


class StubPanel:
    """A panel's paths and its token; its state is two EVSEs that charge, whatever the agent does."""

    def __init__(self, world: Application, token: str = "page") -> None:
        self.token = token
        self.tokens = 0
        """In its whitelist."""
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers = dict(scope["headers"])
        if scope["method"] == "POST" and headers.get(b"x-panel-token") != self.token.encode():
            await _answer(send, 403, b'{"error": "the token"}')
        elif scope["path"].startswith("/world/"):
            await self._world(scope, receive, send)
        elif scope["path"] == "/state":
            await _answer(send, 200, self.state())
        elif scope["path"] == "/events":
            await self._events(receive, send)
        else:
            await _answer(send, 200, b'"the page"')

    def state(self) -> bytes:
        """As the panel gives it, of what the front touches."""
        evses = [
            {
                "uid": uid,
                "phase": "charging",
                "live": True,
                "display": {"lines": ["Charging"], "columns": 20, "rows": 4},
                "signal": "charging",
                "relay": "closed",
                "session": {"id": 1, "energy_wh": 500, "power_w": 11000},
            }
            for uid in ("DE*EXA*E1", "DE*EXA*E2")
        ]
        readers = [
            {"name": name, "state": "ready", "advice": "clean it", "bad_frames": 1} for name in ("left", "right")
        ]
        peers = [{"name": "demo-emsp", "up": True, "breaker": "closed", "latency_ms": 4.0, "rejects_credentials": True}]
        agent = {"status": "fine", "uptime_s": 60}
        parts = {"evses": evses, "readers": readers, "peers": peers}
        state = {"version": 1, "token": self.token, "agent": agent, **parts}
        return json.dumps({**state, "whitelist": {"tokens": self.tokens}}).encode()

    async def _events(self, receive: Receive, send: Send) -> None:
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"data: " + self.state() + b"\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass


class StubLives:
    """A `LifeOf` whose every life has a panel with a token of its own."""

    def __init__(self) -> None:
        self.panels: list[StubPanel] = []

    @asynccontextmanager
    async def __call__(
        self, config: Config, config_path: Path, world: Application, on_settled: Any
    ) -> AsyncIterator[Life]:
        """One life."""
        async with life_without_panel(config, config_path, world, on_settled) as life:
            panel = StubPanel(world, token=f"page-{len(self.panels)}")
            self.panels.append(panel)
            yield Life(life.agent, panel)


class Browser:
    """Asks and clicks; a click carries the token of the newest state that it has seen."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.token = ""

    async def get(self, path: str) -> Any:
        """The JSON that is there."""
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """A click."""
        return await self.client.post(path, json=body, headers={"x-panel-token": self.token, **headers})

    async def done(self, path: str, body: object) -> Any:
        """A click that does what it is there for."""
        answer = await self.post(path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def browsing(app: Application) -> AsyncIterator[Browser]:
    """A browser with the application at its address."""
    server = OcpiServer(app, host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.run())
    try:
        async with (
            asyncio.timeout(HANG_S),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=HANG_S) as client,
        ):
            yield Browser(client)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
