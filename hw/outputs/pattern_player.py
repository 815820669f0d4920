"""Plays the patterns of a light or a buzzer on GPIO pins, by timers of the event loop: what stands wakes nobody.

Importing gpiozero takes a tenth of a second: import what uses this where such a device is configured.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import gpiozero

from agent.errors import DeviceError
from agent.model import Signal
from hw.gpio import ensure_pins, pin_errors, remedy
from hw.outputs.patterns import Pattern, Playing, State, ended, told

_NOTHING = ""
"""What was told before anything was."""

REOPEN_S = 5.0
"""A pin that can't be had needs a person; this is soon enough after one has been there."""


class PatternPlayer:
    """A device on some output pins, and the pattern that it plays while `run` is at work.

    `lamps` names the pins (BCM numbers) by what is on them; `levels` says which of them are on in a state. What the
    pins do never reaches who indicates: a broken one is told to whoever runs the player, and tried again.
    """

    def __init__(
        self,
        label: str,
        lamps: Mapping[str, int],
        *,
        active_high: bool,
        table: Mapping[Signal, Pattern],
        levels: Callable[[State], Sequence[bool]],
        off: State,
        tempo: float = 1.0,
        reopen_s: float = REOPEN_S,
    ) -> None:
        """`tempo` is how many times as fast as in the table it plays."""
        self.label = label
        self._lamps = lamps
        self._active_high = active_high
        self._table = table
        self._levels = levels
        self._off = off
        self._tempo = tempo
        self._reopen_s = reopen_s
        self._playing = Playing()
        self._changed = asyncio.Event()

    def indicate(self, signal: Signal) -> None:
        """Play this from now on; see `patterns` for what it may have to wait for."""
        self._playing, begins = told(self._playing, signal)
        if begins:
            self._changed.set()

    @property
    def is_over(self) -> bool:
        """Whether the steps are played, and what stays stands; those that repeat are never over."""
        return self._playing.over

    @property
    def pattern(self) -> Pattern | None:
        """What is being played."""
        return None if self._playing.signal is None else self._table[self._playing.signal]

    async def run(self, on_state: Callable[[bool, str], None]) -> None:
        """Play until cancelled; the device is off then. `on_state` is as in `agent.ports.PlugSensor.run`.

        Pins that can be had and not be switched are lost until something was played on them to its end.
        """
        told: str | None = _NOTHING

        def tell(trouble: str | None) -> None:
            nonlocal told
            if trouble != told:
                told = trouble
                on_state(trouble is None, trouble or f"{self.label} is on its pins")

        has_failed = False  # with its pins in hand
        while True:
            try:
                with self._pins() as pins:
                    self._set(pins, self._off)
                    if not has_failed:
                        tell(None)
                    has_failed = True  # for playing ends by nothing else
                    await self._play(pins, lambda: tell(None))
            except DeviceError as error:
                tell(str(error))
            await asyncio.sleep(self._reopen_s)

    async def _play(self, pins: Sequence[Any], played: Callable[[], None]) -> None:
        """Play one thing after the other, telling of each that is over. Raises DeviceError when a pin fails."""
        while True:
            self._changed.clear()
            pattern = self.pattern
            if pattern is None:
                await self._changed.wait()
                continue
            if await self._steps(pins, pattern, played):
                continue
            before, self._playing = self._playing, ended(self._playing)
            if self._playing.signal is before.signal:
                self._set(pins, pattern.rests)
                played()
                await self._changed.wait()

    async def _steps(self, pins: Sequence[Any], pattern: Pattern, played: Callable[[], None]) -> bool:
        """Whether something new came before they were over; those that repeat are never over."""
        if not pattern.steps or self._playing.over:
            return False
        while True:
            for step in pattern.steps:
                self._set(pins, step.state)
                with suppress(TimeoutError):
                    async with asyncio.timeout(step.for_s / self._tempo):
                        await self._changed.wait()
                if self._changed.is_set():
                    return True
            played()
            if not pattern.repeats:
                return False

    def _set(self, pins: Sequence[Any], state: State) -> None:  # a state of the device
        try:
            for pin, on in zip(pins, self._levels(state), strict=True):
                if on != bool(pin.value):
                    (pin.on if on else pin.off)()
        except pin_errors() as error:
            raise DeviceError(f"{self.label} can't be switched any more: {error}. {remedy(error)}") from error

    @contextmanager
    def _pins(self) -> Iterator[list[Any]]:
        """The pins as outputs, off; off and given back at the end. Raises DeviceError."""
        pins: list[Any] = []
        try:
            try:
                ensure_pins()
                for number in self._lamps.values():
                    pins.append(gpiozero.OutputDevice(number, active_high=self._active_high, initial_value=False))  # noqa: PERF401  # each is closed, whatever the next does
            except pin_errors() as error:
                where = ", ".join(f"{name} GPIO{number}" for name, number in self._lamps.items())
                raise DeviceError(f"{self.label} ({where}) can't be used: {error}. {remedy(error)}") from error
            yield pins
        finally:
            for pin in pins:
                with suppress(*pin_errors()):
                    pin.off()
                with suppress(*pin_errors()):
                    pin.close()
