"""Builds the drivers that a configuration names, and connects what they say to the EVSEs.

The one place of the agent that knows drivers by name; a library is imported where a device that needs it is fitted.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from agent.config import Config, EvseSection, ModbusMeterSection, ReaderSection, RelaySection, S0MeterSection
from agent.core.uid import UidFormat
from agent.errors import ConfigError, DeviceError, StoreError
from agent.model import Tap
from agent.ports import Meter, PlugSensor, Reader, ReaderState
from agent.runtime.charge_point import EvseTapLoop
from agent.runtime.outlets import Outlets
from agent.storage import alone_in, storage_folder
from hw.outputs.console_display import ConsoleDisplay
from hw.outputs.gpio_relay import GpioRelay
from hw.readers.frames import FrameKind
from hw.readers.serial_reader import SerialReader

if TYPE_CHECKING:
    from hw.inputs.modbus_bus import ModbusBus
    from hw.inputs.modbus_registers import RegisterMap

log = logging.getLogger(__name__)

DISPLAYS_CLOSE_S = 1.0
"""How long the end waits for the last texts to be read."""

Work = Callable[[], Awaitable[None]]
"""A part that works until cancelled."""


def open_relays(relays: Sequence[RelaySection], folder: Path | None) -> list[str]:
    """Open each relay: after an agent that was killed, for some kernels keep a pin's level. Returns what failed, named.

    Every relay is tried, whatever becomes of the others. Raises BusyError while an agent is running on the databases
    in `folder`, which alone may switch then; that this can't be found out hinders nothing.
    """
    with ExitStack() as stack:
        try:
            if folder is not None:
                stack.enter_context(alone_in(folder))
        except StoreError as error:
            log.warning("whether an agent is running can't be told, the relays are opened all the same: %s", error)
        faults = []
        for relay in relays:
            try:
                GpioRelay(relay.gpio, active_high=relay.active_high).detach()
            except DeviceError as error:
                faults.append(str(error))
        return faults


@contextmanager
def relays_of(config: Config) -> Iterator[dict[str, GpioRelay]]:
    """The relays by EVSE, open, while no other agent has the databases; open and given back on every way out.

    Raises BusyError with every pin untouched; StoreError and DeviceError when all relays that can be are open.
    """
    sections = [evse.relay for evse in config.evse]
    with ExitStack() as stack:
        try:
            stack.enter_context(alone_in(storage_folder(config)))
        except StoreError:
            # No agent can run here, so there is none to disturb.
            for fault in open_relays(sections, None):
                log.error("%s", fault)
            raise
        relays = {}
        try:
            for evse in config.evse:
                relays[evse.uid] = GpioRelay(evse.relay.gpio, active_high=evse.relay.active_high)
                stack.callback(relays[evse.uid].detach)
        except DeviceError:
            for fault in open_relays(sections[len(relays) + 1 :], None):
                log.error("%s", fault)
            raise
        yield relays


async def read_cards(reader: Reader, outlets: Outlets) -> None:
    def on_tap(tap: Tap) -> None:
        outlets.tap(tap)

    def on_state(state: ReaderState, advice: str) -> None:
        missing = state is ReaderState.MISSING
        log.log(logging.WARNING if missing else logging.INFO, "reader %s: %s", reader.name, advice)
        outlets.reader_is(reader.name, missing=missing)

    with _lost_when_it_fails(lambda: outlets.reader_is(reader.name, missing=True)):
        await reader.run(on_tap, on_state)


def reader_of(section: ReaderSection) -> SerialReader:
    uid_format = UidFormat(
        keep_last=section.uid_bytes, reverse=section.uid_reversed, decimal_digits=section.uid_decimal_digits
    )
    return SerialReader(
        section.name,
        section.port,
        kind=FrameKind(section.kind),
        to_uid=uid_format.to_uid,
        baudrate=section.baudrate,
        removal_s=section.removal_s,
        reopen_s=section.reopen_s,
    )


def display_of(section: EvseSection, stream: TextIO) -> ConsoleDisplay:
    shape = section.display
    return ConsoleDisplay(stream, columns=shape.columns, rows=shape.rows, charset=shape.charset, label=section.uid)


def close_displays(displays: Iterable[ConsoleDisplay]) -> None:
    """Let the last texts be written; one that nobody reads holds up the end for no more than a second, all together."""
    until = time.monotonic() + DISPLAYS_CLOSE_S
    for display in displays:
        display.close(max(0.0, until - time.monotonic()))


def inputs_of(config: Config, evses: Mapping[str, EvseTapLoop], registers: Mapping[str, int]) -> dict[str, Work]:
    """What watches plugs and meters, each by the name that the log gives it.

    `registers`: by EVSE, the last reading of a session that goes on, for a meter that only gives pulses. Raises
    ConfigError for a meter that is not known.
    """
    inputs: dict[str, Work] = {}
    for section in config.evse:
        if section.plug is not None:
            from hw.inputs.gpio_plug import GpioPlugSensor  # noqa: PLC0415  see the top

            plug = section.plug
            sensor = GpioPlugSensor(
                f"plug of {section.uid}", plug.gpio, active_high=plug.active_high, pull=plug.pull,
                debounce_s=plug.debounce_s,
            )  # fmt: skip
            inputs[f"plug sensor of {section.uid}"] = partial(_watch_plug, sensor, evses[section.uid])
    counted = {section.meter: registers.get(section.uid, 0) for section in config.evse if section.meter is not None}
    meters = _meters_of(config, counted)
    for section in config.evse:
        if section.meter is not None:
            inputs[f"meter {section.meter}"] = partial(
                _watch_meter, section.meter, meters[section.meter], evses[section.uid]
            )
    return inputs


def _meters_of(config: Config, counted: Mapping[str, int]) -> dict[str, Meter]:
    meters: dict[str, Meter] = {}
    buses: dict[str, ModbusBus] = {}
    for section in config.meter:
        if isinstance(section, S0MeterSection):
            from hw.inputs.s0_meter import S0Meter  # noqa: PLC0415  see the top

            meters[section.name] = S0Meter(
                section.name,
                section.gpio,
                pulses_per_kwh=section.pulses_per_kwh,
                start_wh=counted[section.name],
                active_high=section.active_high,
            )
        else:
            meters[section.name] = _modbus_meter(section, buses)
    return meters


def registers_of(section: ModbusMeterSection) -> "RegisterMap":
    """What stands where in a meter of that model. Raises ConfigError for one that is not known."""
    from hw.inputs.modbus_registers import REGISTER_MAPS  # noqa: PLC0415  see the top

    if section.model not in REGISTER_MAPS:
        known = ", ".join(sorted(REGISTER_MAPS))
        raise ConfigError(f'meter "{section.name}": model: "{section.model}" is not known; there are: {known}')
    return REGISTER_MAPS[section.model]


def _modbus_meter(section: ModbusMeterSection, buses: "dict[str, ModbusBus]") -> Meter:
    from hw.inputs import modbus_bus, modbus_meter  # noqa: PLC0415  see the top

    bus = buses.get(section.port)
    if bus is None:
        bus = buses[section.port] = modbus_bus.ModbusBus(
            section.port, baudrate=section.baudrate, parity=section.parity, stopbits=section.stopbits
        )
    registers = registers_of(section)
    return modbus_meter.ModbusMeter(section.name, bus, section.unit, registers, interval_s=section.interval_s)


async def _watch_plug(sensor: PlugSensor, evse: EvseTapLoop) -> None:
    def on_state(works: bool, advice: str) -> None:  # noqa: FBT001  a port's signature
        log.log(logging.INFO if works else logging.WARNING, "plug sensor of %s: %s", evse.evse_uid, advice)
        evse.plug_sensor_is(works=works)

    with _lost_when_it_fails(lambda: evse.plug_sensor_is(works=False)):
        await sensor.run(lambda plugged: evse.plug_is(plugged=plugged), on_state)


async def _watch_meter(name: str, meter: Meter, evse: EvseTapLoop) -> None:
    def on_state(works: bool, advice: str) -> None:  # noqa: FBT001  a port's signature
        log.log(logging.INFO if works else logging.WARNING, "meter %s: %s", name, advice)
        evse.meter_is(works=works)

    with _lost_when_it_fails(lambda: evse.meter_is(works=False)):
        await meter.run(evse.read, on_state)


@contextmanager
def _lost_when_it_fails(lost: Callable[[], None]) -> Iterator[None]:
    """A driver that breaks down says nothing more: its last word must not stand until somebody looks."""
    try:
        yield
    except (Exception, SystemExit):
        lost()
        raise
