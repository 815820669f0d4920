"""A contact that says whether a car is plugged in, on a GPIO pin: a proximity contact, or a controller's output."""

from collections.abc import Callable

from agent.ports import PlugSensor
from hw.inputs.gpio_contact import LOOK_S, REOPEN_S, UNSTEADY_S, GpioContact
from hw.inputs.gpio_pin import Pull


class GpioPlugSensor:
    """Plugged in is one level of a pin: see `GpioContact`, whose closed is plugged in here.

    One that does not come to rest counts as lost: nobody can say whether the car is still there.
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
        self._contact = GpioContact(
            f"plug sensor {name}", pin, active_high=active_high, pull=pull, debounce_s=debounce_s, look_s=look_s,
            reopen_s=reopen_s, unsteady_s=unsteady_s,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    async def run(self, on_plug: Callable[[bool], None], on_state: Callable[[bool, str], None]) -> None:
        """Watch until cancelled; see `agent.ports.PlugSensor`. While the pin can't be had, each new cause is told."""
        await self._contact.run(on_plug, on_state)


_fits: type[PlugSensor] = GpioPlugSensor
