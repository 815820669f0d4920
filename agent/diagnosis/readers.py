"""Each reader of the configuration: is its device there, and may it be used?"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path

from agent.config import KeyboardSection, PcscSection, ReaderSection, WiegandSection
from agent.diagnosis.finding import Finding, Level, bad, good, warning
from agent.diagnosis.rights import lacking
from agent.diagnosis.serial_lines import line_finding
from hw.discovery_libraries import missing_extra
from hw.discovery_pcsc import SOCKET, PcscFound, needs_rule, pcsc_readers
from hw.discovery_serial import SerialPort, serial_ports
from hw.discovery_sysfs import Roots
from hw.discovery_usb import ChipCardReader, Keyboard, chip_card_readers, keyboards

_RULE = "a polkit rule that lets it have org.debian.pcsc-lite.access_pcsc and org.debian.pcsc-lite.access_card"


def reader_findings(section: ReaderSection, roots: Roots, *, agent_runs: Callable[[], bool]) -> list[Finding]:
    """For a reader that is not PC/SC's: those are looked at together, see `pcsc_findings`."""
    subject = f"reader {section.name}"
    match section:
        case PcscSection():
            return []
        case WiegandSection():
            return []  # two pins, looked at with all others
        case KeyboardSection():
            there = list(keyboards(roots))
            twins = twin_findings(subject, section.device, there)
            return [keyboard_finding(section, there), *twins, *library_findings(subject, "keyboard")]
        case _:
            return [
                line_finding(subject, section.port, section.baudrate, agent_runs=agent_runs),
                *twin_findings(subject, section.port, list(serial_ports(roots))),
            ]


def library_findings(subject: str, kind: str, level: Level = Level.BAD) -> list[Finding]:
    """Whether the device's library is missing; one that is there is not worth a line."""
    extra = missing_extra(kind)
    if extra is None:
        return []
    remedy = f"install this program with its extra {extra} (pip install '.[{extra}]' where its source is)"
    return [Finding(level, subject, f"the library for kind {kind} is not installed", remedy)]


def twin_findings(
    subject: str, configured: str | None, there: Sequence[SerialPort] | Sequence[Keyboard]
) -> list[Finding]:
    """Whether the name that a device is configured by may lead to another one after the next boot."""
    if configured is None or Path(configured).parent.name != "by-id":
        return []
    for each in there:
        if each.has_twin and os.path.realpath(configured) == os.path.realpath(each.node):
            said = (
                f"{configured} leads to another device after the next boot: there are several without a serial number"
            )
            own = each.path if each.path != each.node else f"{Path(configured).parents[1] / 'by-path'}/…"
            return [warning(subject, said, f"{own} names this one by the socket that it is plugged into")]
    return []


def keyboard_finding(section: KeyboardSection, there: Sequence[Keyboard]) -> Finding:
    """Whether it is plugged in. That nobody else has grabbed it can't be told without grabbing it."""
    subject = f"reader {section.name}"
    named = section.device or section.usb or f'"{section.title}"'
    found = [each for each in there if _is_meant(section, each)]
    if not found:
        others = ", ".join(f"{each.title} ({each.usb_id})" for each in there) or "none"
        remedy = "check the cable; chargepoint-agent readers has the lines for what is there"
        return bad(subject, f"no keyboard is {named}; plugged in: {others}", remedy)
    if remedy := lacking(found[0].node):
        return bad(subject, f"{found[0].path} may not be opened by this user", remedy)
    if len(found) > 1:
        return warning(subject, f"{len(found)} keyboards are {named}", f'device = "{found[0].path}" names one of them')
    return good(subject, f"{found[0].title}, {found[0].path}, is there and may be opened")


def _is_meant(section: KeyboardSection, keyboard: Keyboard) -> bool:
    if section.device is not None:
        return os.path.realpath(section.device) == os.path.realpath(keyboard.node)
    if section.usb is not None:
        return section.usb.lower() == keyboard.usb_id
    return fnmatchcase(keyboard.title, section.title or "")


