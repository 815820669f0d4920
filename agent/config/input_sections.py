"""The meters and contacts of the file. `docs/configuration.toml` says what each key means."""

from typing import Annotated, Literal

import msgspec

from agent.config.section import Gpio, Name, NonEmpty, Section


class ModbusMeterSection(Section, frozen=True, kw_only=True, tag_field="kind", tag="modbus"):
    """An energy meter on an RS-485 line; several may share one."""

    name: Name
    port: NonEmpty
    model: NonEmpty
    unit: Annotated[int, msgspec.Meta(ge=1, le=247)] = 1
    baudrate: Annotated[int, msgspec.Meta(ge=300, le=921_600)] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stopbits: Literal[1, 2] = 1
    interval_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 5.0


class S0MeterSection(Section, frozen=True, kw_only=True, tag_field="kind", tag="s0"):
    """An energy meter that gives pulses on a GPIO pin, in Broadcom numbering."""

    name: Name
    gpio: Gpio
    pulses_per_kwh: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    active_high: bool = False


MeterSection = ModbusMeterSection | S0MeterSection


class PlugSection(Section, frozen=True, kw_only=True):
    """A contact on a GPIO pin, in Broadcom numbering, that tells whether a car is plugged in."""

    gpio: Gpio
    active_high: bool = True
    pull: Literal["up", "down", "none"] = "none"
    debounce_s: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.1


class FeedbackSection(Section, frozen=True, kw_only=True):
    """An auxiliary contact of the contactor on a GPIO pin: it tells whether the main contacts are closed.

    The defaults are for a mirror contact, normally closed, to ground: a broken wire looks like a weld, never like an
    open contactor.
    """

    gpio: Gpio
    active_high: bool = True
    pull: Literal["up", "down", "none"] = "up"
    debounce_s: Annotated[float, msgspec.Meta(ge=0.02, le=0.1)] = 0.05
