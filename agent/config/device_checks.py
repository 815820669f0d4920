"""What devices have to do with each other: no two share a pin or a line that can't be shared, and each can be found."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

from agent.config.input_sections import ModbusMeterSection, S0MeterSection
from agent.config.output_sections import (
    CharacterDisplaySection,
    DisplaySection,
    GpioRelaySection,
    HidRelaySection,
    LcusRelaySection,
    PictureDisplaySection,
    RelaySection,
    SerialDisplaySection,
)
from agent.config.reader_sections import (
    Id12laSection,
    KeyboardSection,
    LineReaderSection,
    PcscSection,
    Pn532Section,
    Rdm6300Section,
    ReaderSection,
    WiegandSection,
)
from agent.config.sections import Config, EvseSection
from agent.core.uid import UidFormat
from agent.errors import ConfigError


def check_devices(config: Config, path: Path) -> None:
    """Pins, lines and boards are each one device's, and what finds a device is there. Raises ConfigError."""
    for reader in config.reader:
        _check_reader(reader, f'{path}: reader "{reader.name}"')
    _check_pcsc(config, path)
    _check_pins(config, path)
    _check_displays(config, path)
    _check_lines(config, path)
    _check_boards(config, path)
    _check_interlocks(config, path)


def uid_format(reader: ReaderSection) -> UidFormat:
    """How the reader's bytes become a uid. Raises ValueError for settings that can't be."""
    keep_last = reader.uid_bytes
    if keep_last is None and isinstance(reader, Rdm6300Section | Id12laSection):
        keep_last = 5
    more = {} if reader.uid_facility_digits is None else {"facility_digits": reader.uid_facility_digits}
    return UidFormat(keep_last=keep_last, reverse=reader.uid_reversed, decimal_digits=reader.uid_decimal_digits, **more)


def is_named(config: Config, relay: RelaySection) -> bool:
    """Whether the pin of this relay, or its place on a board, is something's in the configuration."""
    match relay:
        case GpioRelaySection():
            pins = {pin for bus in _buses(config) for pin in _BUS_PINS[bus]} | {pin for pin, _ in _pins(config)}
            return relay.gpio in pins
        case LcusRelaySection():
            ports = {port: sharing for port, _, sharing in _lines(config)}
            if relay.port in ports and not isinstance(ports[relay.port], LcusRelaySection):
                return True
            return _place_of(relay) in {_place_of(evse.relay) for evse in config.evse}
        case HidRelaySection():
            return _place_of(relay) in {_place_of(evse.relay) for evse in config.evse}
        case never:
            assert_never(never)


def _place_of(relay: RelaySection) -> tuple[object, ...]:
    match relay:
        case GpioRelaySection():
            return ("gpio", relay.gpio)
        case LcusRelaySection():
            return ("lcus", relay.port, relay.channel)
        case HidRelaySection():
            return ("hid", relay.serial, relay.channel)
        case never:
            assert_never(never)


def _check_reader(reader: ReaderSection, where: str) -> None:
    try:
        uid_format(reader)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    if isinstance(reader, LineReaderSection):
        try:
            re.compile(reader.pattern)
        except re.error as error:
            raise ConfigError(f"{where}: pattern: expected a regular expression: {error}") from error
    if isinstance(reader, KeyboardSection) and [reader.device, reader.usb, reader.title].count(None) != 2:
        raise ConfigError(f"{where}: expected one of device, usb and title; `readers` lists what is plugged in")


def _check_pcsc(config: Config, path: Path) -> None:
    """A card is a tap at one reader. What other patterns have in common is for `doctor`, which sees the readers."""
    owners: dict[str, str] = {}
    for reader in config.reader:
        if not isinstance(reader, PcscSection):
            continue
        match = reader.match.casefold()
        if owners and (match in owners or "*" in {match, *owners}):
            other = owners.get(match) or owners.get("*") or next(iter(owners.values()))
            raise ConfigError(
                f'{path}: reader "{reader.name}": match: "{reader.match}" fits readers of "{other}", too: each card '
                "there would be a tap at both; expected a match of its own, `readers` shows one for each"
            )
        owners[match] = reader.name


