"""Which libraries a driver needs that not every installation has."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

PICTURE_ON_SPI: Final = "picture on SPI"
"""A kind that needs more than the `picture` of the configuration does on I2C."""

_NEEDS: Final[Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "pcsc": (("pcsc", ("smartcard",)),),
    "keyboard": (("keyboard", ("evdev",)),),
    "hid": (("hid", ("hidraw", "hid")),),
    "hd44780": (("display", ("smbus2",)),),
    "picture": (("display", ("luma",)), ("display", ("PIL",)), ("display", ("smbus2",))),
    PICTURE_ON_SPI: (("display", ("luma",)), ("display", ("PIL",)), ("spi", ("spidev",))),
}
"""By the kind of the configuration all that it needs: the extra, and the modules of which one must be there."""


def missing_extra(kind: str) -> str | None:
    """The extra of this program that a device of this kind needs and that is not installed; None for none."""
    for extra, modules in _NEEDS.get(kind, ()):
        if all(find_spec(module) is None for module in modules):
            return extra
    return None
