"""What every relay promises (`agent.ports.Relay`): the real driver on gpiozero's mock pins, levels read at the pin."""

import fcntl
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import gpiozero
import pytest
from gpiozero.pins.mock import MockPin

from agent.config import GpioRelaySection
from agent.devices.relays import open_relays
from agent.errors import BusyError, DeviceError
from fakes.pins import WatchedFactory, mock_pins
from hw.outputs.gpio_relay import GpioRelay

PIN = 17
BOTH = pytest.mark.parametrize("active_high", [True, False])


@pytest.fixture
def levels() -> list[tuple[int, bool]]:
    return []


@pytest.fixture
def pins(levels: list[tuple[int, bool]]) -> Iterator[WatchedFactory]:
    before = gpiozero.Device.pin_factory
    yield mock_pins(lambda pin, level: levels.append((pin, level)))
    gpiozero.Device.pin_factory = before


@pytest.fixture
def no_pins() -> Iterator[None]:
    before, gpiozero.Device.pin_factory = gpiozero.Device.pin_factory, None
    yield
    gpiozero.Device.pin_factory = before


@BOTH
def test_new_relay_is_open(pins: WatchedFactory, *, active_high: bool) -> None:
    relay = GpioRelay(PIN, active_high=active_high)
    assert not relay.contact_closed
    assert pins.is_output(PIN)
    assert pins.level(PIN) is not active_high
    relay.detach()


@BOTH
def test_closing_and_opening_moves_the_level(
    pins: WatchedFactory, levels: list[tuple[int, bool]], *, active_high: bool
) -> None:
    relay = GpioRelay(PIN, active_high=active_high)
    levels.clear()
    for _ in range(3):
        relay.close_contact()
        assert relay.contact_closed
        relay.open_contact()
        assert not relay.contact_closed
    assert levels == [(PIN, active_high), (PIN, not active_high)] * 3
    relay.detach()


@BOTH
def test_saying_the_same_again_moves_nothing(
    pins: WatchedFactory, levels: list[tuple[int, bool]], *, active_high: bool
) -> None:
    relay = GpioRelay(PIN, active_high=active_high)
    levels.clear()
    relay.open_contact()
    relay.open_contact()
    assert levels == []
    relay.close_contact()
    relay.close_contact()
    assert levels == [(PIN, active_high)]
    relay.detach()


@BOTH
def test_detaching_opens_and_gives_the_pin_back(
    pins: WatchedFactory, levels: list[tuple[int, bool]], *, active_high: bool
) -> None:
    relay = GpioRelay(PIN, active_high=active_high)
    relay.close_contact()
    relay.detach()
    relay.detach()
    assert not relay.contact_closed
    assert levels[-1] == (PIN, not active_high)
    assert not pins.is_output(PIN)


@BOTH
def test_detached_relay_never_closes_again(pins: WatchedFactory, *, active_high: bool) -> None:
    relay = GpioRelay(PIN, active_high=active_high)
    relay.detach()
    with pytest.raises(DeviceError, match="GPIO17 was given back"):
        relay.close_contact()
    relay.open_contact()
    assert not relay.contact_closed
    assert not pins.is_output(PIN)


@BOTH
def test_new_relay_on_a_pin_left_closed_opens_it(pins: WatchedFactory, *, active_high: bool) -> None:
    killed = pins.pin(PIN)
    killed.output_with_state(active_high)  # as a killed agent leaves it
    relay = GpioRelay(PIN, active_high=active_high)
    assert pins.level(PIN) is not active_high
    relay.detach()


@BOTH
def test_pin_that_keeps_its_level_counts_as_closed_until_it_opens(pins: WatchedFactory, *, active_high: bool) -> None:
    relay = GpioRelay(PIN, active_high=active_high)
    relay.close_contact()
    pins.short_circuit(PIN, high=active_high)
    with pytest.raises(DeviceError, match=r"GPIO17 does not open: the pin keeps its level\. Cut the current by hand"):
        relay.open_contact()
    assert relay.contact_closed
    pins.short_circuit(PIN, high=None)
    relay.open_contact()
    relay.detach()
    assert pins.level(PIN) is not active_high


