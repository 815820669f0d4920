"""The HTTP server around the application: uvicorn, behind a door of our own."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator

import uvicorn

from agent.errors import ConfigError
from agent.ocpi.server.asgi import Application
from agent.ocpi.server.certificate import tls_of as tls_of  # noqa: PLC0414 - `config check` looks for it here
from agent.ocpi.server.door import PROXIES, Door
from agent.ocpi.server.newcomers import Newcomers
from agent.ocpi.server.protocol import Connection, Patience

_HEAD_S = 15.0
"""A request's head takes longer than this, or a connection brings none: its client is broken, or holds us up."""

_HANDSHAKE_S = 10.0
"""The same of a TLS handshake: three packets each way."""

_DRAIN_S = 15.0
"""A client that has not read an answer by then does not read."""

_IDLE_S = 75.0
"""How long a peer's connection is kept between two requests: longer than most clients keep it themselves."""

_MOST_CONNECTIONS = 256
"""A peer has a handful. More are not answered, so that the process keeps its files for its own databases."""

_MOST_TLS_CONNECTIONS = 64
"""Each costs 300 KiB, even before its handshake, most of it a buffer that asyncio has for what it reads."""

_DATE_S = 1.0
"""RFC 9110, 6.6.1: an answer's date has no fractions of a second."""

_STOP_S = 5.0
"""How long a request under way may take once the server is to stop."""


class OcpiServer:
    """Listens from the moment it is made; `run` serves until cancelled."""

    def __init__(
        self,
        app: Application,
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
        head_s: float = _HEAD_S,
        handshake_s: float = _HANDSHAKE_S,
        drain_s: float = _DRAIN_S,
        most_connections: int | None = None,
        newcomers: Newcomers | None = None,
    ) -> None:
        """`port` 0 takes a free one; `tls` may give each connection its own. Raises ConfigError for a port in use.

        Of the connections, 64 with TLS and 256 without, one address has half at most, but a proxy on this machine.
        """
        self._tls = (lambda: tls) if isinstance(tls, ssl.SSLContext) else tls
        self._patience = Patience(head_s, drain_s)
        self._handshake_s = handshake_s
        self._most = most_connections or (_MOST_TLS_CONNECTIONS if tls else _MOST_CONNECTIONS)
        self._newcomers = newcomers or Newcomers(tls=self._tls is not None)
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._config = uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            # An access log would hold uids; and what uvicorn warns of, any client can cause at will.
            access_log=False,
            log_config=None,
            log_level=logging.ERROR,
            server_header=False,
            # Whatever the environment says: who else may name another address would get round the limits.
            forwarded_allow_ips=",".join(PROXIES),
            timeout_keep_alive=int(_IDLE_S),
            timeout_graceful_shutdown=int(_STOP_S),
        )
        self._config.load()
        self._server = _Server(self._config)

    async def run(self) -> None:
        """Serve until cancelled; requests under way are finished first, within a few seconds.

        Those that have not come whole are not waited for. However it ends, the address is free, and no connection is
        left.
        """
        door = Door(
            self._socket,
            self._connection,
            tls=self._tls,
            handshake_s=self._handshake_s,
            most=self._most,
            newcomers=self._newcomers,
        )
        serving = asyncio.create_task(self._server.serve(), name="OCPI server")
        try:
            door.open()
            await asyncio.shield(serving)
        finally:
            door.close()
            self._server.stop()
            try:
                await serving
            finally:
                await self._end(door)

    def close(self) -> None:
        """Stop listening, for a server that is not run."""
        self._socket.close()

    async def _end(self, door: Door) -> None:
        requests = list(self._server.server_state.tasks)
        for request in requests:
            request.cancel()
        await door.clear()
        if requests:
            await asyncio.wait(requests, timeout=_STOP_S)

    def _connection(
        self, on_welcome: Callable[[Connection], None], on_lost: Callable[[Connection], None]
    ) -> Connection:
        state = self._server.server_state
        return Connection(self._config, state, patience=self._patience, on_welcome=on_welcome, on_lost=on_lost)


class _Server(uvicorn.Server):
    """Only what serves: the signals, the listening and the end are ours.

    uvicorn looks ten times a second whether it is to end, and waits twice a tenth of one when it does.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def stop(self) -> None:
        """End soon; requests under way are finished first."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Keep the date of the answers right, until told to stop."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DATE_S):
                    await self._ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is under way; where nothing is, nothing is waited for."""
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - the door has it
        self.servers = []
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The agent has its own: uvicorn's would keep SIGTERM from opening the relays."""
        yield


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        # Whoever writes :: means every interface, and not that the peers with IPv4 are to stay outside.
        both = host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server((host, port), family=family, backlog=128, dualstack_ipv6=both)
    except OSError as error:
        needs = "; ports below 1024 need CAP_NET_BIND_SERVICE" if isinstance(error, PermissionError) else ""
        raise ConfigError(
            f"ocpi.server: can't listen on {host} port {port}: {error.strerror or error}{needs}"
        ) from error
    # Connections inherit it. asyncio sets it for sockets that name their protocol, which those of create_server don't:
    # every answer's body would wait 40 ms for the acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.settimeout(0)
    return listener
