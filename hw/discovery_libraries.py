"""Which libraries a driver needs that not every installation has."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

_NEEDS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "pcsc": ("pcsc", ("smartcard",)),
    "keyboard": ("keyboard", ("evdev",)),
    "hid": ("hid", ("hidraw", "hid")),
    "hd44780": ("display", ("smbus2",)),
    "picture": ("display", ("luma",)),
}
"""By the kind of the configuration: the extra, and the modules of which one must be there."""

_NEEDS_ALL: Final[Mapping[str, tuple[str, ...]]] = {"picture": ("luma", "PIL", "smbus2")}
"""Where one is not enough."""


def missing_extra(kind: str) -> str | None:
    """The extra of this program that a device of this kind needs and that is not installed; None for none."""
    extra, modules = _NEEDS.get(kind, ("", ()))
    if not modules:
        return None
    all_needed = _NEEDS_ALL.get(kind)
    is_there = [find_spec(module) is not None for module in all_needed or modules]
    return None if (all(is_there) if all_needed else any(is_there)) else extra
