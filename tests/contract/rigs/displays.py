"""Displays: on a console, behind a backpack on I2C, of dots, on a serial line."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from luma.core.device import dummy
from PIL import Image, ImageChops

from agent.errors import DeviceError
from agent.ports import Charset
from fakes.glass import Kind, SerialGlass
from fakes.hd44780 import CharacterLcd
from hw.outputs.character_display import CharacterDisplay
from hw.outputs.console_display import ConsoleDisplay
from hw.outputs.picture_display import PAPER, PictureDisplay
from hw.outputs.picture_display_drawing import Look, draw
from hw.outputs.serial_display import SerialDisplay
from hw.serial_port import open_port
from tests.contract.behaviours import Shows
from tests.contract.rigs.kinds import DisplayRig, Factory

HANG_S = 120.0
"""Against hangs alone."""
SOON_S = 0.01
"""How often a device is looked after and tried again: a test has no time."""


@dataclass
class ConsoleRig:
    """A stream in memory."""

    stream: io.StringIO = field(default_factory=io.StringIO)
    cannot: Mapping[str, str] = field(
        default_factory=lambda: {Shows.AWAY: "a stream that is gone never comes back: the log says so"}
    )

    def __post_init__(self) -> None:
        self.display = ConsoleDisplay(self.stream, columns=20, rows=2, charset=Charset.UNICODE, label="EVSE 1")

    def seen(self) -> tuple[str, ...]:
        shown = self.stream.getvalue().rpartition("[EVSE 1] ")[2].rstrip("\n")
        rows = [row.rstrip() for row in shown.split(" | ")]
        return tuple([*rows, *[""] * 2][:2])

    async def settle(self) -> None:
        """Written at once."""

    async def unplug(self) -> None:
        """Never asked for."""

    async def plug(self) -> None:
        """Never asked for."""


@dataclass
class LcdRig:
    """Four lines of twenty behind a PCF8574."""

    rom: Literal["a00", "a02"]
    cannot: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lcd = CharacterLcd(columns=20, rows=4, rom=self.rom)
        self.display = CharacterDisplay(
            "EVSE 1",
            bus=1,
            address=0x27,
            columns=20,
            rows=4,
            rom=self.rom,
            retry_s=SOON_S,
            check_s=SOON_S,
            open_bus=self.lcd.open_bus,
        )

    def seen(self) -> tuple[str, ...]:
        return tuple(row.rstrip() for row in self.lcd.glass)

    async def settle(self) -> None:
        assert await asyncio.to_thread(self.display.settle, HANG_S)

    async def unplug(self) -> None:
        self.lcd.unplug()

    async def plug(self) -> None:
        self.lcd.plug()


class DotsRig:
    """luma's device without hardware; it is read as its font draws."""

    def __init__(self, chip: str, look: Look) -> None:
        self.cannot: Mapping[str, str] = {}
        self.look = look
        self.there = True
        self.device: Any = None
        self._drawn: list[tuple[str, Image.Image]] = []
        self.display = PictureDisplay(
            "EVSE 1",
            chip=chip,
            columns=look.columns,
            rows=look.rows,
            width=look.width,
            height=look.height,
            retry_s=SOON_S,
            check_s=SOON_S,
            make=self._make,
            look_after=self._look_after,
        )

    def seen(self) -> tuple[str, ...]:
        """Line by line, character by character: which one of the font would have put these dots there."""
        picture = None if self.device is None else self.device.image
        if picture is None:
            return ("",) * self.look.rows
        return tuple(self._read(picture, row).rstrip() for row in range(self.look.rows))

    async def settle(self) -> None:
        assert await asyncio.to_thread(self.display.settle, HANG_S)

    async def unplug(self) -> None:
        self.there = False

    async def plug(self) -> None:
        self.there = True

    def _make(self) -> Any:  # luma is not typed
        self._look_after()
        mode = "RGB" if self.look.shades else "1"
        # What it showed is gone with its power.
        self.device = dummy(width=self.look.width, height=self.look.height, mode=mode)
        return _Plugged(self.device, self._look_after)

    def _look_after(self) -> None:
        if not self.there:
            raise DeviceError("the display at I2C bus 1, address 0x3C does not answer")

    def _read(self, picture: Image.Image, row: int) -> str:
        return "".join(self._character(picture, row, column) for column in range(self.look.columns))

    def _character(self, picture: Image.Image, row: int, column: int) -> str:
        cell = self._cell(picture, row, column)
        return next((c for c, drawn in self._font() if _same(drawn, cell)), "\N{REPLACEMENT CHARACTER}")

    def _font(self) -> list[tuple[str, Image.Image]]:
        if not self._drawn:
            codes = (*range(0x20, 0x7F), *range(0xA1, 0x100))
            self._drawn = [(chr(code), self._cell(draw([chr(code)], self.look), 0, 0)) for code in codes]
        return self._drawn

    def _cell(self, picture: Image.Image, row: int, column: int) -> Image.Image:
        wide, high = self.look.cell
        left = (self.look.width - wide * self.look.columns) // 2 + column * wide
        top = (self.look.height - high * self.look.rows) // 2 + row * high
        return picture.crop((left, top, left + wide, top + high)).convert("RGB")


