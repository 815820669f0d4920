"""A light and a buzzer on gpiozero's mock pins, and somebody who writes down what they see and hear."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import gpiozero

from agent.ports import Indicator
from fakes.pins import WatchedFactory, mock_pins
from hw.outputs.buzzer import Buzzer
from hw.outputs.patterns import Colour
from hw.outputs.rgb_light import RgbLight
from tests.contract.rigs.kinds import IndicatorRig

RED, GREEN, BLUE, BUZZER = 5, 6, 13, 19
TEMPO = 50.0
SOON_S = 0.005
_COLOURS = {colour.rgb: colour.value for colour in Colour if colour is not Colour.DARK}


class LampRig:
    """The device at work. Its pins are written down when they have come to rest, once a turn of the loop."""

    cannot: Mapping[str, str] = {}

    def __init__(self, driver: RgbLight | Buzzer, pins: WatchedFactory, numbers: tuple[int, ...], *, active_high: bool):
        self._driver, self._pins, self._numbers, self._active_high = driver, pins, numbers, active_high
        self.indicator: Indicator = driver
        self._seen: list[str] = []
        self._works: list[bool] = []
        self._task = asyncio.create_task(driver.run(lambda works, _advice: self._works.append(works)))
        pins.watcher = lambda _pin, _level: self._look()

    def lit(self) -> str:
        on = tuple(self._pins.is_output(pin) and self._pins.level(pin) is self._active_high for pin in self._numbers)
        return _COLOURS.get((on[0], on[1], on[2]), "") if len(on) == 3 else "sounds" * on[0]

    async def settle(self) -> str:
        self._seen.clear()
        player = self._driver.player
        while not (self._works and self._works[-1] and (player.is_over or self._has_repeated())):  # noqa: ASYNC110  a timer of the driver
            await asyncio.sleep(SOON_S)
        told = [state for state, before in zip(self._seen, ["", *self._seen], strict=False) if state != before]
        return " ".join(state or "dark" for state in told) or self.lit()

    async def unplug(self) -> None:
        for pin in self._numbers:
            self._pins.lose(pin)

    async def plug(self) -> None:
        for pin in self._numbers:
            self._pins.find_again(pin)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    def _has_repeated(self) -> bool:
        pattern = self._driver.player.pattern
        return pattern is not None and pattern.repeats and len(self._seen) > 2 * len(pattern.steps)

    def _look(self) -> None:
        asyncio.get_running_loop().call_soon(lambda: self._seen.append(self.lit()))


@asynccontextmanager
async def light(_directory: Path, *, active_high: bool) -> AsyncIterator[IndicatorRig]:
    driver = RgbLight("light of E1", red=RED, green=GREEN, blue=BLUE, active_high=active_high, tempo=TEMPO,
                      reopen_s=SOON_S)  # fmt: skip
    async with _at_work(driver, (RED, GREEN, BLUE), active_high=active_high) as rig:
        yield rig


@asynccontextmanager
async def buzzer(_directory: Path) -> AsyncIterator[IndicatorRig]:
    driver = Buzzer("buzzer of E1", gpio=BUZZER, tempo=TEMPO, reopen_s=SOON_S)
    async with _at_work(driver, (BUZZER,), active_high=True) as rig:
        yield rig


@asynccontextmanager
async def _at_work(driver: RgbLight | Buzzer, numbers: tuple[int, ...], *, active_high: bool) -> AsyncIterator[LampRig]:
    before = gpiozero.Device.pin_factory
    rig = LampRig(driver, mock_pins(), numbers, active_high=active_high)
    try:
        yield rig
    finally:
        await rig.stop()
        gpiozero.Device.pin_factory = before


INDICATORS: dict[str, Callable[[Path], AbstractAsyncContextManager[IndicatorRig]]] = {
    "RGB light on GPIO, active high": partial(light, active_high=True),
    "RGB light on GPIO, active low": partial(light, active_high=False),
    "buzzer on GPIO": buzzer,
}
