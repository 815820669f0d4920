"""Every light's and buzzer's behaviours (`agent.ports.Indicator`), over every driver."""

from agent.model import Signal
from tests.contract.behaviours import Indicates
from tests.contract.rigs.kinds import IndicatorRig
from tests.contract.suite import over


async def told(rig: IndicatorRig, signal: Signal) -> str:
    """What the device tells for a signal."""
    rig.indicator.indicate(signal)
    return await rig.settle()


@over(Indicates.EVERY_SIGNAL)
async def test_every_signal_is_taken(rig: IndicatorRig) -> None:
    patterns = {signal: await told(rig, signal) for signal in Signal}
    assert any(patterns.values())


@over(Indicates.TELLS_APART)
async def test_accepted_and_refused_are_told_apart(rig: IndicatorRig) -> None:
    accepted, refused = await told(rig, Signal.ACCEPTED), await told(rig, Signal.REFUSED)
    assert "" not in {accepted, refused}
    assert accepted != refused


@over(Indicates.NEWEST)
async def test_the_newest_signal_wins(rig: IndicatorRig) -> None:
    refused = await told(rig, Signal.REFUSED)
    for signal in [*Signal] * 100:
        rig.indicator.indicate(signal)
    assert await told(rig, Signal.REFUSED) == refused


@over(Indicates.BROKEN)
async def test_a_broken_device_harms_nobody_and_is_used_once_it_is_back(rig: IndicatorRig) -> None:
    accepted = await told(rig, Signal.ACCEPTED)
    await rig.unplug()
    for signal in Signal:
        rig.indicator.indicate(signal)
    await rig.plug()
    assert await told(rig, Signal.ACCEPTED) == accepted


@over(Indicates.DARK)
async def test_an_indicator_is_dark_and_silent_at_the_end(rig: IndicatorRig) -> None:
    await told(rig, Signal.ACCEPTED)
    await rig.stop()
    assert rig.lit() == ""
