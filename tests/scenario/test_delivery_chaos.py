"""A peer that fails at random in every way, an agent that is killed at random: every charge is billed once."""

import asyncio
import random
from pathlib import Path

import pytest

from agent.ocpi.sessions import SessionStatus
from agent.runtime.delivery import DeliverySettings
from fakes.emsp import FakeEmsp, Kind, Part, RepeatedCdr, Weather, server_error
from tests.scenario.outbox_world import HANG_S, World, running, world_in

SOON = DeliverySettings(
    first_s=0.002, most_s=0.02, look_every_s=0.001, apart_s=0.001, session_blocks_s=0.2, request_s=1.0
)
POLL_S = 0.005
"""For what has no event to wait for: an outbox that is empty."""
REPORTED = (Part.SESSIONS, Part.CDRS)
REFUSALS = [Weather(Kind.NOT_FOUND, times=1), Weather(Kind.NOT_ENOUGH, times=1), Weather(Kind.UNKNOWN_200, times=1)]
FAILURES = [
    Weather(Kind.DOWN),
    Weather(Kind.FINE),
    Weather(Kind.UNAUTHORIZED, times=2),
    Weather(Kind.NOT_FOUND_BARE, times=2),
    Weather(Kind.RATE_LIMITED, times=2),
    Weather(Kind.OCPI_ERROR, times=2),
    Weather(Kind.HUB_ERROR, times=1),
    Weather(Kind.CUT_OFF, times=2),
    Weather(Kind.WRONG_SHAPE, times=1),
    Weather(Kind.NOT_UTF8, times=1),
    Weather(Kind.HTML_200, times=1),
    Weather(Kind.EMPTY_BODY, times=2),
    Weather(Kind.ENDLESS_CHUNKED, times=1),
    Weather(Kind.RESET, times=3),
    Weather(Kind.GARBAGE, times=2),
    Weather(Kind.DROPS_IDLE, times=3),
    Weather(Kind.DROPS_REUSED, times=3),
    Weather(Kind.SILENT, times=1),
    server_error(500, times=3),
    server_error(503, times=2),
]


class Fortune:
    """What happens next, drawn from one seed."""

    def __init__(self, seed: int, world: World, emsp: FakeEmsp) -> None:
        self.draw = random.Random(seed)
        self.world = world
        self.emsp = emsp
        self.open: list[int] = []

    async def step(self) -> None:
        """Something happens at the charge point, and the weather changes."""
        await self.draw.choice([self.begin, self.charge, self.charge, self.end])()
        self.emsp.reported.repeated_cdr = self.draw.choice(list(RepeatedCdr))
        if self.draw.random() < 0.2:
            self.emsp.set_weather(self.draw.choice(REFUSALS), on=Part.CDRS)
            return
        weather = self.draw.choice(FAILURES)
        self.emsp.set_weather(weather, on=None if weather.kind is Kind.DOWN else self.draw.choice([*REPORTED, None]))

    async def begin(self) -> None:
        self.open.append(await self.world.begin())

    async def charge(self) -> None:
        for number in self.open:
            await self.world.charge(number, "0.25")

    async def end(self) -> None:
        for number in self.open[: self.draw.randint(1, 3)]:
            self.open.remove(number)
            await self.world.end(number, "0.50")


async def until_delivered(world: World) -> None:
    """Until nothing is due; what a peer has rejected is sent again, as by an operator who has asked why."""
    async with asyncio.timeout(HANG_S):
        while (due := await world.store.due()) or await world.store.cdrs(1, parked=True):
            for parked in await world.store.cdrs(1000, parked=True):
                await world.store.resend(parked.number, world.wall)
            await asyncio.sleep(POLL_S if due else 0)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_fails_and_dies_every_charge_ends_with_one_cdr(tmp_path: Path, seed: int) -> None:
    async with FakeEmsp(reports=True) as emsp, world_in(tmp_path) as world:
        world.client(emsp)
        fortune = Fortune(seed, world, emsp)
        for _life in range(8):
            async with running(world.delivery(SOON, clock=None)):
                for _step in range(fortune.draw.randint(1, 5)):
                    await fortune.step()
                    await asyncio.sleep(fortune.draw.random() * 0.01)
        emsp.set_weather(Kind.FINE)
        async with running(world.delivery(SOON, clock=None)):
            for number in fortune.open:
                await world.end(number)
            await until_delivered(world)
        assert emsp.complaints == []
        assert sorted(emsp.cdrs) == sorted(cdr.id for cdr in world.cdrs.values())
        assert {cdr.session_id: cdr.total_energy for cdr in world.cdrs.values()} == {
            session["id"]: session["kwh"] for session in emsp.sessions.values()
        }
        assert {session["status"] for session in emsp.sessions.values()} <= {SessionStatus.COMPLETED}
        records = await world.store.cdrs(1000)
        assert all(record.acknowledged_at is not None for record in records)
        assert len(records) == len(world.cdrs)
