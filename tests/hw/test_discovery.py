"""What is found in folders laid out as the kernel and udev lay them out, and that nothing is opened for it."""

import errno
from pathlib import Path

import pytest

from hw.discovery import look
from hw.discovery_boards import answering, i2c_buses
from hw.discovery_pcsc import NOTHING_SAID, needs_rule
from hw.discovery_serial import SerialPort, Usual, serial_ports
from hw.discovery_usb import chip_card_readers, hid_nodes, hid_relays, keyboards, types_numbers
from tests.hw.kernel_tree import KEYBOARD_KEYS, POWER_BUTTON_KEYS, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# ---- serial ports


def only_port(machine: Machine) -> SerialPort:
    [port] = serial_ports(machine.roots)
    return port


def test_usb_adapter_is_found_under_the_name_that_stays(machine: Machine) -> None:
    adapter = machine.usb("1-1", "1a86:7523", product="USB Serial")
    (adapter / "1-1:1.0/ttyUSB0").mkdir(parents=True)
    machine.tty("ttyUSB0", adapter / "1-1:1.0/ttyUSB0", by_id="usb-1a86_USB_Serial-if00-port0")
    port = only_port(machine)
    assert port.path == machine.roots.dev / "serial/by-id/usb-1a86_USB_Serial-if00-port0"
    assert port.adapter.chip == "CH340"
    assert Usual.LCUS in port.adapter.usual
    assert port.usb is not None
    assert port.usb.usb_id == "1a86:7523"


def test_adapter_without_a_lasting_name_is_found_by_its_node(machine: Machine) -> None:
    machine.tty("ttyUSB3", machine.usb("1-2", "0403:6001"))
    assert only_port(machine).path == machine.roots.dev / "ttyUSB3"


BY_ID = "usb-1a86_USB_Serial-if00-port0"


def two_adapters(machine: Machine, *, last: int, **described: str) -> None:
    """Two of one model at two sockets; udev's one link leads to the one that came last."""
    for number in (0, 1):
        machine.tty(
            f"ttyUSB{number}",
            machine.usb(f"1-{number + 1}", "1a86:7523", product="USB Serial", **described),
            by_id=BY_ID if number == last else "",
            by_path=f"platform-usb-0:1.{number + 1}:1.0-port0",
        )


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("described", [{}, {"serial": "0001"}], ids=["no number", "the same number"])
def test_two_adapters_that_share_a_name_are_found_by_their_sockets(
    machine: Machine, last: int, described: dict[str, str]
) -> None:
    two_adapters(machine, last=last, **described)
    by_path = machine.roots.dev / "serial/by-path"
    assert [(port.node.name, port.path, port.has_twin) for port in serial_ports(machine.roots)] == [
        ("ttyUSB0", by_path / "platform-usb-0:1.1:1.0-port0", True),
        ("ttyUSB1", by_path / "platform-usb-0:1.2:1.0-port0", True),
    ]


def test_two_adapters_with_numbers_of_their_own_are_found_by_these(machine: Machine) -> None:
    for number in (0, 1):
        folder = machine.usb(f"1-{number}", "0403:6001", serial=f"A{number}")
        machine.tty(f"ttyUSB{number}", folder, by_id=f"usb-FTDI_A{number}", by_path=f"path-{number}")
    found = [(port.path.name, port.has_twin) for port in serial_ports(machine.roots)]
    assert found == [("usb-FTDI_A0", False), ("usb-FTDI_A1", False)]


def test_two_lines_of_one_adapter_are_no_twins(machine: Machine) -> None:
    adapter = machine.usb("1-1", "0403:6010")
    for number in (0, 1):
        (adapter / f"1-1:1.{number}").mkdir()
        machine.tty(f"ttyUSB{number}", adapter / f"1-1:1.{number}", by_id=f"usb-FTDI-if0{number}-port0")
    found = [(port.path.name, port.has_twin) for port in serial_ports(machine.roots)]
    assert found == [("usb-FTDI-if00-port0", False), ("usb-FTDI-if01-port0", False)]


def test_adapter_with_a_twin_and_no_name_by_its_socket_is_found_by_its_node(machine: Machine) -> None:
    machine.tty("ttyUSB0", machine.usb("1-1", "1a86:7523"), by_id=BY_ID)
    machine.tty("ttyUSB1", machine.usb("1-2", "1a86:7523"))
    assert [port.path.name for port in serial_ports(machine.roots)] == ["ttyUSB0", "ttyUSB1"]


