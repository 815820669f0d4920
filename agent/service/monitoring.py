"""Answers those who watch over the charger: GET /metrics for Prometheus, GET /health for anybody.

Imported where [monitoring] is configured, and nowhere else. One request a connection, by h11, which the OCPI client has
loaded anyway: what uvicorn and the OCPI server's door have besides, a charger without that server need not carry
(decision 0020).
"""

import asyncio
import contextlib
import ipaddress
import json
import logging
import re
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import h11

from agent.core.evse_state import Device
from agent.errors import ConfigError
from agent.ports import ReaderState
from agent.service.facts import Facts
from agent.service.metrics import CONTENT_TYPE

log = logging.getLogger(__name__)

_MOST = 8
"""Connections at once: a Prometheus has one. One more ends the oldest of them."""

_HEAD_BYTES = 4 << 10
"""Of a request; curl sends 80, Prometheus 300. A head of this size takes h11 two milliseconds at worst."""

_PATIENCE_S = 5.0
"""From the connection to its end: half of what Prometheus waits for an answer, which takes milliseconds."""

_FAREWELL_BYTES = 64 << 10
"""What a client may still send once it has been answered: it is dropped, but not for long."""

_FRESH_S = 1.0
"""An answer younger than this is given again: who asks in a loop costs no more than who asks every second."""

_TRY_AGAIN_S = 60.0
"""How soon an address that can't be had is tried again: somebody has to mend it first."""

_MODE = 0o660
"""Of a unix socket: whoever may ask is in the service's group."""

_NO_TEXT = re.compile(rb"[\x00\x0b\x0c]|\r[^\n]")
"""No line may hold them (RFC 9110, 5.5), and a row of blanks before one costs h11 the square of its length."""

_ADDRESS_AND_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>localhost|[0-9.]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen: a unix socket, or an IP address and a port. Port 0 takes a free one."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def place_of(listen: str, *, allow_remote: bool = False) -> Place:
    """What [monitoring] listen means: `IPv4:port`, `[IPv6]:port`, or the absolute path of a unix socket.

    Raises ConfigError, also for an address that other machines reach unless `allow_remote`.
    """
    if listen.startswith("/"):
        return Place(path=Path(listen))
    match = _ADDRESS_AND_PORT.fullmatch(listen)
    address = match and _ip(match["v6"], match["v4"])
    if match is None or address is None or not 0 < int(match["port"]) < 1 << 16:
        raise ConfigError(
            f"monitoring.listen: {listen!r}: expected an address and a port, as 127.0.0.1:9469 or [::1]:9469, or the "
            "absolute path of a unix socket"
        )
    place = Place(host=str(address), port=int(match["port"]))
    if not allow_remote and not address.is_loopback:
        raise ConfigError(
            f"monitoring.listen: other machines reach {place}, and the figures tell when somebody charges: take "
            "127.0.0.1, or a unix socket, or say allow_remote = true"
        )
    return place


class Health(NamedTuple):
    """What GET /health says."""

    is_up: bool
    """Whether a card held to at least one EVSE would be decided."""
    state: dict[str, Any]


def health_of(facts: Facts, rounds: int = 0, silent: Sequence[str] = ()) -> Health:
    """How the charger is; `wrong` says of everything that is not as it should be what it is.

    `rounds` and `silent` are the watchdog's: see there.
    """
    taking = sum(evse.is_live and Device.READER not in evse.lost for evse in facts.evses)
    ready = sum(reader.state is ReaderState.READY for reader in facts.readers)
    is_up = bool(taking and ready)
    state = {
        "status": "ok" if is_up else "down",
        "evses": {"live": sum(evse.is_live for evse in facts.evses), "of": len(facts.evses)},
        "readers": {"ready": ready, "of": len(facts.readers)},
        "peers": {
            "up": sum(peer.is_asked and not peer.rejects_credentials for peer in facts.peers),
            "of": len(facts.peers),
        },
        "watchdog_rounds": rounds,
        "wrong": [*_wrong(facts), *(f"{part}: no sign of life since the start" for part in silent)],
    }
    return Health(is_up, state)


