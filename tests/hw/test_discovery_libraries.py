"""Which extra a device needs that is not installed."""

import sys

import pytest

from hw.discovery_libraries import PICTURE_ON_SPI, missing_extra


@pytest.mark.parametrize(
    ("kind", "modules", "extra"),
    [
        ("pcsc", ["smartcard"], "pcsc"),
        ("keyboard", ["evdev"], "keyboard"),
        ("hid", ["hidraw", "hid"], "hid"),
        ("hd44780", ["smbus2"], "display"),
        ("picture", ["luma"], "display"),
        ("picture", ["PIL"], "display"),
        ("picture", ["smbus2"], "display"),
        (PICTURE_ON_SPI, ["PIL"], "display"),
        (PICTURE_ON_SPI, ["spidev"], "spi"),
    ],
)
def test_missing_library_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, kind: str, modules: list[str], extra: str
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    assert missing_extra(kind) == extra


def test_one_of_two_libraries_that_do_the_same_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hid", None)
    assert missing_extra("hid") is None


@pytest.mark.parametrize("kind", ["hid", "hd44780", "picture", "console", "rdm6300"])
def test_nothing_is_missing_where_all_is_installed(kind: str) -> None:
    assert missing_extra(kind) is None
