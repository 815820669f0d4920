"""What every plug sensor promises (`agent.ports.PlugSensor`): the real driver on gpiozero's mock pins."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count

import gpiozero
import pytest

from agent.ports import PlugSensor
from fakes.pins import WatchedFactory, mock_pins
from hw.inputs.gpio_pin import Pull
from hw.inputs.gpio_plug import GpioPlugSensor

PIN = 27
HANG_S = 60
A_MOMENT = 1e-3
AN_HOUR = 3600.0
BOTH = pytest.mark.parametrize("active_high", [True, False])


@pytest.fixture
def pins() -> Iterator[WatchedFactory]:
    before = gpiozero.Device.pin_factory
    yield mock_pins()
    gpiozero.Device.pin_factory = before


@pytest.fixture
def no_pins() -> Iterator[None]:
    before, gpiozero.Device.pin_factory = gpiozero.Device.pin_factory, None
    yield
    gpiozero.Device.pin_factory = before


class Watching:
    """A sensor at work, and all that it has said, in its order."""

    def __init__(self, sensor: PlugSensor) -> None:
        self.said: list[bool | tuple[bool, str]] = []
        self.threads: set[int] = set()
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(sensor.run(self._on_plug, self._on_state))

    @property
    def plugs(self) -> list[bool]:
        return [said for said in self.said if isinstance(said, bool)]

    @property
    def states(self) -> list[tuple[bool, str]]:
        return [said for said in self.said if isinstance(said, tuple)]

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    async def ready(self) -> None:
        await self.until(lambda: bool(self.states) and self.states[-1][0])

    async def lost(self) -> str:
        await self.until(lambda: bool(self.states) and not self.states[-1][0])
        return self.states[-1][1]

    def _on_plug(self, plugged: bool) -> None:  # noqa: FBT001  # the port's signature
        self.said.append(plugged)
        self.threads.add(threading.get_ident())
        self._changed.set()

    def _on_state(self, works: bool, text: str) -> None:  # noqa: FBT001  # the port's signature
        self.said.append((works, text))
        self._changed.set()


@asynccontextmanager
async def watching(
    *,
    active_high: bool = True,
    pull: Pull = "none",
    debounce_s: float = A_MOMENT,
    look_s: float = AN_HOUR,
    reopen_s: float = A_MOMENT,
    unsteady_s: float = AN_HOUR,
) -> AsyncIterator[Watching]:
    sensor = GpioPlugSensor(
        "plug-1", PIN, active_high=active_high, pull=pull, debounce_s=debounce_s, look_s=look_s, reopen_s=reopen_s,
        unsteady_s=unsteady_s,
    )  # fmt: skip
    async with asyncio.timeout(HANG_S):
        watch = Watching(sensor)
        try:
            yield watch
        finally:
            watch.task.cancel()
            await asyncio.wait([watch.task])


async def turns_of_the_loop(times: int = 20) -> None:
    """Let everything that is due now happen."""
    for _ in range(times):
        await asyncio.sleep(0)


@BOTH
@pytest.mark.parametrize("plugged", [True, False])
async def test_state_at_the_start_is_told_before_the_sensor_counts_as_working(
    pins: WatchedFactory, *, active_high: bool, plugged: bool
) -> None:
    pins.drive(PIN, high=plugged is active_high)
    async with watching(active_high=active_high) as watch:
        await watch.ready()
        assert watch.said == [plugged, (True, f"GPIO{PIN} is watched")]


@BOTH
async def test_plugging_in_and_out_is_told_each_time(pins: WatchedFactory, *, active_high: bool) -> None:
    pins.drive(PIN, high=not active_high)
    async with watching(active_high=active_high) as watch:
        await watch.ready()
        for turn in range(1, 6):
            pins.drive(PIN, high=(turn % 2 == 1) is active_high)
            await watch.until(lambda turn=turn: len(watch.plugs) == turn + 1)  # type: ignore[misc]
        assert watch.plugs == [False, True, False, True, False, True]
        assert len(watch.states) == 1


@pytest.mark.parametrize(("pull", "level"), [("up", True), ("down", False)])
async def test_open_contact_has_the_level_of_the_pull(pins: WatchedFactory, pull: Pull, *, level: bool) -> None:
    async with watching(active_high=True, pull=pull) as watch:
        await watch.ready()
        assert watch.plugs == [level]
        assert pins.level(PIN) is level


async def test_contact_wins_over_the_pull(pins: WatchedFactory) -> None:
    pins.drive(PIN, high=False)
    async with watching(active_high=False, pull="up") as watch:
        await watch.ready()
        assert watch.plugs == [True]


async def test_bounces_on_the_way_in_are_one_change(pins: WatchedFactory) -> None:
    async with watching() as watch:
        await watch.ready()
        for high in [True, False] * 50 + [True]:
            pins.drive(PIN, high=high)
        await watch.until(lambda: len(watch.plugs) > 1)
        pins.drive(PIN, high=False)
        await watch.until(lambda: len(watch.plugs) > 2)
        assert watch.plugs == [False, True, False]


async def test_spark_that_leaves_the_level_as_it_was_is_no_change(pins: WatchedFactory) -> None:
    async with watching() as watch:
        await watch.ready()
        pins.drive(PIN, high=True)
        pins.drive(PIN, high=False)
        await turns_of_the_loop()
        pins.drive(PIN, high=True)
        await watch.until(lambda: len(watch.plugs) > 1)
        assert watch.plugs == [False, True]


async def test_level_that_has_not_stood_long_enough_is_not_told(pins: WatchedFactory) -> None:
    async with watching(debounce_s=AN_HOUR) as watch:
        await watch.ready()
        pins.drive(PIN, high=True)
        await turns_of_the_loop()
        assert watch.plugs == [False]


async def test_change_whose_edge_got_lost_is_seen_all_the_same(pins: WatchedFactory) -> None:
    async with watching(look_s=A_MOMENT) as watch:
        await watch.ready()
        pins.pin(PIN).when_changed = None
        pins.drive(PIN, high=True)
        await watch.until(lambda: len(watch.plugs) > 1)
        assert watch.plugs == [False, True]


async def test_edge_from_another_thread_is_told_in_the_event_loop(pins: WatchedFactory) -> None:
    async with watching() as watch:
        await watch.ready()
        await asyncio.to_thread(pins.drive, PIN, high=True)
        await watch.until(lambda: len(watch.plugs) > 1)
        assert watch.threads == {threading.get_ident()}


async def test_pin_in_use_says_so_once_and_is_taken_when_it_is_free(pins: WatchedFactory) -> None:
    lamp = gpiozero.LED(PIN)
    async with watching() as watch:
        text = await watch.lost()
        assert text.startswith(f"plug sensor plug-1 on GPIO{PIN} can't be used: ")
        assert text.endswith("Give every input, relay and lamp a pin of its own in the configuration")
        assert watch.plugs == []
        lamp.close()
        await watch.ready()
        assert watch.said[1:] == [False, (True, f"GPIO{PIN} is watched")]


async def test_controller_without_pins_is_told_what_to_install(no_pins: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "lgpio-that-is-not-there")
    async with watching() as watch:
        assert "install this program with its extra gpio" in await watch.lost()


async def test_pin_that_is_lost_and_comes_back_tells_how_the_plug_is_before_it_works(pins: WatchedFactory) -> None:
    async with watching(look_s=A_MOMENT) as watch:
        await watch.ready()
        pins.lose(PIN)
        assert "can't be read any more" in await watch.lost()
        pins.drive(PIN, high=True)
        pins.find_again(PIN)
        await watch.ready()
        assert watch.said[-2:] == [True, (True, f"GPIO{PIN} is watched")]
        pins.drive(PIN, high=False)
        await watch.until(lambda: watch.plugs[-1] is False)


async def hum(pins: WatchedFactory, until: Callable[[], bool]) -> None:
    """A broken wire: the level moves each time that anybody looks."""
    for turn in count():
        if until():
            return
        pins.drive(PIN, high=turn % 2 == 0)
        await asyncio.sleep(0)


async def test_level_that_does_not_come_to_rest_is_a_sensor_that_is_lost(pins: WatchedFactory) -> None:
    pins.drive(PIN, high=True)
    async with watching(debounce_s=0.05, unsteady_s=0.1) as watch:
        await watch.ready()
        await hum(pins, lambda: not watch.states[-1][0])
        assert watch.states[-1][1].startswith(f"plug sensor plug-1 on GPIO{PIN} does not come to rest: check its wire")


async def test_level_that_has_come_to_rest_again_is_told_before_the_sensor_works(pins: WatchedFactory) -> None:
    async with watching(debounce_s=0.05, unsteady_s=0.1) as watch:
        await watch.ready()
        await hum(pins, lambda: not watch.states[-1][0])
        pins.drive(PIN, high=True)
        await watch.ready()
        assert watch.said[-2:] == [True, (True, f"GPIO{PIN} is watched")]


async def test_cancelled_sensor_has_given_its_pin_back(pins: WatchedFactory) -> None:
    async with watching() as watch:
        await watch.ready()
        watch.task.cancel()
        await asyncio.wait([watch.task])
        assert watch.task.cancelled()
    pins.drive(PIN, high=True)
    assert watch.plugs == [False]
    gpiozero.LED(PIN).close()


async def test_cancelled_sensor_can_run_again(pins: WatchedFactory) -> None:
    sensor = GpioPlugSensor("plug-1", PIN, active_high=True, pull="none", debounce_s=A_MOMENT)
    async with asyncio.timeout(HANG_S):
        for _ in range(2):
            watch = Watching(sensor)
            await watch.ready()
            watch.task.cancel()
            await asyncio.wait([watch.task])
            assert watch.plugs == [False]


async def test_error_of_who_is_told_ends_the_sensor_with_its_pin_given_back(pins: WatchedFactory) -> None:
    def on_plug(plugged: bool) -> None:  # noqa: FBT001  # the port's signature
        raise LookupError(plugged)

    sensor = GpioPlugSensor("plug-1", PIN, active_high=True, pull="none", debounce_s=A_MOMENT)
    with pytest.raises(LookupError):
        await sensor.run(on_plug, lambda _works, _text: None)
    gpiozero.LED(PIN).close()


async def test_sensor_that_nobody_touches_leaves_the_processor_alone(pins: WatchedFactory) -> None:
    async with watching(look_s=0.02, reopen_s=0.02) as watch:
        await watch.ready()
        busy_s = time.process_time()
        a_second = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1.0, a_second.set_result, None)  # a spinning loop needs time to show
        await a_second
        assert time.process_time() - busy_s < 0.7
        assert watch.plugs == [False]
