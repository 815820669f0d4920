"""Serial ports that are there, under the name that stays, and what an adapter of that kind usually is.

No port is opened: that alone would reset some boards, and take bytes from whoever reads there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from hw.discovery_sysfs import Roots, UsbDevice, stable_name, text, usb_device_of, with_twins


class Usual(StrEnum):
    """What is usually behind an adapter; the value is the kind in the configuration."""

    RDM6300 = "rdm6300"
    ID12LA = "id12la"
    LINE = "line"
    PN532 = "pn532"
    LCUS = "lcus"
    MODBUS = "modbus"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A chip that makes a serial line of USB."""

    chip: str
    usual: tuple[Usual, ...]


_READERS = (Usual.RDM6300, Usual.ID12LA, Usual.LINE)
_ANY = (*_READERS, Usual.PN532, Usual.MODBUS)

ADAPTERS: Final = {
    (0x0403, 0x6001): Adapter("FT232R", _ANY),
    (0x0403, 0x6010): Adapter("FT2232", _ANY),
    (0x0403, 0x6011): Adapter("FT4232H", (Usual.MODBUS, *_READERS)),
    (0x0403, 0x6014): Adapter("FT232H", _ANY),
    (0x0403, 0x6015): Adapter("FT230X", _ANY),
    (0x067B, 0x2303): Adapter("PL2303", _ANY),
    (0x067B, 0x23A3): Adapter("PL2303GC", _ANY),
    (0x10C4, 0xEA60): Adapter("CP210x", (Usual.PN532, *_READERS, Usual.MODBUS)),
    (0x10C4, 0xEA70): Adapter("CP2105", _ANY),
    (0x1A86, 0x5523): Adapter("CH341", (*_ANY, Usual.LCUS)),
    # The chip of every LCUS board, of most PN532 boards, and of the cheapest RS-485 sticks.
    (0x1A86, 0x7523): Adapter("CH340", (Usual.LCUS, Usual.MODBUS, Usual.PN532, *_READERS)),
    (0x1A86, 0x55D3): Adapter("CH343", (*_ANY, Usual.LCUS)),
    (0x1A86, 0x55D4): Adapter("CH9102", (Usual.PN532, *_READERS, Usual.MODBUS)),
}
"""By vendor and product. The chip is a fact, what is behind it is not: it only says what to try first."""

UART: Final = Adapter("UART", (Usual.RDM6300, Usual.ID12LA, Usual.PN532, Usual.LINE))
"""The machine's own line, on its pins."""
UNKNOWN: Final = Adapter("", _ANY)

_NO_UART = "0"
"""In a port's `type`: the kernel keeps four ttyS for a PC's ports, and there is no chip behind most of them."""


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial port that is there."""

    path: Path
    """The name that stays, where there is one: by-id for USB, by-path with a twin, `serial0` for a Raspberry Pi's."""
    node: Path
    usb: UsbDevice | None = None
    adapter: Adapter = UNKNOWN
    is_console: bool = False
    """The kernel writes its messages there."""
    has_twin: bool = False
    """Another adapter can't be told from this one but by the socket that it is plugged into."""


def serial_ports(roots: Roots) -> Iterator[SerialPort]:
    """Those that have a chip, by their nodes."""
    consoles = text(roots.sys / "class/tty/console/active").split()
    found = [(folder.name, usb_device_of(folder / "device")) for folder in _with_a_chip(roots)]
    twins = with_twins(usb for _, usb in found)
    for name, usb in found:
        node, has_twin = roots.dev / name, usb is not None and usb.folder in twins
        adapter = UART if usb is None else ADAPTERS.get((usb.vendor, usb.product), UNKNOWN)
        yield SerialPort(_stable(node, roots, has_twin=has_twin), node, usb, adapter, name in consoles, has_twin)


def _with_a_chip(roots: Roots) -> Iterator[Path]:
    for folder in sorted((roots.sys / "class/tty").glob("*")):
        # A virtual terminal has no device behind it.
        if not (folder / "device").exists() or text(folder / "type") == _NO_UART:
            continue
        if (roots.dev / folder.name).exists():
            yield folder


def _stable(node: Path, roots: Roots, *, has_twin: bool) -> Path:
    if link := stable_name(node, roots.dev / ("serial/by-path" if has_twin else "serial/by-id")):
        return link
    aliases = (roots.dev / name for name in ("serial0", "serial1"))
    return next((alias for alias in aliases if alias.exists() and alias.resolve() == node.resolve()), node)
