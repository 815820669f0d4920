"""One client's connection: uvicorn's HTTP, without what it leaves open to slow and to broken clients."""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from agent.ocpi import envelope
from agent.ocpi.server.asgi import WELCOME, Message, Receive, Scope, Send
from agent.ocpi.server.heads import Http

_CLOSE = (b"connection", b"close")

_UNWELCOME = frozenset({401, 429})
"""Whoever is answered so has no business with us, or too much: the connection is another one's."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may keep us waiting, in seconds."""

    head_s: float
    """For a request's head: once a connection is made, and once part of a head is here."""
    drain_s: float
    """For the client to read what it was sent."""


class Connection(H11Protocol):
    """Waits for its client for bounded times, and says what is no HTTP in an envelope."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        *,
        patience: Patience,
        on_welcome: Callable[["Connection"], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._http = self.conn = Http()
        self.since = self.loop.time()
        """When it came, or its last answer was complete."""
        self.is_made = False
        """Under TLS: once it has shaken hands."""
        self.is_welcome = False
        """Once the application has said so of a request: before, nothing tells a peer from anybody else."""
        self._on_welcome = on_welcome
        self._on_lost = on_lost
        self._head = _Deadline(self.loop, patience.head_s, self.abort)
        self._drain = _Deadline(self.loop, patience.drain_s, self.abort)
        self._application: Any = self.app
        self.app = self._watched

    @property
    def is_idle(self) -> bool:
        """Between two requests."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    @property
    def waits_for_client(self) -> bool:
        """Idle, or for a handshake or the rest of a request; not while a whole request is being served."""
        return self.is_idle or self.cycle.more_body

    @property
    def is_worth_an_end(self) -> bool:
        """Whether the server, once it is to stop, waits for it: not for a request that has not come whole."""
        if self.waits_for_client:
            # Closed by uvicorn, which sends the end of its last answer.
            return self.is_idle and self.is_welcome
        return self.is_welcome or not self.flow.write_paused

    def abort(self) -> None:
        """Drop it as it stands."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self.is_made = True
        if self.client is not None:
            self.client = (plain_address(self.client[0]), self.client[1])
        # Anything that the client does not take at once pauses the writing, and so is timed.
        transport.set_write_buffer_limits(high=1, low=0)
        self._head.start()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():  # with TLS more comes all the same
            return
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        super().on_response_complete()
        self._watch_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._drain.start()

    def resume_writing(self) -> None:
        self._drain.stop()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.stop()
        self._drain.stop()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self._on_lost(self)

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None:
            # Where it is a body that breaks off, its request is being served, and must not be answered once more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            status = self._http.refused_as
            msg = self._http.refused_because or msg
            body = envelope.encode(None, at=datetime.now(UTC), status_code=2000, status_message=msg)
            headers = [
                (b"Content-Type", b"application/json"),
                (b"Content-Length", str(len(body)).encode()),
                (b"Connection", b"close"),
                # What it sent as its own ids can't be read.
                *((name, str(uuid4()).encode()) for name in (b"X-Request-ID", b"X-Correlation-ID")),
            ]
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    async def _watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watching(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._judge(message)
            await send(message)

        cycle = self.cycle
        scope["extensions"] = {**(scope.get("extensions") or {}), WELCOME: self._welcome}
        try:
            await self._application(scope, receive, watching)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                raise
            # The server stops, and the task ends here in any case: uvicorn would call it a fault of the application's.
            cycle.disconnected = True
            self.abort()

    def _welcome(self) -> None:
        if not self.is_welcome:
            self.is_welcome = True
            self._on_welcome(self)

    def _judge(self, answer: Message) -> None:
        if answer["status"] in _UNWELCOME:
            headers = [(name, value) for name, value in answer.get("headers", ()) if name.lower() != _CLOSE[0]]
            answer["headers"] = [*headers, _CLOSE]

    def _watch_head(self) -> None:
        """The time runs while part of a head is here, and nothing is being served."""
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._head.start()
        else:
            self._head.stop()


def plain_address(address: str) -> str:
    """An IPv4 client's own, as it is written everywhere else: a socket for both calls it ::ffff:192.0.2.1."""
    if not address.startswith("::ffff:"):
        return address
    mapped = ipaddress.IPv6Address(address).ipv4_mapped
    return address if mapped is None else str(mapped)


class _Deadline:
    """Has something done unless it is stopped in time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, after_s: float, late: Callable[[], None]) -> None:
        self._loop = loop
        self._after_s = after_s
        self._late = late
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The time runs from the first of several starts."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._after_s, self._late)

    def stop(self) -> None:
        """The time does not run."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
