"""How much one client may ask of us: so often in a time, bytes of a body, and how deep it is nested."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from agent.ocpi.server.asgi import Receive

_MOST_KEYS = 4096
"""Clients that are remembered: more addresses than that, and the ones seen longest ago begin anew."""

_NESTED = 32
"""Levels of a body; no object of OCPI has more than five."""

_DRAINED = 1 << 20
"""Bytes of an oversized body that are still read, so that the client reads our answer instead of a reset."""

_BRACKETS = bytes.maketrans(b"[]{}", b"1010")
_ELSE = bytes(code for code in range(256) if code not in b'[]{}"')


class Bucket:
    """Lets each key do something so many times in so many seconds, and `burst` times at once."""

    def __init__(
        self,
        times: int,
        in_s: float,
        *,
        burst: int,
        most_keys: int = _MOST_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._times = times
        self._in_s = in_s
        self._burst = float(burst)
        self._most_keys = most_keys
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> int:
        """0 when it may be done now, else in how many seconds."""
        now = self._clock()
        left, at = self._left.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._times / self._in_s)
        allowed = left >= 1
        self._left[key] = (left - 1 if allowed else left, now)
        if len(self._left) > self._most_keys:
            self._left.popitem(last=False)
        return 0 if allowed else max(1, ceil((1 - left) * self._in_s / self._times))

    def give_back(self, key: str) -> None:
        """One that was taken does not count."""
        if key in self._left:
            left, at = self._left[key]
            self._left[key] = (left + 1, at)


class PerMinute(Bucket):
    """Lets each key do something so many times a minute, all at once or spread."""

    def __init__(self, times: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(times, 60, burst=times, clock=clock)


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


def _levels(brackets: int) -> tuple[int, int]:
    """Of eight brackets, a bit each: where they begin at most, so as not to get too deep, and how far they lead."""
    depth = deepest = 0
    for bit in f"{brackets:08b}":
        depth += 1 if bit == "1" else -1
        deepest = max(deepest, depth)
    return _NESTED - deepest, depth


_LEVELS = tuple(_levels(brackets) for brackets in range(256))


def is_nested_too_deep(body: bytes) -> bool:
    """Whether JSON has more than 32 levels. A body of 64 KiB costs about half a millisecond, whatever is in it."""
    if body.count(b"[") + body.count(b"{") <= _NESTED:
        return False
    outside = _outside_strings(body)
    outside += b"0" * (-len(outside) % 8)
    depth = 0
    for most, change in map(_LEVELS.__getitem__, int(outside or b"0", 2).to_bytes(len(outside) // 8, "big")):
        if depth > most:
            return True
        depth += change
    return False


def _outside_strings(body: bytes) -> bytes:
    """Of each bracket that is none of a text, 1 where it opens and 0 where it closes."""
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    # Two quotes side by side begin and end something, in whichever order: without them nothing changes.
    return b"".join(unescaped.translate(_BRACKETS, _ELSE).replace(b'""', b"").split(b'"')[::2])
