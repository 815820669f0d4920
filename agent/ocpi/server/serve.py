"""The HTTP server around the application: uvicorn, without what it leaves open to slow and to broken clients."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from agent.errors import ConfigError
from agent.ocpi import envelope

_HEAD_S = 15.0
"""A request's head takes longer than this, or a connection brings none: its client is broken, or holds us up."""

_IDLE_S = 75.0
"""How long a peer's connection is kept between two requests: longer than most clients keep it themselves."""

_MOST_CONNECTIONS = 256
"""A peer has a handful. More are not answered, so that the process keeps its files for its own databases."""

_STOP_S = 5.0
"""How long a request under way may take once the server is to stop."""


class OcpiServer:
    """Listens from the moment it is made; `run` serves until cancelled."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        head_s: float = _HEAD_S,
        most_connections: int = _MOST_CONNECTIONS,
    ) -> None:
        """`port` 0 takes a free one. Raises ConfigError when host and port can't be had."""
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=_protocol(head_s, most_connections),
            ws="none",
            lifespan="off",
            # An access log would hold uids; and what uvicorn warns of, any client can cause at will.
            access_log=False,
            log_config=None,
            log_level=logging.ERROR,
            server_header=False,
            # Whatever the environment says: who else may name another address would get round the limits.
            forwarded_allow_ips="127.0.0.1,::1",
            timeout_keep_alive=int(_IDLE_S),
            timeout_graceful_shutdown=int(_STOP_S),
        )
        config.load()
        config.ssl = tls
        self._server = _Server(config)

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled; requests under way are finished first, within a few seconds."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="OCPI server")
        on_ready()
        try:
            await asyncio.shield(serving)
        finally:
            self._server.should_exit = True
            await serving

    def close(self) -> None:
        """Stop listening, for a server that is not run."""
        self._socket.close()


def tls_of(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """What the server shows: a certificate with its chain, and its key, in PEM. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        named = f"tls_certificate {certificate}, tls_key {key}" if key else f"tls_certificate {certificate}"
        raise ConfigError(
            f"ocpi.server: {named}: expected a certificate and its key in PEM: {error.strerror or error}"
        ) from error
    return context


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The agent has its own: uvicorn's would keep SIGTERM from opening the relays."""
        yield


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigError(f"ocpi.server: can't listen on {host} port {port}: {error.strerror or error}") from error
    # Connections inherit it. asyncio sets it for sockets that name their protocol, which those of create_server don't:
    # every answer's body would wait 40 ms for the acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.settimeout(0)
    return listener


class _Impatient(H11Protocol):
    """Waits for a request's head for a bounded time, and says what is no HTTP in an envelope."""

    head_s = _HEAD_S
    most_connections = _MOST_CONNECTIONS
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.abort()
            return
        self._deadline = self.loop.call_later(self.head_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None:
            # Where it is a body that breaks off, its request is being served, and must not be answered once more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = envelope.encode(None, at=datetime.now(UTC), status_code=2000, status_message=msg)
            headers = [
                (b"Content-Type", b"application/json"),
                (b"Content-Length", str(len(body)).encode()),
                (b"Connection", b"close"),
                # What it sent as its own ids can't be read.
                *((name, str(uuid4()).encode()) for name in (b"X-Request-ID", b"X-Correlation-ID")),
            ]
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        """The time runs while part of a head is here, and nothing is being served."""
        partial = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if not partial:
            self._unset_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_s, self.transport.abort)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _protocol(head_s: float, most_connections: int) -> type[H11Protocol]:
    """uvicorn makes the protocols itself, so that their settings have to be their class's."""
    return type("Impatient", (_Impatient,), {"head_s": head_s, "most_connections": most_connections})
