"""The patterns of lights, and the light that plays them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import gpiozero
import pytest

from agent.model import Signal
from fakes.pins import WatchedFactory, mock_pins
from hw.outputs.patterns import EVENTS, LIGHT, SOUND, Colour, Pattern, Playing, ended, told
from hw.outputs.rgb_light import RgbLight

RED, GREEN, BLUE = 5, 6, 13
HANG_S = 60.0
FAST = 50.0
SOON_S = 0.005


@pytest.fixture
def pins() -> Iterator[WatchedFactory]:
    before = gpiozero.Device.pin_factory
    yield mock_pins()
    gpiozero.Device.pin_factory = before


# ---- the table


@pytest.mark.parametrize("table", [LIGHT, SOUND])
def test_every_signal_has_a_pattern(table: dict[Signal, Pattern]) -> None:
    assert set(table) == set(Signal)


def rhythm(pattern: Pattern) -> tuple[bool, bool, tuple[tuple[bool, float], ...]]:
    """What is left of it for who sees no colour."""
    steps = tuple((step.state is not Colour.DARK, step.for_s) for step in pattern.steps)
    return pattern.rests is not Colour.DARK, pattern.repeats, steps


def test_light_is_told_apart_without_its_colour() -> None:
    assert len({rhythm(pattern) for pattern in LIGHT.values()}) == len(Signal)


def test_buzzer_tells_the_verdicts_apart() -> None:
    assert len({str(SOUND[signal]) for signal in EVENTS}) == len(EVENTS)


@pytest.mark.parametrize("signal", sorted(EVENTS))
def test_event_is_played_once_and_begins_dark_so_that_a_second_one_is_seen(signal: Signal) -> None:
    assert LIGHT[signal].steps[0].state is Colour.DARK
    assert not LIGHT[signal].repeats
    assert not SOUND[signal].repeats


@pytest.mark.parametrize("pattern", [*SOUND.values()])
def test_buzzer_is_silent_after_every_pattern(pattern: Pattern) -> None:
    assert pattern.rests is False
    assert not pattern.repeats


# ---- one signal after another


def test_event_is_played_to_its_end_before_what_stands() -> None:
    playing, _ = told(Playing(), Signal.ACCEPTED)
    playing, begins = told(playing, Signal.CHARGING)
    assert (playing.signal, begins) == (Signal.ACCEPTED, False)
    assert ended(playing).signal is Signal.CHARGING


def test_new_event_takes_over_at_once_and_nothing_of_before_comes_back() -> None:
    playing, _ = told(Playing(), Signal.READING)
    playing, _ = told(playing, Signal.READY)
    playing, begins = told(playing, Signal.REFUSED)
    assert (playing.signal, playing.next, begins) == (Signal.REFUSED, None, True)


def test_event_that_is_over_stands_until_something_new() -> None:
    playing, _ = told(Playing(), Signal.REFUSED)
    playing = ended(playing)
    assert (playing.signal, playing.over) == (Signal.REFUSED, True)
    assert told(playing, Signal.READY) == (Playing(Signal.READY, over=False), True)


def test_what_stands_already_does_not_begin_anew() -> None:
    playing, _ = told(Playing(), Signal.ASKING)
    assert told(playing, Signal.ASKING) == (playing, False)


def test_event_that_happens_again_begins_anew() -> None:
    playing, _ = told(Playing(), Signal.REFUSED)
    assert told(playing, Signal.REFUSED)[1]


# ---- the light


class Watch:
    """Somebody who looks at the light."""

    def __init__(self, pins: WatchedFactory) -> None:
        self._pins = pins
        self.said: list[tuple[bool, str]] = []
        self.colours: list[str] = []
        self._news = asyncio.Event()
        pins.watcher = lambda _pin, _level: self._moved()

    @property
    def colour(self) -> str:
        on = tuple(self._pins.is_output(pin) and self._pins.level(pin) for pin in (RED, GREEN, BLUE))
        return next(colour.value for colour in Colour if colour.rgb == on)

    def on_state(self, works: bool, advice: str) -> None:  # noqa: FBT001  # the port's signature
        self.said.append((works, advice))
        self._news.set()

    async def shows(self, colour: str) -> None:
        while self.colour != colour:
            self._news.clear()
            await self._news.wait()

    async def hears(self, *, works: bool) -> str:
        while not self.said or self.said[-1][0] is not works:
            self._news.clear()
            await self._news.wait()
        return self.said[-1][1]

    def _moved(self) -> None:
        self._news.set()
        asyncio.get_running_loop().call_soon(lambda: self.colours.append(self.colour))


@asynccontextmanager
async def at_work(light: RgbLight, pins: WatchedFactory) -> AsyncIterator[Watch]:
    watch = Watch(pins)
    async with asyncio.timeout(HANG_S):
        task = asyncio.create_task(light.run(watch.on_state))
        try:
            yield watch
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert watch.colour == "dark"


def light_of(*, tempo: float = FAST) -> RgbLight:
    return RgbLight("light of E1", red=RED, green=GREEN, blue=BLUE, tempo=tempo, reopen_s=SOON_S)


async def test_accepted_then_charging_is_green_first_and_then_blue(pins: WatchedFactory) -> None:
    light = light_of()
    async with at_work(light, pins) as watch:
        light.indicate(Signal.ACCEPTED)
        light.indicate(Signal.CHARGING)
        await watch.shows("green")
        await watch.shows("blue")


async def test_what_was_told_before_the_light_works_is_shown_then(pins: WatchedFactory) -> None:
    light = light_of()
    light.indicate(Signal.CHARGING)
    async with at_work(light, pins) as watch:
        await watch.shows("blue")


async def test_pin_in_use_is_told_once_and_taken_when_it_is_free(pins: WatchedFactory) -> None:
    lamp = gpiozero.LED(GREEN)
    light = light_of()
    async with at_work(light, pins) as watch:
        advice = await watch.hears(works=False)
        assert advice.startswith(f"light of E1 (red GPIO{RED}, green GPIO{GREEN}, blue GPIO{BLUE}) can't be used: ")
        for signal in Signal:
            light.indicate(signal)
        lamp.close()
        light.indicate(Signal.CHARGING)
        await watch.hears(works=True)
        await watch.shows("blue")
        assert [works for works, _ in watch.said] == [False, True]


async def test_lamp_that_can_be_had_and_not_lit_is_told_of_once_until_it_was_lit(
    pins: WatchedFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin, tries = pins.pin(GREEN), 0
    five_tries = asyncio.Event()
    lights = pin._set_state

    def refuses(value: float) -> None:
        nonlocal tries
        if value:
            tries += 1
            if tries == 5:
                five_tries.set()
            raise OSError("Remote I/O error")
        lights(value)

    light = light_of()
    async with at_work(light, pins) as watch:
        with monkeypatch.context() as broken:
            broken.setattr(pin, "_set_state", refuses)
            light.indicate(Signal.ACCEPTED)
            await five_tries.wait()
            assert [works for works, _ in watch.said] == [True, False]
            assert "can't be switched any more: Remote I/O error" in watch.said[-1][1]
        await watch.hears(works=True)
        assert len(watch.said) == 3


async def test_light_that_is_ended_gives_its_pins_back_dark(pins: WatchedFactory) -> None:
    light = light_of()
    async with at_work(light, pins) as watch:
        light.indicate(Signal.CHARGING)
        await watch.shows("blue")
    for pin in (RED, GREEN, BLUE):
        gpiozero.LED(pin).close()


async def test_light_of_an_evse_that_is_ready_wakes_nobody(pins: WatchedFactory) -> None:
    light = light_of(tempo=1.0)
    async with at_work(light, pins) as watch:
        light.indicate(Signal.READY)
        await watch.shows("green")
        busy_s = time.process_time()
        a_second = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1.0, a_second.set_result, None)  # a spinning loop needs time to show
        await a_second
        assert time.process_time() - busy_s < 0.7
        assert light.player.is_over
