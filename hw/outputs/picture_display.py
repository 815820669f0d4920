"""Displays of dots, OLED or TFT: text in columns and rows, drawn as a picture.

Which displays there are is `picture_display_devices`' business, what text looks like `picture_display_drawing`'s.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from agent.ports import Charset, Display
from hw.outputs.newest import PanelWriter
from hw.outputs.picture_display_devices import CHIPS, OLEDS, Device, Interface, Wiring, open_device, probe, show
from hw.outputs.picture_display_drawing import Look, draw

CLOSE_S = 1.0
"""How long the last text may take at the end; a TFT of 320 x 240 takes a tenth of that over SPI."""
CHECK_S = 2.0
"""One byte on I2C tells whether the display is still there. On SPI nobody can tell."""

PAPER = (11, 37, 69)
"""Of a display with colours: a dark blue, for white on black looks like one that is off."""


class PictureDisplay:
    """Shows text on an OLED or TFT; one that is away is said in the log and shows the newest text once it is back.

    A display on SPI that was without power shows nothing until the agent starts again.
    """

    def __init__(
        self,
        label: str,
        *,
        chip: str,
        interface: Interface = "i2c",
        bus: int = 1,
        address: int = 0x3C,
        spi_port: int = 0,
        spi_device: int = 0,
        dc: int = 24,
        rst: int | None = 25,
        light: int | None = None,
        columns: int,
        rows: int,
        width: int = 128,
        height: int = 64,
        rotate: Literal[0, 90, 180, 270] = 0,
        retry_s: float = 1.0,
        check_s: float = CHECK_S,
        make: Callable[[], Device] | None = None,
        look_after: Callable[[], None] | None = None,
    ) -> None:
        """`width` and `height` are as one looks at it, `rotate` in degrees clockwise; the pins are numbered as BCM.

        `make` and `look_after` take the places of luma's device and of asking the bus for it. Raises ValueError for a
        chip that is not known, and where the text would be too small to read.
        """
        if chip not in CHIPS:
            raise ValueError(f"{chip!r} is no display's chip that we know: {', '.join(CHIPS)}")
        wiring = Wiring(interface, bus, address, spi_port, spi_device, dc, rst, light)
        self._look = Look(columns, rows, width, height, shades=chip not in OLEDS, paper=PAPER)
        panel = _Panel(
            self._look,
            wiring,
            make or (lambda: open_device(chip, wiring, width, height, rotate // 90)),
            look_after or (lambda: probe(wiring)),
        )
        self._writer = PanelWriter(label, panel, retry_s=retry_s, check_s=check_s if interface == "i2c" else None)

    @property
    def columns(self) -> int:
        """Characters a line."""
        return self._look.columns

    @property
    def rows(self) -> int:
        """Lines."""
        return self._look.rows

    @property
    def charset(self) -> Charset:
        """What its font has."""
        return Charset.LATIN_1

    def show(self, lines: Sequence[str]) -> None:
        """As `agent.ports.Display.show`."""
        self._writer.show([line[: self.columns] for line in lines[: self.rows]])

    def settle(self, wait_s: float) -> bool:
        """Wait until the newest text is shown; whether it was within `wait_s` seconds."""
        return self._writer.settle(wait_s)

    def close(self, wait_s: float = CLOSE_S) -> None:
        """As `agent.ports.Display.close`; the last text stays."""
        self._writer.close(wait_s)


class _Panel:
    """The display as its thread sees it."""

    def __init__(self, look: Look, wiring: Wiring, make: Callable[[], Device], look_after: Callable[[], None]) -> None:
        self._look = look
        self._wiring = wiring
        self._make = make
        self._look_after = look_after
        self._device: Device | None = None

    def open(self) -> None:
        self._device = self._make()
        self._device.persist = True  # "restarting" shall stay there when we are gone

    def write(self, lines: Sequence[str]) -> None:
        assert self._device is not None
        show(self._device, draw(lines, self._look), self._wiring)

    def check(self) -> None:
        self._look_after()

    def close(self) -> None:
        if self._device is not None:
            device, self._device = self._device, None
            device.cleanup()


_fits: type[Display] = PictureDisplay
