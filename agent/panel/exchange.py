"""A request to the panel as its parts see it, and the answers, each with the headers that keep a browser in its place.

What may be asked, and by whom, is decided elsewhere.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from types import MappingProxyType

from agent.ocpi.server.asgi import Message, Receive, Scope, Send
from agent.ocpi.server.limits import Gone, Oversized, read_body

BODY_BYTES = 4096
"""A login form has a name and a password; a click in the world has less."""

BODY_S = 10.0
"""For those bytes to come."""

HEAD_BYTES = 16 << 10
"""Of headers; a browser sends one or two thousand."""

_MOST_COOKIES = 8
"""Of one name: a cookie has a path and a domain, and for each of these a browser may keep another."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_ALWAYS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)

_NO_STORE = MappingProxyType({"cache-control": "no-store"})


@dataclass(frozen=True, slots=True)
class Request:
    """One, without its body."""

    method: str
    path: str
    """Percent-decoded."""
    query: bytes
    headers: Mapping[str, str]
    """Names in lower case; what came several times is joined by a comma, cookies by a semicolon."""
    client: str
    """The address that it comes from; empty where that is not known."""

    @property
    def size(self) -> int:
        """Bytes of what stands before its body, roughly."""
        return len(self.path) + len(self.query) + sum(len(name) + len(value) for name, value in self.headers.items())

    @staticmethod
    def of(scope: Scope) -> "Request":
        """As ASGI tells it."""
        lines: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            lines.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        headers = {name: ("; " if name == "cookie" else ", ").join(values) for name, values in lines.items()}
        client = scope.get("client")
        return Request(scope["method"], scope["path"], scope["query_string"], headers, client[0] if client else "")

    def cookies(self, name: str) -> list[str]:
        """The first few of that name: without TLS another port's page can put one of its own before ours."""
        pairs = (pair.strip().partition("=") for pair in self.headers.get("cookie", "").split(";"))
        return list(islice((value for key, _, value in pairs if key == name and value), _MOST_COOKIES))


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back, whole."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_STORE)
    """Beside those that every answer has; their values are our own words, never a client's."""


def said(value: object, status: int = HTTPStatus.OK, headers: Mapping[str, str] = MappingProxyType({})) -> Answer:
    """A value as JSON."""
    return Answer(status, json_bytes(value), headers={**_NO_STORE, **headers})


def refused(status: int, why: str, headers: Mapping[str, str] = MappingProxyType({})) -> Answer:
    """`{"error": why}`, for the page to show."""
    return said({"error": why}, status, headers)


def json_bytes(value: object) -> bytes:
    """One line, in ASCII: whatever a card, a peer or a display says, it ends no line and no string."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def every_header(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """These and what every answer has, which they can't replace."""
    ours = {name for name, _ in _ALWAYS}
    return [*((name, value) for name, value in headers if name.lower() not in ours), *_ALWAYS]


async def send_answer(answer: Answer, send: Send, *, head_only: bool = False) -> None:
    """All of it. HEAD has the length of what GET gets."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    if answer.status != HTTPStatus.NOT_MODIFIED:
        headers.append((b"content-length", str(len(answer.body)).encode()))
        headers.append((b"content-type", answer.content_type.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": every_header(headers)})
    await send({"type": "http.response.body", "body": b"" if head_only else answer.body})


async def body_of(request: Request, receive: Receive) -> bytes | Answer:
    """At most `BODY_BYTES`, or why not. Raises Gone for a client that has hung up."""
    announced = request.headers.get("content-length", "")
    try:
        body = await read_body(receive, int(announced) if announced.isdecimal() else None, BODY_BYTES, BODY_S)
    except TimeoutError:
        return refused(HTTPStatus.REQUEST_TIMEOUT, "the request took too long", {"connection": "close"})
    if isinstance(body, Oversized):
        close = {} if body.drained else {"connection": "close"}
        return refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {BODY_BYTES} bytes", close)
    return body


def replayed(body: bytes, receive: Receive) -> Receive:
    """The same connection to whoever has still to read the body."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again


async def until_gone(receive: Receive) -> None:
    """Return once the client has hung up; what else it sends is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass


__all__ = [
    "BODY_BYTES",
    "HEAD_BYTES",
    "Answer",
    "Gone",
    "Request",
    "body_of",
    "every_header",
    "json_bytes",
    "refused",
    "replayed",
    "said",
    "send_answer",
    "until_gone",
]
