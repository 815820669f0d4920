"""What `doctor` says of readers that can be taken for one another."""

from pathlib import Path

import pytest

from agent.config import PcscSection
from agent.diagnosis.finding import Level
from agent.diagnosis.readers import number_findings, overlap_findings, twin_findings
from hw.discovery_serial import SerialPort, serial_ports
from hw.discovery_usb import Keyboard
from tests.hw.kernel_tree import Machine

ONE, OTHER = "ACS ACR122U PICC Interface 00 00", "ACS ACR122U PICC Interface 01 00"
OMNIKEY = "HID OMNIKEY 5022 (123) 02 00"


def sections(**matches: str) -> list[PcscSection]:
    return [PcscSection(name=name, match=match) for name, match in matches.items()]


# ---- two of one model


@pytest.fixture
def ports(tmp_path: Path) -> list[SerialPort]:
    """Two adapters without a number, and a third that has one."""
    machine = Machine(tmp_path)
    machine.tty("ttyUSB0", machine.usb("1-1", "1a86:7523"), by_path="path-0")
    machine.tty("ttyUSB1", machine.usb("1-2", "1a86:7523"), by_id="usb-1a86", by_path="path-1")
    machine.tty("ttyUSB2", machine.usb("1-3", "0403:6001", serial="A1"), by_id="usb-FTDI_A1", by_path="path-2")
    return list(serial_ports(machine.roots))


def test_name_that_two_adapters_share_is_warned_of_with_the_one_that_stays(ports: list[SerialPort]) -> None:
    serial = ports[0].path.parents[1]
    [finding] = twin_findings("reader left", str(serial / "by-id/usb-1a86"), ports)
    assert finding.level is Level.WARNING
    assert finding.sentence.endswith("there are several without a serial number")
    assert finding.remedy == f"{serial / 'by-path/path-1'} names this one by the socket that it is plugged into"


@pytest.mark.parametrize("configured", ["by-path/path-1", "by-id/usb-FTDI_A1", "by-id/usb-unplugged"])
def test_name_that_stays_or_leads_nowhere_is_not_warned_of(ports: list[SerialPort], configured: str) -> None:
    assert twin_findings("reader left", str(ports[0].path.parents[1] / configured), ports) == []


def test_keyboard_without_a_name_by_its_socket_is_warned_of_with_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "by-id").mkdir()
    node, link = tmp_path / "event3", tmp_path / "by-id/usb-wedge-event-kbd"
    node.touch()
    link.symlink_to(node)
    [finding] = twin_findings("reader wedge", str(link), [Keyboard(node, node, "wedge", 1, 2, "", has_twin=True)])
    assert finding.remedy.startswith(f"{tmp_path / 'by-path'}/… names this one")


def test_keyboard_that_is_named_by_its_ids_is_not_warned_of() -> None:
    node = Path("/dev/input/event3")
    assert twin_findings("reader wedge", None, [Keyboard(node, node, "wedge", 1, 2, "", has_twin=True)]) == []


# ---- PC/SC


def test_reader_that_two_patterns_fit_is_bad_with_both_names() -> None:
    [finding] = overlap_findings(sections(left="ACS*", right="*picc*"), [ONE, OMNIKEY])
    assert finding.level is Level.BAD
    assert finding.sentence == f"{ONE} fits left and right: each card there would be a tap at all of them"


def test_patterns_that_fit_a_reader_each_are_well() -> None:
    assert list(overlap_findings(sections(left="ACS*", right="HID*"), [ONE, OMNIKEY])) == []


def test_two_readers_of_one_model_are_warned_of() -> None:
    [finding] = number_findings(sections(left="* 00 00", right="* 01 00"), [ONE, OTHER])
    assert finding.level is Level.WARNING
    assert finding.sentence.startswith("left and right differ in pcscd's number alone")


@pytest.mark.parametrize(
    ("right", "names"),
    [
        ("HID*", [ONE, OMNIKEY]),
        ("* 00 01", [ONE, "ACS ACR122U PICC Interface 00 01"]),
        ("* 01 00", ["reader (111) 00 00", "reader (222) 01 00"]),
        ("* 01 00", [ONE]),
    ],
    ids=["two models", "two slots of one reader", "serial numbers", "only one there"],
)
def test_readers_that_can_be_told_apart_are_not_warned_of(right: str, names: list[str]) -> None:
    assert list(number_findings(sections(left="* 00 00", right=right), names)) == []
