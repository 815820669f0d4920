"""What is plugged in, put into words, and the lines of a configuration that would use it. Pure."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path

from hw.discovery import Found
from hw.discovery_boards import OLED, PCF8574, PCF8574A, GpioChip, I2cBus
from hw.discovery_serial import SerialPort, Usual
from hw.discovery_usb import HidRelayBoard, Keyboard

Lacking = Callable[[Path], str]
"""What this user needs to open a device; see `agent.diagnosis.rights.lacking`."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One thing that is there."""

    kind: str
    subject: str
    path: str = ""
    notes: tuple[str, ...] = ()
    """Sentences: what it may be, and what is in the way."""
    configurations: tuple[str, ...] = ()
    """TOML; any one of them would use it."""

    def in_words(self) -> list[str]:
        """The lines that a person reads; the configuration can be copied from them."""
        lines = [self.subject, *(f"    {note}" for note in self.notes)]
        for number, configuration in enumerate(self.configurations):
            lines += ["    or:"] if number else []
            lines += [f"        {line}" for line in configuration.splitlines()]
        return lines

    def as_object(self) -> dict[str, object]:
        """The line that a program reads."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "path": self.path or None,
            "notes": list(self.notes),
            "configurations": list(self.configurations),
        }


@dataclass(slots=True)
class _Names:
    """Each device gets a name of its own, so that the lines of two can stand in one file."""

    _readers: Iterator[int] = field(default_factory=lambda: count(1))
    _meters: Iterator[int] = field(default_factory=lambda: count(1))
    _boards: Iterator[int] = field(default_factory=lambda: count(1))

    def next(self) -> str:
        return f"reader-{next(self._readers)}"

    def next_meter(self) -> str:
        return f"meter-{next(self._meters)}"

    def next_board(self) -> str:
        return f"board-{next(self._boards)}"


def listed(found: Found, lacking: Lacking, missing_extra: Callable[[str], str | None]) -> list[Listed]:
    """Everything, readers first."""
    names = _Names()
    return [
        *_pcsc(found, names),
        *(_keyboard(each, names, lacking, missing_extra) for each in found.keyboards),
        *(_serial(each, names, lacking) for each in found.serial),
        *(_hid(each, names, missing_extra, several=len(found.hid_relays) > 1) for each in found.hid_relays),
        *(_i2c(each, lacking) for each in found.i2c),
        *(_gpio(each, names, lacking) for each in found.gpio),
    ]


# ---- PC/SC


def _pcsc(found: Found, names: _Names) -> Iterator[Listed]:
    readers = found.pcsc.readers
    for name in readers:
        table = _table("[[reader]]", name=names.next(), kind="pcsc", match=pattern_for(name, readers))
        yield Listed("pcsc", f"PC/SC reader {name}", configurations=(table,))
    if not readers:
        for each in found.chip_cards:
            subject = f"chip-card reader on USB: {each.usb.title or 'unnamed'} ({each.usb.usb_id})"
            advice = found.pcsc.advice or "pcscd does not offer it: apt install libccid, then plug it in again"
            yield Listed("pcsc", subject, notes=(advice,), configurations=(_any_pcsc(names),))
        if found.pcsc.advice and not found.chip_cards:
            yield Listed("pcsc", "PC/SC", notes=(found.pcsc.advice,))


def _any_pcsc(names: _Names) -> str:
    return _table("[[reader]]", name=names.next(), kind="pcsc")


def pattern_for(name: str, all_names: tuple[str, ...]) -> str:
    """A pattern that fits this reader after it was plugged in elsewhere, too, unless that would fit another as well.

    pcscd adds two numbers to a name, which depend on what else is plugged in. A bracket begins a set in a pattern.
    """
    exact = name.replace("[", "?")
    wide = re.sub(r"( [0-9A-F]{2}){2}$", " *", exact)
    return wide if sum(fnmatchcase(each, wide) for each in all_names) == 1 else exact


# ---- USB


def _keyboard(
    keyboard: Keyboard, names: _Names, lacking: Lacking, missing_extra: Callable[[str], str | None]
) -> Listed:
    known = f"sold as: {keyboard.known_as}" if keyboard.known_as else "a keyboard, or a reader that types like one"
    extra = missing_extra("keyboard")
    stays = keyboard.path != keyboard.node
    notes = [f"may be a card reader ({known}); the agent grabs what is named here: not the keyboard that you type on"]
    if extra:
        notes.append(f"needs the extra {extra} of this program, which is not installed")
    if keyboard.has_twin:
        notes.append(_TWIN if stays else _NAMELESS_TWIN)
    which = {"device": str(keyboard.path)} if stays else {"usb": keyboard.usb_id}
    table = _table("[[reader]]", name=names.next(), kind="keyboard", **which)
    subject = f"keyboard {keyboard.title} ({keyboard.usb_id}), {keyboard.path}"
    return Listed("keyboard", subject, str(keyboard.path), (*notes, *_rights(keyboard.node, lacking)), (table,))


def _hid(board: HidRelayBoard, names: _Names, missing_extra: Callable[[str], str | None], *, several: bool) -> Listed:
    extra = missing_extra("hid")
    notes = [f"needs the extra {extra} of this program, which is not installed"] if extra else []
    serial = ""
    if several:  # the board alone knows its serial, and it tells by a report of its own
        serial = f"serial = {_quoted(names.next_board())}, "
        notes.append("one of several boards: the agent's log names their serials; put the board's in place of this one")
    relays = tuple(
        f'# in [[evse]]:\nrelay = {{ kind = "hid", {serial}channel = {number} }}'
        for number in range(1, (board.channels or 1) + 1)
    )
    return Listed("hid", f"relay board {board.usb.title} ({board.usb.usb_id})", "", tuple(notes), relays)


# ---- serial lines

_MAY_BE = {
    Usual.RDM6300: "an RDM6300",
    Usual.ID12LA: "an ID-12LA",
    Usual.LINE: "a reader that sends lines",
    Usual.PN532: "a PN532",
    Usual.LCUS: "an LCUS relay board",
    Usual.MODBUS: "a line to meters (RS-485)",
}
_READERS = (Usual.PN532, Usual.RDM6300, Usual.ID12LA, Usual.LINE)


def _serial(port: SerialPort, names: _Names, lacking: Lacking) -> Listed:
    chip = port.adapter.chip or "adapter unknown"
    usb = f", {port.usb.title or 'unnamed'} ({port.usb.usb_id})" if port.usb else ""
    notes = [f"may be {', '.join(_MAY_BE[each] for each in port.adapter.usual)}"]
    if port.is_console:
        notes.append("the kernel writes its messages there: take console= out of its command line before using it")
    if port.has_twin:
        notes.append(_TWIN if port.path != port.node else _NAMELESS_TWIN)
    path = str(port.path)
    kinds = [each for each in port.adapter.usual if each in _READERS]
    others = f"  # or {', '.join(kinds[1:])}" if len(kinds) > 1 else ""
    tables = [_table("[[reader]]", name=names.next(), kind=str(kinds[0]), port=path)]
    tables[0] = tables[0].replace(f'kind = "{kinds[0]}"', f'kind = "{kinds[0]}"{others}')
    if Usual.LCUS in port.adapter.usual:
        tables.append(f'# in [[evse]]:\nrelay = {{ kind = "lcus", port = {_quoted(path)}, channel = 1 }}')
    if Usual.MODBUS in port.adapter.usual:
        meter = names.next_meter()
        table = _table("[[meter]]", name=meter, kind="modbus", port=path, model="sdm630")
        tables.append(f"# and in [[evse]]: meter = {_quoted(meter)}\n{table}")
    subject = f"serial port {path}: {chip}{usb}"
    return Listed("serial", subject, path, (*notes, *_rights(port.node, lacking)), tuple(tables))


# ---- pins and buses


def _i2c(bus: I2cBus, lacking: Lacking) -> Listed:
    subject = f"I2C bus {bus.number}" + (f": {bus.title}" if bus.title else "")
    notes, addresses = [], bus.answering
    if bus.trouble:
        notes.append(f"could not be asked: {bus.trouble}")
    elif addresses is None:
        notes.append("--probe asks it at which addresses something answers")
        addresses = (0x27,)
    elif not addresses:
        notes.append("nothing answers where a display would")
    else:
        notes.append(f"something answers at {', '.join(f'0x{each:02X}' for each in addresses)}")
    tables = [table for each in addresses or () for table in _displays_at(bus.number, each)]
    return Listed("i2c", subject, str(bus.node), (*notes, *_rights(bus.node, lacking)), tuple(tables))


def _displays_at(bus: int, address: int) -> Iterator[str]:
    place = f"bus = {bus}\naddress = 0x{address:02X}"
    if address in OLED:
        yield f'[evse.display]  # may be an OLED\nkind = "picture"\nchip = "ssd1306"\n{place}'
    if address in PCF8574 or address in PCF8574A:
        yield f'[evse.display]  # may be a character display\nkind = "hd44780"\n{place}'


def _gpio(chip: GpioChip, names: _Names, lacking: Lacking) -> Listed:
    note = "what is wired to its pins can't be found out; the numbers (BCM) are examples"
    relay = "# in [[evse]]:\nrelay = { gpio = 17 }"
    wiegand = f'[[reader]]\nname = "{names.next()}"\nkind = "wiegand"\ndata0 = 23\ndata1 = 24'
    subject = f"GPIO {chip.node}" + (f": {chip.title}" if chip.title else "")
    return Listed("gpio", subject, str(chip.node), (note, *_rights(chip.node, lacking)), (relay, wiegand))


# ---- words

_TWIN = "another one there is the same but for its socket: the name goes by that, so leave each where it is"
_NAMELESS_TWIN = "another one there is the same, and no name of it stays: after a boot the two may have changed places"


def _rights(node: Path, lacking: Lacking) -> tuple[str, ...]:
    remedy = lacking(node)
    return (f"may not be opened by this user; what helps: {remedy}",) if remedy else ()


def _table(header: str, **keys: str) -> str:
    return "\n".join([header, *(f"{key} = {_quoted(value)}" for key, value in keys.items())])


def _quoted(value: str) -> str:
    """A basic string of TOML, which JSON's are."""
    return json.dumps(value)
