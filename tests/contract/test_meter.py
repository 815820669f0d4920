"""What every meter promises (`agent.ports.Meter`): the real drivers on a pseudo-terminal and on gpiozero's mock pins.

Where an answer must come, it is waited for an hour; where none comes, for a moment. No test depends on its speed.
"""

import asyncio
import logging
import random
import re
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import gpiozero
import pytest

from agent.model import MeterReading
from agent.ports import Meter
from fakes.modbus_meter import EnergyMeter, Fault, MeterLine, Model
from fakes.pins import WatchedFactory, mock_pins
from hw.inputs.modbus_bus import LineError, ModbusBus
from hw.inputs.modbus_meter import TRIES, ModbusMeter
from hw.inputs.modbus_registers import REGISTER_MAPS
from hw.inputs.s0_meter import S0Meter

PIN = 22
HANG_S = 60
A_MOMENT = 0.02
AN_HOUR = 3600.0
MODELS = pytest.mark.parametrize("model", sorted(REGISTER_MAPS))
BAD_ANSWERS = pytest.mark.parametrize(
    "fault", [Fault.WRONG_CRC, Fault.GARBAGE, Fault.CUT, Fault.WRONG_UNIT, Fault.WRONG_LENGTH, Fault.SILENT, Fault.BUSY]
)


class Watching:
    """A meter at work, and all that it has said, in its order."""

    def __init__(self, meter: Meter) -> None:
        self.said: list[MeterReading | tuple[bool, str]] = []
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(meter.run(self._on_reading, self._on_state))

    @property
    def readings(self) -> list[MeterReading]:
        return [said for said in self.said if isinstance(said, MeterReading)]

    @property
    def energies(self) -> list[int]:
        return [reading.energy_wh for reading in self.readings]

    @property
    def states(self) -> list[tuple[bool, str]]:
        return [said for said in self.said if isinstance(said, tuple)]

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    async def next_reading(self) -> MeterReading:
        count = len(self.readings)
        await self.until(lambda: len(self.readings) > count)
        return self.readings[count]

    async def ready(self) -> None:
        await self.until(lambda: bool(self.states) and self.states[-1][0])

    async def lost(self) -> str:
        await self.until(lambda: bool(self.states) and not self.states[-1][0])
        return self.states[-1][1]

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    def _on_reading(self, reading: MeterReading) -> None:
        self.said.append(reading)
        self._changed.set()

    def _on_state(self, works: bool, text: str) -> None:  # noqa: FBT001  # the port's signature
        self.said.append((works, text))
        self._changed.set()


@asynccontextmanager
async def watching(meter: Meter) -> AsyncIterator[Watching]:
    async with asyncio.timeout(HANG_S):
        watch = Watching(meter)
        try:
            yield watch
        finally:
            await watch.cancel()


def bus_on(line: MeterLine, *, answer_s: float = AN_HOUR) -> ModbusBus:
    return ModbusBus(str(line.path), baudrate=115200, answer_s=answer_s)


def driver(bus: ModbusBus, model: str = "sdm630", unit: int = 1) -> ModbusMeter:
    return ModbusMeter("meter-1", bus, unit, REGISTER_MAPS[model], interval_s=0.005)


class Stopped:
    """A clock that stands still unless told."""

    def __init__(self) -> None:
        self.time_s = 1000.0

    def __call__(self) -> float:
        return self.time_s


@pytest.fixture
def clock() -> Stopped:
    return Stopped()


@pytest.fixture
async def line(tmp_path: Path, clock: Stopped) -> AsyncIterator[MeterLine]:
    with MeterLine(tmp_path, now=clock) as line:
        yield line


@pytest.fixture
def meter(line: MeterLine) -> EnergyMeter:
    meter = line.add(1, "sdm630")
    meter.set_energy(1234)
    return meter


# Modbus


@MODELS
async def test_energy_and_power_of_every_model_are_read(line: MeterLine, model: Model) -> None:
    meter = line.add(17, model)
    meter.set_energy(12_345_600)
    meter.draw(7360.5)
    async with watching(driver(bus_on(line), model, 17)) as watch:
        reading = await watch.next_reading()
        assert (reading.energy_wh, reading.power_w) == (12_345_600, 7360.5)
        await watch.ready()
        assert watch.states == [(True, f"unit 17 on {line.path} answers")]


