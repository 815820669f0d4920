"""Who asks how the charger stands gets an answer; who does not ask properly costs nothing and is gone soon."""

import asyncio
import json
import logging
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agent.charges import Backlog
from agent.errors import ConfigError
from agent.ports import ReaderState
from agent.service.facts import EvseFacts, Facts, PeerFacts, ReaderFacts
from agent.service.metrics import CONTENT_TYPE
from agent.service.monitoring import Health, Monitoring, Place, health_of, place_of
from tests.scenario.world import until

HANG_S = 30.0
"""Against hangs alone."""
TEXT = "# TYPE chargepoint_up gauge\nchargepoint_up 1\n"
GET = b"GET /metrics HTTP/1.1\r\nHost: charger\r\n\r\n"

EVSE = EvseFacts("DE*EXA*E1", "available", is_live=True, relay_closed=False, relay_fault="", lost=())
READER = ReaderFacts("left", ReaderState.READY, "", bad_frames=0)
PEER = PeerFacts("acme", is_asked=True, rejects_credentials=False, tokens=3, synced_at=None)
WELL = Facts((EVSE,), (READER,), (PEER,), Backlog())


@dataclass
class Served:
    """A server at work, and how to get at it."""

    monitoring: Monitoring
    port: int
    path: Path | None
    made: list[str]
    """Each text that was made."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.path is not None:
            return await asyncio.open_unix_connection(self.path)
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def send(self, data: bytes) -> bytes:
        """All that comes back until the server has said goodbye."""
        async with asyncio.timeout(HANG_S):
            reader, writer = await self.connect()
            writer.write(data)
            answer = await reader.read()
            await _close(writer)
        return answer

    async def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        answer = await self.send(f"{method} {path} HTTP/1.1\r\nHost: charger\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(first.split()[1]), headers, body


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError:
        return


@asynccontextmanager
async def served(
    place: Place | None = None,
    *,
    make: Callable[[], str] = lambda: TEXT,
    health: Callable[[], Health] = lambda: health_of(WELL, rounds=7),
    **settings: Any,
) -> AsyncIterator[Served]:
    """Serves on a free port of the loopback unless told otherwise, and is patient."""
    made: list[str] = []

    def text() -> str:
        made.append(make())
        return made[-1]

    place = place or Place(host="127.0.0.1")
    monitoring = Monitoring(place, text=text, health=health, **{"patience_s": HANG_S, **settings})
    running = asyncio.create_task(monitoring.run())
    try:
        async with asyncio.timeout(HANG_S):
            port = await monitoring.port()
        yield Served(monitoring, port, place.path, made)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


# ---- where


@pytest.mark.parametrize(
    ("listen", "place"),
    [
        ("127.0.0.1:9469", Place(host="127.0.0.1", port=9469)),
        ("localhost:9469", Place(host="127.0.0.1", port=9469)),
        ("127.8.9.1:1", Place(host="127.8.9.1", port=1)),
        ("[::1]:65535", Place(host="::1", port=65535)),
        ("/run/chargepoint-agent/metrics", Place(path=Path("/run/chargepoint-agent/metrics"))),
    ],
)
def test_an_address_on_this_machine_is_taken(listen: str, place: Place) -> None:
    assert place_of(listen) == place


@pytest.mark.parametrize("listen", ["0.0.0.0:9469", "[::]:9469", "192.0.2.7:9469", "[2001:db8::1]:9469"])
def test_an_address_that_others_reach_is_taken_only_on_demand(listen: str) -> None:
    with pytest.raises(ConfigError, match="allow_remote"):
        place_of(listen)
    assert str(place_of(listen, allow_remote=True)) == listen


@pytest.mark.parametrize(
    "listen",
    [
        *("", "9469", ":9469", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:123456"),
        *("127.0.0.1:94\n", "::1:9469", "[::1]", "[127.0.0.1]:9469", "[::g]:9469", "300.0.0.1:9469", "1.2.3:9469"),
        *("charger.example:9469", "run/metrics", "@abstract", "127.0.0.1:-1", "127.0.0.1:\uff19\uff14"),
    ],
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"monitoring\.listen"):
        place_of(listen, allow_remote=True)


# ---- what is answered


async def test_metrics_are_given_as_prometheus_wants_them() -> None:
    async with served() as server:
        status, headers, body = await server.get("/metrics")
    assert (status, body) == (200, TEXT.encode())
    assert headers == {
        "content-type": CONTENT_TYPE,
        "content-length": str(len(TEXT)),
        "connection": "close",
    }


async def test_a_query_makes_no_difference() -> None:
    async with served() as server:
        assert (await server.get("/metrics?name%5B%5D=up"))[0] == 200


@pytest.mark.parametrize("path", ["/metrics", "/health", "/else"])
async def test_head_gets_the_same_head_and_no_body(path: str) -> None:
    async with served() as server:
        status, headers, body = await server.get(path)
        assert await server.get(path, "HEAD") == (status, headers, b"")
    assert body


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/metrics/"), ("GET", "/HEALTH"), ("GET", "//metrics"), ("GET", "http://charger/metrics"),
     ("POST", "/metrics"), ("DELETE", "/health"), ("OPTIONS", "*"), ("CONNECT", "charger:80")],
)  # fmt: skip
async def test_anything_else_is_not_there(method: str, path: str) -> None:
    async with served() as server:
        assert (await server.get(path, method))[0] == 404
        assert server.made == []


async def test_a_charger_that_is_well_says_so() -> None:
    async with served() as server:
        status, headers, body = await server.get("/health")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {
        "status": "ok",
        "evses": {"live": 1, "of": 1},
        "readers": {"ready": 1, "of": 1},
        "peers": {"up": 1, "of": 1},
        "watchdog_rounds": 7,
        "wrong": [],
    }


async def test_a_charger_where_no_card_could_be_decided_says_what_is_wrong() -> None:
    missing = replace(READER, state=ReaderState.MISSING, advice="check its cable")
    facts = replace(WELL, evses=(replace(EVSE, lost=("reader",)),), readers=(missing,))
    async with served(health=lambda: health_of(facts)) as server:
        status, _, body = await server.get("/health")
    assert status == 503
    answer = json.loads(body)
    assert answer["status"] == "down"
    assert answer["wrong"] == ["EVSE DE*EXA*E1: lost its reader", "reader left: check its cable"]


@pytest.mark.parametrize(
    ("facts", "is_up"),
    [
        (WELL, True),
        (replace(WELL, evses=()), False),
        (replace(WELL, readers=()), False),
        (replace(WELL, evses=(replace(EVSE, is_live=False),)), False),
        (replace(WELL, evses=(replace(EVSE, is_live=False), EVSE)), True),
        (replace(WELL, evses=(replace(EVSE, lost=("meter", "plug", "relay")),)), True),
        (replace(WELL, readers=(replace(READER, state=None),)), False),
        (replace(WELL, readers=(replace(READER, state=ReaderState.MISSING), READER)), True),
        (replace(WELL, peers=()), True),
        (replace(WELL, peers=(replace(PEER, is_asked=False),)), True),
    ],
)
def test_it_is_up_as_long_as_one_card_would_be_decided(*, facts: Facts, is_up: bool) -> None:
    assert health_of(facts).is_up is is_up


def test_everything_that_is_wrong_is_named() -> None:
    facts = Facts(
        evses=(replace(EVSE, is_live=False, relay_fault="GPIO 17 is stuck"),),
        readers=(replace(READER, state=None),),
        peers=(replace(PEER, rejects_credentials=True), replace(PEER, name="hub", is_asked=False)),
        backlog=Backlog(),
    )
    assert health_of(facts, silent=("database state.db",)).state["wrong"] == [
        "EVSE DE*EXA*E1: takes no cards",
        "EVSE DE*EXA*E1: GPIO 17 is stuck",
        "reader left: has not spoken yet",
        "peer acme: rejects our credentials token",
        "peer hub: does not answer, and is asked only now and then",
        "database state.db: no sign of life since the start",
    ]


async def test_who_asks_in_a_loop_gets_the_answer_of_a_moment_ago() -> None:
    async with served(fresh_s=HANG_S) as server:
        answers = [await server.get("/metrics") for _ in range(5)]
    assert all(answer == answers[0] for answer in answers)
    assert len(server.made) == 1


async def test_an_old_answer_is_not_given_again() -> None:
    async with served(fresh_s=0.0) as server:
        await server.get("/metrics")
        await server.get("/metrics")
    assert len(server.made) == 2


# ---- clients that are slow, broken or hostile


@pytest.mark.parametrize(
    "sent", [b"", b"GET /metrics", GET[:-1], b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1000]
)
async def test_a_client_that_stalls_is_dropped(sent: bytes) -> None:
    async with served(patience_s=0.05) as server:
        assert await _answer_or_reset(server, sent) == b""
        assert server.made == []
        await until(lambda: server.monitoring.connections == 0)


async def test_a_client_that_does_not_read_is_dropped() -> None:
    size = 64 << 20
    async with served(patience_s=0.2, make=lambda: "x" * size) as server, asyncio.timeout(HANG_S):
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)  # noqa: FBT003  as the socket module has it
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, ("127.0.0.1", server.port))
            await loop.sock_sendall(deaf, GET)
            # On a machine that is slow beyond measure it is dropped before it was answered.
            await until(lambda: bool(server.made) or _is_hung_up(deaf))
            await until(lambda: server.monitoring.connections == 0)
            assert await _rest(deaf) < size


def _is_hung_up(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def _rest(client: socket.socket) -> int:
    """How many bytes still come."""
    count = 0
    try:
        while data := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
            count += len(data)
    except ConnectionError:
        return count
    return count


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b" " * 3000 + b"\x00\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b" " * 3000 + b"\ra\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 5000, b"431"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", b"431"),
    ],
)
async def test_what_is_no_request_is_told_so(sent: bytes, status: bytes) -> None:
    async with served() as server:
        answer = await _answer_or_reset(server, sent)
        assert server.made == []
        assert (await server.get("/metrics"))[0] == 200
    assert answer == b"" or answer.split()[1] == status


async def _answer_or_reset(server: Served, sent: bytes) -> bytes:
    try:
        return await server.send(sent)
    except ConnectionError:
        return b""


async def test_a_request_that_comes_byte_by_byte_is_answered() -> None:
    async with served() as server, asyncio.timeout(HANG_S):
        reader, writer = await server.connect()
        for byte in GET:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        await _close(writer)


async def test_one_connection_is_good_for_one_request() -> None:
    async with served() as server:
        answer = await server.send(GET * 3)
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_a_client_that_closes_its_side_after_asking_is_answered() -> None:
    async with served() as server, asyncio.timeout(HANG_S):
        reader, writer = await server.connect()
        writer.write(GET)
        writer.write_eof()
        assert (await reader.read()).endswith(TEXT.encode())
        await _close(writer)


async def test_more_connections_than_there_is_room_for_end_the_oldest() -> None:
    async with served(most=3, patience_s=HANG_S) as server, asyncio.timeout(HANG_S):
        stalled = [await server.connect() for _ in range(3)]
        await until(lambda: server.monitoring.connections == 3)
        assert (await server.get("/metrics"))[0] == 200
        with pytest.raises(ConnectionError):
            await _reset(stalled[0])
        assert server.monitoring.connections <= 3
        for _, writer in stalled:
            await _close(writer)


async def _reset(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Raises ConnectionError once the server has dropped it."""
    if await connection[0].read() == b"":
        raise ConnectionResetError