def test_adapter_that_is_not_known_is_found_without_a_chip(machine: Machine) -> None:
    machine.tty("ttyACM0", machine.usb("1-2", "dead:beef"))
    assert only_port(machine).adapter.chip == ""


def test_port_of_a_pc_without_a_chip_is_left_out(machine: Machine) -> None:
    machine.roots.sys.joinpath("devices/platform").mkdir(parents=True)
    machine.tty("ttyS1", machine.roots.sys / "devices/platform")
    machine.write("class/tty/ttyS1/type", "0")
    assert list(serial_ports(machine.roots)) == []


def test_virtual_terminal_is_no_serial_port(machine: Machine) -> None:
    machine.write("class/tty/tty1/dev", "4:1")
    machine.node("tty1")
    assert list(serial_ports(machine.roots)) == []


def test_own_line_of_a_raspberry_pi_is_found_by_its_alias(machine: Machine) -> None:
    uart = machine.roots.sys / "devices/soc"
    uart.mkdir(parents=True)
    machine.tty("ttyAMA0", uart, kind="32")
    (machine.roots.dev / "serial0").symlink_to("ttyAMA0")
    port = only_port(machine)
    assert port.path == machine.roots.dev / "serial0"
    assert port.adapter.chip == "UART"


def test_line_of_the_kernels_console_is_told_apart(machine: Machine) -> None:
    uart = machine.roots.sys / "devices/soc"
    uart.mkdir(parents=True)
    machine.tty("ttyAMA0", uart, kind="32")
    machine.write("class/tty/console/active", "tty1 ttyAMA0")
    assert only_port(machine).is_console


def test_port_that_was_just_pulled_is_left_out(machine: Machine) -> None:
    machine.tty("ttyUSB0", machine.usb("1-1", "1a86:7523"))
    (machine.roots.dev / "ttyUSB0").unlink()
    assert list(serial_ports(machine.roots)) == []


# ---- keyboards


def test_keyboard_is_found_with_its_name_and_ids(machine: Machine) -> None:
    machine.input("event10", "08ff:0009", "RFID Reader", KEYBOARD_KEYS, by_id="usb-RFID-event-kbd")
    [keyboard] = keyboards(machine.roots)
    assert keyboard.path == machine.roots.dev / "input/by-id/usb-RFID-event-kbd"
    assert (keyboard.title, keyboard.usb_id) == ("RFID Reader", "08ff:0009")
    assert keyboard.known_as


def test_two_keyboards_of_one_model_are_found_by_their_sockets(machine: Machine) -> None:
    for number in (1, 2):
        machine.input(
            f"event{number}", "08ff:0009", "RFID Reader", KEYBOARD_KEYS, at=machine.usb(f"1-{number}", "08ff:0009"),
            by_id="usb-RFID-event-kbd" if number == 2 else "", by_path=f"platform-usb-0:{number}:1.0-event-kbd",
        )  # fmt: skip
    by_path = machine.roots.dev / "input/by-path"
    assert [(each.path, each.has_twin) for each in keyboards(machine.roots)] == [
        (by_path / "platform-usb-0:1:1.0-event-kbd", True),
        (by_path / "platform-usb-0:2:1.0-event-kbd", True),
    ]


def test_keyboards_are_in_the_order_of_their_numbers(machine: Machine) -> None:
    for number in (10, 2):
        machine.input(f"event{number}", "0001:0001", f"number {number}", KEYBOARD_KEYS)
    assert [each.title for each in keyboards(machine.roots)] == ["number 2", "number 10"]


@pytest.mark.parametrize("keys", [POWER_BUTTON_KEYS, "", "0", "no hex", "10000000"])
def test_input_that_types_no_numbers_is_no_keyboard(keys: str) -> None:
    assert not types_numbers(keys)


# ---- chip cards, relay boards


def test_chip_card_reader_is_told_by_its_interfaces_class(machine: Machine) -> None:
    folder = machine.usb("1-3", "072f:2200", product="ACR122U PICC Interface")
    (folder / "1-3:1.0").mkdir()
    (folder / "1-3:1.0/bInterfaceClass").write_text("0b\n")
    machine.usb("1-4", "046d:c31c", product="USB Keyboard")
    assert [each.usb.title for each in chip_card_readers(machine.roots)] == ["ACR122U PICC Interface"]