class Monitoring:
    """The server, as a part of the agent."""

    def __init__(
        self,
        place: Place,
        *,
        text: Callable[[], str],
        health: Callable[[], Health],
        most: int = _MOST,
        patience_s: float = _PATIENCE_S,
        fresh_s: float = _FRESH_S,
        again_s: float = _TRY_AGAIN_S,
    ) -> None:
        """`text` gives what GET /metrics answers; both are called in the event loop."""
        self._place = place
        self._text = text
        self._health = health
        self._most = most
        self._patience_s = patience_s
        self._fresh_s = fresh_s
        self._again_s = again_s
        self._kept: dict[str, tuple[float, _Answer]] = {}
        self._clients: dict[_Client, None] = {}
        self._all_gone = asyncio.Event()
        self._listens = asyncio.Event()
        self._port = 0

    async def run(self) -> None:
        """Serve until cancelled; may be run again. What keeps it from listening is logged once and tried again."""
        listener = await self._listener()
        ours = _identity(self._place.path)
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: _Client(self), sock=listener, backlog=self._most
            )
            self._port = 0 if self._place.path else int(listener.getsockname()[1])
            self._listens.set()
            log.info("monitoring: listening on %s", self._place)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._listens.clear()
                server.close()
                await self._clear()
        finally:
            listener.close()
            _remove(self._place.path, ours)

    async def port(self) -> int:
        """The TCP port, once it listens; 0 for a unix socket."""
        await self._listens.wait()
        return self._port

    async def _listener(self) -> socket.socket:
        said = ""
        while True:
            try:
                return _listening(self._place, self._most)
            except ConfigError as error:
                if said != str(error):
                    said = str(error)
                    log.error("monitoring: nobody can see the figures; tried again in %g s: %s", self._again_s, error)
            await asyncio.sleep(self._again_s)

    async def _clear(self) -> None:
        while self._clients:
            self._all_gone.clear()
            for client in self._clients:
                client.abort()
            await self._all_gone.wait()

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._clients)

    # ---- for its connections

    @property
    def patience_s(self) -> float:
        """How long a connection may last."""
        return self._patience_s

    def enter(self, client: "_Client") -> None:
        """Let it in; if there is no room for it the oldest goes, which has had its time more than others."""
        if not self._listens.is_set():
            client.abort()  # let in by the system before the door was closed
        if len(self._clients) >= self._most:
            oldest = next(iter(self._clients))
            self.leave(oldest)
            oldest.abort()
        self._clients[client] = None

    def leave(self, client: "_Client") -> None:
        """It has gone."""
        self._clients.pop(client, None)
        if not self._clients:
            self._all_gone.set()

    def answer(self, request: h11.Request) -> "_Answer":
        """What to say to it; the body of an answer to HEAD is not sent."""
        path = request.target.partition(b"?")[0]
        make = {b"/metrics": self._metrics, b"/health": self._healthy}.get(path)
        if make is None or request.method not in {b"GET", b"HEAD"}:
            return _plain(HTTPStatus.NOT_FOUND, "GET /metrics or /health")
        key, now = path.decode(), asyncio.get_running_loop().time()
        made_at, kept = self._kept.get(key, (0.0, None))
        if kept is None or now - made_at >= self._fresh_s:
            kept = make()
            self._kept[key] = now, kept
        return kept

    def _metrics(self) -> "_Answer":
        return _Answer(HTTPStatus.OK, CONTENT_TYPE, self._text().encode())

    def _healthy(self) -> "_Answer":
        health = self._health()
        status = HTTPStatus.OK if health.is_up else HTTPStatus.SERVICE_UNAVAILABLE
        return _Answer(status, "application/json", json.dumps(health.state).encode() + b"\n")


class _Answer(NamedTuple):
    status: HTTPStatus
    content_type: str
    body: bytes