async def test_a_body_that_never_ends_is_cut_off() -> None:
    async with served(patience_s=HANG_S) as server, asyncio.timeout(HANG_S):
        reader, writer = await server.connect()
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        with pytest.raises(ConnectionError):
            await _flood(writer)
        await _close(writer)
        await until(lambda: server.monitoring.connections == 0)


async def _flood(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"1\r\nx\r\n" * 1000)
        await writer.drain()
        await asyncio.sleep(0)
        if writer.transport.is_closing():
            raise ConnectionResetError


async def test_clients_that_are_connected_at_the_end_are_dropped() -> None:
    async with asyncio.timeout(HANG_S):
        async with served(patience_s=HANG_S) as server:
            stalled = [await server.connect() for _ in range(3)]
            await until(lambda: server.monitoring.connections == 3)
        assert server.monitoring.connections == 0
        for connection in stalled:
            with pytest.raises(ConnectionError):
                await _reset(connection)
            await _close(connection[1])


# ---- getting and giving back the address


async def test_a_port_that_is_taken_is_tried_again_and_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = Place(host="127.0.0.1", port=other.getsockname()[1])
        monitoring = Monitoring(place, text=lambda: TEXT, health=lambda: health_of(WELL), again_s=0.0)
        running = asyncio.create_task(monitoring.run())
        await until(lambda: "can't listen on" in caplog.text)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not running.done()
    async with asyncio.timeout(HANG_S):
        assert await monitoring.port() == place.port
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    [complaint] = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert f"can't listen on {place}" in complaint


