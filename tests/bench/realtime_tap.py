"""A tap that only its owner's peer may decide, against a bare warm POST of the same question to the same server."""

import asyncio
import base64
from time import perf_counter
from types import TracebackType
from typing import Self
from uuid import uuid4

import httpx

from agent import __version__
from agent.model import Source, Verdict, WhitelistType
from fakes.emsp import FINE, Weather, slow
from tests.bench.cards import OWNER, fill_whitelist, uid_of
from tests.bench.figure import Figure, Goal, Plan, milliseconds, percentile, spread
from tests.bench.peer_process import Peer, peer
from tests.bench.rig import Rig, Seen, running_agent

WARM_UP = 20
SLOW_S = 0.02
"""A good peer over a mobile network."""


def realtime_tap(plan: Plan) -> list[Figure]:
    """A NEVER card with a peer that answers at once, and with one that takes 20 ms."""
    return asyncio.run(_realtime_tap(plan))


async def _realtime_tap(plan: Plan) -> list[Figure]:
    folder = plan.folder / "realtime"
    await fill_whitelist(folder, plan.count(100_000, 1000))
    at_once, at_20_ms = plan.count(1500, 5) + WARM_UP, plan.count(750, 5) + WARM_UP
    later = range(at_once, at_once + at_20_ms)
    async with (
        peer(cards=later.stop) as emsp,
        running_agent(folder, peer=emsp) as rig,
        BarePost(emsp) as bare,
    ):
        return [
            *await _against_bare_post("at once", FINE, range(at_once), rig, emsp, bare),
            *await _against_bare_post("after 20 ms", slow(SLOW_S), later, rig, emsp, bare),
        ]


async def _against_bare_post(
    when: str, weather: Weather, numbers: range, rig: Rig, emsp: Peer, bare: "BarePost"
) -> list[Figure]:
    await emsp.weather(weather)
    taps: list[Seen] = []
    floors: list[float] = []
    for number in numbers:
        uid = uid_of(WhitelistType.NEVER, number)
        seen = await rig.tap(uid)
        entry = seen.settled.entry
        if (entry.verdict, entry.source) != (Verdict.ACCEPTED, Source.REALTIME):
            raise RuntimeError(f"not accepted in real time but {entry.verdict}, {entry.reason}: {entry.detail}")
        taps.append(seen)
        floors.append(await bare.ask(uid))
    return _figures(f"real-time tap, peer answers {when}", taps[WARM_UP:], milliseconds(floors[WARM_UP:]))


def _figures(name: str, taps: list[Seen], posts: list[float]) -> list[Figure]:
    relay = milliseconds(tap.tap_to_relay_s for tap in taps)
    decided = [tap.settled.entry.latency_ms for tap in taps]
    return [
        Figure(
            f"{name} -> relay", percentile(relay, 50), "ms", percentile(posts, 50), Goal(1.3, "ratio"),
            f"p50 of {len(taps)}; the record's commit is inside; floor: bare warm POST",
        ),
        *spread(f"{name} -> relay", relay, "ms", posts),
        *spread(f"{name}, decided", decided, "ms", posts, "lookup and question, without record and relay"),
        *spread(f"{name}, record and relay", [r - d for r, d in zip(relay, decided, strict=True)], "ms"),
    ]  # fmt: skip


class BarePost:
    """httpx and nothing of ours: a warm client that posts what the agent posts and reads the whole answer."""

    def __init__(self, emsp: Peer) -> None:
        credentials = base64.b64encode(emsp.credentials_token.encode()).decode()
        self._url = emsp.tokens_url
        self._client = httpx.AsyncClient(
            trust_env=False,
            timeout=60,
            headers={
                "Authorization": f"Token {credentials}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"chargepoint-agent/{__version__}",
                "X-Correlation-ID": str(uuid4()),
                "OCPI-from-country-code": "NL",
                "OCPI-from-party-id": "EXA",
                "OCPI-to-country-code": OWNER[0],
                "OCPI-to-party-id": OWNER[1],
                "Content-Type": "application/json",
                "X-Request-ID": str(uuid4()),
            },
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def ask(self, uid: str) -> float:
        """The seconds from the call to the whole body."""
        url, body = f"{self._url}/{uid}/authorize?type=RFID", b'{"location_id":"BENCH","evse_uids":["DE*EXA*E1"]}'
        took, response = await self._timed("POST", url, body)
        if response.status_code != 200 or b'"ALLOWED"' not in response.content:
            raise RuntimeError(f"the bare POST was answered HTTP {response.status_code}")
        return took

    async def send(self, method: str, url: str, body: bytes) -> float:
        """The same for a report, which the peer must take."""
        took, response = await self._timed(method, url, body)
        if response.status_code not in {200, 201} or b'"status_code":1000' not in response.content.replace(b" ", b""):
            raise RuntimeError(f"the bare {method} was answered HTTP {response.status_code}: {response.text[:200]}")
        return took

    async def _timed(self, method: str, url: str, body: bytes) -> tuple[float, httpx.Response]:
        began = perf_counter()
        response = await self._client.request(method, url, content=body)
        return perf_counter() - began, response
