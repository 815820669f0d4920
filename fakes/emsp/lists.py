"""The pages of the token list, and every way in which published servers get paging wrong.

OCPI 2.2.1 transport_and_format, Pagination.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import urlencode

from fakes.emsp.cards import Cards
from fakes.emsp.messages import Reply, Request, written


class Link(StrEnum):
    """Where the `Link` to the next page leads."""

    HONEST = "honest"
    RELATIVE = "relative"
    """Path and query alone."""
    FOREIGN = "foreign"
    """To another origin: whoever follows it gives his credentials away."""
    ITSELF = "itself"
    """To the page that it is on, the last one too."""
    ENDLESS = "endless"
    """Always one page further, empty pages after the last."""
    MISSING = "missing"


@dataclass(slots=True)
class ListFaults:
    """What is wrong with the list; as built, nothing. Set at any time."""

    link: Link = Link.HONEST
    foreign_origin: str = "http://other-peer.invalid"
    bad_object_every: int = 0
    """Every nth token of the list lacks `contract_id`, which OCPI requires. 0 for none."""
    total: str | None = None
    """X-Total-Count as it is to be; empty leaves the header out; None tells the truth."""
    limit: str | None = None
    """X-Limit, in the same way."""
    withheld_pages: frozenset[int] = frozenset()
    """Pages, counted from 0 at the asked limit, that come empty though the list goes on: their tokens are kept back."""
    shift_after_pages: int | None = None
    """After so many pages a new token appears in front, once: every later page begins with the last token again."""


@dataclass(frozen=True, slots=True)
class PreparedList:
    """A list whose pages lie ready: the device of a benchmark, which is to measure the client."""

    pages: Sequence[bytes]
    """JSON arrays of `page_size` objects each, the last one of what is left."""
    total: int
    """Objects in all of them."""


class TokenList:
    """Answers GET of the Tokens sender interface."""

    def __init__(self, cards: Cards, insert_in_front: Callable[[], object]) -> None:
        self.faults = ListFaults()
        self.page_size = 1000
        self.pages_served = 0
        self.prepared: PreparedList | None = None
        """Served to who asks for one of its pages; everything else, changes included, comes from the cards."""
        self._cards = cards
        self._insert_in_front = insert_in_front

    def page(self, request: Request, url: str) -> Reply:
        """The page that a checked request asks for; `url` is the list's own address."""
        query = request.query
        offset = int(query.get("offset", 0))
        limit = min(int(query.get("limit", self.page_size)), self.page_size)
        total, data = self._prepared_page(query, offset, limit) or self._made_page(query, offset, limit)
        headers = [
            ("X-Total-Count", str(total) if self.faults.total is None else self.faults.total),
            ("X-Limit", str(self.page_size) if self.faults.limit is None else self.faults.limit),
            ("Link", self._link(url, query, offset, limit, total)),
        ]
        reply = Reply(
            data=data,
            headers=tuple((name, value) for name, value in headers if value),
        )
        self._count_page()
        return reply

    def _prepared_page(self, query: dict[str, str], offset: int, limit: int) -> tuple[int, bytes] | None:
        prepared = self.prepared
        number, inside = divmod(offset, self.page_size)
        if prepared is None or inside or limit != self.page_size or query.keys() & {"date_from", "date_to"}:
            return None
        return prepared.total, prepared.pages[number] if number < len(prepared.pages) else b"[]"

    def _made_page(self, query: dict[str, str], offset: int, limit: int) -> tuple[int, bytes]:
        """How many tokens the list has, and those of this page."""
        stretches = self._cards.matching(_moment(query.get("date_from")), _moment(query.get("date_to")))
        tokens = self._cards.page(stretches, offset, limit)
        if offset // max(limit, 1) in self.faults.withheld_pages:
            tokens = []
        return sum(map(len, stretches)), b"[" + b",".join(self._with_bad_ones(tokens, offset)) + b"]"

    def _link(self, url: str, query: dict[str, str], offset: int, limit: int, total: int) -> str:
        """The header's value; empty where there is none."""
        link = self.faults.link
        last = offset + limit >= total
        if link is Link.MISSING or (last and link not in {Link.ITSELF, Link.ENDLESS}):
            return ""
        step = 0 if link is Link.ITSELF else limit
        filters = {name: value for name, value in query.items() if name in {"date_from", "date_to"}}
        following = urlencode({"offset": offset + step, "limit": limit, **filters})
        _, _, path = url.partition("://")[2].partition("/")
        origin = {Link.RELATIVE: "/", Link.FOREIGN: f"{self.faults.foreign_origin}/"}.get(link)
        address = url if origin is None else origin + path
        return f'<{address}?{following}>; rel="next"'

    def _with_bad_ones(self, tokens: list[bytes], offset: int) -> list[bytes]:
        every = self.faults.bad_object_every
        if not every:
            return tokens
        return [
            _crippled(token) if place % every == 0 else token for place, token in enumerate(tokens, start=offset + 1)
        ]

    def _count_page(self) -> None:
        self.pages_served += 1
        if self.faults.shift_after_pages is not None and self.pages_served >= self.faults.shift_after_pages:
            self.faults.shift_after_pages = None
            self._insert_in_front()


def _crippled(token: bytes) -> bytes:
    fields = json.loads(token)
    del fields["contract_id"]
    return written(fields)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
