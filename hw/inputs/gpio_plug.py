"""A contact that says whether a car is plugged in, on a GPIO pin: a proximity contact, or a controller's output."""

import asyncio
from collections.abc import Callable

from agent.errors import DeviceError
from agent.ports import PlugSensor
from hw.inputs.gpio_pin import InputPin, Pull

LOOK_S = 1.0
"""How often the level is looked at without an edge: one that got lost must not keep a cable locked."""

REOPEN_S = 5.0
"""A pin that can't be had needs a person; this is soon enough after one has been there."""


class GpioPlugSensor:
    """Plugged in is one level of a pin, which has stood for `debounce_s` seconds.

    `pin` is a BCM number, `active_high` says which level means plugged in, and `pull` which resistor of the controller
    gives the level of an open contact; "none" where the circuit has its own.
    """

    def __init__(
        self,
        name: str,
        pin: int,
        *,
        active_high: bool,
        pull: Pull,
        debounce_s: float,
        look_s: float = LOOK_S,
        reopen_s: float = REOPEN_S,
    ) -> None:
        self._name = name
        self._pin = pin
        self._active_high = active_high
        self._pull: Pull = pull
        self._debounce_s = debounce_s
        self._look_s = look_s
        self._reopen_s = reopen_s

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    async def run(self, on_plug: Callable[[bool], None], on_state: Callable[[bool, str], None]) -> None:
        """Watch until cancelled; see `agent.ports.PlugSensor`. While the pin can't be had, each new cause is told."""
        told: str | None = None

        def works() -> None:
            nonlocal told
            told = None
            on_state(True, f"GPIO{self._pin} is watched")  # noqa: FBT003  # the port's signature

        while True:
            try:
                with InputPin(f"plug sensor {self._name}", self._pin, pull=self._pull) as pin:
                    await self._watch(pin, on_plug, works)
            except DeviceError as error:
                if str(error) != told:
                    told = str(error)
                    on_state(False, told)  # noqa: FBT003
            await asyncio.sleep(self._reopen_s)

    async def _watch(self, pin: InputPin, on_plug: Callable[[bool], None], works: Callable[[], None]) -> None:
        """Tell until the pin is gone. Raises DeviceError then."""
        plugged = pin.high is self._active_high
        on_plug(plugged)
        works()
        while True:
            await self._until_other_than(plugged, pin)
            plugged = not plugged
            on_plug(plugged)

    async def _until_other_than(self, known: bool, pin: InputPin) -> None:  # noqa: FBT001  # reads as a sentence
        """Return when the plug is not as known, and has not moved for `debounce_s`."""
        while True:
            if (pin.high is self._active_high) is known:
                await pin.moved(self._look_s)
            elif not await pin.moved(self._debounce_s) and (pin.high is self._active_high) is not known:
                return


_fits: type[PlugSensor] = GpioPlugSensor
