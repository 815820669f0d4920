"""I2C buses, what answers on them, and GPIO pins, without driving anything."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hw.discovery_sysfs import Roots, text

PCF8574: Final = range(0x20, 0x28)
"""A character display's backpack; most leave the factory at 27."""
PCF8574A: Final = range(0x38, 0x40)
"""The same chip with other addresses; most at 3F."""
OLED: Final = (0x3C, 0x3D)
"""SSD1306, SH1106 and kin; a PCF8574A may be there, too."""
PROBED: Final = tuple(sorted({*PCF8574, *PCF8574A, *OLED}))
"""No other is asked: to some chips, being read means something."""

ReadByte = Callable[[int], None]
"""Read one byte from an address. Raises OSError: EBUSY where a driver of the kernel has it, else nobody answers."""


@dataclass(frozen=True, slots=True)
class I2cBus:
    """A bus that programs may use."""

    number: int
    node: Path
    title: str = ""
    answering: tuple[int, ...] | None = None
    """The addresses at which something answered; None where nobody asked."""
    trouble: str = ""
    """Why the bus could not be asked."""


@dataclass(frozen=True, slots=True)
class GpioChip:
    """A controller of pins."""

    node: Path
    title: str = ""


def i2c_buses(roots: Roots, *, probe: Callable[[int], Iterable[int]] | None = None) -> Iterator[I2cBus]:
    """Those under /dev, lowest number first. With `probe` each is asked which addresses answer."""
    for node in sorted(roots.dev.glob("i2c-*"), key=lambda path: path.name.rjust(12)):
        digits = node.name.removeprefix("i2c-")
        if not digits.isdigit():
            continue
        title = text(roots.sys / "class/i2c-dev" / node.name / "name")
        bus = I2cBus(int(digits), node, title)
        if probe is not None:
            try:
                bus = I2cBus(bus.number, node, title, tuple(probe(bus.number)))
            except OSError as error:
                bus = I2cBus(bus.number, node, title, trouble=os.strerror(error.errno) if error.errno else str(error))
        yield bus


def answering(read_byte: ReadByte, addresses: Iterable[int] = PROBED) -> list[int]:
    """Those of the addresses where a chip is: it answers, or the kernel itself already uses it."""
    found = []
    for address in addresses:
        try:
            read_byte(address)
        except OSError as error:
            if error.errno != errno.EBUSY:
                continue
        found.append(address)
    return found


def ask_bus(number: int, addresses: Iterable[int] = PROBED) -> list[int]:
    """Read a byte at each address of a real bus. Raises OSError where the bus can't be opened."""
    try:
        from smbus2 import SMBus  # noqa: PLC0415  for those who have a display
    except ImportError as error:
        raise OSError(f"{error}: install this program with its extra display") from error
    with SMBus(number) as bus:
        return answering(bus.read_byte, addresses)


def gpio_chips(roots: Roots) -> Iterator[GpioChip]:
    """Those under /dev."""
    labels = {_device_name(folder): text(folder / "label") for folder in (roots.sys / "class/gpio").glob("gpiochip*")}
    for node in sorted(roots.dev.glob("gpiochip*")):
        yield GpioChip(node, labels.get(node.name, ""))


def _device_name(folder: Path) -> str:
    """Which node a folder of /sys/class/gpio belongs to: its own number counts pins, not chips."""
    try:
        return next(path.name for path in (folder / "device").resolve().glob("gpiochip*") if path.name != folder.name)
    except (StopIteration, OSError):
        return folder.name


def missing_pins(pins: Iterable[int]) -> list[int]:
    """Those of the pins (BCM) that this board does not have. None is claimed: that would make a relay's an input.

    Raises one of `hw.gpio.pin_errors` where there is no way to the pins.
    """
    import gpiozero  # noqa: PLC0415  a tenth of a second, for those who have pins

    from hw.gpio import ensure_pins  # noqa: PLC0415  as above

    ensure_pins()
    board = gpiozero.Device.pin_factory.board_info
    return [pin for pin in pins if next(iter(board.find_pin(f"GPIO{pin}")), None) is None]