class _Plugged:
    """A device that can be pulled."""

    def __init__(self, device: Any, look_after: Callable[[], None]) -> None:
        self.persist = True
        self._device = device
        self._look_after = look_after

    def display(self, image: Image.Image) -> None:
        self._look_after()
        self._device.display(image)

    def cleanup(self) -> None:
        """The dummy holds nothing."""


def _same(one: Image.Image, other: Image.Image) -> bool:
    return ImageChops.difference(one, other).getbbox() is None


class CountedLine:
    """A port that counts what the driver sent, so that the rig can wait until the glass has it."""

    def __init__(self, rig: "SerialRig", port: str, baudrate: int) -> None:
        self._rig = rig
        self._line = open_port(port, baudrate)

    def fileno(self) -> int:
        return int(self._line.fileno())

    def write(self, data: bytes) -> int | None:
        written = self._line.write(data)
        self._rig.sent += len(data)
        return written

    def close(self) -> None:
        self._line.close()


class SerialRig:
    """A display on a pseudo-terminal."""

    def __init__(self, directory: Path, kind: Kind, charset: Charset, rows: int) -> None:
        self.cannot: Mapping[str, str] = {}
        self.sent = 0
        self.glass = SerialGlass(directory, kind, columns=20, rows=rows, encoding=charset.value)
        self.glass.plug()
        self.display = SerialDisplay(
            "EVSE 1",
            os.fspath(self.glass.path),
            protocol=kind,
            columns=20,
            rows=rows,
            charset=charset,
            retry_s=SOON_S,
            check_s=SOON_S,
            open_line=lambda port, baudrate: CountedLine(self, port, baudrate),
        )

    def seen(self) -> tuple[str, ...]:
        return self.glass.lines

    async def settle(self) -> None:
        assert await asyncio.to_thread(self.display.settle, HANG_S)
        assert await asyncio.to_thread(self.glass.wait_for, self.sent, HANG_S)

    async def unplug(self) -> None:
        """What was on the way is lost and no longer waited for."""
        await asyncio.to_thread(self.glass.wait_for, self.sent, HANG_S)
        self.glass.unplug()

    async def plug(self) -> None:
        self.glass.plug()


@asynccontextmanager
async def closed(rig: DisplayRig) -> AsyncIterator[DisplayRig]:
    try:
        yield rig
    finally:
        await asyncio.to_thread(rig.display.close, HANG_S)


def _console(_directory: Path) -> AbstractAsyncContextManager[DisplayRig]:
    return closed(ConsoleRig())


def _lcd(rom: Literal["a00", "a02"], _directory: Path) -> AbstractAsyncContextManager[DisplayRig]:
    return closed(LcdRig(rom))


def _dots(chip: str, look: Look, _directory: Path) -> AbstractAsyncContextManager[DisplayRig]:
    return closed(DotsRig(chip, look))


@asynccontextmanager
async def _serial(kind: Kind, charset: Charset, rows: int, directory: Path) -> AsyncIterator[DisplayRig]:
    rig = SerialRig(directory, kind, charset, rows)
    try:
        async with closed(rig):
            yield rig
    finally:
        rig.glass.unplug()


OLED = Look(20, 4, 128, 64, shades=False, paper=PAPER)
TFT = Look(16, 4, 160, 128, shades=True, paper=PAPER)

DISPLAYS: dict[str, Factory[DisplayRig]] = {
    "console": _console,
    "HD44780, ROM A00": partial(_lcd, "a00"),
    "HD44780, ROM A02": partial(_lcd, "a02"),
    "OLED (luma)": partial(_dots, "ssd1306", OLED),
    "TFT (luma)": partial(_dots, "st7735", TFT),
    "serial, plain": partial(_serial, "plain", Charset.LATIN_1, 4),
    "serial, CD5220": partial(_serial, "cd5220", Charset.ASCII, 2),
    "serial, VT100": partial(_serial, "vt100", Charset.UNICODE, 4),
}
