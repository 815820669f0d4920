"""Finds keyboards and takes hold of them: all that needs the kernel's input devices, and nothing of what they type.

They are found in sysfs, which everybody may read, so that a reader whose device may not be opened is told apart from
one that is not there. `evdev` opens and grabs.
"""

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from agent.errors import DeviceError

# A wedge often has a second input device, for its volume keys, of the same name: one without the 0 (11) and Enter (28).
_TYPES_CARDS = 1 << 11 | 1 << 28


class Keyboards(Protocol):
    """What a keyboard reader needs of the machine."""

    def find(self, vendor: int | None, product: int | None, title: str | None) -> list[str]:
        """The paths of all keyboards that are as said, where it is said, in an order that stays."""
        ...

    def grab(self, path: str) -> int:
        """A keyboard's open descriptor, which doesn't block and alone gets what is typed; closing it lets go.

        Raises OSError: EBUSY when another program has grabbed it. Raises DeviceError when there is no way to grab any.
        """
        ...


_SET_CLOCK = 0x400445A0
"""EVIOCSCLOCKID (linux/input.h): by which clock the kernel stamps the events of this opening."""


class KernelKeyboards:
    """Those of this machine."""

    def __init__(self, sysfs: Path = Path("/sys/class/input"), devices: Path = Path("/dev/input")) -> None:
        self._sysfs = sysfs
        self._devices = devices

    def find(self, vendor: int | None, product: int | None, title: str | None) -> list[str]:
        """`title` is a pattern as of a shell, with * and ?, that the whole name fits."""
        return [
            str(self._devices / event)
            for event, found_vendor, found_product, found_title in self._attached()
            if vendor in {None, found_vendor}
            and product in {None, found_product}
            and (title is None or fnmatchcase(found_title, title))
        ]

    def grab(self, path: str) -> int:
        """See `Keyboards`."""
        try:
            from evdev import InputDevice  # noqa: PLC0415  an extra: only who configures such a reader has it
        except ImportError as error:
            raise DeviceError(
                "the Python module evdev is not installed: install chargepoint-agent with its extra `keyboard`"
            ) from error
        device = InputDevice(path, readonly=True)
        try:
            # A wall clock that is set while a card is typed would tear its number apart.
            fcntl.ioctl(device.fd, _SET_CLOCK, struct.pack("i", time.CLOCK_MONOTONIC))
            device.grab()
            # A grab belongs to what was opened, and lasts while any descriptor of it is open.
            return os.dup(device.fd)
        finally:
            device.close()

    def _attached(self) -> Iterator[tuple[str, int, int, str]]:
        """Every keyboard: its event device, vendor, product and name."""
        events = [entry.name for entry in self._sysfs.glob("event*") if entry.name[5:].isdigit()]
        for event in sorted(events, key=lambda name: int(name[5:])):
            # What is unplugged in this very moment is not there.
            with contextlib.suppress(OSError, ValueError):
                about = self._sysfs / event / "device"
                if _types_cards((about / "capabilities" / "key").read_text()):
                    vendor, product = (int((about / "id" / name).read_text(), 16) for name in ("vendor", "product"))
                    yield event, vendor, product, (about / "name").read_text(errors="replace").rstrip("\n")


def _types_cards(keys: str) -> bool:
    """Whether a device has digits and Enter: sysfs shows a bit for each key, in words of hex, the lowest last."""
    lowest = keys.rpartition(" ")[2].strip()
    return int(lowest or "0", 16) & _TYPES_CARDS == _TYPES_CARDS


_fits: type[Keyboards] = KernelKeyboards
