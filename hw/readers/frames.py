"""The frames of 125 kHz readers, from a stream of bytes. Pure: no port, no clock.

    RDM6300 and kin    02  10 hex digits  2 hex digits  03
    ID-12LA, ID-20LA   02  10 hex digits  2 hex digits  0D 0A 03

The last two digits are the XOR of the five bytes before (RDM6300 data sheet; ID-2/12/20LA data sheet, "Data
Formats"). An STX can't be part of a frame, so wherever one comes, a frame begins: a good frame is found whatever
was lost, cut or inserted before it.
"""

from enum import StrEnum
from functools import reduce
from operator import xor

_STX = 0x02
_DIGITS = 12
# No data sheet promises lower case. It is read all the same: a single flipped bit turns no digit into the lower-case
# form of another one, the checksum covers the value, and the ID-12LA does not repeat a frame that we turned down.
_HEX = frozenset(b"0123456789ABCDEFabcdef")


class FrameKind(StrEnum):
    """Whose frames."""

    RDM6300 = "rdm6300"
    ID12LA = "id12la"
    """The ID-20LA's too."""


_TAILS = {FrameKind.RDM6300: b"\x03", FrameKind.ID12LA: b"\r\n\x03"}


class FrameParser:
    """Finds every whole frame with a right checksum, whatever comes between and however the stream is cut up.

    Keeps at most one frame's bytes. Each byte ends in a good frame, in `discarded_bytes`, or is still pending.
    """

    pause_s: float | None = None
    """Silence means nothing here: a frame itself says where it begins, and an adapter may hold half of one back."""

    def __init__(self, kind: FrameKind) -> None:
        self._tail = _TAILS[kind]
        self._pending = bytearray()
        self.good = 0
        self.bad = 0
        """Frames that began and broke: cut, with a wrong character, or with a wrong checksum."""
        self.discarded_bytes = 0
        """Bytes of bad frames and from between frames."""

    def push(self, chunk: bytes) -> list[bytes]:
        """Take what the line brought, in any portions; give the 5 data bytes of each good frame that it completed."""
        completed = []
        for byte in chunk:
            if byte == _STX:
                self.reset()
                self._pending.append(byte)
            elif not self._pending:
                self.discarded_bytes += 1
            elif (data := self._add(byte)) is not None:
                completed.append(data)
        return completed

    def pause(self) -> None:
        """Take note that the line was silent, which changes nothing."""

    def reset(self) -> None:
        """Drop a half frame; it counts as bad. Nothing from before joins anything from after."""
        if self._pending:
            self.bad += 1
            self.discarded_bytes += len(self._pending)
            self._pending.clear()

    def _add(self, byte: int) -> bytes | None:
        """Add one byte to the frame that has begun; the data when this completes a good one."""
        at_tail = len(self._pending) - 1 - _DIGITS
        fits = byte in _HEX if at_tail < 0 else byte == self._tail[at_tail]
        self._pending.append(byte)
        if not fits:
            self.reset()
            return None
        return self._complete() if at_tail == len(self._tail) - 1 else None

    def _complete(self) -> bytes | None:
        *data, checksum = bytes.fromhex(self._pending[1 : 1 + _DIGITS].decode("ascii"))
        if reduce(xor, data) != checksum:
            self.reset()
            return None
        self._pending.clear()
        self.good += 1
        return bytes(data)
