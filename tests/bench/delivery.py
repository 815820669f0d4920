"""How fast a thousand CDRs reach their owner after an outage, beside bare POSTs of as many to the same server."""

import asyncio
import json
import random
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from agent.charges import Report, ReportKind
from agent.ocpi.reports import ReportClient
from agent.runtime.delivery import Delivery, DeliverySettings
from agent.store.database import Database, open_state
from agent.store.sessions import SessionStore
from tests.bench.cards import OWNER, PEER, made
from tests.bench.fast_motion import fast_motion
from tests.bench.figure import Figure, Plan
from tests.bench.peer_process import Address, peer
from tests.bench.realtime_tap import BarePost

CDRS = 1000
_HANG_S = 600.0
"""Against hangs alone: a report that is refused is never gone."""


class CountingStore(SessionStore):
    """The real one; `emptied` is set once nothing is due any more."""

    def __init__(self, database: Database, waiting: int) -> None:
        """`waiting` reports are due."""
        super().__init__(database)
        self.waiting = waiting
        self.emptied = asyncio.Event()

    async def told(self, authorization_id: int, revision: int) -> None:
        await super().told(authorization_id, revision)
        self._gone()

    async def acknowledged(self, number: int, at: datetime, url: str | None) -> None:
        await super().acknowledged(number, at, url)
        self._gone()

    def _gone(self) -> None:
        self.waiting -= 1
        if not self.waiting:
            self.emptied.set()


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds."""

    delivered_s: float
    bare_s: float


def delivery(plan: Plan) -> list[Figure]:
    """CDRs alone, and each with the final state of its session before it, as after an outage."""
    return asyncio.run(_delivery(plan))


async def _delivery(plan: Plan) -> list[Figure]:
    count = plan.count(CDRS, 5)
    folder = plan.folder / "delivery"
    alone = await _run(folder / "alone", count, frozenset({ReportKind.CDR}))
    whole = await _run(folder / "whole", count, frozenset(ReportKind))
    return [
        Figure(
            "CDRs delivered", count / alone.delivered_s, "/s", count / alone.bare_s,
            note=f"{count}, acknowledged on the disk one by one; floor: bare warm POSTs; a high ratio is good",
        ),
        Figure(
            "CDRs delivered, each after its session's final state", count / whole.delivered_s, "/s",
            count / whole.bare_s, note="floor: bare warm PUTs and POSTs",
        ),
    ]  # fmt: skip


async def _run(folder: Path, count: int, kinds: frozenset[ReportKind]) -> Took:
    """Of the sessions of one folder what is due is delivered, of those of another it is sent bare."""
    async with AsyncExitStack() as stack:
        emsp = await stack.enter_async_context(peer(reports=True))
        bare = await stack.enter_async_context(BarePost(emsp))
        due = await _charged(folder / "ours", count, kinds)
        database = await open_state(folder / "ours" / "state.db")
        stack.push_async_callback(database.close)
        delivered_s = await _timed(_deliver(CountingStore(database, len(due)), emsp))
        return Took(delivered_s, await _timed(_send(bare, emsp, await _charged(folder / "bare", count, kinds))))


async def _charged(folder: Path, count: int, kinds: frozenset[ReportKind]) -> list[Report]:
    """What is due after so many sessions, of these kinds."""
    async with fast_motion(made(folder), durable=False) as books:
        for _ in range(count):
            await books.charge()
        for kind in frozenset(ReportKind) - kinds:
            await books.tell(kind, most=count)
        return await books.stores.sessions.due(count)


async def _timed(work: Coroutine[None, None, None]) -> float:
    began = perf_counter()
    async with asyncio.timeout(_HANG_S):
        await work
    return perf_counter() - began


async def _deliver(store: CountingStore, emsp: Address) -> None:
    """As an agent does that has just started."""
    client = ReportClient(
        PEER, token=emsp.credentials_token, us=("NL", "EXA"), them=OWNER,
        sessions_url=emsp.sessions_url, cdrs_url=emsp.cdrs_url,
    )  # fmt: skip
    delivery = Delivery(
        store, lambda _: client, now=lambda: datetime.now(UTC), settings=DeliverySettings(), random=random.Random(1)
    )
    running = asyncio.create_task(delivery.run())
    try:
        await store.emptied.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.aclose()


async def _send(bare: BarePost, emsp: Address, reports: Sequence[Report]) -> None:
    for report in reports:
        match report.kind:
            case ReportKind.SESSION:
                session_id = json.loads(report.object)["id"]
                await bare.send("PUT", f"{emsp.sessions_url}/NL/EXA/{session_id}", report.object)
            case ReportKind.CDR:
                await bare.send("POST", emsp.cdrs_url, report.object)
