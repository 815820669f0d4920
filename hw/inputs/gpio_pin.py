"""A GPIO pin as an input, by way of gpiozero, whose changes come out of its thread into the event loop.

Importing gpiozero takes a tenth of a second: import what uses this where such an input is configured.
"""

import asyncio
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

import gpiozero

from agent.errors import DeviceError

Pull = Literal["up", "down", "none"]

_PULL_UP = {"up": True, "down": False, "none": None}


class InputPin:
    """The pin with a BCM number, ours until it is left. `what` names it in errors: "plug sensor of evse-1"."""

    def __init__(
        self, what: str, pin: int, *, pull: Pull, on_edge: Callable[[float, bool], None] = lambda _ticks, _high: None
    ) -> None:
        """Needs a running loop: there, `on_edge` gets each change, with its time in the ticks of `seconds_between`."""
        self._name = f"{what} on GPIO{pin}"
        self._pin = pin
        self._pull: Pull = pull
        self._on_edge = on_edge
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()

    def __enter__(self) -> Self:
        """Make it an input. Raises DeviceError where there is no way to the pin."""
        try:
            _load_pin_factory()
            self._device = gpiozero.InputDevice(
                self._pin, pull_up=_PULL_UP[self._pull], active_state=True if self._pull == "none" else None
            )
        except _pin_errors() as error:
            raise DeviceError(f"{self._name} can't be used: {error}. {_remedy(error)}") from error
        try:
            self._device.pin.edges = "both"
            self._device.pin.when_changed = self._in_thread  # held weakly: as long as we are
        except _pin_errors() as error:
            self._release()
            raise DeviceError(f"{self._name} can't be watched: {error}. {_remedy(error)}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    @property
    def high(self) -> bool:
        """The level now. Raises DeviceError when the pin is gone."""
        try:
            return bool(self._device.pin.state)
        except _pin_errors() as error:
            raise DeviceError(f"{self._name} can't be read any more: {error}. {_remedy(error)}") from error

    async def moved(self, within_s: float) -> bool:
        """Wait for a change since the last call, at most `within_s` seconds; whether there was one."""
        try:
            async with asyncio.timeout(within_s):
                await self._moved.wait()
        except TimeoutError:
            return False
        self._moved.clear()
        return True

    def seconds_between(self, earlier: float, later: float) -> float:
        """From one time of an edge to another."""
        return float(gpiozero.Device.pin_factory.ticks_diff(later, earlier))

    def _in_thread(self, ticks: float, state: float) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it whoever wanted to know
            self._loop.call_soon_threadsafe(self._in_loop, ticks, bool(state))

    def _in_loop(self, ticks: float, high: bool) -> None:  # noqa: FBT001  # called by the loop
        self._on_edge(ticks, high)
        self._moved.set()

    def _release(self) -> None:
        with suppress(*_pin_errors()):
            self._device.pin.when_changed = None
        with suppress(*_pin_errors()):
            self._device.close()


def _load_pin_factory() -> None:
    """Find the way to the pins, unless somebody has already chosen one."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        try:
            gpiozero.Device.ensure_pin_factory()
        except gpiozero.BadPinFactory as error:
            tried = "; ".join(str(note.message) for note in notes)
            raise gpiozero.BadPinFactory(f"{error} {tried}".strip()) from error


def _pin_errors() -> tuple[type[Exception], ...]:
    """What the ways to the pins raise: besides gpiozero's own, lgpio's error and the RuntimeError of RPi.GPIO."""
    lgpio = sys.modules.get("lgpio")
    return (gpiozero.GPIOZeroError, ImportError, OSError, RuntimeError, *([lgpio.error] if lgpio else []))


def _remedy(error: Exception) -> str:
    match error:
        case gpiozero.GPIOPinInUse():
            return "Give every input, relay and lamp a pin of its own in the configuration"
        case gpiozero.PinInvalidPin():
            return "Use the BCM number of the pin, 0 to 27, in the configuration"
        case gpiozero.PinFixedPull():
            return "This pin has a resistor of its own on the board: take another pin, or the pull that it has"
        case gpiozero.BadPinFactory() | ImportError():
            return "On the charge point, install this program with its extra gpio (pip install '.[gpio]')"
        case _:
            return "Stop other programs that use the pin, and add the agent's user to the group gpio"