class _Client(asyncio.Protocol):
    """One connection: a request, an answer, a farewell, and all of it within a fixed time."""

    def __init__(self, server: Monitoring) -> None:
        self._server = server
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._late: asyncio.TimerHandle | None = None
        self._is_answered = False
        self._received = 0
        self._last = b""
        self._farewell = 0

    def abort(self) -> None:
        """Drop it as it stands."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream's"
        self._transport = transport
        # One time for all of it: who sends slowly, who does not read, and who does not leave all end with it.
        self._late = asyncio.get_running_loop().call_later(self._server.patience_s, transport.abort)
        self._server.enter(self)

    def data_received(self, data: bytes) -> None:
        if self._is_answered:
            self._farewell += len(data)
            if self._farewell > _FAREWELL_BYTES:
                self.abort()
            return
        self._received += len(data)
        if self._received > _HEAD_BYTES:
            # Before h11 sees it: a head that comes in one piece it would read whatever its size.
            self._send(_plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too long"))
            return
        before, self._last = self._last, data[-1:]
        if _NO_TEXT.search(before + data):
            self._send(_plain(HTTPStatus.BAD_REQUEST, "no text"))
            return
        self._http.receive_data(data)
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            self._send(_plain(status, status.phrase))
            return
        if isinstance(event, h11.Request):
            self._send(self._server.answer(event), head_only=event.method == b"HEAD")

    def eof_received(self) -> bool:
        """Whoever has said all before it was answered leaves: nothing more can make its request whole."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  as asyncio calls it
        if self._late is not None:
            self._late.cancel()
        self._server.leave(self)

    def _send(self, answer: _Answer, *, head_only: bool = False) -> None:
        """Answer and say goodbye, but wait for the client's: a reset could take the answer's end from it."""
        assert self._transport is not None, "data came through it"
        self._is_answered = True
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Connection", "close"),
        ]
        head = h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase)
        self._transport.write((self._http.send(head) or b"") + (b"" if head_only else answer.body))
        self._transport.write_eof()


def _plain(status: HTTPStatus, words: str) -> _Answer:
    return _Answer(status, "text/plain; charset=utf-8", f"{words}\n".encode())


def _wrong(facts: Facts) -> list[str]:
    wrong = [f"EVSE {evse.uid}: takes no cards" for evse in facts.evses if not evse.is_live]
    wrong += [f"EVSE {evse.uid}: lost its {', '.join(evse.lost)}" for evse in facts.evses if evse.lost]
    wrong += [f"EVSE {evse.uid}: {evse.relay_fault}" for evse in facts.evses if evse.relay_fault]
    for reader in facts.readers:
        if reader.state is not ReaderState.READY:
            wrong.append(f"reader {reader.name}: {reader.advice or 'has not spoken yet'}")
    for peer in facts.peers:
        if peer.rejects_credentials:
            wrong.append(f"peer {peer.name}: rejects our credentials token")
        elif not peer.is_asked:
            wrong.append(f"peer {peer.name}: does not answer, and is asked only now and then")
    return wrong


def _ip(v6: str | None, v4: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for what is no address. Names but localhost are not looked up: that could take the taps' time."""
    try:
        return ipaddress.IPv6Address(v6) if v6 else ipaddress.IPv4Address("127.0.0.1" if v4 == "localhost" else v4)
    except ValueError:
        return None


def _listening(place: Place, most: int) -> socket.socket:
    """Raises ConfigError for an address that can't be had."""
    listener = None
    try:
        if place.path is not None:
            _remove_left_behind(place.path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(place.path))
            # Before anybody listens nobody gets in: there is no moment with the rights that the umask leaves.
            place.path.chmod(_MODE)
        else:
            listener = socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Connections inherit it: no answer's end waits for the acknowledgement of its beginning.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind((place.host, place.port))
        listener.listen(most)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ConfigError(f"monitoring.listen: can't listen on {place}: {error.strerror or error}") from error
    return listener


def _remove_left_behind(path: Path) -> None:
    """A socket that a killed agent has left makes room; one where somebody listens does not, nor does a file."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"monitoring.listen: {path}: there is something else than a socket; move it away")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(0)
            try:
                asking.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except BlockingIOError:
                return  # somebody listens who is busy: binding says that it is taken


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.lstat() if path is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found is not None else None


def _remove(path: Path | None, ours: tuple[int, int] | None) -> None:
    """Leave no socket behind, but leave that of whoever has taken the place since."""
    if path is not None and ours is not None and _identity(path) == ours:
        with contextlib.suppress(OSError):
            path.unlink()
