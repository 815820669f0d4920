"""A GPIO pin as an input, by way of gpiozero, whose changes come out of its thread into the event loop.

Importing gpiozero takes a tenth of a second: import what uses this where such an input is configured.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

import gpiozero

from agent.errors import DeviceError
from hw.gpio import ensure_pins, pin_errors, remedy

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
            ensure_pins()
            self._device = gpiozero.InputDevice(
                self._pin, pull_up=_PULL_UP[self._pull], active_state=True if self._pull == "none" else None
            )
        except pin_errors() as error:
            raise DeviceError(f"{self._name} can't be used: {error}. {remedy(error)}") from error
        try:
            self._device.pin.edges = "both"
            self._device.pin.when_changed = self._in_thread  # held weakly: as long as we are
        except pin_errors() as error:
            self._release()
            raise DeviceError(f"{self._name} can't be watched: {error}. {remedy(error)}") from error
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
        except pin_errors() as error:
            raise DeviceError(f"{self._name} can't be read any more: {error}. {remedy(error)}") from error

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
        with suppress(*pin_errors()):
            self._device.pin.when_changed = None
        with suppress(*pin_errors()):
            self._device.close()
