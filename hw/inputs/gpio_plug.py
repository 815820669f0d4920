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

UNSTEADY_S = 2.0
"""A contact bounces for milliseconds, and a plug is in or out within a second: longer, and the level says nothing."""

MOST_BOUNCES = 5
"""With a long `debounce_s` a level that moves now and then takes as many of them to count as unsteady."""


class GpioPlugSensor:
    """Plugged in is one level of a pin, which has stood for `debounce_s` seconds.

    `pin` is a BCM number, `active_high` says which level means plugged in, and `pull` which resistor of the controller
    gives the level of an open contact; "none" where the circuit has its own. One that does not come to rest, as the
    hum on a broken wire, counts as lost: nobody can say whether the car is still there.
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
        unsteady_s: float = UNSTEADY_S,
    ) -> None:
        self._name = name
        self._pin = pin
        self._active_high = active_high
        self._pull: Pull = pull
        self._debounce_s = debounce_s
        self._look_s = look_s
        self._reopen_s = reopen_s
        self._unsteady_s = max(unsteady_s, MOST_BOUNCES * debounce_s)

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
                    if told is not None:
                        await self._until_other_than(None, pin)  # what was unsteady may be so still
                    await self._watch(pin, on_plug, works)
            except DeviceError as error:
                if str(error) != told:
                    told = str(error)
                    on_state(False, told)  # noqa: FBT003
            await asyncio.sleep(self._reopen_s)

    async def _watch(self, pin: InputPin, on_plug: Callable[[bool], None], works: Callable[[], None]) -> None:
        """Tell until the pin is gone, or its level does not come to rest. Raises DeviceError then."""
        plugged = pin.high is self._active_high
        on_plug(plugged)
        works()
        while True:
            await self._until_other_than(plugged, pin)
            plugged = not plugged
            on_plug(plugged)

    async def _until_other_than(self, known: bool | None, pin: InputPin) -> None:  # noqa: FBT001  # a sentence
        """Return when the plug is not as known, and has not moved for `debounce_s`. Raises DeviceError."""
        loop = asyncio.get_running_loop()
        restless_s = 0.0
        while restless_s < self._unsteady_s:
            plugged, looked_at = pin.high is self._active_high, loop.time()
            rests = plugged is known and not restless_s
            if await pin.moved(self._look_s if rests else self._debounce_s):
                # Of a longer time nobody knows whether it moved: the loop may just have come late.
                restless_s += min(loop.time() - looked_at, self._debounce_s)
            elif plugged is not known and (pin.high is self._active_high) is plugged:
                return
            else:
                restless_s = 0.0
        raise DeviceError(
            f"plug sensor {self._name} on GPIO{self._pin} does not come to rest: check its wire and its contact,"
            " whether `pull` is right for the circuit, or raise debounce_s"
        )


_fits: type[PlugSensor] = GpioPlugSensor
