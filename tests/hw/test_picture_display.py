"""Displays of dots: the font, the drawing, luma's devices, and what is said where one is missing."""

from typing import Any

import gpiozero
import pytest
from luma.core.device import dummy
from PIL import ImageChops

from agent.core.glyphs import fit
from agent.core.texts import LANGUAGES
from agent.errors import DeviceError
from agent.ports import Charset
from fakes.pins import mock_pins
from hw.outputs.picture_display import PictureDisplay
from hw.outputs.picture_display_devices import (
    CHIPS,
    COLOUR_OLEDS,
    OLEDS,
    TFTS,
    Wiring,
    _Pins,
    connect,
    open_device,
    show,
)
from hw.outputs.picture_display_drawing import Look, draw
from hw.outputs.picture_display_font import HEIGHT, WIDTH, glyph
from tests.unit.test_texts import our_words

HANG_S = 60.0
"""Against hangs alone."""
LATIN_1 = [chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0x100))]
SIZES = {"ssd1316": (128, 32), "sh1107": (128, 128), "ssd1331": (96, 64), "ssd1351": (128, 128)}
TFT_SIZES = {"st7735": (160, 128), "st7789": (240, 240), "ili9341": (320, 240), "ili9486": (320, 480)}


def size_of(chip: str) -> tuple[int, int]:
    """As the panel itself has it."""
    return {**SIZES, **TFT_SIZES, "ili9488": (480, 320)}.get(chip, (128, 64))


class Recorded:
    """An interface of luma's that keeps how much went over it."""

    def __init__(self, error: OSError | None = None) -> None:
        self.taken = 0
        self.error = error

    def command(self, *values: int) -> None:
        self._take(len(values))

    def data(self, values: Any) -> None:
        self._take(len(values))

    def cleanup(self) -> None:
        """Nothing to give back."""

    def _take(self, size: int) -> None:
        if self.error:
            raise self.error
        self.taken += size


# The font


@pytest.mark.parametrize("character", LATIN_1)
def test_glyph_has_dots_in_its_cell(character: str) -> None:
    rows = glyph(character)
    assert [len(row) for row in rows] == [WIDTH] * HEIGHT
    assert {*"".join(rows)} == {"#", "."}


def test_no_two_glyphs_look_alike_but_hyphens() -> None:
    drawn = {glyph(character) for character in LATIN_1 if character != "\u00ad"}
    assert len(drawn) == len(LATIN_1) - 1


def test_accents_do_not_touch_small_letters() -> None:
    accented = [c for c in LATIN_1 if c.islower() and c in "àáâãäåèéêëìíîïñòóôõöùúûüýÿ"]
    assert [c for c in accented if "#" in glyph(c)[3]] == []


def test_space_has_no_dots_and_what_is_not_in_latin_1_is_a_question_mark() -> None:
    assert {*"".join(glyph(" "))} == {"."}
    assert glyph("€") == glyph("?") == glyph("Ω")


@pytest.mark.parametrize("language", LANGUAGES)
def test_font_has_all_that_we_say(language: str) -> None:
    assert language in LANGUAGES
    assert [word for word in our_words(Charset.LATIN_1) if any(glyph(c) == glyph("?") for c in word if c != "?")] == []


# The drawing


@pytest.mark.parametrize(
    "look",
    [
        Look(20, 4, 128, 64, shades=False),
        Look(16, 4, 128, 64, shades=False),
        Look(16, 2, 128, 32, shades=False),
        Look(20, 4, 160, 128, shades=True),
        Look(20, 5, 320, 240, shades=True),
    ],
)
def test_every_cell_of_a_full_display_has_its_letter(look: Look) -> None:
    picture = draw(["X" * look.columns] * look.rows, look).convert("L")
    assert picture.size == (look.width, look.height)
    wide, high = look.cell
    left, top = (look.width - wide * look.columns) // 2, (look.height - high * look.rows) // 2
    cells = {
        picture.crop((x, y, x + wide, y + high)).tobytes()
        for x in range(left, left + wide * look.columns, wide)
        for y in range(top, top + high * look.rows, high)
    }
    assert len(cells) == 1
    assert len({*cells.pop()}) > 1


