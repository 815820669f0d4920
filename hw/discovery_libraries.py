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


def missing_extra(kind: str) -> str | None:
    """The extra of this program that a device of this kind needs and that is not installed; None for none."""
    extra, modules = _NEEDS.get(kind, ("", ()))
    return None if not modules or any(find_spec(module) is not None for module in modules) else extra
