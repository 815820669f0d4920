"""What `readers` says of what is plugged in, and that the lines it offers are a configuration that can be used."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.config import DisplaySection, MeterSection, ReaderSection, RelaySection
from agent.diagnosis.found_lines import Listed, listed, pattern_for
from hw.discovery import Found
from hw.discovery_boards import GpioChip, I2cBus
from hw.discovery_pcsc import PcscFound
from hw.discovery_serial import ADAPTERS, UART, UNKNOWN, Adapter, SerialPort
from hw.discovery_sysfs import UsbDevice
from hw.discovery_usb import ChipCardReader, HidRelayBoard, Keyboard
from hw.readers.pcsc_trouble import Trouble

PORT = Path("/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0")
NODE = Path("/dev/ttyUSB0")
ACR1252 = "ACS ACR1252 Dual Reader [ACR1252 Dual Reader PICC] 00 00"
EVERYTHING = Found(
    serial=(SerialPort(PORT, NODE, UsbDevice(0x1A86, 0x7523), ADAPTERS[0x1A86, 0x7523]),),
    pcsc=PcscFound(("ACS ACR122U 00 00", ACR1252)),
    keyboards=(Keyboard(Path("/dev/input/by-id/x-event-kbd"), Path("/dev/input/event3"), 'a "name"', 0x8FF, 9, "it"),),
    i2c=(I2cBus(1, Path("/dev/i2c-1"), "bcm", (0x27, 0x3C)),),
    hid_relays=(HidRelayBoard(UsbDevice(0x16C0, 0x05DF, title="USBRelay2"), 2),),
    gpio=(GpioChip(Path("/dev/gpiochip0")),),
)


def may_be_opened(_: Path) -> str:
    return ""


def nothing_is_missing(_: str) -> None:
    return None


def lines_for(found: Found) -> list[Listed]:
    return listed(found, may_be_opened, nothing_is_missing)


def tables(found: Found) -> list[dict[str, Any]]:
    return [tomllib.loads(toml) for each in lines_for(found) for toml in each.configurations]


def test_lines_for_readers_are_readers_of_the_configuration() -> None:
    readers = [reader for table in tables(EVERYTHING) for reader in table.get("reader", [])]
    kinds = [type(msgspec.convert(reader, ReaderSection)).__struct_config__.tag for reader in readers]
    assert kinds == ["pcsc", "pcsc", "keyboard", "pn532", "wiegand"]


def test_each_reader_gets_a_name_of_its_own() -> None:
    names = [reader["name"] for table in tables(EVERYTHING) for reader in table.get("reader", [])]
    assert len(names) == len(set(names)) == 5


@pytest.mark.parametrize(("path", "said"), [(PORT, "leave each where it is"), (NODE, "may have changed places")])
def test_port_that_another_one_is_the_same_as_is_noted(path: Path, said: str) -> None:
    port = SerialPort(path, NODE, UsbDevice(0x1A86, 0x7523), ADAPTERS[0x1A86, 0x7523], has_twin=True)
    [line] = lines_for(Found(serial=(port,)))
    assert any(said in note for note in line.notes)


def test_lines_for_relays_are_relays_of_the_configuration() -> None:
    offered = {
        msgspec.convert({"kind": "gpio"} | table["relay"], RelaySection).__struct_config__.tag
        for table in tables(EVERYTHING)
        if "relay" in table
    }
    assert offered == {"gpio", "lcus", "hid"}


def test_lines_for_displays_are_displays_of_the_configuration() -> None:
    displays = [table["evse"]["display"] for table in tables(Found(i2c=EVERYTHING.i2c))]
    kinds = [type(msgspec.convert(display, DisplaySection)).__struct_config__.tag for display in displays]
    assert kinds == ["hd44780", "picture", "hd44780"]


@pytest.mark.parametrize("adapter", [*ADAPTERS.values(), UART, UNKNOWN])
def test_lines_for_every_adapter_can_be_used(adapter: Adapter) -> None:
    found = Found(serial=(SerialPort(PORT, NODE, None, adapter),))
    for table in [table for table in tables(found) if "relay" not in table]:
        for section in table.get("reader", []):
            assert msgspec.convert(section, ReaderSection).port == str(PORT)
        for section in table.get("meter", []):
            assert msgspec.convert(section, MeterSection).port == str(PORT)


def test_each_meter_gets_a_name_of_its_own_and_the_line_that_uses_it() -> None:
    ports = [SerialPort(Path(f"/dev/ttyUSB{number}"), NODE, None, UNKNOWN) for number in range(2)]
    offered = [
        toml for each in lines_for(Found(serial=tuple(ports))) for toml in each.configurations if "[[meter]]" in toml
    ]
    assert [tomllib.loads(toml)["meter"][0]["name"] for toml in offered] == ["meter-1", "meter-2"]
    assert offered[1].startswith('# and in [[evse]]: meter = "meter-2"\n')


def test_relays_of_several_boards_are_told_apart_by_serials_to_be_filled_in() -> None:
    [board] = EVERYTHING.hid_relays
    boards = lines_for(Found(hid_relays=(board, board)))
    relays = [tomllib.loads(toml)["relay"] for each in boards for toml in each.configurations]
    assert [(relay["serial"], relay["channel"]) for relay in relays] == [
        ("board-1", 1), ("board-1", 2), ("board-2", 1), ("board-2", 2),
    ]  # fmt: skip
    assert all("the agent's log names their serials" in each.notes[0] for each in boards)


def test_relays_of_a_single_board_need_no_serial() -> None:
    relays = [table["relay"] for table in tables(Found(hid_relays=EVERYTHING.hid_relays))]
    assert [set(relay) for relay in relays] == [{"kind", "channel"}] * 2


def test_what_is_behind_an_adapter_is_never_said_as_a_fact() -> None:
    [port] = lines_for(Found(serial=EVERYTHING.serial))
    assert port.notes[0].startswith("may be an LCUS relay board, ")
    assert "RDM6300" not in port.subject


def test_port_that_may_not_be_opened_says_what_helps() -> None:
    [port] = listed(Found(serial=EVERYTHING.serial), lambda node: f"ask for {node}", nothing_is_missing)
    assert port.notes[-1] == "may not be opened by this user; what helps: ask for /dev/ttyUSB0"


def test_console_of_the_kernel_is_warned_of() -> None:
    [port] = lines_for(Found(serial=(SerialPort(PORT, NODE, None, UART, is_console=True),)))
    assert any("console=" in note for note in port.notes)


def test_keyboard_without_a_lasting_name_is_named_by_its_ids() -> None:
    keyboard = Keyboard(NODE, NODE, "wedge", 0xFFFF, 0x35)
    [table] = tables(Found(keyboards=(keyboard,)))
    assert table["reader"][0] == {"name": "reader-1", "kind": "keyboard", "usb": "ffff:0035"}


def test_missing_extra_is_named_where_it_is_needed() -> None:
    [keyboard] = listed(Found(keyboards=EVERYTHING.keyboards), may_be_opened, lambda kind: kind)
    assert any("extra keyboard" in note for note in keyboard.notes)


def test_chip_card_reader_without_pcscd_says_what_is_missing() -> None:
    found = Found(
        chip_cards=(ChipCardReader(UsbDevice(0x072F, 0x2200, title="ACR122U")),),
        pcsc=PcscFound((), Trouble.NO_DAEMON, "pcscd does not answer: start it"),
    )
    [reader] = lines_for(found)
    assert reader.subject == "chip-card reader on USB: ACR122U (072f:2200)"
    assert reader.notes == ("pcscd does not answer: start it",)


def test_bus_that_was_not_asked_says_how_it_is() -> None:
    [bus] = lines_for(Found(i2c=(I2cBus(1, Path("/dev/i2c-1")),)))
    assert any("--probe" in note for note in bus.notes)


def test_bus_on_which_nothing_answers_offers_no_lines() -> None:
    [bus] = lines_for(Found(i2c=(I2cBus(1, Path("/dev/i2c-1"), "", ()),)))
    assert bus.configurations == ()


@pytest.mark.parametrize(
    ("name", "others", "pattern"),
    [
        ("ACS ACR122U 00 00", [], "ACS ACR122U *"),
        ("ACS ACR122U 00 00", ["ACS ACR122U 01 00"], "ACS ACR122U 00 00"),
        (ACR1252, [], "ACS ACR1252 Dual Reader ?ACR1252 Dual Reader PICC] *"),
    ],
)
def test_pattern_fits_the_reader_wherever_it_is_plugged_in_and_no_other(
    name: str, others: list[str], pattern: str
) -> None:
    assert pattern_for(name, (name, *others)) == pattern


def test_words_can_be_copied_into_a_configuration() -> None:
    [reader] = lines_for(Found(pcsc=PcscFound(("ACS ACR122U 00 00",))))
    subject, *copied = reader.in_words()
    assert subject == "PC/SC reader ACS ACR122U 00 00"
    assert tomllib.loads("\n".join(copied)) == {
        "reader": [{"name": "reader-1", "kind": "pcsc", "match": "ACS ACR122U *"}]
    }
