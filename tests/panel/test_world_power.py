"""The plug, the meter and the power: a charge through a power cut, at the world's side, on disk and at the eMSP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.evse_state import Authorizing, Plug
from fakes.world import WALLET, NoPowerError, World, world_in
from tests.scenario.world import only, select, until

E1, E2 = "DE*EXA*E1", "DE*EXA*E2"
ANNA, DAVID = WALLET[0].uid, WALLET[3].uid


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world with its power on, whose peer has more time than any machine could take."""
    async with world_in(tmp_path, deadline_s=30.0) as world:
        yield world


def on_disk(world: World, sql: str) -> list[dict[str, Any]]:
    """Rows of `state.db`, read without the agent's code."""
    return select(world.bench.storage / "state.db", sql)


async def charging(world: World, uid: str = ANNA) -> None:
    """A charge at the first EVSE of which the eMSP has heard."""
    world.plug(E1, plugged=True)
    await world.tap(E1, uid)
    await until(lambda: world.is_closed(E1))
    await until(lambda: bool(world.bench.emsp.sessions))


async def test_contactor_closes_where_a_car_and_an_accepted_card_are(world: World) -> None:
    await charging(world)
    assert not world.is_closed(E2)


async def test_meter_runs_while_the_contactor_is_closed_and_a_car_is_there(world: World) -> None:
    meter = world.bench.bays[E1].meter
    assert meter.power_w == 0
    await charging(world)
    assert meter.power_w > 0
    await world.tap(E1, ANNA)
    await until(lambda: not world.is_closed(E1))
    assert meter.power_w == 0


async def test_plug_that_is_pulled_ends_the_charge(world: World) -> None:
    await charging(world)
    world.plug(E1, plugged=False)
    await until(lambda: not world.is_closed(E1))
    await until(lambda: only(on_disk(world, "SELECT * FROM authorization"))["ended_because"] == "unplugged")


async def test_power_cut_opens_the_contactor_and_stops_the_meter_at_once(world: World) -> None:
    await charging(world)
    await world.pull_the_power()
    assert not world.is_closed(E1)
    assert world.bench.bays[E1].meter.power_w == 0
    assert not world.is_on
    with pytest.raises(NoPowerError):
        _ = world.agent


async def test_power_cut_leaves_on_disk_what_was_there_and_nothing_of_an_orderly_end(world: World) -> None:
    await world.tap(E1, ANNA)  # accepted, and no car: an orderly stop would end this
    before = only(on_disk(world, "SELECT * FROM authorization"))
    await world.pull_the_power()
    assert only(on_disk(world, "SELECT * FROM authorization")) == before
    assert before["ended_because"] is None


async def test_charge_goes_on_as_the_same_session_when_the_power_is_back(world: World) -> None:
    await charging(world)
    [session] = world.bench.emsp.sessions
    await world.pull_the_power()
    await world.switch_on()
    await until(lambda: world.is_closed(E1))
    assert list(world.bench.emsp.sessions) == [session]
    assert only(on_disk(world, "SELECT * FROM authorization"))["ended_because"] is None


async def test_charge_through_a_power_cut_ends_in_one_cdr_with_its_reference(world: World) -> None:
    await charging(world, DAVID)
    await world.pull_the_power()
    await world.switch_on()
    await until(lambda: world.is_closed(E1))
    await world.tap(E1, DAVID)
    emsp = world.bench.emsp
    await until(lambda: bool(emsp.cdrs))
    [cdr], [session] = emsp.cdrs.values(), emsp.sessions.values()
    begun = on_disk(world, "SELECT * FROM authorization ORDER BY id")[0]
    assert cdr["authorization_reference"] == session["authorization_reference"] == begun["authorization_reference"]
    assert cdr["session_id"] == session["id"]
    assert (begun["ended_because"], session["status"], emsp.complaints) == ("same-card", "COMPLETED", [])


async def test_car_that_was_unplugged_in_the_dark_ends_the_charge(world: World) -> None:
    await charging(world)
    await world.pull_the_power()
    world.plug(E1, plugged=False)
    await world.switch_on()
    await until(lambda: only(on_disk(world, "SELECT * FROM authorization"))["ended_because"] == "unplugged-while-off")
    assert not world.is_closed(E1)


async def test_car_that_was_plugged_in_in_the_dark_is_there_when_the_power_is_back(world: World) -> None:
    await world.pull_the_power()
    world.plug(E2, plugged=True)
    await world.switch_on()
    assert world.agent.evses[E2].state.plug is Plug.IN


async def test_whitelist_is_still_there_after_a_power_cut_in_an_outage(world: World) -> None:
    await world.turn("down")
    await world.pull_the_power()
    await world.switch_on()
    settled = await world.tap(E1, ANNA)
    assert settled is not None
    assert (settled.entry.verdict, settled.entry.source) == ("accepted", "whitelist")


async def test_card_on_whose_answer_the_driver_waits_when_the_power_goes_comes_to_nothing(world: World) -> None:
    await world.turn("silent")
    tapping = asyncio.create_task(world.tap(E1, DAVID))
    await until(lambda: _asks(world))
    await world.pull_the_power()
    assert await tapping is None
    assert on_disk(world, "SELECT * FROM authorization") == []


async def test_every_power_cut_of_several_is_survived_by_one_session(world: World) -> None:
    await charging(world)
    for _ in range(3):
        await world.pull_the_power()
        await world.switch_on()
        await until(lambda: world.is_closed(E1))
    assert len(world.bench.emsp.sessions) == len(on_disk(world, "SELECT * FROM authorization")) == 1


def _asks(world: World) -> bool:
    return isinstance(world.agent.evses[E1].state.phase, Authorizing)