# ---- pins


def _check_pins(config: Config, path: Path) -> None:
    owners: dict[int, str] = {pin: bus for bus in _buses(config) for pin in _BUS_PINS[bus]}
    for pin, where in _pins(config):
        if pin in owners:
            raise ConfigError(f"{path}: {where}: pin {pin} is taken by {owners[pin]}; each device needs its own")
        owners[pin] = where


def _pins(config: Config) -> Iterator[tuple[int, str]]:
    for number, evse in enumerate(config.evse, 1):
        for pin, key in _pins_of(evse):
            yield pin, f"evse #{number}: {key}"
    for meter in config.meter:
        if isinstance(meter, S0MeterSection):
            yield meter.gpio, f'meter "{meter.name}": gpio'
    for reader in config.reader:
        if isinstance(reader, WiegandSection):
            yield reader.data0, f'reader "{reader.name}": data0'
            yield reader.data1, f'reader "{reader.name}": data1'


def _pins_of(evse: EvseSection) -> Iterator[tuple[int, str]]:
    """Every pin that is wired to the EVSE's own devices, with its key."""
    if isinstance(evse.relay, GpioRelaySection):
        yield evse.relay.gpio, "relay.gpio"
    if evse.relay.feedback is not None:
        yield evse.relay.feedback.gpio, "relay.feedback.gpio"
    if evse.plug is not None:
        yield evse.plug.gpio, "plug.gpio"
    if evse.buzzer is not None:
        yield evse.buzzer.gpio, "buzzer.gpio"
    if evse.light is not None:
        yield evse.light.red, "light.red"
        yield evse.light.green, "light.green"
        yield evse.light.blue, "light.blue"
    if isinstance(evse.display, PictureDisplaySection) and evse.display.interface == "spi":
        yield evse.display.dc, "display.dc"
        yield evse.display.rst, "display.rst"


_BUS_PINS = {
    "I2C bus 0": (0, 1),
    "I2C bus 1": (2, 3),
    "SPI port 0": (7, 8, 9, 10, 11),
    "SPI port 1": (18, 19, 20, 21),
    "the UART": (14, 15),
}
"""The pins of a Raspberry Pi's buses, by their BCM numbers: an output there would move with what the bus carries."""

_UARTS = frozenset({"/dev/serial0", "/dev/ttyAMA0", "/dev/ttyS0"})
"""Names that a Raspberry Pi gives the line on its header."""


def _buses(config: Config) -> set[str]:
    """Those of `_BUS_PINS` that the configured devices use."""
    used = {"the UART" for port, _, _ in _lines(config) if port in _UARTS}
    used |= {bus for evse in config.evse if (bus := _bus_of(evse.display)) is not None}
    return used & _BUS_PINS.keys()


def _bus_of(display: DisplaySection) -> str | None:
    if isinstance(display, CharacterDisplaySection):
        return f"I2C bus {display.bus}"
    if isinstance(display, PictureDisplaySection):
        return f"I2C bus {display.bus}" if display.interface == "i2c" else f"SPI port {display.spi_port}"
    return None


def _check_displays(config: Config, path: Path) -> None:
    """Two EVSEs would write over each other's texts."""
    owners: dict[tuple[str, int], int] = {}
    for number, evse in enumerate(config.evse, 1):
        display, bus = evse.display, _bus_of(evse.display)
        if bus is None or not isinstance(display, CharacterDisplaySection | PictureDisplaySection):
            continue
        place, key = display.address, "address"
        if isinstance(display, PictureDisplaySection) and display.interface == "spi":
            place, key = display.spi_device, "spi_device"
        if (bus, place) in owners:
            other = owners[bus, place]
            raise ConfigError(
                f"{path}: evse #{number}: display.{key}: evse #{other} has a display there, too ({bus}); "
                "each EVSE needs its own"
            )
        owners[bus, place] = number


