"""The readers of the file, a table a kind. `docs/configuration.toml` says what each key means."""

from typing import Annotated, Literal

import msgspec

from agent.config.section import Baudrate, Gpio, Name, NonEmpty, Positive, Section

Decimals = Annotated[int, msgspec.Meta(ge=1, le=30)]
NumberBytes = Annotated[int, msgspec.Meta(ge=1, le=10)]
RandomUids = Literal["refuse", "accept"]
Digits = Literal["hex", "decimal"]
_USB_ID = 'as lsusb shows it: vendor and product in hex, as "08ff:0009"'


class ReaderSettings(Section, frozen=True, kw_only=True):
    """What every reader has: its name, how it names cards, and when a card is a new tap."""

    name: Name
    uid_bytes: Annotated[int, msgspec.Meta(ge=1, le=10)] | None = None
    uid_reversed: bool = False
    uid_decimal_digits: Decimals | None = None
    uid_facility_digits: tuple[Decimals, Decimals] | None = None
    removal_s: Positive = 1.0
    debounce_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    reopen_s: Positive = 1.0


class Rdm6300Section(ReaderSettings, frozen=True, kw_only=True, tag_field="kind", tag="rdm6300"):
    """An RDM6300 or kin on a serial line, 125 kHz."""

    port: NonEmpty
    baudrate: Baudrate = 9600
    random_uids: RandomUids = "accept"


class Id12laSection(ReaderSettings, frozen=True, kw_only=True, tag_field="kind", tag="id12la"):
    """An ID-12LA or ID-20LA on a serial line, 125 kHz."""

    port: NonEmpty
    baudrate: Baudrate = 9600
    random_uids: RandomUids = "accept"


class LineReaderSection(ReaderSettings, frozen=True, kw_only=True, tag_field="kind", tag="line"):
    """A reader that sends lines of text over a serial line."""

    port: NonEmpty
    baudrate: Baudrate = 9600
    pattern: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] = "[0-9A-Fa-f]{8,20}"
    digits: Digits = "hex"
    number_bytes: NumberBytes | None = None
    sends_reversed: bool = False
    random_uids: RandomUids = "accept"


class Pn532Section(ReaderSettings, frozen=True, kw_only=True, tag_field="kind", tag="pn532"):
    """A PN532 on a serial line (HSU), 13.56 MHz."""

    port: NonEmpty
    baudrate: Baudrate = 115_200
    poll_s: Annotated[float, msgspec.Meta(ge=0.05, le=2)] = 0.15
    random_uids: RandomUids = "refuse"


class PcscSection(ReaderSettings, frozen=True, kw_only=True, tag_field="kind", tag="pcsc"):
    """Every PC/SC reader whose name fits."""

    match: NonEmpty = "*"
    lamps: bool = True
    random_uids: RandomUids = "refuse"


class KeyboardSection(ReaderSettings, frozen=True, kw_only=True, tag_field="kind", tag="keyboard"):
    """A USB reader that types like a keyboard; one of `device`, `usb` and `title` finds it."""

    device: NonEmpty | None = None
    usb: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}\Z", description=_USB_ID)] | None = None
    title: NonEmpty | None = None
    layout: Literal["us", "de", "fr"] = "us"
    digits: Digits = "decimal"
    number_bytes: NumberBytes | None = None
    sends_reversed: bool = False
    random_uids: RandomUids = "accept"


class WiegandSection(ReaderSettings, frozen=True, kw_only=True, tag_field="kind", tag="wiegand"):
    """A reader with a Wiegand interface on two GPIO pins."""

    data0: Gpio
    data1: Gpio
    bits: Literal[26, 34] | None = None
    sends_reversed: bool = False
    random_uids: RandomUids = "accept"


SerialReaderSection = Rdm6300Section | Id12laSection | LineReaderSection | Pn532Section
ReaderSection = (
    Rdm6300Section | Id12laSection | LineReaderSection | Pn532Section | PcscSection | KeyboardSection | WiegandSection
)
