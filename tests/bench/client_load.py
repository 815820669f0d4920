"""Our OCPI client asking a peer that answers at once, next to httpx and to bare streams on the same peer."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from time import perf_counter
from uuid import uuid4

import httpx

from agent import __version__
from agent.model import LocationReferences
from agent.ocpi.client import OcpiClient
from agent.ocpi.failures import Failure
from tests.bench.cards import OWNER
from tests.bench.client_load_peer import quick_peer
from tests.bench.figure import Figure, Plan, milliseconds, spread
from tests.bench.server_load_generator import CREDENTIALS_TOKEN, Driven

AT_ONCE = (1, 16)
US = ("NL", "EXA")
WARM_UP = 50

_BODY = b'{"location_id":"BENCH","evse_uids":["DE*EXA*E1"]}'
_PATH = "/ocpi/2.2.1/tokens"

Ask = Callable[[str], Awaitable[None]]
"""Asks whether a uid may charge. Raises RuntimeError when it may not."""


def authorize(plan: Plan) -> list[Figure]:
    """Requests a second and how long one takes, one at a time and 16 at once."""
    return asyncio.run(_authorize(plan))


async def _authorize(plan: Plan) -> list[Figure]:
    figures: list[Figure] = []
    async with quick_peer() as port:
        for at_once in AT_ONCE:
            runs = [Driven(), Driven(), Driven()]
            async with AsyncExitStack() as stack:
                ours = OcpiClient("bench", token=CREDENTIALS_TOKEN, us=US, them=OWNER, tokens_url=_url(port))
                stack.push_async_callback(ours.aclose)
                bare = httpx.AsyncClient(trust_env=False, timeout=60, headers=_headers())
                stack.push_async_callback(bare.aclose)
                streams = await _Streams.to(port, at_once)
                stack.push_async_callback(streams.aclose)
                clients = (_ours(ours), _httpx(bare, _url(port)), streams.ask)
                for _ in range(plan.count(5, 1)):
                    for ask, run in zip(clients, runs, strict=True):
                        await _drive(ask, at_once, WARM_UP, Driven())
                        await _drive(ask, at_once, plan.count(1000, 10), run)
            figures += _figures(at_once, *runs)
    return figures


def _figures(at_once: int, ours: Driven, bare: Driven, streams: Driven) -> list[Figure]:
    name = f"authorize, {at_once} at once"
    mine = milliseconds(ours.took_s)
    return [
        Figure(
            f"{name}, rate", ours.rate, "/s", bare.rate,
            note=f"{len(mine)} questions; floor: httpx.AsyncClient.post; here a high ratio is good",
        ),
        *spread(name, mine, "ms", milliseconds(bare.took_s), "floor: httpx.AsyncClient.post"),
        Figure(f"{name}, rate beside bare streams", ours.rate, "/s", streams.rate),
        *spread(f"{name}, beside bare streams", mine, "ms", milliseconds(streams.took_s), "floor: asyncio streams"),
    ]  # fmt: skip


async def _drive(ask: Ask, at_once: int, count: int, into: Driven) -> None:
    """Ask `count` times with `at_once` questions under way."""
    numbers = iter(range(count))

    async def one_by_one() -> None:
        for number in numbers:
            began = perf_counter()
            await ask(f"B1{number:08X}")
            into.took_s.append(perf_counter() - began)

    began = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_by_one())
    into.elapsed_s += perf_counter() - began


def _ours(client: OcpiClient) -> Ask:
    location = LocationReferences("BENCH", ("DE*EXA*E1",))

    async def ask(uid: str) -> None:
        reply = await client.authorize(uid, location, correlation_id=str(uuid4()), to=OWNER, listed=True)
        if isinstance(reply, Failure):
            raise RuntimeError(f"the peer's answer was not taken: {reply.outcome}, {reply.detail}")  # noqa: TRY004 - a value, and no wrong type

    return ask


def _httpx(client: httpx.AsyncClient, url: str) -> Ask:
    async def ask(uid: str) -> None:
        response = await client.post(f"{url}/{uid}/authorize?type=RFID", content=_BODY)
        _check(response.content)

    return ask


class _Streams:
    """Kept connections and prepared bytes: what asyncio itself takes for a question."""

    def __init__(self, port: int, free: Sequence[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        self._free = list(free)
        lines = [f"{name}: {value}" for name, value in _headers().items()]
        lines += [f"Host: 127.0.0.1:{port}", f"Content-Length: {len(_BODY)}"]
        self._rest = ("\r\n".join(lines) + "\r\n\r\n").encode() + _BODY

    @classmethod
    async def to(cls, port: int, connections: int) -> "_Streams":
        """Connect so many times."""
        return cls(port, [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)])

    async def ask(self, uid: str) -> None:
        reader, writer = connection = self._free.pop()
        writer.write(f"POST {_PATH}/{uid}/authorize?type=RFID HTTP/1.1\r\n".encode() + self._rest)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head[head.index(b"Content-Length: ") + 16 :].split(b"\r\n", 1)[0]
        _check(await reader.readexactly(int(length)))
        self._free.append(connection)

    async def aclose(self) -> None:
        for _, writer in self._free:
            writer.close()
            await writer.wait_closed()


def _check(body: bytes) -> None:
    if b'"ALLOWED"' not in body:
        raise RuntimeError(f"not allowed: {body[:200]!r}")


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}{_PATH}"


def _headers() -> dict[str, str]:
    """What our client sends, with ids that stay the same."""
    return {
        "Authorization": f"Token {base64.b64encode(CREDENTIALS_TOKEN.encode()).decode()}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"chargepoint-agent/{__version__}",
        "X-Correlation-ID": str(uuid4()),
        "X-Request-ID": str(uuid4()),
        "OCPI-from-country-code": US[0],
        "OCPI-from-party-id": US[1],
        "OCPI-to-country-code": OWNER[0],
        "OCPI-to-party-id": OWNER[1],
        "Content-Type": "application/json",
    }