@MODELS
async def test_power_that_flows_back_is_negative(line: MeterLine, model: Model) -> None:
    line.add(1, model).draw(-230.5)
    async with watching(driver(bus_on(line), model)) as watch:
        assert (await watch.next_reading()).power_w == -230.5


async def test_register_follows_the_power(line: MeterLine, meter: EnergyMeter, clock: Stopped) -> None:
    async with watching(driver(bus_on(line))) as watch:
        await watch.next_reading()
        meter.draw(36_000)
        clock.time_s += 1
        await watch.until(lambda: watch.energies[-1] != 1234)
        assert watch.energies[-1] == 1244
        assert watch.readings[-1].power_w == 36_000


async def test_reading_carries_the_time_of_its_answer_and_comes_before_the_state(
    line: MeterLine, meter: EnergyMeter
) -> None:
    before = asyncio.get_running_loop().time()
    async with watching(driver(bus_on(line))) as watch:
        await watch.ready()
        reading, state, *_ = watch.said
        assert isinstance(reading, MeterReading)
        assert before <= reading.at <= asyncio.get_running_loop().time()
        assert state == (True, f"unit 1 on {line.path} answers")


@pytest.mark.parametrize("portion", [1, 2, 7])
async def test_answer_in_any_portions_is_read(line: MeterLine, meter: EnergyMeter, portion: int) -> None:
    meter.portion = portion
    async with watching(driver(bus_on(line))) as watch:
        await watch.ready()
        assert watch.energies[0] == 1234
        assert [works for works, _ in watch.states] == [True]


@pytest.mark.parametrize("portion", [1, 5, 8])
async def test_adapter_that_hears_itself_does_not_disturb(line: MeterLine, meter: EnergyMeter, portion: int) -> None:
    line.echoes = portion
    async with watching(driver(bus_on(line))) as watch:
        await watch.ready()
        assert watch.energies[0] == 1234


@BAD_ANSWERS
async def test_single_bad_answer_is_no_reading_and_no_loss(line: MeterLine, meter: EnergyMeter, fault: Fault) -> None:
    async with watching(driver(bus_on(line, answer_s=0.5))) as watch:
        await watch.ready()
        meter.misbehave(fault, times=1)
        questions = meter.questions
        await watch.until(lambda: meter.questions > questions + 2)
        await watch.next_reading()
        assert set(watch.energies) == {1234}
        assert {reading.power_w for reading in watch.readings} == {0.0}


@BAD_ANSWERS
async def test_meter_that_answers_badly_for_long_is_lost_and_comes_back(
    line: MeterLine, meter: EnergyMeter, fault: Fault
) -> None:
    meter.misbehave(fault)
    async with watching(driver(bus_on(line, answer_s=A_MOMENT))) as watch:
        assert (await watch.lost()).startswith(f"unit 1 on {line.path} ")
        assert watch.readings == []
        assert meter.questions >= TRIES
        meter.behave()
        await watch.ready()
        assert set(watch.energies) == {1234}
        at = watch.said.index((True, f"unit 1 on {line.path} answers"))
        assert isinstance(watch.said[at - 1], MeterReading)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.SILENT, "does not answer: check its power and its wires A and B"),
        (Fault.WRONG_CRC, "can't be understood: check the baudrate and the parity"),
        (Fault.REFUSES, "(Modbus exception 2): is it of the model that the configuration names?"),
        (Fault.BUSY, "is busy (Modbus exception 6)"),
        (Fault.NO_NUMBER, "shows nothing that can be billed"),
    ],
)
async def test_lost_meter_says_what_to_do_once(line: MeterLine, meter: EnergyMeter, fault: Fault, words: str) -> None:
    meter.misbehave(fault)
    answer_s = A_MOMENT if fault is Fault.SILENT else AN_HOUR
    async with watching(driver(bus_on(line, answer_s=answer_s))) as watch:
        assert words in await watch.lost()
        for _ in range(5 * TRIES):
            await line.asked()
        assert len(watch.states) == 1


