"""GPIO pins that are not there: gpiozero's own mock pins, with somebody who watches their levels from outside.

    levels = []
    mock_pins(lambda pin, level: levels.append((pin, level)))

A pin begins as an input that floats at 0, and only a change is seen. To watch a process that may be killed, give it
the writing end of a pipe as `write_levels(fd)`: every line is out before the program's next step.
"""

import os
from collections.abc import Callable
from contextlib import suppress

from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPin

Watcher = Callable[[int, bool], None]
"""Called with the BCM number and the new level, each time it changes."""


class WatchedPin(MockPin):  # type: ignore[misc]  # gpiozero has no types
    """A mock pin whose changes are seen."""

    def _change_state(self, value: float) -> bool:
        changed: bool = super()._change_state(value)
        if changed:
            self.factory.watcher(int(self.info.name.removeprefix("GPIO")), bool(value))
        return changed


class WatchedFactory(MockFactory):  # type: ignore[misc]  # gpiozero has no types
    """A board, a Raspberry Pi 3, with watched pins. `level(pin)` is what a meter on the pin would show."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__(pin_class=WatchedPin)
        self.watcher = watcher

    def level(self, pin: int) -> bool:
        """The level of a pin, by its BCM number."""
        return bool(self.pin(pin).state)

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
