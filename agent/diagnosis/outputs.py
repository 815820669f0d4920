"""Relays, displays and meters: is the way to each there? None is moved, written to or asked."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from agent.config import (
    CharacterDisplaySection,
    DisplaySection,
    EvseSection,
    GpioRelaySection,
    HidRelaySection,
    LcusRelaySection,
    MeterSection,
    ModbusMeterSection,
    PictureDisplaySection,
    RelaySection,
    SerialDisplaySection,
)
from agent.diagnosis.finding import Finding, Level, bad, good
from agent.diagnosis.readers import library_findings
from agent.diagnosis.rights import lacking
from agent.diagnosis.serial_lines import line_finding, node_finding, serial_finding
from hw.discovery_boards import ask_bus
from hw.discovery_libraries import PICTURE_ON_SPI
from hw.discovery_sysfs import Roots
from hw.discovery_usb import HidRelayBoard, hid_nodes, hid_relays
from hw.patience import answered_within

BUS_S = 5.0
"""One byte takes less than a millisecond; a bus whose clock something holds low may never answer."""


def relay_findings(subject: str, section: RelaySection, roots: Roots) -> list[Finding]:
    """Without one no charge begins."""
    match section:
        case GpioRelaySection():
            return []  # a pin, looked at with all others
        case LcusRelaySection():
            return [serial_finding(subject, Path(section.port))]
        case HidRelaySection():
            board = hid_finding(subject, section, list(hid_relays(roots)), roots)
            return [board, *library_findings(subject, "hid")]


def hid_finding(subject: str, section: HidRelaySection, boards: Sequence[HidRelayBoard], roots: Roots) -> Finding:
    """The board's own serial can't be read without talking to it: with several boards, whether one is meant."""
    if not boards:
        return bad(subject, "no HID relay board is plugged in", "check the cable, and the board's supply")
    if all(board.channels is not None and board.channels < section.channel for board in boards):
        said = f"channel {section.channel} is on none of: {', '.join(board.usb.title for board in boards)}"
        return bad(subject, said, "the channel as it is printed on the board")
    lacks = [lacking(node) for board in boards for node in hid_nodes(board, roots)]
    if lacks and all(lacks):
        return bad(subject, f"{boards[0].usb.title} may not be opened by this user", lacks[0])
    return good(subject, f"{', '.join(board.usb.title for board in boards)} is there and may be opened")


def meter_findings(meters: Sequence[MeterSection], *, agent_runs: Callable[[], bool]) -> list[Finding]:
    """Each line once, however many meters are on it."""
    by_port: dict[str, list[ModbusMeterSection]] = {}
    for meter in meters:
        if isinstance(meter, ModbusMeterSection):
            by_port.setdefault(meter.port, []).append(meter)
    return [
        line_finding(
            f"meter {', '.join(meter.name for meter in there)}",
            port,
            there[0].baudrate,
            parity=there[0].parity,
            agent_runs=agent_runs,
        )
        for port, there in by_port.items()
    ]


def display_findings(evse: EvseSection, roots: Roots) -> list[Finding]:
    """The driver could charge without one, and would not know why not."""
    subject, display = f"display of {evse.uid}", evse.display
    kind = str(display.__struct_config__.tag)
    if isinstance(display, PictureDisplaySection) and display.interface == "spi":
        kind = PICTURE_ON_SPI
    return [*_display(subject, display, roots), *library_findings(subject, kind, Level.WARNING)]


def _display(subject: str, display: DisplaySection, roots: Roots) -> list[Finding]:
    match display:
        case CharacterDisplaySection():
            return list(_on_i2c(subject, display.bus, display.address, roots))
        case PictureDisplaySection(interface="i2c"):
            return list(_on_i2c(subject, display.bus, display.address, roots))
        case PictureDisplaySection():
            node = roots.dev / f"spidev{display.spi_port}.{display.spi_device}"
            return [_or_switched_on(node_finding(subject, node, level=Level.WARNING), "dtparam=spi=on")]
        case SerialDisplaySection():
            return [serial_finding(subject, Path(display.port), level=Level.WARNING)]
        case _:
            return []


def _on_i2c(subject: str, bus: int, address: int, roots: Roots) -> Iterator[Finding]:
    finding = node_finding(subject, roots.dev / f"i2c-{bus}", level=Level.WARNING)
    if finding.level is not Level.GOOD:
        yield _or_switched_on(finding, "dtparam=i2c_arm=on")
        return
    try:
        answers = answered_within(BUS_S, lambda: ask_bus(bus, [address]), f"I2C bus {bus}")
    except OSError as error:
        yield Finding(Level.WARNING, subject, f"bus {bus} can't be asked: {error}", "check the wires of the bus")
        return
    if answers:
        yield good(subject, f"something answers at 0x{address:02X} on bus {bus}")
        return
    remedy = "check its wires and its address: chargepoint-agent readers --probe shows where something answers"
    yield Finding(Level.WARNING, subject, f"nothing answers at 0x{address:02X} on bus {bus}", remedy)


def _or_switched_on(finding: Finding, parameter: str) -> Finding:
    """On a Raspberry Pi a bus is not there because nobody has switched it on."""
    if "is not there" not in finding.sentence:
        return finding
    return Finding(finding.level, finding.subject, finding.sentence, f"{parameter} in config.txt, then reboot")
