"""What goes over the wire between the fake and its client, as values: requests as they came, replies as they are to go.

JSON is written by hand here and nowhere shared with the agent. How a reply is sent, or spoilt, is the weather's.
"""

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, unquote

Headers = tuple[tuple[str, str], ...]

JSON = "application/json"
HTML = "text/html; charset=utf-8"


class Part(StrEnum):
    """The parts of the device that can have a weather of their own."""

    VERSIONS = "versions"
    """Versions and version details."""
    CREDENTIALS = "credentials"
    LIST = "list"
    AUTHORIZE = "authorize"
    SESSIONS = "sessions"
    CDRS = "cdrs"


@dataclass(slots=True)
class Request:
    """A request as it came: `headers` with names in lower case, `arrived_at` in loop seconds at its last byte."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    arrived_at: float
    part: Part | None = None
    """What it was for; None when nothing of the device has this path."""
    answered_at: float | None = None
    """Loop time at which the whole answer had been handed to the kernel's buffers; None while it was not."""

    @property
    def answered(self) -> bool:
        """Whether the device has sent a whole answer."""
        return self.answered_at is not None

    @property
    def path(self) -> str:
        """The target without its query, as it was sent: percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters, decoded; of a repeated one the last."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def uid(self) -> str:
        """The card that an authorization asks about; empty for every other part."""
        return unquote(self.path.removesuffix("/").rsplit("/", 2)[1]) if self.part is Part.AUTHORIZE else ""

    def json(self) -> Any:  # noqa: ANN401  (whatever the client sent)
        """The body, parsed. Raises ValueError for what is no JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the device wants to say: an OCPI envelope, or with `raw` anything else.

    `data` is JSON already written; None leaves the field out (OCPI 2.2.1 transport_and_format, Response format).
    """

    http_status: int = 200
    data: bytes | None = None
    status_code: int = 1000
    message: str = ""
    headers: Headers = field(default=())
    raw: bytes | None = None
    content_type: str = JSON

    def body(self, now: datetime) -> bytes:
        """The body's bytes, an envelope stamped with `now` unless `raw` says otherwise."""
        if self.raw is not None:
            return self.raw
        data = b"" if self.data is None else b'"data":%b,' % self.data
        message = f'"status_message":{json.dumps(self.message)},' if self.message else ""
        tail = f'"status_code":{self.status_code},{message}"timestamp":"{ocpi_time(now)}"}}'
        return b"{" + data + tail.encode()


Later = Callable[[], Coroutine[Any, Any, Reply | None]]
"""A reply that takes a while, once somebody asks for it; None when the device dies over it."""


def written(value: object) -> bytes:
    """`value` as JSON without blanks."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def page_of_html(status: int, title: str) -> Reply:
    """What a proxy or a web server in front of the device says: no envelope, no JSON."""
    text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Reply(http_status=status, raw=text.encode(), content_type=HTML)


def ocpi_time(moment: datetime) -> str:
    """`moment` as OCPI's DateTime, in UTC and whole seconds (OCPI 2.2.1 types, DateTime)."""
    moment = moment.astimezone(UTC)
    return f"{moment.year:04}-{moment.month:02}-{moment.day:02}T{moment.hour:02}:{moment.minute:02}:{moment.second:02}Z"


def http_date(moment: datetime) -> str:
    """`moment` as HTTP's Date and Retry-After write it (RFC 9110, 5.6.7)."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)
