"""Displays and contacts that a configuration must not have, and displays whose library is missing."""

import io
import logging
import sys
from pathlib import Path

import pytest

from agent.config import Config, parse
from agent.devices.displays import display_of
from agent.diagnosis.configuration import check_files
from agent.errors import ConfigError
from hw.outputs.console_display import ConsoleDisplay

PATH = Path("charger.toml")
HD44780 = '{ kind = "hd44780" }'
OLED = '{ kind = "picture", chip = "ssd1306" }'
TFT = '{ kind = "picture", chip = "st7735", interface = "spi", width = 160, height = 128 }'


def configured(*displays: str, feedback: str = "") -> Config:
    """A charge point with an EVSE for each display."""
    text = """
[party]
country_code = "DE"
party_id = "EXA"
[location]
id = "LOC1"
[storage]
directory = "state"
"""
    for number, display in enumerate(displays, 1):
        text += f"""
[[reader]]
name = "r{number}"
kind = "rdm6300"
port = "/dev/ttyUSB{number}"
[[evse]]
uid = "E{number}"
readers = ["r{number}"]
relay = {{ gpio = {15 + number}{feedback} }}
display = {display}
"""
    return parse(text, PATH)


@pytest.mark.parametrize(
    ("display", "says"),
    [
        (
            '{ kind = "serial", port = "/dev/ttyS7", protocol = "cd5220", rows = 4 }',
            "a CD5220 display has 2 rows, not 4",
        ),
        ('{ kind = "picture", chip = "nokia" }', "'nokia' is no display's chip that we know"),
        (
            '{ kind = "picture", chip = "ssd1306", columns = 40, rows = 8 }',
            "40 x 8 characters have no room on 128 x 64",
        ),
    ],
)
def test_display_that_can_not_be_is_found_before_the_agent_starts(display: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"^charger\.toml: evse \"E1\": display: {says}"):
        check_files(configured(display), PATH)


@pytest.mark.parametrize("display", [HD44780, OLED, TFT, '{ kind = "console" }'])
def test_display_that_can_be_is_good_where_no_device_is_there(display: str) -> None:
    check_files(configured(display), PATH)


@pytest.mark.parametrize(
    ("displays", "says"),
    [
        ((HD44780, HD44780), r"evse #2: display\.address: evse #1 has a display there, too \(I2C bus 1\)"),
        ((OLED, OLED), r"evse #2: display\.address: evse #1 has a display there, too \(I2C bus 1\)"),
        (('{ kind = "hd44780", address = 0x3C }', OLED), r"evse #2: display\.address: evse #1 has a display there"),
        ((TFT, TFT.replace("160", "128")), r"evse #2: display\.(spi_device|dc)"),
    ],
)
def test_two_displays_at_one_place_are_refused(displays: tuple[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        configured(*displays)


@pytest.mark.parametrize("second", ['{ kind = "hd44780", address = 0x26 }', '{ kind = "hd44780", bus = 0 }', OLED, TFT])
def test_displays_at_two_places_are_good(second: str) -> None:
    assert len(configured(HD44780, second).evse) == 2


@pytest.mark.parametrize(("seconds", "bound"), [("0.0", ">= 0.02"), ("0.01", ">= 0.02"), ("0.2", "<= 0.1")])
def test_feedback_that_would_hear_a_hum_or_be_deaf_is_refused(seconds: str, bound: str) -> None:
    with pytest.raises(ConfigError, match=rf"relay\.feedback\.debounce_s: expected `float` {bound}"):
        configured(HD44780, feedback=f", feedback = {{ gpio = 27, debounce_s = {seconds} }}")


@pytest.mark.parametrize(("display", "module"), [(HD44780, "smbus2"), (OLED, "PIL"), (TFT, "PIL")])
def test_display_without_its_library_keeps_no_charge_from_anybody(
    display: str, module: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for driver in ("character_display", "picture_display", "picture_display_devices", "picture_display_drawing"):
        monkeypatch.delitem(sys.modules, f"hw.outputs.{driver}", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    [evse] = configured(display).evse
    shown = io.StringIO()
    with caplog.at_level(logging.ERROR):
        instead = display_of(evse, shown)
    instead.show(["Hello"])
    assert isinstance(instead, ConsoleDisplay)
    assert (instead.columns, instead.rows) == (evse.display.columns, evse.display.rows)
    assert "Hello" in shown.getvalue()
    assert "install this program with its extra display" in caplog.text


@pytest.mark.parametrize("character", ["\\u0000", "\\n", "\\u001b"])
def test_port_with_a_control_character_is_refused(character: str) -> None:
    with pytest.raises(ConfigError, match=r"evse #1: display\.port: expected"):
        configured(f'{{ kind = "serial", port = "/dev/ttyS7{character}" }}')