@BOTH
def test_pin_that_is_shorted_at_the_start_says_so_at_its_first_opening(
    pins: WatchedFactory, *, active_high: bool
) -> None:
    pins.short_circuit(PIN, high=active_high)
    relay = GpioRelay(PIN, active_high=active_high)
    assert relay.contact_closed
    with pytest.raises(DeviceError, match="does not open"):
        relay.open_contact()
    with pytest.raises(DeviceError, match="does not open"):
        relay.detach()


def test_second_relay_on_a_pin_is_refused_and_the_first_keeps_working(pins: WatchedFactory) -> None:
    relay = GpioRelay(PIN, active_high=True)
    with pytest.raises(DeviceError, match=r"GPIO17 can't be used: .*already in use.* a pin of its own"):
        GpioRelay(PIN, active_high=True)
    relay.close_contact()
    assert pins.level(PIN)
    relay.detach()


def test_pin_that_no_board_has_is_refused_by_number(pins: WatchedFactory) -> None:
    with pytest.raises(DeviceError, match=r"GPIO99 can't be used: .*BCM number"):
        GpioRelay(99, active_high=True)


@pytest.mark.usefixtures("no_pins")
def test_machine_without_pins_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "no-such-factory")
    with pytest.raises(DeviceError, match=r"GPIO17 can't be used: .*no-such-factory.*with its extra gpio"):
        GpioRelay(PIN, active_high=True)
    assert gpiozero.Device.pin_factory is None


class StuckPin(MockPin):  # type: ignore[misc]  # gpiozero has no types
    """A pin with a short circuit to ground."""

    def _set_state(self, value: float) -> None:
        super()._set_state(value=0)


class DyingPin(MockPin):  # type: ignore[misc]  # gpiozero has no types
    """A pin whose chip stops answering after `left` writes."""

    left = 0

    def _set_state(self, value: float) -> None:
        if self.left == 0:
            raise OSError(5, "Input/output error")
        self.left -= 1
        super()._set_state(value)


def test_pin_that_does_not_follow_counts_as_open(pins: WatchedFactory) -> None:
    pins.pin_class = StuckPin
    relay = GpioRelay(PIN, active_high=True)
    with pytest.raises(DeviceError, match="GPIO17 does not close: the pin keeps its level"):
        relay.close_contact()
    assert not relay.contact_closed
    relay.open_contact()
    relay.detach()


class DumbPin(DyingPin):
    """A pin whose chip can't be read either once it has stopped answering."""

    @property
    def is_high(self) -> bool:
        """What somebody with a voltmeter sees."""
        return bool(self._state)

    def _get_state(self) -> float:
        if self.left == 0:
            raise OSError(5, "Input/output error")
        return float(super()._get_state())


def test_pin_that_dies_while_open_can_be_opened(pins: WatchedFactory) -> None:
    pins.pin_class = DyingPin
    pins.pin(PIN).left = 1
    relay = GpioRelay(PIN, active_high=True)
    relay.open_contact()
    assert not relay.contact_closed
    pins.pin(PIN).left = 1
    relay.detach()


def test_pin_that_dies_as_it_is_closed_counts_as_closed_until_it_obeys(pins: WatchedFactory) -> None:
    pins.pin_class = DyingPin
    pins.pin(PIN).left = 1
    relay = GpioRelay(PIN, active_high=True)
    with pytest.raises(DeviceError, match=r"GPIO17 does not close: .*Input/output error"):
        relay.close_contact()
    with pytest.raises(DeviceError, match="GPIO17 does not open"):
        relay.open_contact()
    assert (relay.contact_closed, pins.level(PIN)) == (True, False)
    pins.pin(PIN).left = 2
    relay.open_contact()
    assert (relay.contact_closed, pins.level(PIN)) == (False, False)
    relay.detach()


