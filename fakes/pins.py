"""GPIO pins that are not there: gpiozero's own mock pins, with somebody outside who watches and sets their levels.

    levels = []
    pins = mock_pins(lambda pin, level: levels.append((pin, level)))
    pins.drive(27, high=True)

A pin begins as an input that floats at 0, and only a change is seen. To watch a process that may be killed, give it
the writing end of a pipe as `write_levels(fd)`: every line is out before the program's next step.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress

from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPin

Watcher = Callable[[int, bool], None]
"""Called with the BCM number and the new level, each time it changes."""


class WatchedPin(MockPin):  # type: ignore[misc]  # gpiozero has no types
    """A mock pin whose changes are seen, and whose level somebody outside may hold."""

    held: bool | None = None
    """The level that a circuit outside gives it; it wins over the pull. None: nothing is wired to it."""
    short: bool | None = None
    """The level that it keeps whatever it is told: a short circuit, or another program that drives it."""
    gone = False
    """Whether reading it fails, as on a board that was reset."""

    def drive(self, *, high: bool, at: float | None) -> None:
        """Give it a level from outside; `at` is the time of the edge, where it is not now."""
        self.held = high
        self._edge_at = at
        self._follow()

    def _follow(self) -> None:
        if self.held is not None:
            (self.drive_high if self.held else self.drive_low)()

    def _change_state(self, value: float) -> bool:
        changed: bool = super()._change_state(value)
        if changed:
            if self._edge_at is not None:
                self._last_change = self._edge_at
            self.factory.watcher(int(self.info.name.removeprefix("GPIO")), bool(value))
        return changed

    def _set_state(self, value: float) -> None:
        super()._set_state(value if self.short is None else self.short)

    def _set_pull(self, value: str) -> None:
        super()._set_pull(value)
        self._follow()

    def _get_state(self) -> float:
        if self.gone:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return float(super()._get_state())

    _edge_at: float | None = None


class WatchedFactory(MockFactory):  # type: ignore[misc]  # gpiozero has no types
    """A board, a Raspberry Pi 3, with watched pins. `level(pin)` is what a meter on the pin would show."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__(pin_class=WatchedPin)
        self.watcher = watcher

    def level(self, pin: int) -> bool:
        """The level of a pin, by its BCM number."""
        return bool(self.pin(pin).state)

    def drive(self, pin: int, *, high: bool, at: float | None = None) -> None:
        """Give an input a level from outside: a contact, a meter's output. The edge happens at `at`, or now.

        The program's own calls come from within this, in the calling thread, as gpiozero's do from its thread.
        """
        self.pin(pin).drive(high=high, at=at)

    def short_circuit(self, pin: int, *, high: bool | None) -> None:
        """Let an output keep its level whatever it is told; None mends it."""
        self.pin(pin).short = high

    def lose(self, pin: int) -> None:
        """Let reading the pin fail from now on."""
        self.pin(pin).gone = True

    def find_again(self, pin: int) -> None:
        """Let the pin be read again."""
        self.pin(pin).gone = False

    def is_output(self, pin: int) -> bool:
        """Whether somebody drives the pin."""
        return bool(self.pin(pin).function == "output")


def mock_pins(watcher: Watcher = lambda _pin, _level: None) -> WatchedFactory:
    """Put mock pins in the place of this process's real ones, for every gpiozero device made from now on."""
    factory = WatchedFactory(watcher)
    Device.pin_factory = factory
    return factory


def write_levels(fd: int) -> Watcher:
    """A watcher that writes a line `17 1` per change, unbuffered. That nobody reads any more is no fault of a pin."""

    def write(pin: int, level: bool) -> None:  # noqa: FBT001  # a Watcher's signature
        with suppress(BrokenPipeError):
            os.write(fd, f"{pin} {int(level)}\n".encode())

    return write
