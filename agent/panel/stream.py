"""The newest state for whoever watches, by server-sent events (HTML Living Standard, 9.2).

A client gets the newest state once it has taken the one before: whatever came between is never kept for it, so that a
slow or dead browser costs one pending state. Nothing is looked at while nobody watches.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from traceback import walk_tb

from agent.ocpi.server.asgi import Receive, Send
from agent.panel.exchange import every_header, until_gone

log = logging.getLogger(__name__)

MOST = 64
"""Clients at once. An operator has a few; a page that is left open somewhere must not keep another from opening."""

EVERY_S = 0.2
"""Between two states: what changes faster nobody reads."""

LOOK_S = 1.0
"""How soon the next state is made though nobody says that something has changed: energy and times go on by themselves,
and a client that is gone is found out."""

SETTLE_S = 0.03
"""From a change to the look: the tap that it comes from has its decision, its record and its relay first."""

FRESH_S = 0.2
"""A state younger than this is given again to whoever asks for one."""

SAID_AGAIN_S = 60.0
"""Between two times that the same fault is logged: looking goes on several times a second, and fails each time."""

_FAULT = b'"fault":"what the charge point does cannot be shown now: its log says why"}'
"""In the place of a state's end: all else in it is as of its `at`, and nothing where there was no state before."""

_AT_ONCE = 4
"""Clients that are woken before anything else has its turn: a tap that comes meanwhile waits for no more of them."""

_HEADERS = every_header(
    [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
)

_RETRY = b"retry: 2000\n\n"
"""Milliseconds after which a browser that has lost us comes back."""

Look = Callable[[], Awaitable[bytes]]
"""Gives the state as it is now: the rest of a JSON object whose beginning each client has of its own."""


class Stream:
    """Looks, at most five times a second, and hands out what it saw."""

    def __init__(
        self,
        look: Look,
        *,
        most: int = MOST,
        every_s: float = EVERY_S,
        look_s: float = LOOK_S,
        fresh_s: float = FRESH_S,
    ) -> None:
        """What `look` raises is a fault of the page: it is logged, and every client is told that there is one."""
        self._look = look
        self._most = most
        self._every_s = every_s
        self._look_s = look_s
        self._fresh_s = fresh_s
        self._clients: set[_Client] = set()
        self._changed = asyncio.Event()
        self._watched = asyncio.Event()
        self._looking = asyncio.Lock()
        self._seen = b"}"
        self._faults: dict[tuple[object, ...], float] = {}
        """When each was logged last, by what it is and where."""
        self._newest = b""
        self._looked_at: float | None = None
        self._is_closed = False

    @property
    def clients(self) -> int:
        """How many watch now."""
        return len(self._clients)

    @property
    def has_room(self) -> bool:
        """Whether one more may watch."""
        return len(self._clients) < self._most and not self._is_closed

    def changed(self) -> None:
        """Something has: look soon. Costs nothing worth mentioning, and never waits."""
        self._changed.set()

    async def run(self) -> None:
        """Look while somebody watches, until cancelled; then every client is told goodbye."""
        self._is_closed = False
        try:
            while True:
                await self._watched.wait()
                self._changed.clear()
                await self._refresh(max_age_s=0.0)
                await self._wake()
                await self._pause()
        finally:
            self._is_closed = True
            for client in self._clients:
                client.leave()

    async def watched(self) -> None:
        """Return once somebody watches."""
        await self._watched.wait()

    async def newest(self) -> bytes:
        """A state that is hardly older than now, whoever asks how often; or the last one there was, and its `fault`."""
        await self._refresh(max_age_s=self._fresh_s)
        return self._newest

    async def serve(self, head: Callable[[], bytes | None], receive: Receive, send: Send) -> None:
        """One client, until it has gone or is not to watch any more.

        `head` gives the beginning of each of its states; None once it is not to watch any more.
        """
        client = _Client()
        self._clients.add(client)
        self._watched.set()
        self._changed.set()
        leaving = asyncio.create_task(until_gone(receive))
        leaving.add_done_callback(lambda _: client.leave())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": _RETRY, "more_body": True})
            await client.is_behind.wait()
            while not client.is_leaving and (beginning := head()) is not None:
                client.is_behind.clear()
                event = b"data: %b%b\n\n" % (beginning, self._newest)
                await send({"type": "http.response.body", "body": event, "more_body": True})
                await client.is_behind.wait()
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._clients.discard(client)
            if not self._clients:
                self._watched.clear()
            leaving.cancel()
            await asyncio.wait({leaving})

    async def _look_now(self) -> bytes:
        """What is to be seen; what was seen before, and that it is no more than that, where looking has failed."""
        try:
            self._seen = await self._look()
        except Exception as error:
            if self._is_to_be_said(error):
                log.exception("the panel can't look at the charge point now; it goes on trying")
            before = self._seen[:-1]
            return before + (b"," if before else b"") + _FAULT
        return self._seen

    def _is_to_be_said(self, error: Exception) -> bool:
        frame, line = list(walk_tb(error.__traceback__))[-1]
        fault, now = (type(error), frame.f_code, line), asyncio.get_running_loop().time()
        if now - self._faults.get(fault, -math.inf) < SAID_AGAIN_S:
            return False
        self._faults[fault] = now
        return True

    async def _refresh(self, *, max_age_s: float) -> None:
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if self._looked_at is None or now - self._looked_at >= max_age_s:
                self._newest = await self._look_now()
                self._looked_at = asyncio.get_running_loop().time()

    async def _wake(self) -> None:
        for number, client in enumerate(list(self._clients), 1):
            client.is_behind.set()
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _pause(self) -> None:
        await asyncio.sleep(self._every_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._look_s - self._every_s)):
                await self._changed.wait()
                await asyncio.sleep(SETTLE_S)


class _Client:
    """One that watches."""

    def __init__(self) -> None:
        self.is_behind = asyncio.Event()
        """There is a newer state than the one that it was sent last."""
        self.is_leaving = False

    def leave(self) -> None:
        self.is_leaving = True
        self.is_behind.set()
