"""Cards for a real PC/SC stack: an emulator for `vsmartcard-vpcd`, the virtual reader of pcscd.

vpcd listens on a TCP port for each of its two slots; whoever connects is a card on that slot, and who hangs up is
taken away. A message is a big-endian 16-bit length and that many bytes: one byte is for the card's contacts (00 power
off, 01 power on, 02 reset, 04 asks for the ATR), anything longer an APDU, which is answered by a message.
See `fakes.pcscd` for the daemon.
"""

import contextlib
import socket
import struct
import threading
import time
from enum import Enum
from types import TracebackType
from typing import Self

PORTS = (35963, 35964)
"""vpcd's first slot, "Virtual PCD 00 00", and its second, "Virtual PCD 00 01"."""

_ATR = bytes.fromhex("3B8F8001804F0CA000000306030001000000006A")
"""What PC/SC part 3, 3.1.3.2.3 has a reader make up for a MIFARE Classic 1K, which has none."""

_NOISE = bytes(40)
"""Longer than an ATR may be (ISO 7816-3: 33 bytes): what vpcd takes for a card that does not come to life."""

_GET_UID = bytes.fromhex("FFCA0000")
_OK = b"\x90\x00"
_NO_SUCH_INSTRUCTION = b"\x6d\x00"
_NO_SUCH_FUNCTION = b"\x6a\x81"

_RECONNECT_S = 0.02
"""While pcscd is away a card lies there all the same and is found when it returns."""

_LINGER = struct.pack("ii", 1, 0)


class Manner(Enum):
    """How a card behaves."""

    WELL = "well"
    MUTE = "does not come to life when it gets power"
    NO_UID = "status word 6A81: the function is not supported"
    SHORT = "answers with half of a status word and nothing else"
    SLOW = "takes a second for its answer"
    CUT = "is taken away in the middle of its answer"
    SHAKY = "is lost once in the middle, then answers"


class CardSlot:
    """The place on one virtual reader. World side: `present` a card, `remove` it. Runs a thread while one is there."""

    def __init__(self, port: int = PORTS[0]) -> None:
        self.port = port
        self._worker: _Worker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def uid(self) -> str | None:
        """The card that lies here, upper-case hex."""
        return None if self._worker is None else self._worker.uid.hex().upper()

    @property
    def sent_at(self) -> float:
        """Monotonic seconds at which the last byte of the last uid had been handed to the line; 0 before the first."""
        return 0.0 if self._worker is None else self._worker.sent_at

    @property
    def uids_sent(self) -> int:
        """How often this card was asked for its uid and gave it."""
        return 0 if self._worker is None else self._worker.uids_sent

    @property
    def powered_at(self) -> float:
        """Monotonic seconds at which pcscd last gave this card power: it has just found it."""
        return 0.0 if self._worker is None else self._worker.powered_at

    @property
    def apdus(self) -> tuple[str, ...]:
        """What this card was sent beside questions for its uid, upper-case hex."""
        return () if self._worker is None else tuple(self._worker.apdus)

    def present(self, uid: str, manner: Manner = Manner.WELL) -> None:
        """Put a card there; the one that lay there is taken away. It stays through the death of pcscd."""
        self.remove()
        self._worker = _Worker(self.port, bytes.fromhex(uid), manner)
        self._worker.start()

    def remove(self) -> None:
        """Take the card away. pcscd notices when it next looks, which it does every 0.4 s."""
        if self._worker is not None:
            self._worker.leave()
            self._worker = None


class _Worker(threading.Thread):
    """One card's life on the line."""

    def __init__(self, port: int, uid: bytes, manner: Manner) -> None:
        super().__init__(name=f"card on {port}", daemon=True)
        self.uid = uid
        self.sent_at = 0.0
        self.uids_sent = 0
        self.powered_at = 0.0
        self.apdus: list[str] = []
        self._port = port
        self._manner = manner
        self._powered = False
        self._left = threading.Event()
        self._line: socket.socket | None = None

    def leave(self) -> None:
        """End, whatever the line does."""
        self._left.set()
        if (line := self._line) is not None:
            with contextlib.suppress(OSError):  # the daemon was the first to hang up
                line.shutdown(socket.SHUT_RDWR)
        self.join()

    def run(self) -> None:
        """Be there until taken away: as often as there is a daemon."""
        while not self._left.is_set():
            with contextlib.suppress(OSError):  # no daemon, or no longer
                self._serve()
            self._left.wait(_RECONNECT_S)

    def _serve(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._line = line
            if self._left.is_set():  # it was taken away before there was a line to hang up
                return
            self._powered = False
            # A killed daemon that has connections in TIME_WAIT can't listen on its port again for a minute.
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            while not self._left.is_set() and (message := _receive(line)) is not None:
                if len(message) == 1:
                    self._contacts(line, message[0])
                elif message:
                    self._answer(line, message)

    def _contacts(self, line: socket.socket, order: int) -> None:
        match order:
            case 0x04:  # asked at every look: by its answer vpcd knows that there is a card
                is_dead = self._manner is Manner.MUTE and self._powered
                _send(line, _NOISE if is_dead else _ATR)
            case 0x01 | 0x02:
                self._powered = True
                self.powered_at = time.monotonic()
            case 0x00:
                self._powered = False
            case _:
                raise ConnectionError(f"vpcd has no order {order:02X}")

    def _answer(self, line: socket.socket, apdu: bytes) -> None:
        if not self._powered:
            return  # a card without power says nothing
        if apdu[:4] != _GET_UID or len(apdu) != 5:
            self.apdus.append(apdu.hex().upper())
            _send(line, _NO_SUCH_INSTRUCTION)
            return
        match self._manner:
            case Manner.NO_UID:
                _send(line, _NO_SUCH_FUNCTION)
                return
            case Manner.SHORT:
                _send(line, b"\x90")
                return
            case Manner.CUT | Manner.SHAKY:
                line.sendall(struct.pack(">H", len(self.uid) + 2) + self.uid[:2])
                if self._manner is Manner.CUT:
                    self._left.set()
                self._manner = Manner.WELL
                raise ConnectionError("taken away")
            case Manner.SLOW:
                self._left.wait(1.0)
            case Manner.WELL | Manner.MUTE:
                pass
        _send(line, self.uid + _OK)
        self.sent_at = time.monotonic()
        self.uids_sent += 1


def _receive(line: socket.socket) -> bytes | None:
    """One message; None when the daemon has hung up."""
    head = _exactly(line, 2)
    return None if head is None else _exactly(line, int.from_bytes(head, "big"))


def _exactly(line: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        # vpcd writes a message's length and its bytes one after the other: Linux delays our acknowledgement of the
        # first, and with it the second, by 40 ms unless it is told not to, and it forgets that with each reading.
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        chunk = line.recv(size - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def _send(line: socket.socket, message: bytes) -> None:
    line.sendall(struct.pack(">H", len(message)) + message)
