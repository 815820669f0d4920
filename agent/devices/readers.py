"""The card readers."""
# ruff: noqa: PLC0415  a driver and its library are imported where such a reader is fitted

import logging
from collections.abc import Iterator, Mapping

from agent.config import (
    Config,
    EvseSection,
    Id12laSection,
    KeyboardSection,
    LineReaderSection,
    PcscSection,
    Pn532Section,
    Rdm6300Section,
    ReaderSection,
    WiegandSection,
)
from agent.config.device_checks import uid_format
from agent.devices.work import lost_when_it_fails
from agent.errors import ConfigError
from agent.model import Signal, Tap
from agent.ports import Indicator, Reader, ReaderState
from agent.runtime.outlets import Outlets

log = logging.getLogger(__name__)

_OF_A_CARD = frozenset({Signal.READING, Signal.ASKING, Signal.ACCEPTED, Signal.REFUSED})
"""What is told of the card that was just held there, whatever stands at the EVSEs."""


async def read_cards(reader: Reader, outlets: Outlets) -> None:
    """Hand each card of the reader to the EVSE that it is for, until cancelled."""

    def on_tap(tap: Tap) -> None:
        outlets.tap(tap)

    def on_state(state: ReaderState, advice: str) -> None:
        missing = state is ReaderState.MISSING
        log.log(logging.WARNING if missing else logging.INFO, "reader %s: %s", reader.name, advice)
        outlets.reader_is(reader.name, state, advice)

    failed = "its driver has failed, see the trace in the log"
    with lost_when_it_fails(lambda: outlets.reader_is(reader.name, ReaderState.MISSING, failed)):
        await reader.run(on_tap, on_state)


def reader_of(section: ReaderSection) -> Reader:
    """The driver of one reader; its device is first looked for when it runs. Raises ConfigError for what can't be."""
    try:
        return _reader_of(section)
    except ValueError as error:
        raise ConfigError(f'reader "{section.name}": {error}') from error


def _reader_of(section: ReaderSection) -> Reader:
    to_uid = uid_format(section).to_uid
    removal_s, debounce_s, reopen_s = section.removal_s, section.debounce_s, section.reopen_s
    flag_random = section.random_uids == "refuse"
    match section:
        case Rdm6300Section() | Id12laSection():
            from hw.readers.frames import FrameKind
            from hw.readers.serial_reader import SerialReader

            kind = FrameKind.RDM6300 if isinstance(section, Rdm6300Section) else FrameKind.ID12LA
            return SerialReader(
                section.name, section.port, kind=kind, to_uid=to_uid, baudrate=section.baudrate,
                removal_s=removal_s, debounce_s=debounce_s, reopen_s=reopen_s, flag_random=flag_random,
            )  # fmt: skip
        case LineReaderSection():
            from hw.readers.serial_reader import line_reader

            return line_reader(
                section.name, section.port, pattern=section.pattern, digits=section.digits,
                number_bytes=section.number_bytes, to_uid=to_uid,
                baudrate=section.baudrate, removal_s=removal_s, debounce_s=debounce_s, reopen_s=reopen_s,
                flag_random=flag_random, sends_reversed=section.sends_reversed,
            )  # fmt: skip
        case Pn532Section():
            from hw.readers.pn532_reader import Pn532Reader

            return Pn532Reader(
                section.name, section.port, to_uid=to_uid, baudrate=section.baudrate, poll_s=section.poll_s,
                removal_s=removal_s, debounce_s=debounce_s, reopen_s=reopen_s, flag_random=flag_random,
            )  # fmt: skip
        case PcscSection():
            from hw.readers.pcsc_reader import PcscReader

            return PcscReader(
                section.name, section.match, to_uid=to_uid, removal_s=removal_s, debounce_s=debounce_s,
                reopen_s=reopen_s, flag_random=flag_random, lamps=section.lamps,
            )  # fmt: skip
        case KeyboardSection():
            from hw.readers.keyboard_reader import KeyboardReader

            vendor, product = (int(part, 16) for part in section.usb.split(":")) if section.usb else (None, None)
            return KeyboardReader(
                section.name, device=section.device, vendor=vendor, product=product, title=section.title,
                layout=section.layout, digits=section.digits,
                number_bytes=section.number_bytes, to_uid=to_uid, removal_s=removal_s,
                debounce_s=debounce_s, reopen_s=reopen_s, flag_random=flag_random,
                sends_reversed=section.sends_reversed,
            )  # fmt: skip
        case WiegandSection():
            from hw.readers.wiegand_reader import WiegandReader

            return WiegandReader(
                section.name, data0=section.data0, data1=section.data1, bits=section.bits, to_uid=to_uid,
                removal_s=removal_s, debounce_s=debounce_s, reopen_s=reopen_s, flag_random=flag_random,
                sends_reversed=section.sends_reversed,
            )  # fmt: skip


def lamps_of_readers(config: Config, evse: EvseSection, readers: Mapping[str, Reader]) -> Iterator[Indicator]:
    """The lamps and buzzers that the EVSE's readers themselves have."""
    for name in evse.readers:
        reader = readers[name]
        if isinstance(reader, Indicator):
            is_shared = sum(name in other.readers for other in config.evse) > 1
            yield _SharedLamp(reader) if is_shared else reader


class _SharedLamp:
    """Tells only what becomes of cards: what stands at one of several EVSEs would contradict another."""

    def __init__(self, lamp: Indicator) -> None:
        self._lamp = lamp

    def indicate(self, signal: Signal) -> None:
        self._lamp.indicate(signal if signal in _OF_A_CARD else Signal.READY)
