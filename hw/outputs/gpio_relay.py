"""A relay or contactor on a GPIO pin, by way of gpiozero.

What software can't do: while nobody drives the pin (boot, after the end of this program), only a pull resistor on the
board keeps the contact open. And a killed process opens nothing: kernels built for the Raspberry Pi leave a released
output at its last level (`persist_gpio_outputs`), so whoever supervises the agent has to open the relay then. A new
`GpioRelay` on the pin does.

Importing gpiozero takes a tenth of a second: import this module where a relay is configured.
"""

import atexit
from contextlib import suppress

import gpiozero

from agent.errors import DeviceError
from agent.ports import Relay
from hw.gpio import ensure_pins, pin_errors, remedy


class GpioRelay:
    """Switches one pin. Starts open, and opens when the interpreter ends without `detach`.

    `pin` is a BCM number. `active_high` says which level closes the contact; the opposite one is there from the first
    moment that the pin is an output. Raises DeviceError when there is no way to the pin.
    """

    def __init__(self, pin: int, *, active_high: bool) -> None:
        self._name = f"relay on GPIO{pin}"
        self._closed = False
        try:
            ensure_pins()
            self._device = gpiozero.OutputDevice(pin, active_high=active_high, initial_value=False)
            self._closed = bool(self._device.value)  # something else may drive it
        except pin_errors() as error:
            raise DeviceError(f"{self._name} can't be used: {error}. {remedy(error)}") from error
        # Runs before gpiozero's own clean-up, which was registered earlier and only turns the pin into an input.
        atexit.register(self.detach)

    @property
    def contact_closed(self) -> bool:
        """Whether the contact is commanded closed, or may be so since the pin failed."""
        return self._closed

    def close_contact(self) -> None:
        """Let current flow. Raises DeviceError when the pin does not follow; it has then been told to open again.

        Where it did not take that either, the contact counts as closed: nobody knows what the pin does.
        """
        if self._device is None:
            raise DeviceError(f"{self._name} was given back: nothing closes it any more; start the agent again")
        self._closed = True  # from here on it may be, whatever the pin answers
        try:
            self._device.on()
            follows = bool(self._device.value)
        except pin_errors() as error:
            self._cut()
            raise DeviceError(
                f"{self._name} does not close: {error}. Is the pin still ours, and the board well?"
            ) from error
        if not follows:
            self._cut()
            raise DeviceError(f"{self._name} does not close: the pin keeps its level. Look for a short circuit")

    def open_contact(self) -> None:
        """Cut the current; see `agent.ports.Relay`. After a DeviceError the contact still counts as closed."""
        if self._device is None:
            self._closed = False
            return
        try:
            self._device.off()
            self._closed = bool(self._device.value)
        except pin_errors() as error:
            if self._closed:
                raise DeviceError(f"{self._name} does not open: {error}. {_BY_HAND}") from error
        if self._closed:
            raise DeviceError(f"{self._name} does not open: {_STUCK}")

    def detach(self) -> None:
        """Open the contact, then make the pin an input. Raises DeviceError when it could not be opened."""
        device, self._device = self._device, None
        if device is None:
            return
        atexit.unregister(self.detach)
        try:
            device.off()
            self._closed = bool(device.value)
        except pin_errors() as error:
            self._closed = False
            raise DeviceError(f"{self._name} does not open: {error}. {_BY_HAND}") from error
        finally:
            with suppress(*pin_errors()):
                device.close()
        if self._closed:
            raise DeviceError(f"{self._name} does not open: {_STUCK}")

    def _cut(self) -> None:
        with suppress(*pin_errors()):
            self._device.off()
            self._closed = bool(self._device.value)


_BY_HAND = "Cut the current by hand"
_STUCK = f"the pin keeps its level. {_BY_HAND}, and look for a short circuit or another program that drives it"


_fits: type[Relay] = GpioRelay
