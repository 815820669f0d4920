"""Displays of dots: the font, the drawing, luma's devices, and what is said where one is missing."""

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Literal

import gpiozero
import msgspec
import pytest
from luma.core.device import dummy
from PIL import ImageChops

from agent.config import EvseSection
from agent.core.glyphs import fit
from agent.core.texts import LANGUAGES
from agent.devices.displays import display_of
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

    def __init__(self, error: Exception | None = None) -> None:
        self.taken = 0
        self.error = error
        self.given_back = 0

    def command(self, *values: int) -> None:
        self._take(len(values))

    def data(self, values: Any) -> None:
        self._take(len(values))

    def cleanup(self) -> None:
        self.given_back += 1

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
        (
            ModuleNotFoundError("No module named 'spidev'"),
            r"with its extra display \(pip install '\.\[display\]' where",
        ),
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


def test_spi_without_its_library_names_both_extras() -> None:
    def connected(_: Wiring) -> Any:
        raise ModuleNotFoundError("No module named 'spidev'")

    with pytest.raises(DeviceError, match=r"extra display and spi \(pip install '\.\[display,spi\]' where"):
        open_device("st7735", Wiring("spi"), 160, 128, 0, connected=connected)


def at(sent: Recorded) -> Callable[[Wiring], Recorded]:
    """Every way leads to this interface."""
    return lambda _: sent


@pytest.mark.parametrize("error", [OSError(121, "Remote I/O error"), AssertionError("what luma asserts")])
def test_display_that_fails_while_it_is_made_is_given_back_and_forgotten(error: Exception) -> None:
    sent = Recorded(error)
    with pytest.raises((DeviceError, AssertionError)):
        open_device("ssd1306", Wiring(), 128, 64, 0, connected=at(sent))
    assert sent.given_back == 1
    kept, error.__traceback__ = weakref.ref(sent), None
    del sent
    gc.collect()
    assert kept() is None


@pytest.mark.filterwarnings("ignore:Image.Image.getdata is deprecated:DeprecationWarning")
def test_display_that_was_given_back_is_forgotten() -> None:
    sent = Recorded()
    open_device("ssd1306", Wiring(), 128, 64, 0, connected=at(sent)).cleanup()
    kept = weakref.ref(sent)
    del sent
    gc.collect()
    assert kept() is None


# On SPI, with a bus that is not there


class SpiBus:
    """spidev's bus; `failing` is how many of the next transfers fail."""

    failing = 0
    transfers = 0
    max_speed_hz = 0

    def open(self, port: int, device: int) -> None:
        assert (port, device) == (0, 0)

    def writebytes(self, _data: object) -> None:
        type(self).transfers += 1
        if type(self).failing:
            type(self).failing -= 1
            raise OSError(5, "Input/output error")

    def close(self) -> None:
        """It has no descriptor."""


@pytest.fixture
def spi(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[SpiBus]]:
    class Bus(SpiBus):
        """This test's own counters."""

    spidev = ModuleType("spidev")
    spidev.SpiDev = Bus  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spidev", spidev)
    before = gpiozero.Device.pin_factory
    mock_pins()
    yield Bus
    gpiozero.Device.pin_factory = before


@pytest.mark.usefixtures("spi")
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_display_is_turned_by_the_degrees_of_the_configuration(rotate: Literal[0, 90, 180, 270]) -> None:
    width, height = (160, 128) if rotate in (0, 180) else (128, 160)
    table = {"kind": "picture", "chip": "st7735", "interface": "spi", "width": width, "height": height}
    evse = {"uid": "E1", "readers": ["r"], "relay": {"kind": "gpio", "gpio": 17}, "display": table | {"rotate": rotate}}
    display = display_of(msgspec.convert(evse, EvseSection), None)
    assert isinstance(display, PictureDisplay)
    display.show(["hello"])
    assert display.settle(HANG_S)
    display.close(HANG_S)


@pytest.mark.parametrize("before", ["it is made", "it is written to"])
def test_spi_that_fails_once_leaves_no_pin_taken(spi: type[SpiBus], before: str) -> None:
    display = PictureDisplay(
        "E1", chip="st7735", interface="spi", columns=16, rows=4, width=160, height=128, retry_s=0.01
    )
    if before == "it is written to":
        display.show(["one"])
        assert display.settle(HANG_S)
    spi.failing = 1
    display.show(["two"])
    assert display.settle(HANG_S)
    assert not spi.failing
    display.close(HANG_S)


@pytest.mark.usefixtures("spi")
def test_display_whose_pin_somebody_has_comes_once_that_one_lets_go() -> None:
    other = gpiozero.OutputDevice(24)
    display = PictureDisplay(
        "E1", chip="st7735", interface="spi", columns=16, rows=4, width=160, height=128, retry_s=0.01
    )
    display.show(["one"])
    assert not display.settle(0.05)
    other.close()
    assert display.settle(HANG_S)
    display.close(HANG_S)