@MODELS
async def test_model_that_shows_that_it_has_no_number_gives_no_reading(line: MeterLine, model: Model) -> None:
    meter = line.add(1, model)
    meter.misbehave(Fault.NO_NUMBER)
    async with watching(driver(bus_on(line), model)) as watch:
        await watch.lost()
        assert watch.readings == []
        meter.behave()
        assert (await watch.next_reading()).energy_wh == 0


async def test_answer_with_any_bit_flipped_is_no_reading(line: MeterLine, meter: EnergyMeter) -> None:
    whole = meter.answer(4, 0x48, 4)
    meter.misbehave(Fault.SILENT)
    bus = bus_on(line, answer_s=0.005)
    with bus.in_use():
        for bit in range(8 * len(whole)):
            asking = asyncio.create_task(bus.read(1, 4, 0x48, 4))
            await line.asked()
            line.send((int.from_bytes(whole) ^ 1 << bit).to_bytes(len(whole)))
            with pytest.raises(LineError):
                await asking


async def test_wrong_model_in_the_configuration_is_told(line: MeterLine) -> None:
    line.add(1, "b23")
    async with watching(driver(bus_on(line), "sdm630")) as watch:
        assert "is it of the model that the configuration names?" in await watch.lost()
        assert watch.readings == []


async def test_garbled_energy_with_a_right_checksum_is_not_believed(line: MeterLine, meter: EnergyMeter) -> None:
    async with watching(driver(bus_on(line))) as watch:
        await watch.ready()
        meter.misbehave(Fault.LEAP, times=1)
        questions = meter.questions
        await watch.until(lambda: meter.questions > questions + 4)
        await watch.next_reading()
        assert set(watch.energies) == {1234}


async def test_first_energy_with_a_leap_is_not_believed(line: MeterLine, meter: EnergyMeter) -> None:
    meter.misbehave(Fault.LEAP, times=1)
    async with watching(driver(bus_on(line))) as watch:
        await watch.ready()
        assert set(watch.energies) == {1234}


async def test_first_energy_that_the_second_contradicts_is_not_believed(line: MeterLine, meter: EnergyMeter) -> None:
    async with watching(driver(bus_on(line))) as watch:
        await line.asked()  # for the energy
        await line.asked()  # for the power
        meter.misbehave(Fault.LEAP, times=1)
        assert "contradicts itself" in await watch.lost()
        assert watch.readings == []
        await watch.ready()
        assert set(watch.energies) == {1234}


async def test_meter_that_was_exchanged_is_believed_when_it_says_it_twice(line: MeterLine, meter: EnergyMeter) -> None:
    async with watching(driver(bus_on(line))) as watch:
        await watch.ready()
        meter.set_energy(7)
        await watch.until(lambda: watch.energies[-1] == 7)
        assert set(watch.energies) == {1234, 7}
        assert len(watch.states) == 1


@pytest.mark.parametrize(
    ("energy_wh", "power_w", "what"),
    [
        (2e12, 0.0, r"an energy of 2(.00000)?e\+12 Wh"),
        (3e38, 0.0, r"an energy of 3(.00000)?e\+38 Wh"),
        (1234, 1.5e6, r"a power of 1.5(0000)?e\+6 W"),
        (1234, -1.5e6, r"a power of -1.5(0000)?e\+6 W"),
    ],
)
async def test_number_that_no_meter_has_is_no_reading_and_says_so(
    line: MeterLine, meter: EnergyMeter, energy_wh: float, power_w: float, what: str
) -> None:
    meter.set_energy(energy_wh)
    meter.power_w = power_w
    async with watching(driver(bus_on(line))) as watch:
        assert re.search(f"shows nothing that can be billed .{what}.: is it of the model", await watch.lost())
        assert watch.readings == []


async def test_largest_energy_that_a_meter_shows_is_read(line: MeterLine, meter: EnergyMeter) -> None:
    meter.set_energy(999_999_999_000)
    async with watching(driver(bus_on(line))) as watch:
        assert (await watch.next_reading()).energy_wh == pytest.approx(999_999_999_000, abs=1e5)


async def test_single_number_that_no_meter_has_is_asked_for_again(line: MeterLine, meter: EnergyMeter) -> None:
    async with watching(driver(bus_on(line))) as watch:
        await watch.ready()
        meter.misbehave(Fault.NO_NUMBER, times=1)
        questions = meter.questions
        await watch.until(lambda: meter.questions > questions + 2)
        await watch.next_reading()
        assert [works for works, _ in watch.states] == [True]
        assert set(watch.energies) == {1234}


