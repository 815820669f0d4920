"""What a session costs: bytes on the disk, energy at a kill, time at the next tap, and time until it is billed."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from agent.charges import ReportKind
from agent.config.sections import SessionSection
from fakes.emsp import Kind, Weather
from tests.bench.cards import fill_whitelist, made
from tests.bench.fast_motion import METER_S, fast_motion
from tests.bench.figure import Figure, Goal, Plan, percentile, spread
from tests.bench.month import TOKENS, in_turn
from tests.bench.peer_process import peer
from tests.bench.program import Written, written
from tests.bench.rig import running_agent

HOUR_S = 3600
POWER_W = 11_000
"""Three phases of 16 A."""
PERSISTED_WH = SessionSection().persist_energy_wh
"""What the configuration says by default."""


@dataclass(frozen=True, slots=True)
class Hours:
    """What some sessions of an hour each came to."""

    sessions: int
    energy_kwh: float
    persisted: int
    """How often a running one was."""
    told: int
    """Reports to their owner, CDRs included."""
    storage: Written
    """Until the database is closed, so with every checkpoint."""
    lost_wh: Sequence[float]
    """At each reading, before it is noted: what a kill would cost at that moment."""


def session(plan: Plan) -> list[Figure]:
    """Sessions of an hour at 11 kW, faster ones, and taps that begin a session."""
    folder = plan.folder / "session"
    hours = asyncio.run(_hours(folder / "hours", POWER_W, plan.count(8, 1), HOUR_S))
    return [*_written(hours), *asyncio.run(_lost(folder, hours, plan)), *asyncio.run(_taps(folder, plan))]


async def _hours(folder: Path, power_w: float, sessions: int, lasting_s: int) -> Hours:
    """One session after the other, the meter read as often as it is by default, told and billed on the way."""
    made(folder)
    lost: list[float] = []
    persisted, told = 0, 0
    before = written(os.getpid())
    async with fast_motion(folder) as books:
        for _ in range(sessions):
            kept = round(books.register_wh)
            await books.begin()
            for _ in range(round(lasting_s / METER_S)):
                await books.ledger.settled()
                told += await books.tell(*ReportKind)
                now_kept = await books.persisted_wh()
                persisted, kept = persisted + (now_kept != kept), now_kept
                books.draw(power_w, METER_S)
                lost.append(books.register_wh - kept)
            await books.end()
            told += await books.tell(*ReportKind)
    energy_kwh = sessions * power_w * lasting_s / HOUR_S / 1000
    return Hours(sessions, energy_kwh, persisted, told, written(os.getpid()).since(before), lost)


def _written(hours: Hours) -> list[Figure]:
    kilobytes, sent = hours.storage.storage / 1000, hours.storage.characters / 1000
    each = f"persisted {hours.persisted / hours.sessions:.0f} times, {hours.told / hours.sessions:.0f} reports"
    return [
        Figure(
            "written to storage a session of an hour at 11 kW", kilobytes / hours.sessions, "KB",
            note=f"of {hours.sessions}: {each}; write_bytes, checkpoints and closing included",
        ),
        Figure("written to storage a kWh at 11 kW", kilobytes / hours.energy_kwh, "KB"),
        Figure("handed to the kernel a session of an hour (wchar)", sent / hours.sessions, "KB"),
    ]  # fmt: skip


async def _lost(folder: Path, hours: Hours, plan: Plan) -> list[Figure]:
    """By design no more than is persisted at once; but a reading that brings more than that can be lost whole."""
    faster = {
        power_kw: await _hours(folder / f"at-{power_kw}-kw", power_kw * 1000, 1, plan.count(600, 60))
        for power_kw in (22, 50, 150)
    }
    note = f"just before a reading; the meter is read every {METER_S:g} s"
    return [
        Figure(
            "energy that a kill costs at most, 11 kW", max(hours.lost_wh), "Wh",
            goal=Goal(PERSISTED_WH, "value"), note=note,
        ),
        Figure("energy that a kill costs, 11 kW, p50", percentile(hours.lost_wh, 50), "Wh", note=note),
        *(
            Figure(
                f"energy that a kill costs at most, {power_kw} kW", max(run.lost_wh), "Wh",
                note=f"{power_kw * 1000 * METER_S / HOUR_S:.0f} Wh a reading",
            )
            for power_kw, run in faster.items()
        ),
    ]  # fmt: skip


async def _taps(folder: Path, plan: Plan) -> list[Figure]:
    """With the plug in, where the tap begins a session to be billed, beside a charge point without plug or tariff."""
    for name in ("billed", "bare"):
        await fill_whitelist(folder / name, TOKENS)
    async with AsyncExitStack() as stack:
        emsp = await stack.enter_async_context(peer(reports=True))
        billed = await stack.enter_async_context(running_agent(folder / "billed", peer=emsp, billed=True))
        bare = await stack.enter_async_context(running_agent(folder / "bare", peer=emsp))
        await emsp.weather(Weather(Kind.DOWN))
        taps, floors = await in_turn(billed, bare, plan.count(1000, 5))
    name = "whitelisted tap that begins a billed session -> relay"
    return [
        Figure(
            name, percentile(taps, 50), "ms", percentile(floors, 50), Goal(1.1, "ratio"),
            f"p50 of {len(taps)}; floor: without plug sensor, meter and tariff, in turn with them",
        ),
        *spread(name, taps, "ms", floors),
    ]  # fmt: skip
