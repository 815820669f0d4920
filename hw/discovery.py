"""All that is plugged in, found without disturbing it: nothing is opened but, on request, an I2C bus, and pcscd.

What somebody would write about a find is not for here: see `agent.diagnosis.found_lines`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hw.discovery_boards import GpioChip, I2cBus, gpio_chips, i2c_buses
from hw.discovery_pcsc import NOTHING_SAID, PcscFound, pcsc_readers
from hw.discovery_serial import SerialPort, serial_ports
from hw.discovery_sysfs import REAL, Roots
from hw.discovery_usb import ChipCardReader, HidRelayBoard, Keyboard, chip_card_readers, hid_relays, keyboards


@dataclass(frozen=True, slots=True)
class Found:
    """What is there."""

    serial: tuple[SerialPort, ...] = ()
    pcsc: PcscFound = NOTHING_SAID
    chip_cards: tuple[ChipCardReader, ...] = ()
    """On USB: what pcscd should know of."""
    keyboards: tuple[Keyboard, ...] = ()
    i2c: tuple[I2cBus, ...] = ()
    hid_relays: tuple[HidRelayBoard, ...] = ()
    gpio: tuple[GpioChip, ...] = ()


def look(
    roots: Roots = REAL,
    *,
    pcsc: Callable[[], PcscFound] = pcsc_readers,
    probe: Callable[[int], Iterable[int]] | None = None,
) -> Found:
    """Look once. `probe` asks an I2C bus which addresses answer, see `discovery_boards.ask_bus`; None asks none."""
    return Found(
        tuple(serial_ports(roots)),
        pcsc(),
        tuple(chip_card_readers(roots)),
        tuple(keyboards(roots)),
        tuple(i2c_buses(roots, probe=probe)),
        tuple(hid_relays(roots)),
        tuple(gpio_chips(roots)),
    )
