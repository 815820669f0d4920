"""A serial card reader that is not there: an emulator on a pseudo-terminal, a real serial line to the driver's eyes.

The frames are written here by hand, from the data sheets, and know nothing of the driver's parser.
"""

import asyncio
import errno
import fcntl
import os
import select
import struct
import termios
import tty
from pathlib import Path
from typing import Literal

from fakes.cable import Pluggable

Kind = Literal["rdm6300", "id12la", "hex-line", "decimal-line"]
"""What it sends: the last two are readers that write a card's number as a line of text, as most can be set up to."""

_DECIMAL_DIGITS = {3: 8, 4: 10, 5: 13, 7: 17, 10: 25}
"""By the bytes of a card: the digits of the largest such number, to which its reader fills up with zeros."""

_POUR_SIZE = 4096
_POLL_S = 0.002
"""Short beside the time that a driver takes to open a line; Linux has no event for it."""


class SerialLine(Pluggable):
    """One reader with its cable. World side: `plug`, `unplug`, `present`. Device side: `send`, `frame`.

    `path` is where the driver finds it, as under `/dev/serial/by-id`: it exists while the reader is plugged in, and
    leads to another device after each time. What is sent while nobody has the line open is lost, as on a real one; so
    is what does not fit into the kernel's buffer: nothing here ever blocks.
    """

    def __init__(self, directory: Path, kind: Kind = "rdm6300", *, name: str = "card-reader") -> None:
        """The reader starts unplugged."""
        self.path = directory / name
        self.lost_bytes = 0
        self._kind = kind
        self._master: int | None = None
        self._flushed = False

    def plug(self) -> None:
        """Plug the cable in; nothing happens where it is."""
        if self._master is not None:
            return
        self._master, slave = os.openpty()
        try:
            tty.setraw(slave)
            os.set_blocking(self._master, False)
            # Packet mode tells us of the flush with which a driver begins: see `wait_opened`.
            fcntl.ioctl(self._master, termios.TIOCPKT, struct.pack("i", 1))
            self._flushed = False
            self.path.unlink(missing_ok=True)
            self.path.symlink_to(os.ttyname(slave))
        finally:
            os.close(slave)  # the driver shall be the only one to have it open

    def unplug(self) -> None:
        """Pull the cable: the path is gone, and who has the line open gets an error. Nothing happens without one."""
        if self._master is None:
            return
        self.path.unlink(missing_ok=True)
        os.close(self._master)
        self._master = None

    @property
    def opened(self) -> bool:
        """Whether a driver has the line open now; it may still be setting it up."""
        if self._master is None:
            return False
        poll = select.poll()
        poll.register(self._master, 0)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    async def wait_opened(self) -> None:
        """Wait until a driver has opened the line and dropped what was in it, as pyserial does: now it listens.

        Waits for ever for a driver that never flushes its input.
        """
        while not self._listened_to():  # noqa: ASYNC110  # no event: see _POLL_S
            await asyncio.sleep(_POLL_S)

    def present(self, uid_hex: str, times: int = 1, *, corrupt: bool = False) -> bool:
        """Hold a card to the reader for as long as an RDM6300 takes to repeat it `times` times.

        An ID-12LA sends it once however long it is held. `uid_hex` is the 5 bytes on the card, or what a line reader
        knows. With `corrupt` the checksum is wrong, or a character of a line. Whether a driver got all of it.
        """
        return self.send(self.frame(uid_hex, corrupt=corrupt) * (1 if self._kind == "id12la" else times))

    def frame(self, uid_hex: str, *, corrupt: bool = False) -> bytes:
        """What the reader sends for a card. Raises ValueError when `uid_hex` is no card of its kind."""
        data = bytes.fromhex(uid_hex)
        if self._kind in {"hex-line", "decimal-line"}:
            return self._line(data, corrupt=corrupt)
        if len(data) != 5 or len(uid_hex) != 10:
            raise ValueError(f"{uid_hex!r} is not 10 hex digits: these readers know cards of 5 bytes")
        checksum = data[0] ^ data[1] ^ data[2] ^ data[3] ^ data[4] ^ (0x40 if corrupt else 0)
        tail = "\x03" if self._kind == "rdm6300" else "\r\n\x03"
        return f"\x02{uid_hex.upper()}{checksum:02X}{tail}".encode("ascii")

    def send(self, data: bytes) -> bool:
        """Put bytes on the line; whether a driver got all of them. `lost_bytes` counts the others."""
        sent = 0
        if self._master is not None and self.opened:
            try:
                sent = os.write(self._master, data)
            except BlockingIOError:
                sent = 0
        self.lost_bytes += len(data) - sent
        return sent == len(data)

    async def pour(self, data: bytes) -> None:
        """Put bytes on the line as fast as the driver takes them. Raises OSError when the line goes meanwhile."""
        rest = memoryview(data)
        while rest:
            if self._master is None or not self.opened:
                raise OSError(errno.EIO, "nobody has the line open")
            try:
                rest = rest[os.write(self._master, rest[:_POUR_SIZE]) :]
            except BlockingIOError:
                await asyncio.sleep(_POLL_S)
            await asyncio.sleep(0)  # the driver may well be in the same event loop

    def _line(self, data: bytes, *, corrupt: bool) -> bytes:
        if len(data) not in _DECIMAL_DIGITS:
            raise ValueError(f"no card has {len(data)} bytes")
        number = int.from_bytes(data, "big")
        text = data.hex().upper() if self._kind == "hex-line" else f"{number:0{_DECIMAL_DIGITS[len(data)]}d}"
        return f"{text[:-1] + '?' if corrupt else text}\r\n".encode("ascii")

    def _listened_to(self) -> bool:
        if self._master is None or not self.opened:
            self._flushed = False
            return False
        try:
            # The first byte of a packet says what the driver did; of what it writes, these readers understand nothing.
            while packet := os.read(self._master, 1024):
                self._flushed = self._flushed or bool(packet[0] & termios.TIOCPKT_FLUSHREAD)
        except OSError:  # nothing more to read, or just closed again
            return self._flushed
        return self._flushed
