"""How much one client may ask of us: requests a minute, bytes of a body, and how deep it is nested."""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from starlette.types import Receive

_MOST_KEYS = 4096
"""Clients that are remembered: more addresses than that, and the ones seen longest ago begin anew."""

_NESTED = 32
"""Levels of a body; no object of OCPI has more than five."""

_DRAINED = 1 << 20
"""Bytes of an oversized body that are still read, so that the client reads our answer instead of a reset."""

_STRINGS = re.compile(rb'"(?:[^"\\]+|\\.)*"?', re.DOTALL)
"""The end is optional, so that none is looked for twice: a string of 64 KB without one would hold us up for half a
minute, if each of the quotes in it could be a beginning, too."""


class PerMinute:
    """Lets each key do something so many times a minute, all at once or spread."""

    def __init__(self, times: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._times = times
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> int:
        """0 when it may be done now, else in how many seconds."""
        now = self._clock()
        left, at = self._left.pop(key, (float(self._times), now))
        left = min(float(self._times), left + (now - at) * self._times / 60)
        allowed = left >= 1
        self._left[key] = (left - 1 if allowed else left, now)
        if len(self._left) > _MOST_KEYS:
            self._left.popitem(last=False)
        return 0 if allowed else max(1, ceil((1 - left) * 60 / self._times))


@dataclass(frozen=True, slots=True)
class Oversized:
    """The body is too large."""

    drained: bool
    """Whether all of it was read: else the connection can't be used any more."""


class Gone(Exception):  # noqa: N818 - nothing is wrong, there is only nobody left to answer
    """The client has hung up."""


async def read_body(receive: Receive, announced: int | None, most: int, limit_s: float) -> bytes | Oversized:
    """The body of a request. Raises TimeoutError for a client that is too slow, Gone for one that hung up."""
    async with asyncio.timeout(limit_s):
        if announced is not None and announced > max(_DRAINED, most):
            return Oversized(drained=False)
        parts: list[bytes] = []
        length = 0
        while length <= max(_DRAINED, most):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            length += len(message.get("body", b""))
            if length <= most:
                parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts) if length <= most else Oversized(drained=True)
        return Oversized(drained=False)


def is_nested_too_deep(body: bytes) -> bool:
    """Whether JSON has more than 32 levels."""
    if body.count(b"[") + body.count(b"{") <= _NESTED:
        return False
    depth = 0
    for byte in _STRINGS.sub(b"", body):
        if byte in b"[{":
            depth += 1
            if depth > _NESTED:
                return True
        elif byte in b"]}":
            depth -= 1
    return False
