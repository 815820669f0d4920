"""HD44780 behind a PCF8574: what its emulator insists on, its ROMs, and what goes wrong with it in a charger."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

from agent.core.glyphs import has_glyphs
from agent.ports import Charset
from fakes.hd44780 import CharacterLcd, glyph
from hw.outputs.character_display import CharacterDisplay
from hw.outputs.character_display_roms import CODES, encode

HANG_S = 60.0
"""Against hangs alone."""
SOON_S = 0.001
Rom = Literal["a00", "a02"]
ROMS: list[tuple[Rom, Charset]] = [("a00", Charset.HD44780_A00), ("a02", Charset.HD44780_A02)]
SEEN_AS = {"･": "·", "ﾟ": "°", "β": "ß", "μ": "µ"}
"""One glyph of the chip for two characters."""


@contextmanager
def display_on(lcd: CharacterLcd, *, address: int = 0x27, backlight: bool = True) -> Iterator[CharacterDisplay]:
    display = CharacterDisplay(
        "EVSE 1",
        bus=1,
        address=address,
        columns=lcd.columns,
        rows=lcd.rows,
        rom=lcd.rom,
        backlight=backlight,
        retry_s=SOON_S,
        check_s=SOON_S,
        open_bus=lcd.open_bus,
    )
    try:
        yield display
    finally:
        display.close(HANG_S)


def shown(display: CharacterDisplay, lcd: CharacterLcd, *lines: str) -> list[str]:
    display.show(lines)
    assert display.settle(HANG_S)
    return [line.rstrip() for line in lcd.glass]


@pytest.mark.parametrize(("columns", "rows"), [(8, 1), (16, 1), (16, 2), (20, 2), (40, 2), (16, 4), (20, 4)])
def test_every_shape_shows_its_lines_in_their_order(columns: int, rows: int) -> None:
    lcd = CharacterLcd(columns=columns, rows=rows)
    lines = [chr(ord("a") + row) * columns for row in range(rows)]
    with display_on(lcd) as display:
        assert shown(display, lcd, *lines) == lines


@pytest.mark.parametrize(("columns", "rows"), [(20, 3), (40, 4), (21, 4), (41, 2), (0, 2), (81, 1)])
def test_shape_that_no_such_display_has_is_refused(columns: int, rows: int) -> None:
    with pytest.raises(ValueError, match="it holds 80 characters in 1, 2 or 4 rows"):
        CharacterDisplay("EVSE 1", bus=1, address=0x27, columns=columns, rows=rows, rom="a00")


def test_glass_is_dark_until_the_chip_was_set_up() -> None:
    lcd = CharacterLcd()
    assert {*"".join(lcd.glass)} == {" "}


def test_nothing_comes_while_the_chip_is_busy() -> None:
    lcd = CharacterLcd()
    with display_on(lcd) as display:
        for number in range(5):
            shown(display, lcd, f"{number}" * 20, "x" * 20, "y" * 20, "z" * 20)
    assert lcd.lost == 0


@pytest.mark.parametrize("backlight", [True, False])
def test_light_behind_the_glass_is_as_configured(*, backlight: bool) -> None:
    lcd = CharacterLcd()
    with display_on(lcd, backlight=backlight) as display:
        shown(display, lcd, "a")
        assert lcd.lit is backlight


def test_last_text_stays_when_the_display_is_closed() -> None:
    lcd = CharacterLcd(columns=16, rows=2)
    with display_on(lcd) as display:
        display.show(["Restarting"])
    assert lcd.glass[0].rstrip() == "Restarting"


@pytest.mark.parametrize("edges", [1, 2, 3])
def test_disturbed_chip_shows_the_next_text_rightly(edges: int) -> None:
    lcd = CharacterLcd(columns=16, rows=2)
    with display_on(lcd) as display:
        shown(display, lcd, "Card accepted", "Charging")
        for _ in range(edges):
            lcd.disturb()
        assert shown(display, lcd, "Charging", "Tap to stop") == ["Charging", "Tap to stop"]


def test_power_that_was_away_between_two_texts_costs_none_of_them() -> None:
    lcd = CharacterLcd(columns=16, rows=2)
    with display_on(lcd) as display:
        shown(display, lcd, "Please wait")
        lcd.unplug()
        lcd.plug()
        assert shown(display, lcd, "Charging") == ["Charging", ""]


def test_power_that_was_away_brings_the_text_back_by_itself() -> None:
    lcd = CharacterLcd(columns=16, rows=2)
    with display_on(lcd) as display:
        shown(display, lcd, "Please wait")
        lcd.unplug()
        lcd.plug()
        while lcd.glass[0].rstrip() != "Please wait":
            display.settle(SOON_S)
        assert lcd.lit


def test_wrong_address_is_said_once_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    lcd = CharacterLcd()
    with display_on(lcd, address=0x3F) as display:
        display.show(["a"])
        assert not display.settle(0.1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "display EVSE 1: the display at I2C bus 1, address 0x3F does not answer" in caplog.text
    assert "i2cdetect -y 1" in caplog.text


@pytest.mark.parametrize(
    ("cause", "advice"), [(errno.EACCES, "to the group i2c"), (errno.ENOENT, "switch I2C on (dtparam=i2c_arm=on")]
)
def test_bus_that_can_not_be_opened_says_what_to_do(cause: int, advice: str, caplog: pytest.LogCaptureFixture) -> None:
    lcd = CharacterLcd()
    lcd.bus_missing = cause
    with display_on(lcd) as display:
        display.show(["a"])
        assert not display.settle(0.1)
    assert advice in caplog.text


def test_bus_that_appears_later_shows_the_newest_text() -> None:
    lcd = CharacterLcd(columns=16, rows=2)
    lcd.bus_missing = errno.ENOENT
    with display_on(lcd) as display:
        display.show(["a"])
        assert not display.settle(0.05)
        lcd.bus_missing = None
        assert shown(display, lcd, "b") == ["b", ""]


# The ROMs


@pytest.mark.parametrize(("rom", "charset"), ROMS)
def test_every_character_of_a_rom_is_seen_as_itself(rom: Rom, charset: Charset) -> None:
    seen = {character: glyph(encode(character, charset)[0], rom) for character in CODES[charset]}
    assert {c: g for c, g in seen.items() if g not in (c, SEEN_AS.get(c))} == {}


@pytest.mark.parametrize(("rom", "charset"), ROMS)
def test_texts_are_fitted_to_exactly_what_the_driver_can_show(rom: Rom, charset: Charset) -> None:
    assert rom in charset.value
    fitted = {chr(code) for code in range(0x20, 0x10000) if has_glyphs(chr(code), charset.value)}
    assert fitted == set(CODES[charset])


@pytest.mark.parametrize(
    ("rom", "text", "seen"),
    [
        ("a00", "Größe ä ü ñ 5° µ", "Größe ä ü ñ 5° µ"),
        ("a00", "é \\ ~ Ä", "? ? ? ?"),
        ("a02", "Réglée à ÄÖÜ ç ß ø \\~", "Réglée à ÄÖÜ ç ß ø \\~"),
        ("a02", "Ł €", "? ?"),
    ],
)
def test_rom_shows_what_it_has_and_question_marks_for_the_rest(rom: Rom, text: str, seen: str) -> None:
    lcd = CharacterLcd(columns=40, rows=2, rom=rom)
    with display_on(lcd) as display:
        assert shown(display, lcd, text)[0] == seen


# What the emulator insists on


def test_emulator_loses_what_comes_too_early() -> None:
    lcd = CharacterLcd()
    for pins in (0x34, 0x30, 0x34, 0x30):
        lcd.latch(pins)
    assert lcd.lost == 2


def test_emulator_counts_a_register_line_that_moves_with_the_clock() -> None:
    lcd = CharacterLcd()
    lcd.latch(0x30)
    lcd.latch(0x35)
    assert lcd.lost == 1


def test_emulator_without_power_does_not_acknowledge() -> None:
    lcd = CharacterLcd()
    lcd.unplug()
    with pytest.raises(OSError, match="Remote I/O"):
        lcd.latch(0x30)
    assert {*"".join(lcd.glass)} == {" "}
