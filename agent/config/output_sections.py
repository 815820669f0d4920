"""The relays, displays, lights and buzzers of the file. `docs/configuration.toml` says what each key means."""

from typing import Annotated, Literal

import msgspec

from agent.config.input_sections import FeedbackSection
from agent.config.section import Baudrate, Gpio, Name, NonEmpty, Section


class RelaySettings(Section, frozen=True, kw_only=True):
    """What every relay has beside the way to it."""

    feedback: FeedbackSection | None = None
    interlock: Name | None = None
    min_off_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 0.0


class GpioRelaySection(RelaySettings, frozen=True, kw_only=True, tag_field="kind", tag="gpio"):
    """A relay on a GPIO pin, in Broadcom numbering."""

    gpio: Gpio
    active_high: bool = True


class LcusRelaySection(RelaySettings, frozen=True, kw_only=True, tag_field="kind", tag="lcus"):
    """One relay of a USB board that takes LCUS commands on a serial line."""

    port: NonEmpty
    channel: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    baudrate: Baudrate = 9600


class HidRelaySection(RelaySettings, frozen=True, kw_only=True, tag_field="kind", tag="hid"):
    """One relay of a USB HID board."""

    channel: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    serial: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] | None = None


RelaySection = GpioRelaySection | LcusRelaySection | HidRelaySection

Columns = Annotated[int, msgspec.Meta(ge=8, le=80)]
Rows = Annotated[int, msgspec.Meta(ge=1, le=8)]


class DisplaySettings(Section, frozen=True, kw_only=True):
    """What every display has."""

    scroll: bool = True
    idle_text: Annotated[str, msgspec.Meta(min_length=1, max_length=80)] | None = None
    idle_clock: bool = False


class ConsoleDisplaySection(DisplaySettings, frozen=True, kw_only=True, tag_field="kind", tag="console"):
    """Lines on standard output."""

    columns: Columns = 20
    rows: Rows = 2
    charset: Literal["ascii", "latin-1", "utf-8"] = "utf-8"


class CharacterDisplaySection(DisplaySettings, frozen=True, kw_only=True, tag_field="kind", tag="hd44780"):
    """A character display with an HD44780 or kin behind a PCF8574 on I2C."""

    bus: Annotated[int, msgspec.Meta(ge=0, le=31)] = 1
    address: Annotated[int, msgspec.Meta(ge=0x03, le=0x77)] = 0x27
    columns: Literal[16, 20] = 20
    rows: Literal[2, 4] = 4
    rom: Literal["a00", "a02"] = "a00"
    backlight: bool = True


class SerialDisplaySection(DisplaySettings, frozen=True, kw_only=True, tag_field="kind", tag="serial"):
    """A text display on a serial line."""

    port: NonEmpty
    protocol: Literal["plain", "cd5220", "vt100"] = "plain"
    baudrate: Baudrate = 9600
    columns: Columns = 20
    rows: Rows = 2
    charset: Literal["ascii", "latin-1", "utf-8"] = "ascii"


class PictureDisplaySection(DisplaySettings, frozen=True, kw_only=True, tag_field="kind", tag="picture"):
    """An OLED or TFT whose controller luma.oled or luma.lcd knows."""

    chip: NonEmpty
    interface: Literal["i2c", "spi"] = "i2c"
    bus: Annotated[int, msgspec.Meta(ge=0, le=31)] = 1
    address: Annotated[int, msgspec.Meta(ge=0x03, le=0x77)] = 0x3C
    spi_port: Annotated[int, msgspec.Meta(ge=0, le=7)] = 0
    spi_device: Annotated[int, msgspec.Meta(ge=0, le=7)] = 0
    dc: Gpio = 24
    rst: Gpio = 25
    width: Annotated[int, msgspec.Meta(ge=64, le=1024)] = 128
    height: Annotated[int, msgspec.Meta(ge=32, le=1024)] = 64
    rotate: Literal[0, 90, 180, 270] = 0
    columns: Columns = 16
    rows: Rows = 4


DisplaySection = ConsoleDisplaySection | CharacterDisplaySection | SerialDisplaySection | PictureDisplaySection


class LightSection(Section, frozen=True, kw_only=True):
    """Red, green and blue on GPIO pins."""

    red: Gpio
    green: Gpio
    blue: Gpio
    active_high: bool = True


class BuzzerSection(Section, frozen=True, kw_only=True):
    """A buzzer that sounds while its GPIO pin is on."""

    gpio: Gpio
    active_high: bool = True