def test_pin_that_went_on_and_then_dies_is_closed_and_says_so_until_it_opens(pins: WatchedFactory) -> None:
    pins.pin_class = DumbPin
    pins.pin(PIN).left = 2
    relay = GpioRelay(PIN, active_high=True)
    with pytest.raises(DeviceError, match=r"GPIO17 does not close: .*Input/output error"):
        relay.close_contact()
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"GPIO17 does not open: .*Cut the current by hand"):
            relay.open_contact()
        assert (relay.contact_closed, pins.pin(PIN).is_high) == (True, True)
    pins.pin(PIN).left = 3
    relay.open_contact()
    assert (relay.contact_closed, pins.pin(PIN).is_high) == (False, False)
    relay.detach()


def test_pin_that_dies_while_closed_is_reported_by_every_opening_until_it_obeys(pins: WatchedFactory) -> None:
    pins.pin_class = DyingPin
    pins.pin(PIN).left = 2
    relay = GpioRelay(PIN, active_high=True)
    relay.close_contact()
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"GPIO17 does not open: .*Cut the current by hand"):
            relay.open_contact()
        assert relay.contact_closed
    pins.pin(PIN).left = 2
    relay.open_contact()
    assert not relay.contact_closed
    assert not pins.level(PIN)
    relay.detach()


def test_detaching_a_dead_pin_says_so_and_gives_it_back_all_the_same(pins: WatchedFactory) -> None:
    pins.pin_class = DyingPin
    pins.pin(PIN).left = 2
    relay = GpioRelay(PIN, active_high=True)
    relay.close_contact()
    with pytest.raises(DeviceError, match="does not open"):
        relay.detach()
    assert not pins.is_output(PIN)
    relay.detach()


def left_closed(pins: WatchedFactory, *numbers: int) -> tuple[GpioRelaySection, ...]:
    """Relays as an agent that was killed leaves them."""
    for number in numbers:
        pins.pin(number).output_with_state(1)
    return tuple(GpioRelaySection(gpio=number) for number in numbers)


def test_every_relay_left_closed_is_opened(pins: WatchedFactory, tmp_path: Path) -> None:
    assert open_relays(left_closed(pins, 17, 18), tmp_path) == []
    assert (pins.level(17), pins.level(18)) == (False, False)


def test_relay_that_can_not_be_opened_is_named_and_the_others_are_opened(pins: WatchedFactory, tmp_path: Path) -> None:
    relays = left_closed(pins, 17, 18)
    with gpiozero.OutputDevice(17, initial_value=True):
        [fault] = open_relays(relays, tmp_path)
        assert "GPIO17 can't be used" in fault
        assert not pins.level(18)


