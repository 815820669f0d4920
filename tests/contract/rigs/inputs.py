"""Rigs of the inputs: contacts on gpiozero's mock pins, a meter's S0 output, a Modbus meter on a pseudo-terminal."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import gpiozero

from agent.ports import ContactFeedback, PlugSensor
from fakes.modbus_meter import EnergyMeter, Fault, MeterLine
from fakes.pins import WatchedFactory, mock_pins
from hw.inputs.gpio_contact import GpioContact
from hw.inputs.gpio_plug import GpioPlugSensor
from hw.inputs.modbus_bus import ModbusBus
from hw.inputs.modbus_meter import ModbusMeter
from hw.inputs.modbus_registers import REGISTER_MAPS
from hw.inputs.s0_meter import S0Meter
from tests.contract.rigs.kinds import Factory, FeedbackRig, MeterRig, PlugRig

A_MOMENT = 1e-3
PIN = 27

BOUNCES = 50


@contextmanager
def pins_of_a_test() -> Iterator[WatchedFactory]:
    """Mock pins in the place of whatever this process had."""
    before = gpiozero.Device.pin_factory
    try:
        yield mock_pins()
    finally:
        gpiozero.Device.pin_factory = before


class Contact:
    """The contact's other side: somebody who moves it, and cuts the board's power."""

    cannot: Mapping[str, str] = {}

    def __init__(self, pins: WatchedFactory) -> None:
        self._pins = pins
        self._closed = False
        pins.drive(PIN, high=False)

    async def set(self, *, closed: bool) -> None:
        """Move it."""
        self._closed = closed
        self._pins.drive(PIN, high=closed)

    async def bounce(self) -> None:
        """Let it bounce; all of it happens before the driver's next look."""
        for _ in range(BOUNCES):
            self._pins.drive(PIN, high=not self._closed)
            self._pins.drive(PIN, high=self._closed)

    async def unplug(self) -> None:
        """Let the board's pins fail."""
        self._pins.lose(PIN)

    async def plug(self) -> None:
        """Let them work again."""
        self._pins.find_again(PIN)


class GpioPlug(Contact):
    """A plug's contact."""

    def __init__(self, pins: WatchedFactory) -> None:
        super().__init__(pins)
        self.sensor: PlugSensor = GpioPlugSensor(
            "plug", PIN, active_high=True, pull="none", debounce_s=A_MOMENT, look_s=A_MOMENT, reopen_s=A_MOMENT
        )


class GpioFeedback(Contact):
    """A contactor's auxiliary contact."""

    def __init__(self, pins: WatchedFactory) -> None:
        super().__init__(pins)
        self.feedback: ContactFeedback = GpioContact(
            "contactor", PIN, active_high=True, pull="none", debounce_s=A_MOMENT, look_s=A_MOMENT, reopen_s=A_MOMENT
        )


class S0Rig:
    """The S0 output of a meter, one pulse a watt-hour, on a clock of its own: its edges carry their times."""

    cannot: Mapping[str, str] = {}

    def __init__(self, pins: WatchedFactory) -> None:
        self.meter = S0Meter("meter", PIN, pulses_per_kwh=1000, report_s=A_MOMENT, reopen_s=A_MOMENT)
        self._pins = pins
        self._time_s = 100.0
        self._level(active=False)

    async def draw(self, energy_wh: int) -> None:
        """A pulse for each."""
        for _ in range(energy_wh):
            self._pulse(0.03)

    async def spoil(self) -> None:
        """A spark: far shorter than a pulse may be."""
        self._pulse(0.001)

    async def unplug(self) -> None:
        """Let the board's pins fail: a cable that is cut looks like a car that rests."""
        self._pins.lose(PIN)

    async def plug(self) -> None:
        """Let them work again."""
        self._pins.find_again(PIN)

    def _pulse(self, long_s: float) -> None:
        self._time_s += 0.5
        self._level(active=True)
        self._time_s += long_s
        self._level(active=False)

    def _level(self, *, active: bool) -> None:
        self._pins.drive(PIN, high=not active, at=self._time_s)


class ModbusRig:
    """A meter on a line with its adapter."""

    cannot: Mapping[str, str] = {}

    def __init__(self, line: MeterLine, meter: EnergyMeter) -> None:
        # Short enough that a broken answer costs a test little, long beside what the emulator takes.
        bus = ModbusBus(str(line.path), baudrate=115200, answer_s=0.5)
        self.meter = ModbusMeter("meter", bus, meter.unit, REGISTER_MAPS[meter.model], interval_s=0.005)
        self._line = line
        self._emulated = meter

    async def draw(self, energy_wh: int) -> None:
        """Let this much through at once."""
        self._emulated.set_energy(self._emulated.energy_wh + energy_wh)

    async def spoil(self) -> None:
        """One answer with a wrong checksum."""
        self._emulated.misbehave(Fault.WRONG_CRC, times=1)

    async def unplug(self) -> None:
        """Pull the adapter."""
        self._line.unplug()

    async def plug(self) -> None:
        """Put it back."""
        self._line.plug()


@asynccontextmanager
async def gpio_plug(_directory: Path) -> AsyncIterator[PlugRig]:
    """A plug sensor on a pin."""
    with pins_of_a_test() as pins:
        yield GpioPlug(pins)


@asynccontextmanager
async def gpio_feedback(_directory: Path) -> AsyncIterator[FeedbackRig]:
    """An auxiliary contact on a pin."""
    with pins_of_a_test() as pins:
        yield GpioFeedback(pins)


@asynccontextmanager
async def s0(_directory: Path) -> AsyncIterator[MeterRig]:
    """A meter that pulses."""
    with pins_of_a_test() as pins:
        yield S0Rig(pins)


@asynccontextmanager
async def modbus(directory: Path) -> AsyncIterator[MeterRig]:
    """A meter that answers."""
    with MeterLine(directory, now=lambda: 0.0) as line:
        yield ModbusRig(line, line.add(1, "sdm630"))


PLUG_SENSORS: dict[str, Factory[PlugRig]] = {"contact on GPIO": gpio_plug}
FEEDBACKS: dict[str, Factory[FeedbackRig]] = {"contact on GPIO": gpio_feedback}
METERS: dict[str, Factory[MeterRig]] = {"S0 on GPIO": s0, "Modbus": modbus}
