"""The deadline while a peer stalls: eight EVSEs, one backend, no breaker, and a peer that fails in four ways."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.model import EndReason, Reason, Tap, Uid, WhitelistType
from agent.runtime.charge_point import EvseTapLoop, Settled
from fakes.emsp import FINE, Kind, Weather, drip, slow
from tests.bench.cards import fill_whitelist, uid_of
from tests.bench.figure import Figure, Goal, Plan, spread
from tests.bench.peer_process import peer
from tests.bench.rig import FIRST_PIN, Rig, running_agent
from tests.bench.stalls import Stalls, watched

EVSES = 8
DEADLINE_S = 0.15
RESERVE_S = 0.05
"""For a record on a disk that eight EVSEs share."""
LATE_WINDOW_S = 0.1
"""Short: what is outstanding stays bounded, and a slow peer's answers still come late rather than never."""

WEATHERS = {
    "slow": slow(DEADLINE_S - RESERVE_S + LATE_WINDOW_S / 2),
    "silent": Weather(Kind.SILENT),
    "dripping": drip(0.01),
    "endless": Weather(Kind.ENDLESS_CHUNKED),
}
"""Ways to stall. The slow one answers after the decision, within the late window; the endless one is cut off early."""

SETTINGS = f"""
    [policy]
    deadline_s = {DEADLINE_S}
    reserve_s = {RESERVE_S}
    late_window_s = {LATE_WINDOW_S}
    [slowdown]
    refusals = 0
    [breaker]
    failures = 0
    """


@dataclass(slots=True)
class Outcome:
    """What one weather came to."""

    overshoot_ms: list[float] = field(default_factory=list)
    """From the deadline to the moment when all was done; below zero is before it."""
    decided_by_timer_ms: list[float] = field(default_factory=list)
    """From the end of the peers' time to the same moment: how much of the reserve a tap needs."""
    closed: int = 0
    closed_late: int = 0
    too_late: int = 0
    """Refused because the record was not on disk by the deadline."""

    def add(self, settled: Settled, closed_at: float | None) -> None:
        """Take a tap into account; `closed_at` is when its relay's pin moved."""
        deadline = settled.tap.at + DEADLINE_S
        self.overshoot_ms.append((settled.switched_at - deadline) * 1000)
        self.decided_by_timer_ms.append((settled.switched_at - deadline + RESERVE_S) * 1000)
        self.closed += closed_at is not None
        self.closed_late += closed_at is not None and closed_at > deadline
        self.too_late += settled.entry.reason is Reason.TOO_LATE

    def join(self, other: "Outcome") -> None:
        """Count both together."""
        self.overshoot_ms += other.overshoot_ms
        self.decided_by_timer_ms += other.decided_by_timer_ms
        self.closed += other.closed
        self.closed_late += other.closed_late
        self.too_late += other.too_late


def deadline(plan: Plan) -> list[Figure]:
    """Overshoot, and relays closed after the deadline, over 10,000 taps."""
    return asyncio.run(_deadline(plan))


async def _deadline(plan: Plan) -> list[Figure]:
    folder = plan.folder / "deadline"
    count = plan.count(2500, 16)
    await fill_whitelist(folder, plan.count(100_000, 1000))
    closings: dict[int, float] = {}
    outcomes: dict[str, Outcome] = {}

    def watcher(pin: int, level: bool) -> None:  # noqa: FBT001  # a Watcher's signature
        if level:
            closings[pin] = asyncio.get_running_loop().time()

    async with (
        peer(cards=2 * count) as emsp,
        running_agent(folder, peer=emsp, evses=EVSES, settings=SETTINGS, watcher=watcher) as rig,
        watched() as stalls,
    ):
        for place, (name, weather) in enumerate(WEATHERS.items()):
            await emsp.weather(weather)
            outcomes[name] = await _play(rig, _cards(place * count, count), closings)
        await emsp.weather(FINE)
    return _figures(outcomes, stalls)


def _cards(first: int, count: int) -> Iterator[Uid]:
    """Cards of which half are accepted by the fallback, and half refused."""
    for number in range(first, first + count):
        yield uid_of((WhitelistType.ALLOWED_OFFLINE, WhitelistType.NEVER)[number % 2], number)


async def _play(rig: Rig, cards: Iterator[Uid], closings: dict[int, float]) -> Outcome:
    outcome = Outcome()
    async with asyncio.TaskGroup() as together:
        for number, evse in enumerate(rig.evses):
            queue = rig.settled[evse.evse_uid]
            together.create_task(_play_one(evse, queue, cards, FIRST_PIN + number, closings, outcome))
    return outcome


async def _play_one(
    evse: EvseTapLoop,
    settled: "asyncio.Queue[Settled]",
    cards: Iterator[Uid],
    pin: int,
    closings: dict[int, float],
    outcome: Outcome,
) -> None:
    loop = asyncio.get_running_loop()
    for uid in cards:
        closings.pop(pin, None)
        evse.tap(Tap(uid, loop.time(), "bench"))
        over = await settled.get()
        outcome.add(over, closings.get(pin))
        await evse.end(EndReason.OPERATOR)


def _figures(outcomes: dict[str, Outcome], stalls: Stalls) -> list[Figure]:
    total = Outcome()
    for outcome in outcomes.values():
        total.join(outcome)
    count = len(total.overshoot_ms)
    by_weather = [
        figure
        for name, outcome in outcomes.items()
        for figure in (
            *spread(f"overshoot, {name} peer", outcome.overshoot_ms, "ms"),
            Figure(f"relays closed, {name} peer", outcome.closed, "", note=f"of {len(outcome.overshoot_ms)} taps"),
        )
    ]
    return [
        Figure(
            "deadline with a stalled peer, overshoot", max(total.overshoot_ms), "ms", max(stalls.machine),
            Goal(10, "value"), f"max of {count} taps, negative is early; floor: worst wake-up of a bare process",
        ),
        Figure("relays closed after the deadline", total.closed_late, "", None, Goal(0, "value"), f"of {total.closed}"),
        *spread("overshoot, all peers", total.overshoot_ms, "ms"),
        *by_weather,
        *spread("used of the reserve, all peers", total.decided_by_timer_ms, "ms", note=f"of {RESERVE_S * 1000:g} ms"),
        Figure("refused because the record came too late", total.too_late, "", note=f"of {count} taps"),
        *spread("a timer's lateness in the agent's loop", stalls.loop, "ms", stalls.machine, "floor: a bare process"),
        Figure("garbage collection, sum", sum(stalls.collector), "ms", note=f"{len(stalls.collector)} pauses"),
        Figure("garbage collection, longest", max(stalls.collector, default=0.0), "ms"),
    ]  # fmt: skip
