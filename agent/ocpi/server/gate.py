"""What every request passes before it reaches a module: who sends it, and how much. Answers whatever happens."""

import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import unquote
from uuid import uuid4

from agent.errors import AgentError
from agent.ocpi.headers import number
from agent.ocpi.server.answers import Answer, failed
from agent.ocpi.server.asgi import Receive, Scope, Send, welcome
from agent.ocpi.server.authorization import candidates
from agent.ocpi.server.limits import Gone, Oversized, PerMinute, read_body
from agent.ocpi.server.ports import Access, Caller, Callers

log = logging.getLogger(__name__)

_WHOLE_URL = re.compile(rb"https?://[^/]*", re.IGNORECASE)

_LONGEST_ECHO = 256
"""Characters of a header that is sent back: a UUID has 36."""

_UNPRINTABLE = bytes(code for code in range(256) if not 0x20 <= code <= 0x7E)

_JSON = (b"Content-Type", b"application/json")

_IDS = ((b"X-Request-ID", b"x-request-id"), (b"X-Correlation-ID", b"x-correlation-id"))
"""As they are written, and as they arrive: ASGI has the names of a request in lower case."""

_Headers = Mapping[bytes, bytes]


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
    method: str
    path: str
    """Decoded, and without a slash at its end: some peers end every path with one."""
    raw_path: str
    """As it was sent."""
    query: str
    body: bytes


