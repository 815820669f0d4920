"""What stands at the panel's address for as long as the demo lasts: the panel of the agent that lives now.

Without power there is no agent to serve a page, and yet somebody has to press the button that brings the power back.
Then the last agent's panel still answers, for it needs nothing but this process; but the state is the one in which the
power went, made dark.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from agent.ocpi.server.asgi import Application, Message, Receive, Scope, Send
from agent.panel.exchange import Answer, every_header, refused, send_answer

_BACK_MS = 200
"""A browser whose stream ends because the power is back comes again so soon."""

_AGAIN_S = 1.0
"""The panel gives a state once a second, by which the page knows that it is not stale: so does the dark."""

_NEEDS_AN_AGENT = frozenset({"/cards", "/reveal"})

_CLIENTS_OWN = frozenset({"version", "token", "login", "at"})

_DARK: Mapping[str, Mapping[str, Any]] = {
    "readers": {"state": "off", "advice": ""},
    "peers": {"up": None, "breaker": "off", "rejects_credentials": False, "latency_ms": None},
}
"""What there is to say without power of each of these."""

_OURS: Scope = {
    "type": "http", "http_version": "1.1", "scheme": "http", "method": "GET", "path": "/state", "raw_path": b"/state",
    "query_string": b"", "headers": [(b"host", b"localhost")], "client": None, "server": None,
}  # fmt: skip
"""As if somebody on this machine asked."""


class Front:
    """Passes each request on to the newest panel. A stream of events ends with its agent; browsers come again."""

    def __init__(self, plugs: Callable[[], Mapping[str, bool]]) -> None:
        """`plugs`: by EVSE, whether a car is plugged in. Without power nobody but the world knows."""
        self._plugs = plugs
        self._page: Application | None = None
        self._before: dict[str, Any] = {}
        """The state in which the power went: of a dead agent's parts the panel can only say that they are gone."""
        self._is_dark = True
        self._is_closed = False
        self._turned = asyncio.Event()

    def light(self, page: Application) -> None:
        """An agent is up, with this panel."""
        self._page, self._is_dark = page, False
        self._turn()

    async def darken(self) -> None:
        """The power is about to go."""
        if self._page is not None and not self._is_dark:
            status, body = await _asked(self._page, _OURS)
            self._before = json.loads(body) if status == HTTPStatus.OK else {}
        self._is_dark = True
        self._turn()

    def close(self) -> None:
        """The demo ends: so does every stream."""
        self._is_closed = True
        self._turn()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        page, path = self._page, scope["path"]
        if page is None or self._is_closed or (self._is_dark and path in _NEEDS_AN_AGENT):
            await send_answer(refused(HTTPStatus.SERVICE_UNAVAILABLE, "the charge point has no power"), send)
        elif path == "/events":
            await self._stream(page, scope, receive, send)
        elif self._is_dark and path == "/state":
            status, body = await _asked(page, scope)
            dark = body if status != HTTPStatus.OK else self._darkened(body)
            await send_answer(Answer(status, dark), send, head_only=scope["method"] == "HEAD")
        else:
            await page(scope, receive, send)

    def _darkened(self, state: bytes) -> bytes:
        """What a client gets for the panel's state: of that only what is the client's own."""
        own = json.loads(state)
        if "evses" not in own:
            return state  # it has to log in first
        plugs = self._plugs()
        evses = [_dark(evse, plugged=plugs.get(evse["uid"], False)) for evse in self._before.get("evses", [])]
        agent = {**own.get("agent", {}), "status": "no power", "uptime_s": None}
        sessions = [_interrupted(session) for session in self._before.get("sessions", [])]
        mine = {key: own[key] for key in _CLIENTS_OWN & own.keys()}
        cut = {"sessions": sessions, "outbox": None}
        parts = {name: [{**part, **dark} for part in self._before.get(name, [])] for name, dark in _DARK.items()}
        return json.dumps({**own, **self._before, **mine, **parts, "agent": agent, "evses": evses, **cut}).encode()

    def _turn(self) -> None:
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()

    async def _stream(self, page: Application, scope: Scope, receive: Receive, send: Send) -> None:
        """The panel's stream, and the dark behind it until there is light again."""
        kept = _KeptOpen(send)
        if not self._is_dark:
            await _until(self._turned, page(scope, receive, kept))
        if self._is_dark and not self._is_closed and kept.may_go_on:
            await _until(self._turned, self._in_the_dark(page, scope, receive, kept))
        await kept.end()

    async def _in_the_dark(self, page: Application, scope: Scope, receive: Receive, kept: "_KeptOpen") -> None:
        """The same stream without power, until the client has gone."""
        gone = asyncio.create_task(_gone(receive))
        try:
            while not gone.done():
                status, body = await _asked(page, scope)
                if status != HTTPStatus.OK:
                    return
                await kept.add(f"retry: {_BACK_MS}\n".encode() + b"data: " + self._darkened(body) + b"\n\n")
                await asyncio.wait({gone}, timeout=_AGAIN_S)
        finally:
            gone.cancel()


class _KeptOpen:
    """Where a panel's stream goes: its end is held back, for there may be more to say."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._status: int | None = None

    @property
    def may_go_on(self) -> bool:
        """Whether it is a stream, or can still become one."""
        return self._status in {None, HTTPStatus.OK}

    async def __call__(self, message: Message) -> None:
        """Pass on what the panel says."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})

    async def add(self, event: bytes) -> None:
        """Say something of our own."""
        if self._status is None:
            headers = every_header([(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")])
            await self({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
        await self({"type": "http.response.body", "body": event})

    async def end(self) -> None:
        """Nothing more comes."""
        if self._status is None:
            await send_answer(refused(HTTPStatus.SERVICE_UNAVAILABLE, "come again"), self._send)
        else:
            await self._send({"type": "http.response.body", "body": b""})


def _dark(evse: dict[str, Any], *, plugged: bool) -> dict[str, Any]:
    display = {**evse.get("display", {}), "lines": []}
    session = evse.get("session")
    if session is not None:
        session = {**session, "power_w": 0, "since": None}
    return {
        **evse,
        "phase": "off",
        "live": False,
        "display": display,
        "signal": None,
        "plug": "in" if plugged else "out",
        "relay": "open",
        "relay_fault": "",
        "lost": [],
        "session": session,
    }


def _interrupted(session: dict[str, Any]) -> dict[str, Any]:
    return {**session, "state": "interrupted"} if session.get("state") == "active" else session


async def _asked(page: Application, scope: Scope) -> tuple[int, bytes]:
    """What the panel says to whoever asks in this one's name for the state."""
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        said.append(message)

    await page({**scope, "method": "GET", "path": "/state", "raw_path": b"/state"}, receive, send)
    return said[0]["status"], b"".join(message.get("body", b"") for message in said[1:])


async def _until(turned: asyncio.Event, work: Awaitable[None]) -> None:
    """Let the work go on until it ends, or until that: then it is cut off. Raises what it raises."""
    working, turning = asyncio.ensure_future(work), asyncio.create_task(turned.wait())
    try:
        await asyncio.wait({working, turning}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = working.done()
        working.cancel()
        turning.cancel()
        await asyncio.gather(working, turning, return_exceptions=True)
    if ended:
        working.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
