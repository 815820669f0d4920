"""HTTP/1.1 on loopback: connections, framing, and a port that can be shut and opened again. Nothing of OCPI.

A reply that is simply to be sent goes out in the callback that read its request, without a task: the fake is the
floor that the agent's speed is measured against.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from typing import Any, cast

import h11

from fakes.emsp.manners import MANNERS
from fakes.emsp.messages import Request
from fakes.emsp.weather import Weather

_LARGEST_HEAD = 65_536
_NOT_UNDERSTOOD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Outgoing:
    """A reply ready for the line: status, headers, body, and the weather that it goes out in."""

    __slots__ = ("body", "headers", "status", "weather")

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes, weather: Weather) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.weather = weather


OutgoingLater = Callable[[], Coroutine[Any, Any, Outgoing | None]]


class HttpServer:
    """Listens on one port of loopback, and keeps that port its own while shut.

    `serve` gets every whole request and returns the reply, or where that takes a while what there is to wait for: that
    goes on when the client goes, and None in its end hangs up without a reply. `complain` gets what is no HTTP.
    """

    def __init__(
        self,
        port: int,
        serve: Callable[[Request], Outgoing | OutgoingLater],
        complain: Callable[[str], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.serve = serve
        self._tls = tls
        self.complain = complain
        self.connections: set[Connection] = set()
        self.accepted = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._unhurried: set[asyncio.Task[None]] = set()
        self._broken: list[BaseException] = []
        self._loop = asyncio.get_running_loop()
        self._socket = _bound(port)
        self._listening = False
        self.port: int = self._socket.getsockname()[1]

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return self._listening

    def open(self) -> None:
        """Accept connections from now on. Does nothing when it does so already."""
        if not self._listening:
            self._socket.listen(1024)
            self._loop.add_reader(self._socket, self._accept)
            self._listening = True

    def shut(self) -> None:
        """Refuse connections from now on and kill the open ones."""
        if self._listening:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            # Bound but not listening: clients are refused, and no other socket can be given this port meanwhile.
            self._socket = _bound(self.port)
            self._listening = False
        for connection in self.connections:
            connection.abort()

    async def stop(self) -> None:
        """Close every socket and end every task; returns when they are gone. May be called twice.

        Raises what broke inside a task while it ran: a fake that is itself at fault must not pass for weather.
        """
        if self._listening:
            self._loop.remove_reader(self._socket)
            self._listening = False
        self._socket.close()
        for work in self._unhurried:
            work.cancel()
        while self.connections or self._tasks:
            gone = [connection.gone for connection in self.connections]
            for connection in self.connections:
                connection.abort()
            await asyncio.wait([*self._tasks, *gone])
        if self._broken:
            raise self._broken.pop()

    def spawn(self, work: asyncio.Task[None]) -> None:
        """Keep a task until it ends, so that `stop` can wait for it."""
        self._tasks.add(work)
        work.add_done_callback(self._ended)

    def spawn_unhurried(self, work: asyncio.Task[None]) -> None:
        """Keep a task that would not end with its connection: `stop` cancels it."""
        self._unhurried.add(work)
        work.add_done_callback(self._unhurried.discard)
        self.spawn(work)

    def _ended(self, work: asyncio.Task[None]) -> None:
        self._tasks.discard(work)
        if not work.cancelled() and (broken := work.exception()) is not None:
            self._broken.append(broken)

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            accepted.settimeout(0)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.accepted += 1
            self.spawn(self._loop.create_task(self._take_on(accepted)))

    async def _take_on(self, accepted: socket.socket) -> None:
        try:
            _, connection = await self._loop.connect_accepted_socket(lambda: Connection(self), accepted, ssl=self._tls)
        except OSError:
            return  # a client that does not trust our certificate hangs up in the handshake; asyncio has closed it
        if not self._listening:
            connection.abort()


class Connection(asyncio.Protocol):
    """One client's connection: requests in, one after the other; each answered before the next is read."""

    def __init__(self, server: HttpServer) -> None:
        self.served = 0
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD)
        self._transport: asyncio.Transport | None = None
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._manner: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """The client is gone, or the device hung up: whatever was still to be sent is not."""
        self._transport = None
        self._server.connections.discard(self)
        if self._manner is not None:
            self._manner.cancel()
        self.gone.set_result(None)

    def pause_writing(self) -> None:
        """The client reads more slowly than the device writes."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Read on; answer each request that is complete."""
        self._http.receive_data(data)
        self._read()

    def write(self, data: bytes) -> None:
        """Send as the kernel takes it; nothing when the client is gone."""
        if self._transport is not None:
            self._transport.write(data)

    async def drained(self) -> None:
        """Return when the client has read most of what was written."""
        await self._writable.wait()

    def hang_up(self) -> None:
        """Close once what was written has left."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now; what was not sent yet is lost."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Close with RST: a socket that lingers for zero seconds does not say goodbye."""
        if self._transport is not None:
            line = self._transport.get_extra_info("socket")
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def _read(self) -> None:
        while self._transport is not None and not self._transport.is_closing():
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as broken:
                self._server.complain(f"no HTTP/1.1: {broken}")
                self.write(_NOT_UNDERSTOOD)
                self.hang_up()
                return
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                self._head = event
                self._body.clear()
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage) and self._head is not None:
                self._answer(self._head)
            else:
                self.hang_up()

    def _answer(self, head: h11.Request) -> None:
        self.served += 1
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        method, target = head.method.decode("ascii"), head.target.decode("ascii")
        request = Request(method, target, headers, bytes(self._body), self._loop.time())
        outgoing = self._server.serve(request)
        if isinstance(outgoing, Outgoing):
            self._send(request, outgoing)
        else:
            self._server.spawn_unhurried(self._loop.create_task(self._send_later(request, outgoing)))

    async def _send_later(self, request: Request, later: OutgoingLater) -> None:
        outgoing = await later()
        if self._transport is None or self._transport.is_closing():
            return
        if outgoing is None:
            self.abort()
            return
        self._send(request, outgoing)
        self._read()

    def _send(self, request: Request, outgoing: Outgoing) -> None:
        manner = MANNERS.get(outgoing.weather.kind)
        answer = self._framed(outgoing, request.method)
        if manner is None:
            self.write(answer)
            self._carry_on(request)
            return
        self._manner = self._loop.create_task(self._in_its_manner(request, outgoing.weather, answer))
        self._server.spawn(self._manner)

    async def _in_its_manner(self, request: Request, weather: Weather, answer: bytes) -> None:
        if await MANNERS[weather.kind](self, weather, answer):
            self._manner = None
            self._carry_on(request)
            self._read()

    def _framed(self, outgoing: Outgoing, method: str) -> bytes:
        head = h11.Response(status_code=outgoing.status, headers=outgoing.headers)
        body = b"" if method == "HEAD" else outgoing.body
        parts = (self._http.send(head), self._http.send(h11.Data(body)), self._http.send(h11.EndOfMessage()))
        return b"".join(part for part in parts if part)

    def _carry_on(self, request: Request) -> None:
        request.answered_at = self._loop.time()
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        else:
            self.hang_up()


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.settimeout(0)
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound
