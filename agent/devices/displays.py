"""The displays, lights and buzzers."""
# ruff: noqa: PLC0415  a driver and its library are imported where such a device is fitted

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Protocol, TextIO, assert_never
from zoneinfo import ZoneInfo

from agent.config import (
    CharacterDisplaySection,
    Config,
    ConsoleDisplaySection,
    EvseSection,
    PictureDisplaySection,
    SerialDisplaySection,
)
from agent.devices.work import Work
from agent.errors import ConfigError
from agent.ports import Charset, Display, Indicator
from agent.runtime.clock import Clock
from agent.runtime.idle_screen import IdleScreen

log = logging.getLogger(__name__)

DISPLAYS_CLOSE_S = 1.0
"""How long the end waits for the last texts to be read."""


def display_of(evse: EvseSection, stream: TextIO | None) -> Display:
    """The display of one EVSE; `stream` is for the console. Raises ConfigError for a shape that it can't have.

    One whose library is not installed keeps no charge from anybody: its texts go to the console.
    """
    try:
        return _display_of(evse, stream)
    except ValueError as error:
        raise ConfigError(f'evse "{evse.uid}": display: {error}') from error
    except ImportError as error:
        from hw.outputs.console_display import ConsoleDisplay

        log.error(
            "evse=%s the display can't be driven (%s): install this program with its extra display "
            "(pip install '.[display]' where its source is). Its texts go to standard output", evse.uid, error,
        )  # fmt: skip
        shape = evse.display
        return ConsoleDisplay(stream, columns=shape.columns, rows=shape.rows, charset=Charset.UNICODE, label=evse.uid)


def _display_of(evse: EvseSection, stream: TextIO | None) -> Display:
    section = evse.display
    match section:
        case ConsoleDisplaySection():
            from hw.outputs.console_display import ConsoleDisplay

            charset = Charset(section.charset)
            return ConsoleDisplay(stream, columns=section.columns, rows=section.rows, charset=charset, label=evse.uid)
        case CharacterDisplaySection():
            from hw.outputs.character_display import CharacterDisplay

            return CharacterDisplay(
                evse.uid, bus=section.bus, address=section.address, columns=section.columns, rows=section.rows,
                rom=section.rom, backlight=section.backlight,
            )  # fmt: skip
        case SerialDisplaySection():
            from hw.outputs.serial_display import SerialDisplay

            return SerialDisplay(
                evse.uid, section.port, protocol=section.protocol, baudrate=section.baudrate, columns=section.columns,
                rows=section.rows, charset=Charset(section.charset),
            )  # fmt: skip
        case PictureDisplaySection():
            from hw.outputs.picture_display import PictureDisplay

            return PictureDisplay(
                evse.uid, chip=section.chip, interface=section.interface, bus=section.bus, address=section.address,
                spi_port=section.spi_port, spi_device=section.spi_device, dc=section.dc, rst=section.rst,
                width=section.width, height=section.height, rotate=section.rotate, columns=section.columns,
                rows=section.rows,
            )  # fmt: skip
        case never:
            assert_never(never)


def idle_screen_of(config: Config, evse: EvseSection, clock: Clock) -> IdleScreen:
    """What stands on the EVSE's display beside the invitation while nothing happens."""
    zone = ZoneInfo(config.location.time_zone)

    def local_time() -> datetime | None:
        return clock.now().astimezone(zone) if clock.is_known else None

    return IdleScreen(text=evse.display.idle_text, clock=local_time if evse.display.idle_clock else None)


def close_displays(displays: Iterable[Display]) -> None:
    """Let the last texts be written; one that nobody reads holds up the end for no more than a second, all together."""
    until = time.monotonic() + DISPLAYS_CLOSE_S
    for display in displays:
        display.close(max(0.0, until - time.monotonic()))


class _Lamp(Indicator, Protocol):
    async def run(self, on_state: Callable[[bool, str], None]) -> None: ...


def lamps_of(evse: EvseSection) -> Iterator[tuple[str, _Lamp, Work]]:
    """The EVSE's own light and buzzer: each with the name that the log gives it, and what lets it work."""
    if evse.light is not None:
        from hw.outputs.rgb_light import RgbLight

        pins = evse.light
        light = RgbLight(
            f"light of {evse.uid}", red=pins.red, green=pins.green, blue=pins.blue, active_high=pins.active_high
        )
        yield f"light of {evse.uid}", light, partial(_play, light)
    if evse.buzzer is not None:
        from hw.outputs.buzzer import Buzzer

        buzzer = Buzzer(f"buzzer of {evse.uid}", gpio=evse.buzzer.gpio, active_high=evse.buzzer.active_high)
        yield f"buzzer of {evse.uid}", buzzer, partial(_play, buzzer)


async def _play(lamp: _Lamp) -> None:
    def on_state(works: bool, advice: str) -> None:  # noqa: FBT001  a port's signature
        log.log(logging.INFO if works else logging.WARNING, "%s", advice)  # its label stands in it

    await lamp.run(on_state)
