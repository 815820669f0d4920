"""The displays of dots that luma.oled and luma.lcd drive, on I2C or SPI, and what to do where one can't be used."""

import errno
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, Protocol

from PIL import Image

from agent.errors import DeviceError

Interface = Literal["i2c", "spi"]

OLEDS = ("ch1115", "sh1106", "sh1107", "ssd1305", "ssd1306", "ssd1309", "ssd1315", "ssd1316")
"""One bit a dot. The larger ones with shades of grey are driven by the same library and can be added here."""
COLOUR_OLEDS = ("ssd1331", "ssd1351")
TFTS = ("st7735", "st7789", "ili9341", "ili9486", "ili9488")
CHIPS = (*OLEDS, *COLOUR_OLEDS, *TFTS)


class Device(Protocol):
    """What we use of a luma device."""

    persist: bool
    """Whether `cleanup` leaves the picture as it is."""

    def display(self, image: Image.Image) -> None:
        """Show the picture. Raises OSError or `luma.core.error.Error`."""
        ...

    def cleanup(self) -> None:
        """Give the interface back."""
        ...


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where the display is."""

    interface: Interface = "i2c"
    bus: int = 1
    """On I2C: the number in /dev/i2c-1."""
    address: int = 0x3C
    """On I2C."""
    spi_port: int = 0
    """On SPI: the first number in /dev/spidev0.0."""
    spi_device: int = 0
    """On SPI: the second one."""
    dc: int = 24
    """On SPI, the pin (BCM) that tells data from commands."""
    rst: int | None = 25
    """On SPI; None where the display's reset is wired to its supply."""
    light: int | None = None
    """The pin (BCM) of a TFT's backlight; None where it is always on."""

    @property
    def path(self) -> str:
        """The kernel's name for the interface."""
        return f"/dev/i2c-{self.bus}" if self.interface == "i2c" else f"/dev/spidev{self.spi_port}.{self.spi_device}"

    @property
    def name(self) -> str:
        """For the installer."""
        return f"I2C bus {self.bus}, address 0x{self.address:02X}" if self.interface == "i2c" else self.path


def connect(wiring: Wiring) -> Any:  # noqa: ANN401  # luma is not typed
    """luma's interface to where the display is. Raises DeviceError where none answers, OSError or luma's error."""
    probe(wiring)
    return _i2c(wiring) if wiring.interface == "i2c" else _spi(wiring)


def open_device(
    chip: str,
    wiring: Wiring,
    width: int,
    height: int,
    rotate: int,
    *,
    connected: Callable[[Wiring], Any] = connect,
) -> Device:
    """The display, switched on; `rotate` in quarters of a turn. Raises DeviceError with what to do."""
    try:
        interface = connected(wiring)
        try:
            return _device(chip, interface, wiring, width, height, rotate)
        except BaseException:
            interface.cleanup()  # else its descriptor and its pins stay taken, and it is tried again every second
            raise
    except _errors(wiring) as error:
        raise DeviceError(_what_to_do(wiring, error)) from error


def _device(chip: str, interface: Any, wiring: Wiring, width: int, height: int, rotate: int) -> Device:  # noqa: ANN401  # luma is not typed
    # Each device of luma's would stay in the interpreter's list of what to do at its end, with its picture, its bus and
    # its pins, even one that fails while it is made: half a megabyte a try. We give it back ourselves.
    importlib.import_module("luma.core.device").atexit = SimpleNamespace(register=lambda _hook: None)  # type: ignore[attr-defined]
    package = "luma.lcd.device" if chip in TFTS else "luma.oled.device"
    lit: dict[str, Callable[[bool], None]] = {"backlight": _light(wiring.light)} if chip in TFTS else {}
    # luma wants the panel's own size, before it is turned.
    size = (height, width) if rotate % 2 else (width, height)
    made: Device = getattr(importlib.import_module(package), chip)(
        interface, width=size[0], height=size[1], rotate=rotate, **lit
    )
    return made