async def test_answer_that_comes_too_late_is_never_taken_for_another_question(
    line: MeterLine, meter: EnergyMeter
) -> None:
    meter.draw(7400)
    energy, power = meter.answer(4, 0x48, 4), meter.answer(4, 0x34, 2)
    meter.misbehave(Fault.SILENT)
    bus = bus_on(line)
    with bus.in_use():
        asking = asyncio.create_task(bus.read(1, 4, 0x34, 2))
        await line.asked()
        line.send(energy)
        while not asking.done():
            line.send(power)
            await asyncio.sleep(0.001)
        assert list(await asking) == list(struct.unpack(">2H", struct.pack(">f", 7400)))


async def test_meter_that_always_answers_too_late_mixes_nothing_up(line: MeterLine, meter: EnergyMeter) -> None:
    meter.draw(7400)
    meter.delay_s = 2.5 * A_MOMENT
    async with watching(driver(bus_on(line, answer_s=A_MOMENT))) as watch:
        for _ in range(30):
            await line.asked()
        meter.delay_s = 0
        await watch.until(lambda: len(watch.readings) > 5)
        assert set(watch.energies) == {1234}
        assert {reading.power_w for reading in watch.readings} == {7400}


async def test_noise_before_each_answer_costs_readings_but_invents_none(line: MeterLine, meter: EnergyMeter) -> None:
    line.noise = bytes(range(256))
    async with watching(driver(bus_on(line, answer_s=A_MOMENT))) as watch:
        await watch.lost()
        assert watch.readings == []
        line.noise = b""
        await watch.ready()
        assert set(watch.energies) == {1234}


async def test_100_000_bytes_of_noise_are_no_reading_and_the_meter_comes_back(
    line: MeterLine, meter: EnergyMeter
) -> None:
    meter.misbehave(Fault.SILENT)
    noise = random.Random(4)
    async with watching(driver(bus_on(line, answer_s=A_MOMENT))) as watch:
        sent = 0
        while sent < 100_000:
            sent += line.send(noise.randbytes(500))
            await asyncio.sleep(0.001)
        await watch.lost()
        assert watch.readings == []
        meter.behave()
        await watch.ready()
        assert set(watch.energies) == {1234}


async def test_bytes_from_before_the_question_are_no_answer(line: MeterLine, meter: EnergyMeter) -> None:
    stale = meter.answer(4, 0x48, 4)
    bus = bus_on(line)
    with bus.in_use():
        before = await bus.read(1, 4, 0x48, 4)
        meter.set_energy(5000)
        line.send(stale)
        while bus._line is None or bus._line.in_waiting < len(stale):  # noqa: ASYNC110  # the kernel has no event for it
            await asyncio.sleep(0)
        assert await bus.read(1, 4, 0x48, 4) != before


async def test_several_meters_on_one_line_are_told_apart(line: MeterLine) -> None:
    bus = bus_on(line)
    for unit in (1, 2, 3):
        line.add(unit, "sdm630").set_energy(unit * 1000)
    async with (
        watching(driver(bus, unit=1)) as one,
        watching(driver(bus, unit=2)) as two,
        watching(driver(bus, unit=3)) as three,
    ):
        for watch in (one, two, three):
            await watch.until(lambda watch=watch: len(watch.readings) > 20)  # type: ignore[misc]
        assert (set(one.energies), set(two.energies), set(three.energies)) == ({1000}, {2000}, {3000})


async def test_dead_meter_does_not_take_the_others_with_it(line: MeterLine) -> None:
    bus = bus_on(line, answer_s=0.2)
    line.add(1, "sdm630").misbehave(Fault.SILENT)
    line.add(2, "sdm630").set_energy(2000)
    async with watching(driver(bus, unit=1)) as dead, watching(driver(bus, unit=2)) as well:
        await dead.lost()
        await well.next_reading()
        await well.next_reading()
        assert set(well.energies) == {2000}
        assert dead.readings == []


