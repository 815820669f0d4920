"""The way to the pins that inputs and outputs share, by way of gpiozero, and what to do when there is none.

Importing gpiozero takes a tenth of a second: import what uses this where something on a pin is configured.
"""

import ctypes
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import gpiozero

log = logging.getLogger(__name__)

_INSTALL = "install this program with its extra gpio (pip install '.[gpio]' where its source is)"


def ensure_pins() -> None:
    """Find the way to the pins, unless somebody has already chosen one. Raises one of `pin_errors`."""
    if gpiozero.Device.pin_factory is None and os.environ.get("GPIOZERO_PIN_FACTORY", "lgpio") == "lgpio":
        _import_lgpio()
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


def _import_lgpio() -> None:
    """Import lgpio, where it is installed, in a folder that may be written to.

    lgpio 0.2 makes a pipe in the working directory as it is imported, and opens it by its bare name: where this user
    may not write there is no way to the pins, and elsewhere the pipe stays behind. Once open it needs no name.
    """
    if "lgpio" not in sys.modules and find_spec("lgpio") is not None:
        importing = threading.Thread(target=_import_in_a_folder_of_its_own, name="import lgpio")
        importing.start()
        importing.join()


_CLONE_FS = 0x200
"""linux/sched.h: the working directory, in what `unshare(2)` parts the calling thread from the others in."""


def _import_in_a_folder_of_its_own() -> None:
    # This thread's own: others may be opening the databases by relative paths meanwhile. Where a sandbox forbids that,
    # it is everybody's for as long as the import takes.
    is_ours = ctypes.CDLL(None).unshare(_CLONE_FS) == 0
    with suppress(OSError, ImportError), tempfile.TemporaryDirectory(prefix="chargepoint-agent-") as folder:
        # gpiozero imports it again, and tells what is wrong with it.
        before = None if is_ours else os.open(".", os.O_PATH | os.O_DIRECTORY)
        os.chdir(folder)
        try:
            with _environment(LG_WD=folder):
                import_module("lgpio")
        finally:
            if before is not None:
                os.fchdir(before)
                os.close(before)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """These variables, as long as it lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
        case gpiozero.BadPinFactory() if find_spec("lgpio") is not None:
            return (
                "Is this a Raspberry Pi, and may the agent's user open /dev/gpiochip*? "
                "Where there are no pins, GPIOZERO_PIN_FACTORY=mock in front of the command plays them"
            )
        case gpiozero.BadPinFactory() | ImportError():
            return f"On the charge point, {_INSTALL}"
        case _:
            return "Stop other programs that use the pin, and add the agent's user to the group gpio"