# ---- serial lines


def _check_lines(config: Config, path: Path) -> None:
    """One device a line; but meters are told apart by their unit, a board's relays by their channel."""
    owners: dict[str, tuple[str, object]] = {}
    for port, where, sharing in _lines(config):
        if port not in owners:
            owners[port] = (where, sharing)
            continue
        owner, shared = owners[port]
        if sharing is None or shared is None or type(sharing) is not type(shared):
            raise ConfigError(f"{path}: {where}: port: {port} is taken by {owner}; each device needs its own line")
    _check_units(config, path)


def _lines(config: Config) -> Iterator[tuple[str, str, object]]:
    """Port, whose it is, and what others of this type may share it."""
    for reader in config.reader:
        if isinstance(reader, Rdm6300Section | Id12laSection | LineReaderSection | Pn532Section):
            yield reader.port, f'reader "{reader.name}"', None
    for meter in config.meter:
        if isinstance(meter, ModbusMeterSection):
            yield meter.port, f'meter "{meter.name}"', meter
    for number, evse in enumerate(config.evse, 1):
        if isinstance(evse.relay, LcusRelaySection):
            yield evse.relay.port, f"evse #{number}: relay", evse.relay
        if isinstance(evse.display, SerialDisplaySection):
            yield evse.display.port, f"evse #{number}: display", None


def _check_units(config: Config, path: Path) -> None:
    """Meters on one line are told apart by their unit, and spoken to in one way."""
    lines: dict[str, ModbusMeterSection] = {}
    units = set()
    for meter in config.meter:
        if not isinstance(meter, ModbusMeterSection):
            continue
        where = f'{path}: meter "{meter.name}"'
        first = lines.setdefault(meter.port, meter)
        if (first.baudrate, first.parity, first.stopbits) != (meter.baudrate, meter.parity, meter.stopbits):
            expected = f'expected baudrate, parity and stopbits as meter "{first.name}" on the same port has them'
            raise ConfigError(f"{where}: {expected}")
        if (meter.port, meter.unit) in units:
            raise ConfigError(f"{where}: unit: {meter.unit} stands twice on {meter.port}; set another in the meter")
        units.add((meter.port, meter.unit))


def _check_boards(config: Config, path: Path) -> None:
    """Each relay of a USB board is one EVSE's, and boards are told apart."""
    taken: dict[tuple[object, int], int] = {}
    baudrates: dict[str, int] = {}
    serials = {evse.relay.serial for evse in config.evse if isinstance(evse.relay, HidRelaySection)}
    for number, evse in enumerate(config.evse, 1):
        relay, where = evse.relay, f"{path}: evse #{number}: relay"
        if isinstance(relay, GpioRelaySection):
            continue
        if isinstance(relay, LcusRelaySection):
            board: object = relay.port
            if baudrates.setdefault(relay.port, relay.baudrate) != relay.baudrate:
                raise ConfigError(f"{where}.baudrate: expected {baudrates[relay.port]} as before on the same port")
        else:
            board = ("hid", relay.serial)
            if relay.serial is None and len(serials) > 1:
                need = "with several boards each needs its own: after a wrong one the agent's log names those there are"
                raise ConfigError(f"{where}.serial: missing; {need}")
        if (board, relay.channel) in taken:
            other = taken[board, relay.channel]
            raise ConfigError(f"{where}.channel: {relay.channel} is taken by evse #{other}; each EVSE needs its own")
        taken[board, relay.channel] = number


def _check_interlocks(config: Config, path: Path) -> None:
    names = [evse.relay.interlock for evse in config.evse]
    for number, name in enumerate(names, 1):
        if name is not None and names.count(name) == 1:
            need = "an interlock is between two EVSEs at least; is the other one's name spelled the same?"
            raise ConfigError(f'{path}: evse #{number}: relay.interlock: only this EVSE names "{name}"; {need}')
