"""Energy meters with an S0 output: one pulse is so much energy. IEC 62053-31 (DIN 43864)."""

import asyncio
from collections.abc import Callable

from agent.errors import DeviceError
from agent.model import MeterReading
from agent.ports import Meter
from hw.inputs.gpio_pin import InputPin

MIN_PULSE_S = 0.02
"""IEC 62053-31 lets a pulse and the pause behind it last 30 ms at least; a spark or a bounce is over in a few."""

REPORT_S = 10.0
"""How often the energy is said without a pulse: a power that falls to nothing shows in this alone."""

REOPEN_S = 5.0
"""A pin that can't be had needs a person; this is soon enough after one has been there."""

_WS_PER_KWH = 3_600_000


class PulseFilter:
    """Finds the pulses between edges. Pure: the times come in as values.

    A pulse is `min_s` of the active level. Gaps shorter than that belong to it and add nothing, so that a contact which
    bounces at either end makes one pulse and a spark makes none.
    """

    def __init__(self, min_s: float) -> None:
        self._min_s = min_s
        self._active_s = 0.0
        self._counted = False
        self._rose: float | None = None
        self._fell: float | None = None

    def edge(self, at: float, *, active: bool) -> bool:
        """Whether this edge completes a pulse. `at` is in seconds and never goes back."""
        if active:
            self._rise(at)
            return False
        return self._fall(at)

    def _rise(self, at: float) -> None:
        if self._fell is None or at - self._fell >= self._min_s:
            self._active_s = 0.0
            self._counted = False
        self._rose = at

    def _fall(self, at: float) -> bool:
        if self._rose is None:  # its beginning was before our time
            return False
        self._active_s += at - self._rose
        self._rose, self._fell = None, at
        completes = not self._counted and self._active_s >= self._min_s
        self._counted = self._counted or completes
        return completes


class S0Meter:
    """Counts on from `start_wh`, for as long as this object lives: what flows while nobody counts is lost.

    `pin` is a BCM number. The output is a switch: between the pin and ground (`active_high` False, the pin is pulled
    up) or between the pin and 3.3 V (pulled down). The power follows from the time between the pulses.
    """

    def __init__(
        self,
        name: str,
        pin: int,
        *,
        pulses_per_kwh: int,
        start_wh: int = 0,
        active_high: bool = False,
        min_pulse_s: float = MIN_PULSE_S,
        report_s: float = REPORT_S,
        reopen_s: float = REOPEN_S,
    ) -> None:
        self._name = name
        self._pin = pin
        self._pulses_per_kwh = pulses_per_kwh
        self._start_wh = start_wh
        self._active_high = active_high
        self._min_pulse_s = min_pulse_s
        self._report_s = report_s
        self._reopen_s = reopen_s
        self._pulses = 0

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    async def run(self, on_reading: Callable[[MeterReading], None], on_state: Callable[[bool, str], None]) -> None:
        """Count until cancelled; see `agent.ports.Meter`. A cable that is cut can't be told from a car that rests."""
        told: str | None = None

        def works() -> None:
            nonlocal told
            told = None
            on_state(True, f"pulses on GPIO{self._pin} are counted")  # noqa: FBT003  # the port's signature

        while True:
            try:
                await self._count(on_reading, works)
            except DeviceError as error:
                if str(error) != told:
                    told = str(error)
                    on_state(False, told)  # noqa: FBT003
            await asyncio.sleep(self._reopen_s)

    async def _count(self, on_reading: Callable[[MeterReading], None], works: Callable[[], None]) -> None:
        """Tell until the pin is gone. Raises DeviceError then."""
        pulses = PulseFilter(self._min_pulse_s)
        first: float | None = None
        pace = _Pace(_WS_PER_KWH / self._pulses_per_kwh)

        def on_edge(ticks: float, high: bool) -> None:  # noqa: FBT001  # as InputPin calls it
            nonlocal first
            first = ticks if first is None else first
            at = pin.seconds_between(first, ticks)
            if pulses.edge(at, active=high is self._active_high):
                self._pulses += 1
                pace.pulse(at, asyncio.get_running_loop().time())

        pin = InputPin(f"meter {self._name}", self._pin, pull="down" if self._active_high else "up", on_edge=on_edge)
        with pin:
            await self._tell(pin, pace, on_reading, works)

    async def _tell(
        self, pin: InputPin, pace: "_Pace", on_reading: Callable[[MeterReading], None], works: Callable[[], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        on_reading(MeterReading(at=loop.time(), energy_wh=self._energy_wh))
        works()
        pace.begin(loop.time())
        told, due = self._pulses, loop.time() + self._report_s
        while True:
            await pin.moved(max(0.0, due - loop.time()))
            now = loop.time()
            if self._pulses != told or now >= due:
                _ = pin.high  # whether there is a pin still
                on_reading(MeterReading(at=now, energy_wh=self._energy_wh, power_w=pace.power_w(now)))
                told, due = self._pulses, now + self._report_s

    @property
    def _energy_wh(self) -> int:
        return self._start_wh + self._pulses * 1000 // self._pulses_per_kwh


class _Pace:
    """How fast the pulses come. Their distance is in the pins' time, the wait for the next one in the loop's."""

    def __init__(self, pulse_ws: float) -> None:
        self._pulse_ws = pulse_ws
        self._last: float | None = None
        self._between_s: float | None = None
        self._since = 0.0

    def begin(self, now: float) -> None:
        """From here on pulses are seen."""
        self._since = now

    def pulse(self, at: float, now: float) -> None:
        """One more."""
        if self._last is not None:
            self._between_s = at - self._last
        self._last, self._since = at, now

    def power_w(self, now: float) -> float | None:
        """The power between the last two pulses, or what would have brought the next one by now, where that is less.

        None while there are not two and the wait is short: it could still be any power.
        """
        waited_s = now - self._since
        if self._between_s is None and waited_s < REPORT_S:
            return None
        return self._pulse_ws / max(waited_s, self._between_s or 0.0)


_fits: type[Meter] = S0Meter
