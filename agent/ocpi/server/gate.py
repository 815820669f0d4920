"""What every request passes before it reaches a module: who sends it, and how much. Answers whatever happens."""

import logging
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.errors import AgentError
from agent.ocpi.headers import number
from agent.ocpi.server.answers import failed
from agent.ocpi.server.authorization import candidates
from agent.ocpi.server.limits import Gone, Oversized, PerMinute, read_body
from agent.ocpi.server.ports import Access, Caller, Callers

log = logging.getLogger(__name__)

_WHOLE_URL = re.compile(rb"https?://[^/]*", re.IGNORECASE)

_LONGEST_ECHO = 256
"""Characters of a header that is sent back: a UUID has 36."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one client may ask of us."""

    body_bytes: int = 64 << 10
    body_s: float = 20.0
    """A body takes longer than this: its client is broken, or means to hold us up."""
    requests_per_minute: int = 6000
    """Of each caller."""
    failed_logins_per_minute: int = 60
    """Of each address. A good token is always let through: behind a proxy everybody has the same address."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request that came through the gate."""

    caller: Caller
    body: bytes


@dataclass(slots=True)
class _Outgoing:
    """Adds to an answer what every one has: the ids of the request and, for a functional module, the way back."""

    send: Send
    headers: list[tuple[bytes, bytes]]
    started: bool = field(default=False, init=False)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message = {**message, "headers": [*message.get("headers", ()), *self.headers]}
        await self.send(message)


class Gate:
    """ASGI middleware. What lies behind finds an `Incoming` in `scope["ocpi"]`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        callers: Callers,
        limits: Limits,
        us: tuple[str, str],
        functional: str,
        clock: Callable[[], float],
    ) -> None:
        """`functional`: the path below which a complete registration is needed and messages are routed."""
        self._app = app
        self._callers = callers
        self._limits = limits
        self._us = us
        self._functional = functional
        self._requests = PerMinute(limits.requests_per_minute, clock=clock)
        self._failed_logins = PerMinute(limits.failed_logins_per_minute, clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever it is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope = _in_origin_form(scope)
        functional = scope["path"] == self._functional or scope["path"].startswith(f"{self._functional}/")
        outgoing = _Outgoing(send, [*_ids(headers), *(_way_back(headers, self._us) if functional else ())])
        try:
            await self._pass(scope, receive, outgoing, headers, functional=functional)
        except Gone:
            log.debug("a client hung up before its request was complete")
        except AgentError as error:
            log.error("a request could not be served: %s", error)
            await _apologise(scope, receive, outgoing)
        except Exception as error:  # noqa: BLE001 - the server's own supervisor: a peer gets an envelope, whatever broke
            # Not the exception's text: it may hold a token or a uid.
            where = "".join(traceback.format_tb(error.__traceback__)[-5:])
            log.critical("a request crashed with %s and was answered with 500:\n%s", type(error).__name__, where)
            await _apologise(scope, receive, outgoing)

    async def _pass(
        self, scope: Scope, receive: Receive, send: "_Outgoing", headers: Headers, *, functional: bool
    ) -> None:
        admitted = await self._admit(scope, headers, functional=functional)
        # The body is read in any case: who still sends it would meet a reset in place of the answer.
        body = await self._body(receive, headers)
        if isinstance(body, Response):
            if isinstance(admitted, Response):
                admitted.headers.update({k: v for k, v in body.headers.items() if k == "connection"})
            await (admitted if isinstance(admitted, Response) else body)(scope, receive, send)
            return
        if isinstance(admitted, Response):
            await admitted(scope, receive, send)
            return
        # Some peers end every path with a slash.
        path = scope["path"].rstrip("/") or "/"
        await self._app({**scope, "path": path, "ocpi": Incoming(admitted, body)}, receive, send)

    async def _admit(self, scope: Scope, headers: Headers, *, functional: bool) -> Caller | Response:
        caller = await self._callers.caller(candidates(headers.get("authorization")))
        if caller is None:
            return self._unknown((scope.get("client") or ("", 0))[0])
        wait_s = self._requests.take(caller.peer)
        if wait_s:
            return failed(429, "too many requests", {"Retry-After": str(wait_s)})
        if functional and caller.access is not Access.EVERYTHING:
            return _unauthorized("this token opens versions and credentials only, until the registration is complete")
        return caller

    def _unknown(self, address: str) -> Response:
        wait_s = self._failed_logins.take(address)
        if wait_s:
            return failed(429, "too many requests without a known credentials token", {"Retry-After": str(wait_s)})
        return _unauthorized("expected Authorization: Token, and a credentials token that is known here, in base64")

    async def _body(self, receive: Receive, headers: Headers) -> bytes | Response:
        if "content-length" not in headers and "transfer-encoding" not in headers:
            return b""
        most = self._limits.body_bytes
        try:
            body = await read_body(receive, number(headers.get("content-length")), most, self._limits.body_s)
        except TimeoutError:
            return failed(408, f"the body did not come within {self._limits.body_s:g} s", {"Connection": "close"})
        if isinstance(body, Oversized):
            closing = None if body.drained else {"Connection": "close"}
            return failed(413, f"the body is larger than {most} bytes", closing)
        return body


async def _apologise(scope: Scope, receive: Receive, send: _Outgoing) -> None:
    if not send.started:
        await failed(500, "this request could not be served")(scope, receive, send)


def _in_origin_form(scope: Scope) -> Scope:
    """RFC 9112, 3.2.2: a server takes a whole URL as the target, too, though only proxies are meant to get one."""
    target: bytes = scope.get("raw_path") or b""
    if not (whole := _WHOLE_URL.match(target)):
        return scope
    path = target[whole.end() :] or b"/"
    return {**scope, "raw_path": path, "path": unquote(path.decode("latin-1"))}


def _unauthorized(message: str) -> Response:
    return failed(401, message, {"WWW-Authenticate": "Token"})


def _ids(headers: Headers) -> list[tuple[bytes, bytes]]:
    """OCPI 2.2.1 transport_and_format, Unique message IDs. Who sends none gets new ones, to name in a complaint."""
    names = ("X-Request-ID", "X-Correlation-ID")
    return [(name.encode(), _echo(headers.get(name)) or str(uuid4()).encode()) for name in names]


def _way_back(headers: Headers, us: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    """OCPI 2.2.1 transport_and_format, Message Routing: to whom the request came from, and always from us.

    A request for another party is served like any other. What it may do depends on its credentials token alone, to
    refuse it as unknown (4001) is a hub's part, and hubs exist that leave their own party in a broadcast.
    """
    back: list[tuple[bytes, bytes]] = []
    for part, ours in zip(("country-code", "party-id"), us, strict=True):
        back.append((f"OCPI-from-{part}".encode(), ours.encode()))
        if sender := _echo(headers.get(f"OCPI-from-{part}")):
            back.append((f"OCPI-to-{part}".encode(), sender))
    return back


def _echo(value: str | None) -> bytes:
    return "".join(c for c in (value or "")[:_LONGEST_ECHO] if " " <= c <= "~").strip().encode()


def incoming(scope: Any) -> Incoming:  # noqa: ANN401 - a scope's values have no type
    """What the gate left in the scope of a request."""
    found = scope["ocpi"]
    assert isinstance(found, Incoming)
    return found
