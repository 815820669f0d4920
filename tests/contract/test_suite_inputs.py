"""Every plug sensor's, contact feedback's and meter's behaviours (`agent.ports`), over every driver.

`test_plug.py` and `test_meter.py` have what single drivers add.
"""

from agent.ports import ContactFeedback, PlugSensor
from tests.contract.at_work import held_open, watching
from tests.contract.behaviours import Measures, Senses
from tests.contract.rigs.kinds import FeedbackRig, MeterRig, PlugRig
from tests.contract.suite import over

ContactRig = PlugRig | FeedbackRig


def driver_of(rig: ContactRig) -> PlugSensor | ContactFeedback:
    """The driver of a rig of either kind."""
    driver: PlugSensor | ContactFeedback = rig.sensor if hasattr(rig, "sensor") else rig.feedback
    return driver


@over(Senses.AS_IT_IS)
async def test_how_it_is_comes_before_that_it_works(rig: ContactRig) -> None:
    for closed in (True, False):
        await rig.set(closed=closed)
        async with watching(driver_of(rig)) as work:
            await work.works()
            assert work.heard[0] is closed
            assert len(work.heard) == 2


@over(Senses.EACH_CHANGE)
async def test_each_change_is_told(rig: ContactRig) -> None:
    async with watching(driver_of(rig)) as work:
        await work.works()
        for turn in range(1, 6):
            await rig.set(closed=turn % 2 == 1)
            await work.until(lambda turn=turn: len(work.values) > turn)  # type: ignore[misc]
        assert work.values == [False, True, False, True, False, True]
        assert len(work.states) == 1


@over(Senses.BOUNCE)
async def test_bounces_are_left_out(rig: ContactRig) -> None:
    async with watching(driver_of(rig)) as work:
        await work.works()
        await rig.bounce()
        await rig.set(closed=True)
        await work.until(lambda: len(work.values) > 1)
        assert work.values == [False, True]


@over(Senses.LOST)
async def test_a_lost_sensor_says_so_once_with_what_to_do(rig: ContactRig) -> None:
    async with watching(driver_of(rig)) as work:
        await work.works()
        await rig.unplug()
        assert len((await work.lost()).split()) >= 5
        await rig.plug()
        await work.works()
        assert [works for works, _ in work.states] == [True, False, True]


@over(Senses.COMES_BACK)
async def test_a_sensor_that_comes_back_says_how_it_is_and_then_that_it_works(rig: ContactRig) -> None:
    async with watching(driver_of(rig)) as work:
        await work.works()
        await rig.unplug()
        await work.lost()
        await rig.set(closed=True)
        await rig.plug()
        await work.works()
        assert work.heard[-2] is True
        await rig.set(closed=False)
        await work.until(lambda: work.values[-1] is False)


@over(Senses.CANCELLED)
async def test_a_cancelled_sensor_has_given_its_device_back(rig: ContactRig) -> None:
    before = held_open()
    for _ in range(3):
        async with watching(driver_of(rig)) as work:
            await work.works()
        assert held_open() <= before


@over(Measures.READS)
async def test_a_reading_comes_before_that_the_meter_works(rig: MeterRig) -> None:
    async with watching(rig.meter) as work:
        await work.works()
        assert [work.heard[0]] == work.readings[:1]
        assert work.readings[0].energy_wh >= 0


@over(Measures.FOLLOWS)
async def test_the_register_follows_what_is_drawn(rig: MeterRig) -> None:
    async with watching(rig.meter) as work:
        await work.works()
        began_wh = work.readings[-1].energy_wh
        for drawn_wh in (7, 14, 21):
            await rig.draw(7)
            await work.until(lambda wh=drawn_wh: work.readings[-1].energy_wh == began_wh + wh)  # type: ignore[misc]
        energies = [reading.energy_wh for reading in work.readings]
        assert energies == sorted(energies)
        assert [works for works, _ in work.states] == [True]


@over(Measures.BAD_ANSWER)
async def test_a_broken_reading_is_none(rig: MeterRig) -> None:
    async with watching(rig.meter) as work:
        await work.works()
        began_wh = work.readings[-1].energy_wh
        await rig.spoil()
        await rig.draw(7)
        await work.until(lambda: work.readings[-1].energy_wh == began_wh + 7)
        assert {reading.energy_wh for reading in work.readings} <= set(range(began_wh, began_wh + 8))


@over(Measures.LOST)
async def test_a_lost_meter_says_so_once_with_what_to_do(rig: MeterRig) -> None:
    async with watching(rig.meter) as work:
        await work.works()
        await rig.unplug()
        assert len((await work.lost()).split()) >= 5
        await rig.plug()
        await work.works()
        assert [works for works, _ in work.states] == [True, False, True]


@over(Measures.COMES_BACK)
async def test_a_meter_that_comes_back_reads_by_itself(rig: MeterRig) -> None:
    async with watching(rig.meter) as work:
        await work.works()
        began_wh = work.readings[-1].energy_wh
        await rig.unplug()
        await work.lost()
        await rig.plug()
        await work.works()
        await rig.draw(7)
        await work.until(lambda: work.readings[-1].energy_wh >= began_wh + 7)


@over(Measures.CANCELLED)
async def test_a_cancelled_meter_has_given_its_device_back(rig: MeterRig) -> None:
    before = held_open()
    for _ in range(3):
        async with watching(rig.meter) as work:
            await work.works()
        assert held_open() <= before
