"""What is on USB and is no serial port: keyboards that may be card readers, chip-card readers, relay boards.

All of it is read from /sys, which needs no right and no library: it is found where evdev or hidapi is missing, too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hw.discovery_sysfs import Roots, UsbDevice, stable_name, text, usb_device_of, usb_devices, with_twins

_KEYS_TYPED: Final = (11, 28)
"""linux/input-event-codes.h: KEY_0 and KEY_ENTER. Who has no digits is a power button, a mouse, or volume keys."""

WEDGES: Final = {
    (0x08FF, 0x0009): "125 kHz readers",
    (0x0C27, 0x3BFA): "rf IDEAS pcProx",
    (0x16C0, 0x27DB): "13.56 MHz readers",
    (0xFFFF, 0x0035): "125 kHz readers",
}
"""By vendor and product, what has been sold as a reader that types: cheap ones share their ids with other things."""

_SMART_CARD: Final = "0b"
"""USB's interface class of CCID readers, which PC/SC speaks to."""

HID_RELAY: Final = (0x16C0, 0x05DF)
"""Shared by everything that was built on V-USB: the name tells a relay board."""
_RELAYS_IN_NAME = re.compile(r"USBRelay([1-8])")


@dataclass(frozen=True, slots=True)
class Keyboard:
    """An input that can type digits and Enter: a keyboard, or a reader that passes for one."""

    path: Path
    """The name that stays, where udev has made one: by-id, by-path with a twin."""
    node: Path
    title: str
    vendor: int
    product: int
    known_as: str = ""
    """What has been sold under its ids; empty where they are not known for a reader."""
    has_twin: bool = False
    """Another one can't be told from this one but by the socket that it is plugged into."""

    @property
    def usb_id(self) -> str:
        """As `lsusb` shows it."""
        return f"{self.vendor:04x}:{self.product:04x}"


@dataclass(frozen=True, slots=True)
class ChipCardReader:
    """A reader on USB for which PC/SC has a driver, whether or not pcscd is there."""

    usb: UsbDevice


@dataclass(frozen=True, slots=True)
class HidRelayBoard:
    """A board with relays on HID."""

    usb: UsbDevice
    channels: int | None
    """By its name; None where that does not say."""


def keyboards(roots: Roots) -> Iterator[Keyboard]:
    """Every input that can type a card's number."""
    folders = sorted((roots.sys / "class/input").glob("event*"), key=lambda path: int(path.name[5:] or 0))
    typing = [
        (roots.dev / "input" / folder.name, folder / "device", usb_device_of(folder / "device"))
        for folder in folders
        if (roots.dev / "input" / folder.name).exists() and types_numbers(text(folder / "device/capabilities/key"))
    ]
    twins = with_twins(usb for _, _, usb in typing)
    for node, device, usb in typing:
        vendor, product = (_hex(text(device / "id" / name)) for name in ("vendor", "product"))
        has_twin = usb is not None and usb.folder in twins
        path = stable_name(node, roots.dev / ("input/by-path" if has_twin else "input/by-id")) or node
        known_as = WEDGES.get((vendor, product), "")
        yield Keyboard(path, node, text(device / "name"), vendor, product, known_as, has_twin)


def types_numbers(bitmap: str) -> bool:
    """Whether these keys, as /sys lists them, are enough for a card's number and Enter.

    Words of the machine's size in hex, the highest first (Linux, input_print_bitmap): 64 bits on what we run on, and
    of these the lowest word alone counts.
    """
    words = bitmap.split()
    lowest = _hex(words[-1]) if words else 0
    return all(lowest >> key & 1 for key in _KEYS_TYPED)


def chip_card_readers(roots: Roots) -> Iterator[ChipCardReader]:
    """Those on USB, by the class of their interfaces."""
    for device in usb_devices(roots):
        classes = (text(path) for path in device.folder.glob("*/bInterfaceClass"))
        if any(name.lower() == _SMART_CARD for name in classes):
            yield ChipCardReader(device)


def hid_relays(roots: Roots) -> Iterator[HidRelayBoard]:
    """Boards that call themselves USBRelay1 to USBRelay8."""
    for device in usb_devices(roots):
        if (device.vendor, device.product) == HID_RELAY:
            named = _RELAYS_IN_NAME.search(device.title)
            if named or "relay" in device.title.lower():
                yield HidRelayBoard(device, int(named[1]) if named else None)


def hid_nodes(board: HidRelayBoard, roots: Roots) -> list[Path]:
    """The nodes through which a program may reach a board: the kernel's hidraw, or USB itself for libusb."""
    raw = [roots.dev / path.name for path in board.usb.folder.glob("*/*/hidraw/hidraw*")]
    bus, number = text(board.usb.folder / "busnum"), text(board.usb.folder / "devnum")
    direct = [roots.dev / f"bus/usb/{bus:>03}/{number:>03}"] if bus and number else []
    return [node for node in (*raw, *direct) if node.exists()]


def _hex(digits: str) -> int:
    try:
        return int(digits, 16)
    except ValueError:
        return 0
