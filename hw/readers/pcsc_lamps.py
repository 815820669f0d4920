"""The reader's own lamp and buzzer, from a thread of its own, so that no beep holds up the reading of a card.

A command goes as a pseudo APDU with the card on the reader, and as an escape command to the reader itself without one.
libccid refuses escape commands unless bit 0 of `ifdDriverOptions` in its Info.plist is set: a warning says so once.
"""

import logging
import threading
from collections.abc import Sequence

from smartcard import scard

from agent.model import Signal
from hw.readers import pcsc_trouble as pcsc
from hw.readers.pcsc_acs import DARK, Look, commands_for, look_of

log = logging.getLogger(__name__)

_ESCAPE = scard.SCARD_CTL_CODE(1)
"""IOCTL_SMARTCARD_VENDOR_IFD_EXCHANGE as libccid has it (its README, "vendor specific control")."""


class PcscLamps:
    """Shows the newest signal on every reader that has a lamp we know; what is overtaken is not shown.

    Never raises and never waits: a reader that is away shows it once `readers_are` names it again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._look = DARK
        self._readers: tuple[str, ...] = ()
        self._tried: dict[str, Look] = {}
        self._shown: dict[str, Look] = {}
        self._ending = False
        self._warned = False

    def start(self) -> None:
        """Begin; until then signals are kept."""
        threading.Thread(target=self._work, name="pcsc lamps", daemon=True).start()

    def stop(self) -> None:
        """Go dark and end, soon; returns at once."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def show(self, signal: Signal) -> None:
        """From now on."""
        with self._changed:
            self._look = look_of(signal)
            self._changed.notify()

    def readers_are(self, names: Sequence[str]) -> None:
        """The readers that are there."""
        with self._changed:
            self._readers = tuple(names)
            self._tried = {name: look for name, look in self._tried.items() if name in names}
            self._changed.notify()

    def card_came(self, reader: str) -> None:
        """A card lies there now: what the reader did not take without one is tried once more."""
        with self._changed:
            if self._shown.get(reader) != self._tried.get(reader):
                self._tried.pop(reader, None)
                self._changed.notify()

    def _work(self) -> None:
        ending = False
        while not ending:
            with self._changed:
                self._changed.wait_for(lambda: self._ending or self._due)
                ending = self._ending
                look, readers = (DARK, self._readers) if ending else (self._look, self._due)
                self._tried |= dict.fromkeys(readers, look)  # failed or not: or a broken lamp would spin
            for reader in readers:
                done = self._send(reader, commands_for(reader, look))
                with self._changed:
                    if done:
                        self._shown[reader] = look
                    else:
                        self._shown.pop(reader, None)

    @property
    def _due(self) -> tuple[str, ...]:
        return tuple(name for name in self._readers if self._tried.get(name) != self._look)

    def _send(self, reader: str, commands: Sequence[bytes]) -> bool:
        """Whether the reader has taken them all; one without a lamp that we know takes none."""
        if not commands:
            return True
        code, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
        if code != pcsc.SUCCESS:
            return False
        try:
            for command in commands:
                code = with_card(context, reader, command)
                if code != pcsc.SUCCESS:
                    code = without_card(context, reader, command)
                self._note(reader, code)
                if code != pcsc.SUCCESS:
                    return False
            return True
        finally:
            scard.SCardReleaseContext(context)

    def _note(self, reader: str, code: int) -> None:
        if code == pcsc.SUCCESS or self._warned:
            return
        self._warned = True
        log.warning(
            "%s takes no command for its lamp (0x%08X): allow escape commands, ifdDriverOptions 0x0001 in libccid's "
            "Info.plist, and restart pcscd; until then it is set only while a card lies on the reader",
            reader,
            pcsc.unsigned(code),
        )


def with_card(context: int, reader: str, command: bytes) -> int:
    """Send a command by the card's channel, which needs one there; PC/SC's code."""
    protocols = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
    code, card, protocol = scard.SCardConnect(context, reader, scard.SCARD_SHARE_SHARED, protocols)
    if code != pcsc.SUCCESS:
        return int(code)
    try:
        pci = scard.SCARD_PCI_T1 if protocol == scard.SCARD_PROTOCOL_T1 else scard.SCARD_PCI_T0
        return int(scard.SCardTransmit(card, pci, list(command))[0])
    finally:
        scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)


def without_card(context: int, reader: str, command: bytes) -> int:
    """Send a command to the reader itself; PC/SC's code."""
    code, handle, _ = scard.SCardConnect(context, reader, scard.SCARD_SHARE_DIRECT, 0)
    if code != pcsc.SUCCESS:
        return int(code)
    try:
        return int(scard.SCardControl(handle, _ESCAPE, list(command))[0])
    finally:
        scard.SCardDisconnect(handle, scard.SCARD_LEAVE_CARD)
