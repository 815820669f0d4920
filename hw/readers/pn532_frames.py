"""The frames between a host and a PN532, both ways, from a stream of bytes. Pure: no port, no clock.

    information  00 00 FF LEN LCS              TFI data DCS 00    at most 255 bytes from TFI to the last of the data
    extended     00 00 FF FF FF LENM LENL LCS  TFI data DCS 00    at most 265
    ACK          00 00 FF 00 FF 00
    NACK         00 00 FF FF 00 00
    error        00 00 FF 01 FF 7F 81 00       an information frame whose TFI is 7F

LEN and LCS add up to 0, and so do TFI, the data and DCS, both modulo 256 (UM0701-02, 6.2.1). A sum finds every single
error and every burst within one byte. It does not find two bits of the same weight in different bytes that flip in
opposite directions, nor bit 7 flipping in any two bytes.
"""

from collections.abc import Iterator
from enum import Enum

TO_CHIP = 0xD4
TO_HOST = 0xD5
_ERROR = 0x7F

_START = b"\x00\x00\xff"
_POSTAMBLE = 0x00
_EXTENDED = b"\xff\xff"
_LONGEST_NORMAL = 255
_LONGEST = 265
"""UM0701-02, 6.2.1.2: what the chip can hold. A header that claims more is broken, whatever its checksum says."""


class Sign(Enum):
    """A frame that carries nothing; the value is what stands in the place of its LEN and LCS."""

    ACK = b"\x00\xff"
    NACK = b"\xff\x00"
    ERROR = b"\x01\xff"
    """The chip could not understand a command, or does not know it."""


ACK = _START + Sign.ACK.value + b"\x00"
"""To the chip: give up what you are doing."""
NACK = _START + Sign.NACK.value + b"\x00"
"""To the chip: your answer came broken, say it again."""


def information(data: bytes) -> bytes:
    """The frame that carries `data`, TFI first. Raises ValueError where there is too much of it, or none."""
    if not 1 <= len(data) <= _LONGEST:
        raise ValueError(f"{len(data)} bytes don't fit into a frame of the PN532: 1 to {_LONGEST} do")
    if len(data) <= _LONGEST_NORMAL:
        header = bytes([len(data), _complement(len(data))])
    else:
        size = len(data).to_bytes(2, "big")
        header = _EXTENDED + size + bytes([_complement(sum(size))])
    return _START + header + data + bytes([_complement(sum(data)), _POSTAMBLE])


class FrameParser:
    """Finds every whole frame with right checksums, whatever comes between and however the stream is cut up.

    Behind a frame that breaks it looks again from right after the start code, for a good one may have begun in it.
    Keeps at most one frame's bytes.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self.good = 0
        self.bad = 0
        """Frames that began and broke: cut, with a wrong checksum, or with a length that can't be."""
        self.discarded_bytes = 0
        """Bytes of bad frames and from between frames."""

    def push(self, chunk: bytes) -> list[Sign | bytes]:
        """Take what the line brought, in any portions; the frames that it completed, data with their TFI first."""
        found: list[Sign | bytes] = []
        view = memoryview(chunk)
        for begin in range(0, len(chunk), _LONGEST):  # a bound for what is kept, however much comes at once
            self._pending += view[begin : begin + _LONGEST]
            found += self._take()
        return found

    def reset(self) -> None:
        """Drop a half frame; it counts as bad. Nothing from before joins anything from after."""
        if self._pending.startswith(_START):
            self.bad += 1
        self._drop(len(self._pending))

    def _take(self) -> Iterator[Sign | bytes]:
        while self._find_start():
            try:
                frame = _first_frame(self._pending)
            except _BrokenFrameError:
                self.bad += 1
                self._drop(len(_START))  # no start code begins within a start code, but one may in what follows
                continue
            if frame is None:
                return
            content, size = frame
            self.good += 1
            del self._pending[:size]
            yield content

    def _find_start(self) -> bool:
        """Drop what is before the next start code, or what may become one; whether one is there."""
        at = self._pending.find(_START)
        if at < 0:
            at = len(self._pending) - next(n for n in (2, 1, 0) if self._pending.endswith(_START[:n]))
        self._drop(at)
        return self._pending.startswith(_START)

    def _drop(self, count: int) -> None:
        self.discarded_bytes += count
        del self._pending[:count]


class _BrokenFrameError(Exception):
    """What begins with a start code is no frame."""


def _first_frame(pending: bytearray) -> tuple[Sign | bytes, int] | None:
    """What the frame at the beginning carries, and its size; None while it is not whole."""
    header = _header(pending)
    if header is None:
        return None
    sign, begin, length = header
    # TFI to DCS, of which a sign has nothing but the postamble.
    end = begin + (length + 1 if length else 0)
    if len(pending) <= end:
        return None
    if sum(pending[begin:end]) & 0xFF or pending[end] != _POSTAMBLE:
        raise _BrokenFrameError
    if sign is not None:
        return sign, end + 1
    data = bytes(pending[begin : end - 1])
    return (Sign.ERROR if data[0] == _ERROR else data), end + 1


def _header(pending: bytearray) -> tuple[Sign | None, int, int] | None:
    """The sign it says, where the content begins, and its length; None while it is not whole."""
    length_and_check = bytes(pending[3:5])
    if len(length_and_check) < 2:
        return None
    if length_and_check == _EXTENDED:
        return _extended_header(pending)
    if length_and_check in {Sign.ACK.value, Sign.NACK.value}:
        return Sign(length_and_check), 5, 0
    length = length_and_check[0]
    if length == 0 or sum(length_and_check) & 0xFF:
        raise _BrokenFrameError
    return None, 5, length


def _extended_header(pending: bytearray) -> tuple[None, int, int] | None:
    size_and_check = bytes(pending[5:8])
    if len(size_and_check) < 3:
        return None
    length = int.from_bytes(size_and_check[:2], "big")
    if not 1 <= length <= _LONGEST or sum(size_and_check) & 0xFF:
        raise _BrokenFrameError
    return None, 8, length


def _complement(number: int) -> int:
    return -number & 0xFF
