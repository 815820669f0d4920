"""Lets connections in: each is counted before anything is read from it, a TLS handshake included."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Collection
from typing import NamedTuple

from agent.ocpi.server.newcomers import Newcomers
from agent.ocpi.server.protocol import Connection, plain_address

log = logging.getLogger(__name__)

PROXIES = frozenset({"127.0.0.1", "::1"})
"""A proxy on this machine: everybody may have its address, and it may say whose a request is."""

_AT_ONCE = 8
"""Connections that are let in before anything else has its turn."""

_REST_S = 1.0
"""Until the next attempt where the system has no file left for a connection."""

_COMPLAIN_EVERY_S = 60.0
"""However often there is no room."""

_GOODBYE_S = 2.0
"""For a client's part of the end of TLS. Those that keep connections only see to that when they use one again."""


class Door:
    """Is open from `open` until `close`; both in a running event loop."""

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[Callable[[Connection], None], Callable[[Connection], None]], Connection],
        *,
        tls: Callable[[], ssl.SSLContext] | None,
        handshake_s: float,
        most: int,
        newcomers: Newcomers,
    ) -> None:
        """`make` is given what its connection must call when it has become welcome, and when it is lost.

        `tls` gives each connection its context.
        """
        self._listener = listener
        self._make = make
        self._tls = tls
        self._handshake_s = handshake_s
        self._most = most
        self._newcomers = newcomers
        self._loop = asyncio.get_running_loop()
        self._inside: dict[Connection, str] = {}
        self._joining: dict[Connection, _Joining] = {}
        self._left = asyncio.Event()
        self._resting: asyncio.TimerHandle | None = None
        self._is_exhausted = False
        self._complained_at: float | None = None

    def open(self) -> None:
        """Let in whoever knocks."""
        self._resting = None
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Let in nobody any more, and give up the address; whoever is being served may stay."""
        if self._resting is not None:
            self._resting.cancel()
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        for connection in self._inside:
            if not (connection.is_made and connection.is_worth_an_end):
                self._hang_up(connection)

    async def clear(self) -> None:
        """Break off whatever connection is left."""
        for connection in list(self._inside):
            self._hang_up(connection)
        while self._inside or self._joining:
            self._left.clear()
            await self._left.wait()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._rest(error)
                return
            self._is_exhausted = False
            accepted.settimeout(0)
            self._admit(accepted, _origin(address[0]))

    def _rest(self, error: OSError) -> None:
        """The listener stays readable: without a pause we would do nothing else, and log nothing else."""
        self._loop.remove_reader(self._listener)
        self._resting = self._loop.call_later(_REST_S, self.open)
        if not self._is_exhausted:
            log.error("peers can't connect, the server tries again every %.0f s: %s", _REST_S, error)
        self._is_exhausted = True

    def _admit(self, accepted: socket.socket, origin: str) -> None:
        if not self._newcomers.admits(origin):
            accepted.close()
            self._complain(f"a connection from {origin} was refused: they come too fast")
            return
        if not self._has_room(origin):
            accepted.close()
            of = sum(other == origin for other in self._inside.values())
            used = f"{len(self._inside)} of {self._most} are in use, {of} of them from there"
            self._complain(f"a connection from {origin} was refused: {used}")
            return
        connection = self._make(self._welcome, self._leave)
        self._inside[connection] = origin
        task = self._loop.create_task(self._join(accepted, connection), name="OCPI connection")
        self._joining[connection] = _Joining(accepted, task)

    def _has_room(self, origin: str) -> bool:
        """Make some if need be, among those from the same place if that has half of all."""
        own = [connection for connection, other in self._inside.items() if other == origin]
        if origin not in PROXIES and len(own) >= max(1, self._most // 2):
            return self._make_room(own)
        return len(self._inside) < self._most or self._make_room(self._inside)

    def _make_room(self, among: Collection[Connection]) -> bool:
        """Strangers go first, then whoever idles, then who keeps a body back; of each who was answered longest ago.

        Nobody goes while a whole request of his is being served.
        """
        waiting = (one for one in among if one.waits_for_client)
        leaving = min(waiting, key=_worth, default=None)
        if leaving is None:
            return False
        self._hang_up(leaving)
        self._leave(leaving)
        return True

    def _complain(self, why: str) -> None:
        now = self._loop.time()
        if self._complained_at is None or now - self._complained_at >= _COMPLAIN_EVERY_S:
            self._complained_at = now
            log.warning("%s", why)

    async def _join(self, accepted: socket.socket, connection: Connection) -> None:
        tls: ssl.SSLContext | None = None
        try:
            try:
                tls = self._tls() if self._tls else None
            except BaseException:
                accepted.close()
                raise
            await self._loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=tls,
                ssl_handshake_timeout=self._handshake_s if tls else None,
                ssl_shutdown_timeout=_GOODBYE_S if tls else None,
            )
        except OSError as error:  # ssl.SSLError and TimeoutError are some
            log.debug("a connection came to nothing: %s", error)
            # Its frames hold it in turn, and 300 KB of TLS, until the next collection.
            error.__traceback__ = None
        finally:
            del self._joining[connection]
            if not connection.is_made:
                self._leave(connection)
            self._left.set()

    def _hang_up(self, connection: Connection) -> None:
        if connection.is_made:
            connection.abort()
        elif joining := self._joining.get(connection):
            # Not by cancelling: a transport that is only half made would go on with a socket that is closed.
            with contextlib.suppress(OSError):
                joining.accepted.shutdown(socket.SHUT_RDWR)

    def _welcome(self, connection: Connection) -> None:
        origin = self._inside.get(connection)
        if origin is not None:
            self._newcomers.give_back(origin)

    def _leave(self, connection: Connection) -> None:
        self._inside.pop(connection, None)
        self._left.set()


def _worth(connection: Connection) -> tuple[bool, bool, float]:
    """Who is least goes first. Among strangers a body that does not come is no merit, and no fault either."""
    keeps_body_back = connection.is_welcome and not connection.is_idle
    return connection.is_welcome, keeps_body_back, connection.since


class _Joining(NamedTuple):
    accepted: socket.socket
    task: asyncio.Task[None]
    """Held, for the loop itself does not keep it from being collected."""


def _origin(address: str) -> str:
    """What one client has of its own: an address of IPv4; of IPv6 a network of 2^64 addresses."""
    address = plain_address(address.partition("%")[0])
    if ":" not in address or address in PROXIES:
        return address
    return str(ipaddress.IPv6Network((address, 64), strict=False))
