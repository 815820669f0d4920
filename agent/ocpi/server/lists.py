"""Lists that a peer pulls, page by page: which part of one it asks for, and how that is answered.

OCPI 2.2.1 transport_and_format, Pagination; mod_sessions and mod_cdrs, Sender Interface. What is in a list, and in
which order, is for those who keep the objects.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from agent.charges import Page
from agent.ocpi.headers import number
from agent.ocpi.server.answers import Answer, refused, success
from agent.ocpi.server.gate import Incoming
from agent.ocpi.server.ports import Refusal
from agent.ocpi.timestamps import as_utc, to_second

MOST_OBJECTS: Final = 100
"""On a page. As the chapter's own example has it; a month of one charge point is a few of these."""

MOST_BYTES: Final = 512 << 10
"""On a page of several objects. A hundred sessions are half of it; a page is in memory three times while it is sent."""

ReadPage = Callable[[str, datetime | None, datetime | None, int, int], Awaitable[Page]]
"""A method of `agent.ocpi.server.ports.ReportsSender`."""

_FILTERS: Final = ("date_from", "date_to")


@dataclass(frozen=True, slots=True)
class Part:
    """What of a list is asked for."""

    date_from: datetime | None
    date_to: datetime | None
    """Both are whole seconds, as the objects' `last_updated` are on the wire."""
    offset: int
    limit: int
    """At most MOST_OBJECTS."""
    filters: tuple[tuple[str, str], ...]
    """As the request had them: for the address of the next page."""


class PulledList:
    """One list. Each caller gets what is there for it, and learns of no more."""

    def __init__(self, url: str, read: ReadPage) -> None:
        """`url` is where the peers reach it."""
        self._url = url
        self._read = read

    async def get(self, request: Incoming) -> Answer:
        """A page, with the headers of the chapter. 2001 for a parameter that can't be read."""
        part = part_of(request.query)
        if isinstance(part, Refusal):
            return refused(part)
        page = await self._read(request.caller.peer, part.date_from, part.date_to, part.offset, part.limit)
        objects = _fitting(page.objects)
        headers = {"X-Total-Count": str(page.total), "X-Limit": str(MOST_OBJECTS)}
        following = part.offset + len(objects)
        if objects and following < page.total:
            headers["Link"] = f'<{self._address(part, following)}>; rel="next"'
        # Embedded as they are, so that a peer pulls the very bytes that it would have been sent.
        return replace(success([msgspec.Raw(one) for one in objects]), headers=headers)

    def _address(self, part: Part, offset: int) -> str:
        query = (*part.filters, ("offset", offset), ("limit", part.limit))
        return f"{self._url}?{urlencode(query, safe=':', quote_via=quote)}"


def part_of(query: str) -> Part | Refusal:
    """What a query asks for; every parameter may be missing, or empty, which is the same."""
    # A plus that was not encoded is one: no parameter has a blank, but `+00:00` occurs.
    given = dict(parse_qsl(query.replace("+", "%2B")))
    try:
        return Part(
            _moment(given, "date_from", to_second),
            _moment(given, "date_to", _full_second),
            _count(given, "offset", least=0, otherwise=0),
            min(_count(given, "limit", least=1, otherwise=MOST_OBJECTS), MOST_OBJECTS),
            tuple((name, given[name]) for name in _FILTERS if name in given),
        )
    except ValueError as error:
        return Refusal(2001, str(error))


def _moment(given: dict[str, str], name: str, to_whole: Callable[[datetime], datetime | None]) -> datetime | None:
    if name not in given:
        return None
    try:
        return to_whole(as_utc(msgspec.convert(given[name], datetime, strict=False)))
    except ValueError:  # msgspec.ValidationError is one
        raise ValueError(f"{name}: expected a date and time in UTC, such as 2026-03-01T12:00:00Z") from None


def _full_second(moment: datetime) -> datetime | None:
    """The next whole second where it is none; None after the last one that there is.

    An object of 12:00:00.7 is one of 12:00:00 on the wire, and so before 12:00:00.5. `date_from` is cut instead, for
    a peer that goes on where it stopped must not miss what else happened in that second: it may get it twice.
    """
    cut = to_second(moment)
    try:
        return cut if cut == moment else cut + timedelta(seconds=1)
    except OverflowError:
        return None


def _count(given: dict[str, str], name: str, *, least: int, otherwise: int) -> int:
    if name not in given:
        return otherwise
    count = number(given[name])
    if count is None or count < least:
        raise ValueError(f"{name}: expected a whole number from {least} on")
    return count


def _fitting(objects: Sequence[bytes]) -> Sequence[bytes]:
    """The first ones, as many as a page may hold: one at least, however large it is."""
    size = 0
    for index, one in enumerate(objects):
        size += len(one)
        if index and size > MOST_BYTES:
            return objects[:index]
    return objects