async def test_line_missing_at_start_says_what_to_do_and_comes_when_plugged_in(tmp_path: Path) -> None:
    line = MeterLine(tmp_path)
    line.add(1, "sdm630").set_energy(500)
    async with watching(driver(bus_on(line))) as watch:
        assert await watch.lost() == (
            f"{line.path} is not there (No such file or directory, ENOENT): "
            "check the cable, and the port's name in the configuration"
        )
        with line:
            await watch.ready()
            assert watch.energies[0] == 500
            assert [works for works, _ in watch.states] == [False, True]
            await watch.cancel()


async def test_unplugged_line_comes_back_twenty_times_with_one_word_each(line: MeterLine, meter: EnergyMeter) -> None:
    async with watching(driver(bus_on(line))) as watch:
        await watch.ready()
        terminals = open_terminals()
        for _ in range(20):
            line.unplug()
            await watch.lost()
            line.plug()
            await watch.ready()
        assert [works for works, _ in watch.states] == [True, *[False, True] * 20]
        assert set(watch.energies) == {1234}
        assert open_terminals() == terminals


async def test_line_in_use_by_another_program_says_so_and_is_ours_when_that_ends(
    line: MeterLine, meter: EnergyMeter
) -> None:
    async with watching(driver(bus_on(line))) as first:
        await first.ready()
        async with watching(driver(bus_on(line))) as second:
            assert "in use by another program" in await second.lost()
            await first.cancel()
            await second.ready()
            assert second.energies[0] == 1234


async def test_file_that_is_no_serial_line_says_so(tmp_path: Path) -> None:
    line = MeterLine(tmp_path)
    line.path.write_text("no meter")
    async with watching(driver(bus_on(line))) as watch:
        assert "can't be used as a serial line" in await watch.lost()
        assert line.path.read_text() == "no meter"


async def test_last_meter_that_is_cancelled_closes_the_line(line: MeterLine, meter: EnergyMeter) -> None:
    terminals = open_terminals()
    bus = bus_on(line)
    async with watching(driver(bus)) as one, watching(driver(bus)) as two:
        await one.ready()
        await two.ready()
        assert open_terminals() == terminals + 1
        await one.cancel()
        assert open_terminals() == terminals + 1
        await two.next_reading()
        await two.cancel()
        assert open_terminals() == terminals
        assert two.task.cancelled()


async def test_cancelled_while_waiting_for_an_answer_closes_the_line_and_runs_again(
    line: MeterLine, meter: EnergyMeter
) -> None:
    terminals = open_terminals()
    meter.misbehave(Fault.SILENT)
    again = driver(bus_on(line))
    async with watching(again) as watch:
        await line.asked()
        await watch.cancel()
        assert open_terminals() == terminals
    meter.behave()
    async with watching(again) as watch:
        await watch.ready()
        assert watch.energies[0] == 1234


async def test_error_of_who_gets_the_readings_ends_the_meter_with_its_line_closed(
    line: MeterLine, meter: EnergyMeter
) -> None:
    def on_reading(reading: MeterReading) -> None:
        raise LookupError(reading.energy_wh)

    terminals = open_terminals()
    async with asyncio.timeout(HANG_S):
        with pytest.raises(LookupError, match="1234"):
            await driver(bus_on(line)).run(on_reading, lambda _works, _text: None)
    assert open_terminals() == terminals