class Gate:
    """An ASGI application of HTTP alone: lets in whom `answer` is to answer."""

    def __init__(
        self,
        answer: Callable[[Incoming], Awaitable[Answer]],
        *,
        callers: Callers,
        limits: Limits,
        us: tuple[str, str],
        functional: tuple[str, ...],
        clock: Callable[[], float],
    ) -> None:
        """`functional`: the paths from which on a complete registration is needed and messages are routed."""
        self._answer = answer
        self._callers = callers
        self._limits = limits
        self._us = tuple(part.encode() for part in us)
        self._functional = tuple(f"{path}/" for path in functional)
        self._requests = PerMinute(limits.requests_per_minute, clock=clock)
        self._failed_logins = PerMinute(limits.failed_logins_per_minute, clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever it is."""
        assert scope["type"] == "http"
        headers = dict(reversed(scope["headers"]))  # of several the first one
        target = _target(scope)
        functional = f"{target.path}/".startswith(self._functional)
        try:
            answer = await self._pass(scope, receive, headers, target, functional=functional)
        except Gone:
            log.debug("a client hung up before its request was complete")
            return
        except AgentError as error:
            log.error("a request could not be served: %s", error)
            answer = _apology()
        except Exception as error:  # noqa: BLE001 - the server's own supervisor: a peer gets an envelope, whatever broke
            # Not the exception's text: it may hold a token or a uid.
            where = "".join(traceback.format_tb(error.__traceback__)[-5:])
            log.critical("a request crashed with %s and was answered with 500:\n%s", type(error).__name__, where)
            answer = _apology()
        await _send(send, answer, [*_ids(headers), *(_way_back(headers, self._us) if functional else ())])

    async def _pass(
        self, scope: Scope, receive: Receive, headers: _Headers, target: "_Target", *, functional: bool
    ) -> Answer:
        admitted = await self._admit(scope, headers, functional=functional)
        if isinstance(admitted, Answer):
            # The body is read, and not kept: who still sends it would meet a reset in place of the answer.
            body = await self._body(receive, headers, 0)
            closing = body.headers if isinstance(body, Answer) else {}
            return replace(admitted, headers={**admitted.headers, **closing})
        body = await self._body(receive, headers, self._limits.body_bytes)
        if isinstance(body, Answer):
            return body
        if body and not await self._is_still(admitted, headers):
            return _unauthorized("this credentials token was withdrawn while the body came")
        path = target.path.rstrip("/") or "/"
        query = scope["query_string"].decode("latin-1")
        return await self._answer(Incoming(admitted, scope["method"], path, target.raw_path, query, body))

    async def _admit(self, scope: Scope, headers: _Headers, *, functional: bool) -> Caller | Answer:
        caller = await self._callers.caller(candidates(_text(headers, b"authorization")))
        if caller is None:
            return self._unknown((scope.get("client") or ("", 0))[0])
        wait_s = self._requests.take(caller.peer)
        if wait_s:
            return failed(429, "too many requests", {"Retry-After": str(wait_s)})
        if functional and caller.access is not Access.EVERYTHING:
            return _unauthorized("this token opens versions and credentials only, until the registration is complete")
        welcome(scope)
        return caller

    async def _is_still(self, admitted: Caller, headers: _Headers) -> bool:
        """Whether the caller may do now what it might before it took its time to send a body."""
        caller = await self._callers.caller(candidates(_text(headers, b"authorization")))
        return caller is not None and (caller.peer, caller.access) == (admitted.peer, admitted.access)

    def _unknown(self, address: str) -> Answer:
        wait_s = self._failed_logins.take(address)
        if wait_s:
            return failed(429, "too many requests without a known credentials token", {"Retry-After": str(wait_s)})
        return _unauthorized("expected Authorization: Token, and a credentials token that is known here, in base64")

    async def _body(self, receive: Receive, headers: _Headers, most: int) -> bytes | Answer:
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            return b""
        try:
            body = await read_body(receive, number(_text(headers, b"content-length")), most, self._limits.body_s)
        except TimeoutError:
            return failed(408, f"the body did not come within {self._limits.body_s:g} s", _CLOSE)
        if isinstance(body, Oversized):
            return failed(413, f"the body is larger than {most} bytes", {} if body.drained else _CLOSE)
        return body


_CLOSE = {"Connection": "close"}


class _Target(NamedTuple):
    path: str
    raw_path: str


def _target(scope: Scope) -> _Target:
    """RFC 9112, 3.2.2: a server takes a whole URL as the target, too, though only proxies are meant to get one."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if whole := _WHOLE_URL.match(raw):
        path = (raw[whole.end() :] or b"/").decode("latin-1")
        return _Target(unquote(path), path)
    return _Target(scope["path"], raw.decode("latin-1"))


async def _send(send: Send, answer: Answer, headers: list[tuple[bytes, bytes]]) -> None:
    own = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    length = (b"Content-Length", str(len(answer.body)).encode())
    await send(
        {"type": "http.response.start", "status": answer.http_status, "headers": [_JSON, length, *own, *headers]}
    )
    await send({"type": "http.response.body", "body": answer.body})


def _apology() -> Answer:
    return failed(500, "this request could not be served")


def _unauthorized(message: str) -> Answer:
    return failed(401, message, {"WWW-Authenticate": "Token"})


def _text(headers: _Headers, name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _ids(headers: _Headers) -> list[tuple[bytes, bytes]]:
    """OCPI 2.2.1 transport_and_format, Unique message IDs. Who sends none gets new ones, to name in a complaint."""
    return [(name, _echo(headers.get(sent)) or str(uuid4()).encode()) for name, sent in _IDS]


def _way_back(headers: _Headers, us: tuple[bytes, ...]) -> list[tuple[bytes, bytes]]:
    """OCPI 2.2.1 transport_and_format, Message Routing: to whom the request came from, and always from us.

    A request for another party is served like any other. What it may do depends on its credentials token alone, to
    refuse it as unknown (4001) is a hub's part, and hubs exist that leave their own party in a broadcast.
    """
    back: list[tuple[bytes, bytes]] = []
    for part, ours in zip((b"country-code", b"party-id"), us, strict=True):
        back.append((b"OCPI-from-" + part, ours))
        if sender := _echo(headers.get(b"ocpi-from-" + part)):
            back.append((b"OCPI-to-" + part, sender))
    return back


def _echo(value: bytes | None) -> bytes:
    return (value or b"")[:_LONGEST_ECHO].translate(None, _UNPRINTABLE).strip()
