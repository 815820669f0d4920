"""What the kernel says of devices: read from /sys and /dev, never by opening one.

Both are given as folders, so that a test lays out its own. A device may be pulled at any moment: what is gone reads
as empty.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the kernel shows its devices."""

    dev: Path = Path("/dev")
    sys: Path = Path("/sys")


REAL = Roots()
"""This machine's."""


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """One device on USB, as its own descriptors have it."""

    vendor: int
    product: int
    maker: str = ""
    title: str = ""
    serial: str = ""
    folder: Path = Path()
    """Its folder under /sys."""

    @property
    def usb_id(self) -> str:
        """As `lsusb` shows it."""
        return f"{self.vendor:04x}:{self.product:04x}"


def text(path: Path) -> str:
    """What a file of /sys says; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def usb_devices(roots: Roots) -> Iterator[UsbDevice]:
    """All that is on USB, hubs included."""
    for folder in sorted((roots.sys / "bus/usb/devices").glob("*")):
        if device := _usb_device(folder):
            yield device


def usb_device_of(device: Path) -> UsbDevice | None:
    """The USB device that a port or an input belongs to, `device` being its own folder; None for any other."""
    try:
        folder = device.resolve(strict=True)
    except OSError:
        return None
    for parent in (folder, *folder.parents):
        if found := _usb_device(parent):
            return found
    return None


def with_twins(devices: Iterable[UsbDevice | None]) -> frozenset[Path]:
    """The folders of those that another one has the same ids and serial number as, which mostly is none.

    udev makes one link by-id for all of them, and it leads to whichever came last: another one after the next boot.
    """
    by_folder = {each.folder: (each.vendor, each.product, each.serial) for each in devices if each is not None}
    count = Counter(by_folder.values())
    return frozenset(folder for folder, ids in by_folder.items() if count[ids] > 1)


def stable_name(node: Path, folder: Path) -> Path | None:
    """The link in `folder` (by-id, by-path) that leads to a device node now; None where udev has made none."""
    try:
        links = sorted(folder.iterdir())
    except OSError:
        return None
    return next((link for link in links if os.path.realpath(link) == os.path.realpath(node)), None)


def _usb_device(folder: Path) -> UsbDevice | None:
    try:
        vendor, product = (int(text(folder / name), 16) for name in ("idVendor", "idProduct"))
    except ValueError:
        return None
    maker, title, serial = (text(folder / name) for name in ("manufacturer", "product", "serial"))
    return UsbDevice(vendor, product, maker, title, serial, folder)
