"""A relay or contactor on a GPIO pin, by way of gpiozero.

What software can't do: while nobody drives the pin (boot, after the end of this program), only a pull resistor on the
board keeps the contact open. And a killed process opens nothing: kernels built for the Raspberry Pi leave a released
output at its last level (`persist_gpio_outputs`), so whoever supervises the agent has to open the relay then. A new
`GpioRelay` on the pin does.

Importing gpiozero takes a tenth of a second: import this module where a relay is configured.
"""

import atexit
import logging
import sys
import warnings
from contextlib import suppress
from typing import Any

import gpiozero

from agent.errors import DeviceError
from agent.ports import Relay

log = logging.getLogger(__name__)

_INSTALL = "install this program with its extra gpio (pip install '.[gpio]' where its source is)"


class GpioRelay:
    """Switches one pin. Starts open, and opens when the interpreter ends without `detach`.

    `pin` is a BCM number. `active_high` says which level closes the contact; the opposite one is there from the first
    moment that the pin is an output. Raises DeviceError when there is no way to the pin.
    """

    def __init__(self, pin: int, *, active_high: bool) -> None:
        self._name = f"relay on GPIO{pin}"
        self._closed = False
        try:
            _load_pin_factory()
            self._device = gpiozero.OutputDevice(pin, active_high=active_high, initial_value=False)
        except _pin_errors() as error:
            raise DeviceError(f"{self._name} can't be used: {error}. {_remedy(error)}") from error
        # Runs before gpiozero's own clean-up, which was registered earlier and only turns the pin into an input.
        atexit.register(self.detach)

    @property
    def contact_closed(self) -> bool:
        """Whether the contact is commanded closed."""
        return self._closed

    def close_contact(self) -> None:
        """Let current flow. Raises DeviceError when the pin does not follow; it has then been told to open again."""
        if self._device is None:
            raise DeviceError(f"{self._name} was given back: nothing closes it any more; start the agent again")
        self._closed = False
        try:
            self._device.on()
            follows = bool(self._device.value)
        except _pin_errors() as error:
            self._cut()
            raise DeviceError(
                f"{self._name} does not close: {error}. Is the pin still ours, and the board well?"
            ) from error
        if not follows:
            self._cut()
            raise DeviceError(f"{self._name} does not close: the pin keeps its level. Look for a short circuit")
        self._closed = True

    def open_contact(self) -> None:
        """Cut the current; see `agent.ports.Relay`. After a DeviceError the contact still counts as closed."""
        try:
            if self._device is not None:
                self._device.off()
        except _pin_errors() as error:
            if self._closed:
                raise DeviceError(f"{self._name} does not open: {error}. Cut the current by hand") from error
        self._closed = False

    def detach(self) -> None:
        """Open the contact, then make the pin an input. Raises DeviceError when it could not be opened."""
        device, self._device = self._device, None
        if device is None:
            return
        atexit.unregister(self.detach)
        self._closed = False
        try:
            device.off()
        except _pin_errors() as error:
            raise DeviceError(f"{self._name} does not open: {error}. Cut the current by hand") from error
        finally:
            with suppress(*_pin_errors()):
                device.close()

    def _cut(self) -> None:
        with suppress(*_pin_errors()):
            self._device.off()


def _load_pin_factory() -> None:
    """Find the way to the pins, unless somebody has already chosen one."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        try:
            gpiozero.Device.ensure_pin_factory()
        except gpiozero.BadPinFactory as error:
            tried = "; ".join(str(note.message) for note in notes)
            raise gpiozero.BadPinFactory(f"{error} {tried}".strip()) from error
    for note in notes:
        log.warning("GPIO: %s. For a relay that must not move at start, %s", note.message, _INSTALL)
    _start_outputs_at_their_level()


def _start_outputs_at_their_level() -> None:
    """Make lgpio's pins outputs at their level at once.

    gpiozero 2.0.1 makes them outputs at low and sets the level afterwards (github.com/gpiozero/gpiozero/pull/1177):
    at every start an active-low relay would close for a moment.
    """
    factory = gpiozero.Device.pin_factory
    pins: Any = sys.modules.get("gpiozero.pins.lgpio")
    if pins is None or factory.pin_class is not pins.LGPIOPin or "output_with_state" in vars(pins.LGPIOPin):
        return

    class SteadyPin(pins.LGPIOPin):  # type: ignore[misc]  # gpiozero has no types
        def output_with_state(self, state: float) -> None:
            pins.lgpio.gpio_claim_output(self.factory._handle, self._number, int(state))  # noqa: SLF001  # as LGPIOPin

    factory.pin_class = SteadyPin


def _pin_errors() -> tuple[type[Exception], ...]:
    """What the ways to the pins raise: besides gpiozero's own, lgpio's error and the RuntimeError of RPi.GPIO."""
    lgpio = sys.modules.get("lgpio")
    return (gpiozero.GPIOZeroError, ImportError, OSError, RuntimeError, *([lgpio.error] if lgpio else []))


def _remedy(error: Exception) -> str:
    match error:
        case gpiozero.GPIOPinInUse():
            return "Give every relay and lamp a pin of its own in the configuration"
        case gpiozero.PinInvalidPin():
            return "Use the BCM number of the pin, 0 to 27, in the configuration"
        case gpiozero.BadPinFactory() | ImportError():
            return f"On the charge point, {_INSTALL}"
        case _:
            return "Stop other programs that use the pin, and add the agent's user to the group gpio"


_fits: type[Relay] = GpioRelay