def pcsc_findings(sections: Sequence[PcscSection], roots: Roots) -> list[Finding]:
    """The daemon, once, and for each reader which of those that it offers fit."""
    if not sections:
        return []
    found = pcsc_readers()
    return [
        pcscd_finding(found, socket_there=SOCKET.exists()),
        *rule_findings(needs_rule(), is_root=os.geteuid() == 0),
        *(matching_finding(section, found, list(chip_card_readers(roots))) for section in sections),
        *overlap_findings(sections, found.readers),
        *number_findings(sections, found.readers),
    ]


def overlap_findings(sections: Sequence[PcscSection], names: Sequence[str]) -> Iterator[Finding]:
    """Whether a card at one reader would be a tap of two: it would start a charge at two EVSEs."""
    for name in names:
        fitting = [section for section in sections if _fits(section, name)]
        if len(fitting) > 1:
            said = f"{name} fits {' and '.join(each.name for each in fitting)}"
            remedy = "give each a match of its own; chargepoint-agent readers has one for each reader that is there"
            yield bad("pcsc readers", f"{said}: each card there would be a tap at all of them", remedy)


def number_findings(sections: Sequence[PcscSection], names: Sequence[str]) -> Iterator[Finding]:
    """Whether two sections tell their readers apart by nothing but the numbers that pcscd gives."""
    of = {section.name: [name for name in names if _fits(section, name)] for section in sections}
    for (one, ones), (other, others) in combinations(of.items(), 2):
        if any(_differ_in_number(a, b) for a in ones for b in others):
            said = f"{one} and {other} differ in pcscd's number alone, which goes by the order in which they are found"
            remedy = "take readers of two models, or with a serial number in their names, or try each after a boot"
            yield warning("pcsc readers", said, remedy)


def _differ_in_number(one: str, other: str) -> bool:
    """Whether these are two readers of one model: behind it pcscd puts the reader's number and that of its slot."""
    a, b = (re.fullmatch(r"(.*) ([0-9A-F]{2}) [0-9A-F]{2}", name) for name in (one, other))
    return a is not None and b is not None and a[1] == b[1] and a[2] != b[2]


def _fits(section: PcscSection, name: str) -> bool:
    return fnmatchcase(name.casefold(), section.match.casefold())


def pcscd_finding(found: PcscFound, *, socket_there: bool) -> Finding:
    """Whether it answers."""
    if found.trouble is None:
        return good("pcscd", f"answers; it offers {len(found.readers)} reader(s)")
    where = "" if socket_there else f"; {SOCKET} is not there"
    return bad("pcscd", f"{found.advice}{where}")


def rule_findings(needed: bool | None, *, is_root: bool) -> list[Finding]:  # noqa: FBT001  a value of three
    """`needed`: see `needs_rule`. Root is let in without a rule, so its success says nothing of the agent's user."""
    if needed is None:
        said = "its rules can't be read by this user, so whether one lets the agent use pcscd is not known"
        return [good("polkit", said)]
    if not needed:
        return []
    said = "no rule lets the agent's user use pcscd"
    return [warning("polkit", said if is_root else f"{said}, if it is another one than this", _RULE)]


def matching_finding(section: PcscSection, found: PcscFound, on_usb: Sequence[ChipCardReader]) -> Finding:
    """Which readers one table takes."""
    subject = f"reader {section.name}"
    matching = [name for name in found.readers if _fits(section, name)]
    if matching:
        return good(subject, f'"{section.match}" fits {", ".join(matching)}')
    if found.trouble is not None:
        return bad(subject, "can't be looked for, as pcscd does not answer")
    plugged = ", ".join(f"{each.usb.title or 'unnamed'} ({each.usb.usb_id})" for each in on_usb)
    if not found.readers:
        remedy = "check the cable" if not plugged else "apt install libccid, unplug it and plug it in again"
        return bad(subject, f"pcscd knows of no reader; on USB there is: {plugged or 'none'}", remedy)
    return bad(subject, f'"{section.match}" fits none of: {", ".join(found.readers)}', 'match = "*" takes any')