@pytest.mark.parametrize(("title", "channels"), [("USBRelay2", 2), ("USBRelay8", 8), ("My relay", None)])
def test_relay_board_tells_its_channels_by_its_name(machine: Machine, title: str, channels: int | None) -> None:
    machine.usb("1-5", "16c0:05df", product=title)
    [board] = hid_relays(machine.roots)
    assert board.channels == channels


def test_other_device_of_the_shared_id_is_no_relay_board(machine: Machine) -> None:
    machine.usb("1-5", "16c0:05df", product="Thermometer")
    assert list(hid_relays(machine.roots)) == []


def test_relay_board_is_reached_through_hidraw_and_usb(machine: Machine) -> None:
    folder = machine.usb("1-5", "16c0:05df", product="USBRelay1", busnum="1", devnum="7")
    (folder / "1-5:1.0/0003:16C0:05DF.0001/hidraw/hidraw3").mkdir(parents=True)
    nodes = [machine.node("hidraw3"), machine.node("bus/usb/001/007")]
    [board] = hid_relays(machine.roots)
    assert set(hid_nodes(board, machine.roots)) == set(nodes)


# ---- I2C


def test_bus_is_not_asked_unless_somebody_wants_it(machine: Machine) -> None:
    machine.node("i2c-1")
    machine.write("class/i2c-dev/i2c-1/name", "bcm2835 (i2c@7e804000)")
    [bus] = i2c_buses(machine.roots)
    assert (bus.number, bus.title, bus.answering) == (1, "bcm2835 (i2c@7e804000)", None)


def test_bus_that_is_asked_says_where_something_answers(machine: Machine) -> None:
    machine.node("i2c-1")
    [bus] = i2c_buses(machine.roots, probe=lambda number: [0x20 + number])
    assert bus.answering == (0x21,)


def test_bus_that_may_not_be_asked_says_why(machine: Machine) -> None:
    def forbidden(_: int) -> list[int]:
        raise PermissionError(errno.EACCES, "no")

    machine.node("i2c-1")
    [bus] = i2c_buses(machine.roots, probe=forbidden)
    assert (bus.answering, bus.trouble) == (None, "Permission denied")


def test_address_that_a_kernel_driver_has_counts_as_answering() -> None:
    def read_byte(address: int) -> None:
        if address == 0x3C:
            raise OSError(errno.EBUSY, "busy")
        if address != 0x27:
            raise OSError(errno.EREMOTEIO, "nobody")

    assert answering(read_byte) == [0x27, 0x3C]


# ---- polkit


def test_system_whose_pcscd_does_not_ask_polkit_needs_no_rule(tmp_path: Path) -> None:
    assert needs_rule(tmp_path) is False


def polkit(root: Path, rule: str | None = None) -> None:
    action = root / "usr/share/polkit-1/actions/org.debian.pcsc-lite.policy"
    action.parent.mkdir(parents=True)
    action.touch()
    rules = root / "etc/polkit-1/rules.d"
    rules.mkdir(parents=True)
    if rule is not None:
        (rules / "50-agent.rules").write_text(rule)


def test_system_with_polkit_needs_a_rule(tmp_path: Path) -> None:
    polkit(tmp_path)
    assert needs_rule(tmp_path) is True


def test_rule_for_pcscd_is_enough(tmp_path: Path) -> None:
    polkit(tmp_path, 'action.id == "org.debian.pcsc-lite.access_pcsc"')
    assert needs_rule(tmp_path) is False


# ---- all together


def test_machine_without_anything_has_nothing(machine: Machine) -> None:
    found = look(machine.roots, pcsc=lambda: NOTHING_SAID)
    assert not any((found.serial, found.pcsc.readers, found.keyboards, found.i2c, found.hid_relays, found.gpio))


def test_gpio_chip_is_found(machine: Machine) -> None:
    machine.node("gpiochip0")
    [chip] = look(machine.roots, pcsc=lambda: NOTHING_SAID).gpio
    assert chip.node == machine.roots.dev / "gpiochip0"
