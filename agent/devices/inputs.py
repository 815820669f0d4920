"""The plug sensors and meters."""
# ruff: noqa: PLC0415  a driver and its library are imported where such a device is fitted

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from agent.config import Config, ModbusMeterSection, S0MeterSection
from agent.devices.work import Work, lost_when_it_fails
from agent.errors import ConfigError
from agent.model import MeterReading
from agent.ports import Meter, PlugSensor
from agent.runtime.charge_point import EvseTapLoop

if TYPE_CHECKING:
    from hw.inputs.modbus_bus import ModbusBus
    from hw.inputs.modbus_registers import RegisterMap

log = logging.getLogger(__name__)


def inputs_of(
    config: Config,
    evses: Mapping[str, EvseTapLoop],
    registers: Mapping[str, int],
    on_reading: Callable[[str, MeterReading], None],
) -> dict[str, Work]:
    """What watches plugs and meters, each by the name that the log gives it.

    `registers`: by EVSE, the last reading of a session that goes on, for a meter that only gives pulses. `on_reading`
    hears of each of an EVSE's meter, after the EVSE. Raises ConfigError for a meter that is not known.
    """
    inputs: dict[str, Work] = {}
    for section in config.evse:
        if section.plug is not None:
            from hw.inputs.gpio_plug import GpioPlugSensor

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
                _watch_meter, section.meter, meters[section.meter], evses[section.uid], on_reading
            )
    return inputs


def _meters_of(config: Config, counted: Mapping[str, int]) -> dict[str, Meter]:
    meters: dict[str, Meter] = {}
    buses: dict[str, ModbusBus] = {}
    for section in config.meter:
        if isinstance(section, S0MeterSection):
            from hw.inputs.s0_meter import S0Meter

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
    from hw.inputs.modbus_registers import REGISTER_MAPS

    if section.model not in REGISTER_MAPS:
        known = ", ".join(sorted(REGISTER_MAPS))
        raise ConfigError(f'meter "{section.name}": model: "{section.model}" is not known; there are: {known}')
    return REGISTER_MAPS[section.model]


def _modbus_meter(section: ModbusMeterSection, buses: "dict[str, ModbusBus]") -> Meter:
    from hw.inputs import modbus_bus, modbus_meter

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

    with lost_when_it_fails(lambda: evse.plug_sensor_is(works=False)):
        await sensor.run(lambda plugged: evse.plug_is(plugged=plugged), on_state)


async def _watch_meter(
    name: str, meter: Meter, evse: EvseTapLoop, on_reading: Callable[[str, MeterReading], None]
) -> None:
    def read(reading: MeterReading) -> None:
        evse.read(reading)
        on_reading(evse.evse_uid, reading)

    def on_state(works: bool, advice: str) -> None:  # noqa: FBT001  a port's signature
        log.log(logging.INFO if works else logging.WARNING, "meter %s: %s", name, advice)
        evse.meter_is(works=works)

    with lost_when_it_fails(lambda: evse.meter_is(works=False)):
        await meter.run(read, on_state)
