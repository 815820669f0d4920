"""The buzzer: how often it sounds, and that it never goes on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import gpiozero
import pytest

from agent.model import Signal
from fakes.pins import WatchedFactory, mock_pins
from hw.outputs.buzzer import Buzzer

PIN = 19
HANG_S = 60.0


@pytest.fixture
def pins() -> Iterator[WatchedFactory]:
    before = gpiozero.Device.pin_factory
    yield mock_pins()
    gpiozero.Device.pin_factory = before


class Listener:
    """Counts the beeps."""

    def __init__(self, pins: WatchedFactory) -> None:
        self.beeps = 0
        self.sounds = False
        self._news = asyncio.Event()
        pins.watcher = self._moved

    async def heard(self, beeps: int) -> None:
        while self.beeps < beeps or self.sounds:
            self._news.clear()
            await self._news.wait()

    def _moved(self, _pin: int, level: bool) -> None:  # noqa: FBT001  # a Watcher's signature
        self.beeps += level
        self.sounds = level
        self._news.set()


@asynccontextmanager
async def at_work(buzzer: Buzzer, pins: WatchedFactory) -> AsyncIterator[Listener]:
    listener = Listener(pins)
    async with asyncio.timeout(HANG_S):
        task = asyncio.create_task(buzzer.run(lambda _works, _advice: None))
        try:
            yield listener
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert not pins.level(PIN)
    assert not pins.is_output(PIN)


@pytest.mark.parametrize(
    ("signal", "beeps"), [(Signal.READING, 1), (Signal.ACCEPTED, 2), (Signal.REFUSED, 4), (Signal.FAULT, 1)]
)
async def test_signal_sounds_so_many_times_and_then_it_is_silent(
    pins: WatchedFactory, signal: Signal, beeps: int
) -> None:
    buzzer = Buzzer("buzzer of E1", gpio=PIN, tempo=50.0)
    async with at_work(buzzer, pins) as listener:
        buzzer.indicate(signal)
        await listener.heard(beeps)
        while not buzzer.player.is_over:  # noqa: ASYNC110  # a timer of the player
            await asyncio.sleep(0.001)
        assert listener.beeps == beeps


async def test_verdict_sounds_though_what_stands_follows_at_once(pins: WatchedFactory) -> None:
    buzzer = Buzzer("buzzer of E1", gpio=PIN, tempo=50.0)
    async with at_work(buzzer, pins) as listener:
        buzzer.indicate(Signal.ACCEPTED)
        buzzer.indicate(Signal.CHARGING)
        await listener.heard(2)


async def test_buzzer_that_is_ended_while_it_sounds_is_silent(pins: WatchedFactory) -> None:
    buzzer = Buzzer("buzzer of E1", gpio=PIN, tempo=0.001)
    async with at_work(buzzer, pins) as listener:
        buzzer.indicate(Signal.FAULT)
        while not listener.sounds:  # noqa: ASYNC110  # a turn of the loop
            await asyncio.sleep(0)
    assert not listener.sounds
