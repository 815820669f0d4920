"""The way to the pins that inputs and outputs share, by way of gpiozero, and what to do when there is none.

Importing gpiozero takes a tenth of a second: import what uses this where something on a pin is configured.
"""

import logging
import sys
import warnings
from typing import Any

import gpiozero

log = logging.getLogger(__name__)

_INSTALL = "install this program with its extra gpio (pip install '.[gpio]' where its source is)"


def ensure_pins() -> None:
    """Find the way to the pins, unless somebody has already chosen one. Raises one of `pin_errors`."""
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


def pin_errors() -> tuple[type[Exception], ...]:
    """What the ways to the pins raise: besides gpiozero's own, lgpio's error and the RuntimeError of RPi.GPIO."""
    lgpio = sys.modules.get("lgpio")
    return (gpiozero.GPIOZeroError, ImportError, OSError, RuntimeError, *([lgpio.error] if lgpio else []))


def remedy(error: Exception) -> str:
    """What an installer does about one of `pin_errors`, as a sentence without its full stop."""
    match error:
        case gpiozero.GPIOPinInUse():
            return "Give every input, relay and lamp a pin of its own in the configuration"
        case gpiozero.PinInvalidPin():
            return "Use the BCM number of the pin, 0 to 27, in the configuration"
        case gpiozero.PinFixedPull():
            return "This pin has a resistor of its own on the board: take another pin, or the pull that it has"
        case gpiozero.BadPinFactory() | ImportError():
            return f"On the charge point, {_INSTALL}"
        case _:
            return "Stop other programs that use the pin, and add the agent's user to the group gpio"
