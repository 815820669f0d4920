"""A driver that breaks down in a way of its own: the EVSE hears that it is gone, and not only the log."""

import asyncio
from collections.abc import Callable

import pytest

from agent.core.evse_state import Device, Faulted
from agent.devices.inputs import _watch_meter, _watch_plug
from agent.devices.readers import read_cards
from agent.runtime.outlets import Outlets
from tests.scenario.charging import charging_stage, closed, phase
from tests.scenario.virtual_time import played


class Breaks:
    """A plug sensor, meter or reader whose library has a fault."""

    name = "left"
    bad_frames = 0

    async def run(self, _on_news: Callable[..., None], _on_state: Callable[..., None]) -> None:
        raise AttributeError("a library's own fault")


@played
async def test_plug_sensor_that_breaks_down_opens_the_relay() -> None:
    stage = charging_stage()
    await stage.begin()
    assert closed(stage)
    with pytest.raises(AttributeError):
        await _watch_plug(Breaks(), stage.evse)
    await asyncio.sleep(1.0)
    assert not closed(stage)
    assert Device.PLUG in stage.evse.state.lost
    await stage.stop()


@played
async def test_meter_that_breaks_down_is_lost_and_the_charge_goes_on() -> None:
    stage = charging_stage()
    await stage.begin()
    with pytest.raises(AttributeError):
        await _watch_meter("main", Breaks(), stage.evse, lambda _uid, _reading: None)
    assert closed(stage)
    assert Device.METER in stage.evse.state.lost
    await stage.stop()


@played
async def test_reader_that_breaks_down_asks_nobody_for_a_card() -> None:
    stage = charging_stage(plugged=False)
    await asyncio.sleep(1.0)
    with pytest.raises(AttributeError):
        await read_cards(Breaks(), Outlets([stage.evse]))
    assert isinstance(phase(stage), Faulted)
    await stage.stop()