@pytest.mark.parametrize("folder", ["nowhere", "file"])
def test_folder_without_a_lock_hinders_no_relay(
    pins: WatchedFactory, tmp_path: Path, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert open_relays(left_closed(pins, 17), tmp_path / folder) == []
    assert not pins.level(17)
    assert "whether an agent is running can't be told" in caplog.text


def test_relay_of_a_running_agent_is_left_to_it(pins: WatchedFactory, tmp_path: Path) -> None:
    relays = left_closed(pins, 17)
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(BusyError, match="another agent is running"):
        open_relays(relays, tmp_path)
    os.close(held)
    assert pins.level(17)


PROGRAM = """
import os, sys
from fakes.pins import mock_pins, write_levels
from hw.outputs.gpio_relay import GpioRelay
mock_pins(write_levels({fd}))
relay = GpioRelay(17, active_high={active_high})
relay.close_contact()
{end}
"""


def levels_of_a_process(end: str, *, active_high: bool) -> str:
    """What somebody outside sees of a process that closes its relay and then ends like this."""
    reading, writing = os.pipe()
    program = PROGRAM.format(fd=writing, active_high=active_high, end=end)
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    subprocess.run([sys.executable, "-c", program], pass_fds=[writing], env=environment, check=False, timeout=60)
    os.close(writing)
    with os.fdopen(reading) as seen:
        return seen.read()


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise RuntimeError"])
def test_process_that_ends_without_detaching_opens_first(end: str) -> None:
    assert levels_of_a_process(end, active_high=True) == "17 1\n17 0\n"
    assert levels_of_a_process(end, active_high=False) == "17 1\n17 0\n17 1\n"


def test_closing_is_seen_from_outside_though_the_process_is_killed() -> None:
    assert levels_of_a_process("os.kill(os.getpid(), 9)", active_high=True) == "17 1\n"


class GpioChip(types.ModuleType):
    """lgpio as far as gpiozero needs it for an output, and every level that the line takes as one."""

    SET_PULL_NONE, SET_PULL_UP, SET_PULL_DOWN, BOTH_EDGES, RISING_EDGE, FALLING_EDGE = range(6)

    class error(Exception):  # noqa: N801, N818  # lgpio's name
        pass

    def __init__(self) -> None:
        super().__init__("lgpio")
        self.driven: list[int] = []
        self.is_output = False
        self.broken = False

    def gpiochip_open(self, chip: int) -> int:
        return chip

    def gpiochip_close(self, handle: int) -> None:
        self.is_output = False

    def gpio_claim_input(self, handle: int, gpio: int, flags: int = 0) -> None:
        self.is_output = False

    def gpio_claim_output(self, handle: int, gpio: int, level: int = 0, flags: int = 0) -> None:
        self.is_output = True
        self.driven.append(level)

    def gpio_get_mode(self, handle: int, gpio: int) -> int:
        return 2 if self.is_output else 0

    def gpio_read(self, handle: int, gpio: int) -> int:
        return self.driven[-1]

    def gpio_write(self, handle: int, gpio: int, level: int) -> None:
        if self.broken:
            raise self.error("'bad GPIO write'")
        assert self.is_output
        self.driven.append(int(level))


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Iterator[GpioChip]:
    """A Raspberry Pi with lgpio."""
    chip = GpioChip()
    monkeypatch.setitem(sys.modules, "lgpio", chip)
    monkeypatch.delitem(sys.modules, "gpiozero.pins.lgpio", raising=False)
    from gpiozero.pins.lgpio import LGPIOFactory  # noqa: PLC0415  # needs the chip

    class Board(LGPIOFactory):  # type: ignore[misc]  # gpiozero has no types
        def _get_revision(self) -> int:
            return 0xA02082

    before, gpiozero.Device.pin_factory = gpiozero.Device.pin_factory, Board()
    yield chip
    gpiozero.Device.pin_factory.close()
    gpiozero.Device.pin_factory = before
    monkeypatch.delitem(sys.modules, "gpiozero.pins.lgpio")


@BOTH
def test_relay_on_lgpio_never_takes_the_closed_level_by_starting_or_detaching(
    chip: GpioChip, *, active_high: bool
) -> None:
    relay = GpioRelay(PIN, active_high=active_high)
    relay.detach()
    assert set(chip.driven) == {int(not active_high)}
    assert not chip.is_output


@BOTH
def test_relay_on_lgpio_closes_and_opens(chip: GpioChip, *, active_high: bool) -> None:
    relay = GpioRelay(PIN, active_high=active_high)
    relay.close_contact()
    assert chip.driven[-1] == int(active_high)
    relay.open_contact()
    assert chip.driven[-1] == int(not active_high)
    relay.detach()


def test_error_of_lgpio_is_a_device_error(chip: GpioChip) -> None:
    relay = GpioRelay(PIN, active_high=True)
    chip.broken = True
    with pytest.raises(DeviceError, match=r"GPIO17 does not close: .*bad GPIO write"):
        relay.close_contact()
    assert relay.contact_closed  # nobody knows
    chip.broken = False
    relay.detach()
    assert chip.driven[-1] == 0


@pytest.mark.usefixtures("no_pins")
def test_machine_without_any_gpio_library_hears_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    for library in ("lgpio", "RPi", "pigpio", "gpiozero.pins.native"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DeviceError, match=r"Falling back from lgpio: .*with its extra gpio"):
        GpioRelay(PIN, active_high=True)