async def test_it_can_be_run_again_at_the_same_port() -> None:
    async with served() as server:
        port = server.port
    async with served(Place(host="127.0.0.1", port=port)) as server:
        assert (await server.get("/metrics"))[0] == 200


async def test_ipv6_is_served() -> None:
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6 on its loopback")
    async with served(Place(host="::1")) as server, asyncio.timeout(HANG_S):
        reader, writer = await asyncio.open_connection("::1", server.port)
        writer.write(GET)
        assert (await reader.read()).endswith(TEXT.encode())
        await _close(writer)


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


async def test_a_unix_socket_is_for_owner_and_group_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    async with served(Place(path=path)) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert (await server.get("/health"))[0] == 200
        assert server.port == 0
    assert not path.exists()


async def test_a_unix_socket_that_a_killed_agent_left_makes_room(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    async with served(Place(path=path)) as server:
        assert (await server.get("/metrics"))[0] == 200


async def test_a_unix_socket_where_another_listens_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Place(path=tmp_path / "metrics")
    async with served(place) as first:
        second = Monitoring(place, text=lambda: "second", health=lambda: health_of(WELL), again_s=HANG_S)
        running = asyncio.create_task(second.run())
        await until(lambda: "can't listen on" in caplog.text)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert (await first.get("/metrics"))[2] == TEXT.encode()


async def test_a_file_in_the_sockets_place_is_not_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics"
    path.write_text("somebody's")
    monitoring = Monitoring(Place(path=path), text=lambda: TEXT, health=lambda: health_of(WELL), again_s=HANG_S)
    running = asyncio.create_task(monitoring.run())
    await until(lambda: "move it away" in caplog.text)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert path.read_text() == "somebody's"


async def test_the_socket_of_a_successor_is_left_when_the_server_ends(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    with socket.socket(socket.AF_UNIX) as successor:
        async with served(Place(path=path)):
            path.unlink()
            successor.bind(str(path))
        assert path.exists()


@pytest.mark.parametrize("path", ["missing/metrics", "x" * 200])
async def test_a_path_where_no_socket_can_be_is_complained_of(
    path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Place(path=tmp_path / path)
    monitoring = Monitoring(place, text=lambda: TEXT, health=lambda: health_of(WELL), again_s=HANG_S)
    running = asyncio.create_task(monitoring.run())
    await until(lambda: "can't listen on" in caplog.text)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
