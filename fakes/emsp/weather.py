"""How a peer fails: one value per weather, and what each makes of an answer's content.

What belongs to the bytes on the line (when, how many, and how it ends) is in `manners`.
"""

import asyncio
import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from fakes.emsp.messages import Reply, http_date, page_of_html


class Kind(StrEnum):
    """Every weather. Those with a setting have a function of their own below: `slow`, `held`, `rate_limited` …"""

    FINE = "fine"

    DOWN = "down"
    """Refuses connections and has killed the open ones. Of the whole device only."""

    SLOW = "slow"
    HELD = "held"
    SILENT = "silent"
    """Accepts, reads, never answers."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    """HTTP 404 with an envelope and 2004."""
    NOT_FOUND_BARE = "not-found-bare"
    """HTTP 404 with a page of HTML."""
    UNKNOWN_200 = "unknown-200"
    """HTTP 200 with 2004 and no data."""
    RATE_LIMITED = "rate-limited"
    SERVER_ERROR = "server-error"
    NOT_ENOUGH = "not-enough"
    """HTTP 200 with 2002."""
    OCPI_ERROR = "ocpi-error"
    """HTTP 200 with 3000."""
    HUB_ERROR = "hub-error"
    """HTTP 200 with 4002: the hub's own peer did not answer it."""

    CUT_OFF = "cut-off"
    """HTTP is whole, but the JSON ends in its middle."""
    WRONG_SHAPE = "wrong-shape"
    """`data` is a list where an object belongs, and an object where a list belongs."""
    ALLOWED_MAYBE = "allowed-maybe"
    """`allowed` is no value that OCPI knows."""
    NOT_UTF8 = "not-utf8"
    HTML_200 = "html-200"
    EMPTY_BODY = "empty-body"

    DRIP = "drip"
    ENDLESS_CHUNKED = "endless-chunked"
    ENDLESS_LENGTH = "endless-length"
    """Announces a TiB and sends on and on."""
    GZIP_BOMB = "gzip-bomb"
    RESET = "reset"
    """RST in the middle of the answer."""
    GARBAGE = "garbage"
    """Something that is not HTTP, then the end."""
    DROPS_IDLE = "drops-idle"
    """Closes after each answer without having said `Connection: close`."""
    DROPS_REUSED = "drops-reused"
    """Closes on reading a connection's second request: the race that every idle time-out makes."""


@dataclass(frozen=True, slots=True)
class Weather:
    """A kind and its settings; the settings that a kind does not use do nothing."""

    kind: Kind
    seconds: float = 0.0
    """SLOW: before the answer. DRIP: between two bytes."""
    until: asyncio.Event | None = None
    """HELD: answers once this is set."""
    http_status: int = 500
    """SERVER_ERROR: 500 comes with an envelope, the others as a proxy's page of HTML."""
    retry_after: int | datetime | None = None
    """RATE_LIMITED, SERVER_ERROR: the header as seconds or as an HTTP date; None leaves it out."""
    mebibytes: int = 256
    """GZIP_BOMB: what it unpacks to."""
    times: int | None = None
    """How many requests it lasts; then it is fine. None for good."""


FINE = Weather(Kind.FINE)


def slow(seconds: float, *, times: int | None = None) -> Weather:
    """Answers rightly, `seconds` after the request."""
    return Weather(Kind.SLOW, seconds=seconds, times=times)


def held(until: asyncio.Event, *, times: int | None = None) -> Weather:
    """Answers rightly once `until` is set: lateness without waiting for it."""
    return Weather(Kind.HELD, until=until, times=times)


def rate_limited(retry_after: int | datetime | None = None, *, times: int | None = None) -> Weather:
    """HTTP 429; Retry-After in seconds, as a date, or not at all."""
    return Weather(Kind.RATE_LIMITED, retry_after=retry_after, times=times)


def server_error(
    http_status: int = 500, retry_after: int | datetime | None = None, *, times: int | None = None
) -> Weather:
    """HTTP 5xx."""
    return Weather(Kind.SERVER_ERROR, http_status=http_status, retry_after=retry_after, times=times)


def drip(seconds: float = 1.0) -> Weather:
    """The whole answer, head and body, a byte at a time with `seconds` between two."""
    return Weather(Kind.DRIP, seconds=seconds)


def gzip_bomb(mebibytes: int = 256) -> Weather:
    """An answer of some hundred KiB that unpacks to `mebibytes`."""
    return Weather(Kind.GZIP_BOMB, mebibytes=mebibytes)


_INSTEAD = {
    Kind.UNAUTHORIZED: Reply(http_status=401, status_code=2000, message="Unauthorized"),
    Kind.FORBIDDEN: Reply(http_status=403, status_code=2000, message="Forbidden"),
    Kind.NOT_FOUND: Reply(http_status=404, status_code=2004, message="Unknown Token"),
    Kind.NOT_FOUND_BARE: page_of_html(404, "404 Not Found"),
    Kind.UNKNOWN_200: Reply(status_code=2004, message="Unknown Token"),
    Kind.RATE_LIMITED: Reply(http_status=429, status_code=2000, message="Too Many Requests"),
    Kind.NOT_ENOUGH: Reply(status_code=2002, message="Not enough information"),
    Kind.OCPI_ERROR: Reply(status_code=3000, message="Generic server error"),
    Kind.HUB_ERROR: Reply(status_code=4002, message="Timeout on forwarded request"),
    Kind.HTML_200: page_of_html(200, "Welcome to our customer portal"),
    Kind.EMPTY_BODY: Reply(raw=b""),
}


def instead(weather: Weather) -> Reply | None:
    """What the device says without having looked at the request; None where it does look."""
    if weather.kind is Kind.SERVER_ERROR:
        envelope = Reply(http_status=500, status_code=3000, message="Internal Server Error")
        page = page_of_html(weather.http_status, f"{weather.http_status} Service Unavailable")
        return _with_retry_after(envelope if weather.http_status == 500 else page, weather)
    reply = _INSTEAD.get(weather.kind)
    return reply and _with_retry_after(reply, weather)


def spoilt(weather: Weather, reply: Reply, now: datetime) -> Reply:
    """`reply` as this weather makes it unreadable; itself in every weather that does not."""
    match weather.kind:
        case Kind.CUT_OFF:
            body = reply.body(now)
            return replace(reply, raw=body[: len(body) // 2])
        case Kind.WRONG_SHAPE:
            data = reply.data or b"null"
            return replace(reply, data=b'{"items":%b}' % data if data.startswith(b"[") else b"[%b]" % data)
        case Kind.ALLOWED_MAYBE:
            return replace(reply, data=re.sub(rb'"allowed":"[A-Z_]+"', b'"allowed":"MAYBE"', reply.data or b"null"))
        case Kind.NOT_UTF8:
            # Latin-1 in a text that only a person reads: the peers that do this don't notice.
            return replace(reply, raw=reply.body(now)[:-1] + b',"status_message":"G\xfcltig"}')
        case _:
            return reply


def _with_retry_after(reply: Reply, weather: Weather) -> Reply:
    match weather.retry_after:
        case None:
            return reply
        case datetime() as moment:
            value = http_date(moment)
        case seconds:
            value = str(seconds)
    return replace(reply, headers=(*reply.headers, ("Retry-After", value)))