async def test_garbled_bytes_leave_no_line_in_the_log(
    line: MeterLine, meter: EnergyMeter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    meter.misbehave(Fault.GARBAGE)
    async with watching(driver(bus_on(line, answer_s=A_MOMENT))) as watch:
        await watch.lost()
    assert [record.name for record in caplog.records if record.name.startswith(("pymodbus", "asyncio"))] == []


@pytest.mark.parametrize("plugged", [True, False])
async def test_meter_that_is_not_there_leaves_the_processor_alone(tmp_path: Path, *, plugged: bool) -> None:
    line = MeterLine(tmp_path)
    line.add(1, "sdm630").misbehave(Fault.SILENT)
    meter = ModbusMeter("meter-1", bus_on(line, answer_s=0.02), 1, REGISTER_MAPS["sdm630"], interval_s=0.02)
    async with watching(meter) as watch:
        if plugged:
            line.plug()
        await watch.lost()
        assert await processor_s_in_a_second() < 0.7
        assert watch.readings == []
        line.unplug()


# S0


@pytest.fixture
def pins() -> Iterator[WatchedFactory]:
    before = gpiozero.Device.pin_factory
    yield mock_pins()
    gpiozero.Device.pin_factory = before


class Output:
    """The S0 output of a meter, between the pin and ground: pulses of `long_s`, `every_s` apart."""

    def __init__(self, pins: WatchedFactory, *, active_high: bool = False) -> None:
        self._pins = pins
        self._active_high = active_high
        self.time_s = 100.0

    def pulse(self, long_s: float = 0.03, every_s: float = 0.5) -> None:
        self.level(active=True)
        self.time_s += long_s
        self.level(active=False)
        self.time_s += every_s - long_s

    def level(self, *, active: bool) -> None:
        self._pins.drive(PIN, high=active is self._active_high, at=self.time_s)


def s0(**settings: float) -> S0Meter:
    return S0Meter("meter-2", PIN, **{"pulses_per_kwh": 1000, "reopen_s": A_MOMENT, "report_s": AN_HOUR, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("active_high", [True, False])
async def test_each_pulse_counts(pins: WatchedFactory, *, active_high: bool) -> None:
    output = Output(pins, active_high=active_high)
    output.level(active=False)
    async with watching(s0(active_high=active_high, start_wh=500)) as watch:
        await watch.ready()
        assert watch.energies == [500]
        for pulses in range(1, 6):
            output.pulse()
            await watch.until(lambda pulses=pulses: watch.energies[-1] == 500 + pulses)  # type: ignore[misc]


async def test_energy_is_told_before_the_meter_counts_as_working(pins: WatchedFactory) -> None:
    async with watching(s0()) as watch:
        await watch.ready()
        assert watch.said == [watch.readings[0], (True, f"pulses on GPIO{PIN} are counted")]
        assert watch.readings[0].power_w is None


async def test_pulses_that_come_at_once_all_count(pins: WatchedFactory) -> None:
    output = Output(pins)
    meter = s0()
    async with watching(meter) as watch:
        await watch.ready()
        for _ in range(1000):
            output.pulse(0.03, 0.06)
        await watch.until(lambda: watch.energies[-1] == 1000)
    async with watching(meter) as watch:
        assert (await watch.next_reading()).energy_wh == 1000


@pytest.mark.parametrize(("pulses_per_kwh", "energy_wh"), [(1, 7000), (800, 8), (1000, 7), (10000, 0), (3, 2333)])
async def test_energy_of_seven_pulses_is_never_more_than_they_are(
    pins: WatchedFactory, pulses_per_kwh: int, energy_wh: int
) -> None:
    output = Output(pins)
    async with watching(s0(pulses_per_kwh=pulses_per_kwh)) as watch:
        await watch.ready()
        for _ in range(7):
            output.pulse()
        await watch.next_reading()
        assert watch.energies[-1] == energy_wh


async def test_power_is_that_of_the_last_two_pulses(pins: WatchedFactory) -> None:
    output = Output(pins)
    async with watching(s0()) as watch:
        await watch.ready()
        output.pulse(every_s=AN_HOUR)
        await watch.until(lambda: watch.energies[-1] == 1)
        assert watch.readings[-1].power_w is None
        output.pulse()
        await watch.until(lambda: watch.energies[-1] == 2)
        assert watch.readings[-1].power_w == pytest.approx(1)


async def test_power_falls_while_no_pulse_comes(pins: WatchedFactory) -> None:
    output = Output(pins)
    async with watching(s0(report_s=A_MOMENT)) as watch:
        await watch.ready()
        output.pulse(every_s=0.06)
        output.pulse(every_s=0.06)
        await watch.until(lambda: len(watch.readings) > 1 and watch.readings[-1].power_w is not None)
        seen = len(watch.readings)
        await watch.until(lambda: len(watch.readings) > seen + 5)
        powers = [reading.power_w or 0.0 for reading in watch.readings[seen:]]
        assert powers == sorted(powers, reverse=True)
        assert powers[-1] < powers[0]
        assert set(watch.energies[seen:]) == {2}


@pytest.mark.parametrize(
    ("edges", "pulses"),
    [
        ([(True, 0.001), (False, 0.001)] * 10, 0),
        ([(True, 0.019), (False, 0.5)], 0),
        ([(True, 0.021), (False, 0.5)], 1),
        ([(True, 0.001), (False, 0.001), (True, 0.03), (False, 0.5)], 1),
        ([(True, 0.03), (False, 0.001), (True, 0.03), (False, 0.5)], 1),
        ([(True, 0.015), (False, 0.001), (True, 0.015), (False, 0.5)], 1),
        ([(True, 0.03), (False, 0.03), (True, 0.03), (False, 0.03)], 2),
        ([(True, 86_400.0), (False, 0.5)], 1),
    ],
    ids=["sparks", "short", "just", "bounce at start", "bounce at end", "gap within", "fastest", "a day long"],
)
async def test_bounce_is_no_pulse_and_costs_none(
    pins: WatchedFactory, edges: list[tuple[bool, float]], pulses: int
) -> None:
    output = Output(pins)
    meter = s0()
    async with watching(meter) as watch:
        await watch.ready()
        for active, lasts_s in edges:
            output.level(active=active)
            output.time_s += lasts_s
        output.time_s += 1
        output.pulse()
        await watch.until(lambda: watch.energies[-1] == pulses + 1)
    async with watching(meter) as watch:
        assert (await watch.next_reading()).energy_wh == pulses + 1


async def test_pulse_that_began_before_the_start_is_left_aside(pins: WatchedFactory) -> None:
    output = Output(pins)
    output.level(active=True)
    meter = s0()
    async with watching(meter) as watch:
        await watch.ready()
        output.time_s += 1
        output.level(active=False)
        output.time_s += 1
        output.pulse()
        await watch.until(lambda: watch.energies[-1] == 1)
    async with watching(meter) as watch:
        assert (await watch.next_reading()).energy_wh == 1


async def test_meter_counts_on_when_it_runs_again(pins: WatchedFactory) -> None:
    output = Output(pins)
    meter = s0(start_wh=10)
    async with watching(meter) as watch:
        await watch.ready()
        output.pulse()
        await watch.until(lambda: watch.energies[-1] == 11)
    async with watching(meter) as watch:
        await watch.ready()
        assert watch.energies == [11]


async def test_meter_whose_pin_is_in_use_says_so_and_counts_when_it_is_free(pins: WatchedFactory) -> None:
    lamp = gpiozero.LED(PIN)
    output = Output(pins)
    async with watching(s0()) as watch:
        assert "Give every input, relay and lamp a pin of its own" in await watch.lost()
        assert watch.readings == []
        lamp.close()
        await watch.ready()
        output.level(active=False)
        output.time_s += 1
        output.pulse()
        await watch.until(lambda: watch.energies[-1] == 1)
        assert [works for works, _ in watch.states] == [False, True]


async def test_meter_whose_pin_is_lost_says_so_and_keeps_its_count(pins: WatchedFactory) -> None:
    output = Output(pins)
    async with watching(s0(report_s=A_MOMENT)) as watch:
        await watch.ready()
        output.pulse()
        await watch.until(lambda: watch.energies[-1] == 1)
        pins.lose(PIN)
        assert "can't be read any more" in await watch.lost()
        pins.find_again(PIN)
        await watch.ready()
        assert watch.energies[-1] == 1


async def test_cancelled_s0_meter_has_given_its_pin_back(pins: WatchedFactory) -> None:
    async with watching(s0()) as watch:
        await watch.ready()
        await watch.cancel()
        assert watch.task.cancelled()
    gpiozero.LED(PIN).close()


async def test_s0_meter_at_rest_leaves_the_processor_alone(pins: WatchedFactory) -> None:
    async with watching(s0(report_s=0.02)) as watch:
        await watch.ready()
        assert await processor_s_in_a_second() < 0.7
        assert set(watch.energies) == {0}


def open_terminals() -> int:
    """How many terminals this process has open: its own, and the drivers' lines that are not closed."""
    links = (link_of(fd) for fd in Path("/proc/self/fd").iterdir())
    return sum(link.startswith("/dev/pts/") for link in links)


def link_of(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except FileNotFoundError:  # the listing's own
        return ""


async def processor_s_in_a_second() -> float:
    busy_s = time.process_time()
    a_second = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(1.0, a_second.set_result, None)  # a spinning loop needs time to show
    await a_second
    return time.process_time() - busy_s
