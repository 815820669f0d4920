"""Taps that no peer has a part in: decided by the whitelist, or by the fallback while a breaker is open."""

import asyncio

from agent.model import Source, Verdict, WhitelistType
from fakes.emsp import Kind, Weather
from tests.bench.cards import PEER, fill_whitelist, uid_of
from tests.bench.figure import Figure, Goal, Plan, milliseconds, percentile, spread
from tests.bench.peer_process import peer
from tests.bench.raw_store import RawStore, Took
from tests.bench.rig import Rig, Seen, running_agent

WARM_UP = 20
"""Taps before the counting: caches fill, and the write-ahead log gets its length."""


def whitelisted_tap(plan: Plan) -> list[Figure]:
    """A card on the list, from a serial line to the relay, against one lookup and one commit."""
    return asyncio.run(_whitelisted_tap(plan))


def outage_tap(plan: Plan) -> list[Figure]:
    """A card that must be asked about while its peer is down and the breaker open, against a whitelisted one."""
    return asyncio.run(_outage_tap(plan))


async def _whitelisted_tap(plan: Plan) -> list[Figure]:
    folder = plan.folder / "whitelisted"
    await fill_whitelist(folder, plan.count(100_000, 1000))
    taps: list[Seen] = []
    floors: list[Took] = []
    async with running_agent(folder) as rig:
        raw = await RawStore.beside(rig, folder)
        try:
            for number in range(plan.count(2000, 5) + WARM_UP):
                uid = uid_of(WhitelistType.ALLOWED, number)
                seen = await accepted(rig, number, WhitelistType.ALLOWED, Source.WHITELIST)
                assert seen.settled.authorization_id is not None
                floors.append(raw.tap(uid, raw.row(seen.settled.authorization_id)))
                raw.end(seen.settled.authorization_id)
                taps.append(seen)
        finally:
            raw.close()
    return _whitelisted_figures(taps[WARM_UP:], floors[WARM_UP:])


def _whitelisted_figures(taps: list[Seen], floors: list[Took]) -> list[Figure]:
    relay = milliseconds(tap.tap_to_relay_s for tap in taps)
    line = milliseconds(tap.line_to_relay_s for tap in taps)
    decided = [tap.settled.entry.latency_ms for tap in taps]
    whole = milliseconds(took.whole_s for took in floors)
    name = "whitelisted tap"
    return [
        Figure(
            f"{name} -> relay", percentile(relay, 50), "ms", percentile(whole, 50), Goal(2.0, "ratio"),
            f"p50 of {len(taps)}; record included; floor: raw lookup + durable commit",
        ),
        *spread(f"{name} -> relay", relay, "ms", whole),
        *spread(f"{name}, decided", decided, "ms", milliseconds(t.lookup_s for t in floors), "floor: raw lookup"),
        *spread(
            f"{name}, record and relay", [r - d for r, d in zip(relay, decided, strict=True)], "ms",
            milliseconds(t.commit_s for t in floors), "floor: raw durable commit",
        ),
        *spread(f"{name}, from the bytes on the line", line, "ms", whole),
    ]  # fmt: skip


async def _outage_tap(plan: Plan) -> list[Figure]:
    folder = plan.folder / "outage"
    await fill_whitelist(folder, plan.count(100_000, 1000))
    outage: list[float] = []
    whitelisted: list[float] = []
    async with peer() as emsp, running_agent(folder, peer=emsp) as rig:
        await emsp.weather(Weather(Kind.DOWN))
        number = 0
        while rig.agent.peers[PEER].is_asked:
            await rig.tap(uid_of(WhitelistType.ALLOWED_OFFLINE, number))
            number += 1
        for pair in range(number, number + plan.count(1000, 5) + WARM_UP):
            first = await accepted(rig, pair, WhitelistType.ALLOWED, Source.WHITELIST)
            second = await accepted(rig, pair, WhitelistType.ALLOWED_OFFLINE, Source.FALLBACK)
            whitelisted.append(first.tap_to_relay_s * 1000)
            outage.append(second.tap_to_relay_s * 1000)
    floors = whitelisted[WARM_UP:]
    taps = outage[WARM_UP:]
    return [
        Figure(
            "tap in an outage, breaker open -> relay", percentile(taps, 50), "ms", percentile(floors, 50),
            Goal(1.2, "ratio"), f"p50 of {len(taps)}; floor: whitelisted taps in turn with them",
        ),
        *spread("tap in an outage -> relay", taps, "ms", floors),
    ]  # fmt: skip


async def accepted(rig: Rig, number: int, kind: WhitelistType, source: Source) -> Seen:
    """A tap that did what it is measured for; anything else would make a fine figure of a fault."""
    seen = await rig.tap(uid_of(kind, number))
    entry = seen.settled.entry
    if (entry.verdict, entry.source, entry.relay_closed) != (Verdict.ACCEPTED, source, True):
        raise RuntimeError(f"{kind} was {entry.verdict}, {entry.reason} by {entry.source}: {entry.detail}")
    return seen