def test_what_has_no_room_is_not_drawn() -> None:
    look = Look(20, 4, 128, 64, shades=False)
    full = ["x" * 20] * 4
    difference = ImageChops.difference(
        draw(full, look).convert("L"), draw([*full[:3], "x" * 30, "y"], look).convert("L")
    )
    assert difference.getbbox() is None


@pytest.mark.parametrize(("columns", "rows"), [(22, 4), (20, 6)])
def test_letters_too_small_to_read_are_refused(columns: int, rows: int) -> None:
    with pytest.raises(ValueError, match="have no room on 128 x 64 dots"):
        Look(columns, rows, 128, 64, shades=False)


# The devices


# luma.oled asks Pillow in a way that Pillow 14 will have no more: the dependency is bounded.
@pytest.mark.filterwarnings("ignore:Image.Image.getdata is deprecated:DeprecationWarning")
@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("rotate", [0, 1])
def test_every_chip_that_we_name_takes_a_picture(chip: str, rotate: int) -> None:
    sent = Recorded()
    size = size_of(chip)
    width, height = size[::-1] if rotate % 2 else size
    device = open_device(chip, Wiring(), width, height, rotate, connected=lambda _: sent)
    before = sent.taken
    show(device, draw(["Hello"], Look(5, 2, width, height, shades=chip not in OLEDS)), Wiring())
    device.cleanup()
    assert sent.taken - before >= width * height // 8


def test_every_chip_is_of_one_kind() -> None:
    assert len({*OLEDS, *COLOUR_OLEDS, *TFTS}) == len(CHIPS)


@pytest.mark.filterwarnings("ignore:Image.Image.getdata is deprecated:DeprecationWarning")
def test_display_that_stops_answering_says_what_to_do() -> None:
    sent = Recorded()
    device = open_device("ssd1306", Wiring(), 128, 64, 0, connected=lambda _: sent)
    sent.error = OSError(121, "Remote I/O error")
    with pytest.raises(DeviceError, match=r"I2C bus 1, address 0x3C does not answer .* check its cable"):
        show(device, draw(["Hello"], Look(20, 4, 128, 64, shades=False)), Wiring())
    sent.error = None
    device.cleanup()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (PermissionError(13, "no"), "add the agent's user to the group i2c"),
        (FileNotFoundError(2, "no"), "switch i2c on in config.txt"),
        (ModuleNotFoundError("No module named 'spidev'"), "with its extra display, and spidev for SPI"),
    ],
)
def test_display_that_can_not_be_opened_says_what_to_do(error: Exception, advice: str) -> None:
    def connected(_: Wiring) -> Any:
        raise error

    with pytest.raises(DeviceError, match=advice):
        open_device("ssd1306", Wiring(), 128, 64, 0, connected=connected)


def test_bus_that_is_not_there_is_said_so() -> None:
    with pytest.raises(DeviceError, match="/dev/i2c-250 is not there"):
        connect(Wiring(bus=250))


def test_chip_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="'ssd9999' is no display's chip that we know"):
        PictureDisplay("EVSE 1", chip="ssd9999", columns=20, rows=4)


def test_display_shows_what_is_drawn() -> None:
    device = dummy(width=128, height=64, mode="1")
    display = PictureDisplay("EVSE 1", chip="ssd1306", columns=20, rows=4, make=lambda: device, look_after=lambda: None)
    lines = fit("Größe é ç", display.columns, display.rows, display.charset)
    display.show(lines)
    display.close(HANG_S)
    drawn = draw(lines, Look(20, 4, 128, 64, shades=False))
    assert ImageChops.difference(device.image.convert("L"), drawn.convert("L")).getbbox() is None


def test_lumas_pins_are_gpiozeros() -> None:
    before = gpiozero.Device.pin_factory
    try:
        factory = mock_pins()
        pins = _Pins()
        pins.setup(24, pins.OUT)
        pins.output(24, pins.HIGH)
        assert factory.pin(24).state
        pins.close()
        pins.setup(24, pins.OUT)
        assert not factory.pin(24).state
        pins.close()
    finally:
        gpiozero.Device.pin_factory = before