def show(device: Device, image: Image.Image, wiring: Wiring) -> None:
    """Put a picture on the display. Raises DeviceError with what to do."""
    try:
        device.display(image)
    except _errors(wiring) as error:
        raise DeviceError(_what_to_do(wiring, error)) from error


def probe(wiring: Wiring) -> None:
    """Raise DeviceError where no display answers.

    Asked before luma is: each device that it makes stays in the interpreter's list of what to clean up at its end, and
    a missing one is tried every second. On SPI nobody can tell whether a display is there.
    """
    if wiring.interface == "spi":
        return
    smbus2 = importlib.import_module("smbus2")
    try:
        bus = smbus2.SMBus(wiring.bus)
        try:
            bus.i2c_rdwr(smbus2.i2c_msg.read(wiring.address, 1))
        finally:
            bus.close()
    except OSError as error:
        raise DeviceError(_what_to_do(wiring, error)) from error


def _i2c(wiring: Wiring) -> Any:  # noqa: ANN401  # luma is not typed
    return importlib.import_module("luma.core.interface.serial").i2c(port=wiring.bus, address=wiring.address)


def _spi(wiring: Wiring) -> Any:  # noqa: ANN401  # luma is not typed
    serial: Any = importlib.import_module("luma.core.interface.serial")

    class Interface(serial.spi):  # type: ignore[misc]  # luma is not typed
        def cleanup(self) -> None:
            super().cleanup()
            pins.close()  # luma leaves pins that it was given: the next attempt would find them taken by ourselves

    pins = _Pins()
    try:
        return Interface(
            gpio=pins, port=wiring.spi_port, device=wiring.spi_device, gpio_DC=wiring.dc, gpio_RST=wiring.rst
        )
    except BaseException:
        pins.close()
        raise


class _Pins:
    """What luma wants of RPi.GPIO, by way of gpiozero: the agent's pins have one owner."""

    OUT, LOW, HIGH = 0, 0, 1

    def __init__(self) -> None:
        importlib.import_module("hw.gpio").ensure_pins()
        self._make = importlib.import_module("gpiozero").DigitalOutputDevice
        self._pins: dict[int, Any] = {}

    def setup(self, pin: int, _direction: int) -> None:
        """Make it an output, low."""
        self._pins[pin] = self._make(pin)

    def output(self, pin: int, value: int) -> None:
        """Set its level."""
        self._pins[pin].value = bool(value)

    def close(self) -> None:
        """Give them back. May be called twice."""
        while self._pins:
            self._pins.popitem()[1].close()


def _light(pin: int | None) -> Callable[[bool], None]:
    if pin is None:
        return lambda _on: None
    pins = _Pins()
    pins.setup(pin, _Pins.OUT)
    return lambda on: pins.output(pin, int(on))


def _errors(wiring: Wiring) -> tuple[type[Exception], ...]:
    """What luma raises, and the ways to what it needs."""
    error: type[Exception] = importlib.import_module("luma.core.error").Error
    if wiring.interface == "i2c":
        return (ImportError, OSError, error)
    return (ImportError, OSError, error, *importlib.import_module("hw.gpio").pin_errors())


def _what_to_do(wiring: Wiring, error: Exception) -> str:
    where = f"the display at {wiring.name}"
    group = "i2c" if wiring.interface == "i2c" else "spi"
    if isinstance(error, ImportError):
        extras = "display" if wiring.interface == "i2c" else "display,spi"
        return (
            f"{where} can't be driven ({error}): install this program with its extra {extras.replace(',', ' and ')} "
            f"(pip install '.[{extras}]' where its source is)"
        )
    code = getattr(error, "errno", None)
    cause = f"{os.strerror(code)}, {errno.errorcode.get(code, code)}" if code else str(error)
    if code in (errno.EACCES, errno.EPERM):
        return f"{wiring.path} may not be opened ({cause}): add the agent's user to the group {group}"
    if code == errno.ENOENT:
        return f"{wiring.path} is not there ({cause}): switch {group} on in config.txt, and check the bus's number"
    return f"{where} does not answer ({cause}): check its cable, its supply and its address"
