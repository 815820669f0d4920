"""One exchange with the card on a PC/SC reader: its uid. Blocks: for the driver's own thread only."""

import time
from dataclasses import dataclass

from smartcard import scard

from hw.readers.pcsc_trouble import REMOVED_CARD, SUCCESS, unsigned

GET_UID = [0xFF, 0xCA, 0x00, 0x00, 0x00]
"""PC/SC part 3, 3.2.2.1.3, Get Data with P1 = 0: the reader itself answers it, whatever the card is."""

_LENGTHS = frozenset({4, 7, 10, 8})
"""ISO 14443 type A single, double and triple size (type B has 4); 8 for ISO 15693 and FeliCa. Others are no uid."""

_TRANSIENT = frozenset({(0x63, 0x00), (0x64, 0x00), (0x6F, 0x00)})
"""The reader lost the card in the middle: ACR122U and kin say so by the status word and not by an error."""


@dataclass(frozen=True, slots=True)
class UidRead:
    """What the reader answered, and when, in loop time."""

    raw: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Broken:
    """The exchange failed on the way, with PC/SC's code; the card may be read if it is asked again."""

    code: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Card or reader gave an answer that is no uid; asking again brings the same."""

    why: str


def read_uid(context: int, reader: str) -> UidRead | Broken | Unreadable:
    """Ask the reader for the uid of the card that lies on it; leaves the card as it was."""
    code, card, protocol = scard.SCardConnect(
        context, reader, scard.SCARD_SHARE_SHARED, scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
    )
    if code != SUCCESS:
        return Broken(unsigned(code))
    try:
        pci = scard.SCARD_PCI_T1 if protocol == scard.SCARD_PROTOCOL_T1 else scard.SCARD_PCI_T0
        code, answer = scard.SCardTransmit(card, pci, GET_UID)
        at = time.monotonic()  # the loop's clock: the driver's deadline counts from here
    finally:
        scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)
    return Broken(unsigned(code)) if code != SUCCESS else uid_of(bytes(answer), at)


def uid_of(answer: bytes, at: float) -> UidRead | Broken | Unreadable:
    """The uid in an answer to `GET_UID`."""
    if len(answer) < 2:
        return Unreadable("the answer has no status word: is the reader's firmware up to date?")
    raw, status = answer[:-2], (answer[-2], answer[-1])
    if status in _TRANSIENT:
        return Broken(REMOVED_CARD)
    if status != (0x90, 0x00):
        return Unreadable(f"card or reader can't give a uid, status {status[0]:02X}{status[1]:02X}: try another card")
    if len(raw) not in _LENGTHS:
        return Unreadable(f"a uid of {len(raw)} bytes, where 4, 7, 8 or 10 are possible: not a card for this reader")
    return UidRead(raw, at)
