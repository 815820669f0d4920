"""Text displays on a serial port: customer displays of shops, VT100 terminals, and what shows just what it gets."""

import errno
import select
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from agent.errors import DeviceError
from agent.ports import Charset, Display
from hw.outputs.newest import PanelWriter
from hw.outputs.visible import padded, visible
from hw.serial_port import open_port, trouble_of

Spoken = Literal["plain", "cd5220", "vt100"]

CLOSE_S = 1.0
"""How long the last text may take at the end: eighty characters are 85 ms at 9600 baud."""
CHECK_S = 2.0
"""Asking the kernel whether the adapter is still there costs one system call."""


class Line(Protocol):
    """What we use of `serial.Serial`."""

    def fileno(self) -> int:
        """The descriptor."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Put all of it on the line; waits for room. Raises OSError."""
        ...

    def close(self) -> None:
        """Give the port back."""
        ...


def _plain(lines: Sequence[bytes]) -> bytes:
    """A form feed clears, CR LF ends a line; none after the last, which would push the first one out."""
    return b"\f" + b"\r\n".join(lines)


def _cd5220(lines: Sequence[bytes]) -> bytes:
    """ESC Q A and ESC Q B write the upper and the lower line: DSP-800 / CD5220 command set."""
    return b"".join(b"\x1bQ" + b"AB"[row : row + 1] + line + b"\r" for row, line in enumerate(lines))


def _vt100(lines: Sequence[bytes]) -> bytes:
    """CUP and EL for each line (ECMA-48): nothing is cleared first, so nothing flickers."""
    return b"".join(b"\x1b[%d;1H%s\x1b[K" % (row, line) for row, line in enumerate(lines, 1))


_ENCODERS: dict[str, Callable[[Sequence[bytes]], bytes]] = {"plain": _plain, "cd5220": _cd5220, "vt100": _vt100}
_BEGIN = {
    "plain": b"",
    "cd5220": b"\x1b@\x1b_\x00",  # initialise; no cursor
    "vt100": b"\x1b[2J\x1b[?25l",  # clear; no cursor (DECTCEM, since the VT220; others leave it aside)
}


class SerialDisplay:
    """Shows text on a serial line, 8N1; one that is away is said in the log and shows the newest text once it is back.

    A display that loses its own power while its port stays is not noticed: it shows the next text.
    """

    def __init__(
        self,
        label: str,
        port: str,
        *,
        protocol: Spoken,
        baudrate: int = 9600,
        columns: int,
        rows: int,
        charset: Charset = Charset.ASCII,
        retry_s: float = 1.0,
        check_s: float = CHECK_S,
        open_line: Callable[[str, int], Line] = open_port,
    ) -> None:
        """Raises ValueError for what the protocol can't do: a CD5220 has two lines, and no display a ROM as charset."""
        if protocol == "cd5220" and rows != 2:
            raise ValueError(f"a CD5220 display has 2 rows, not {rows}")
        if charset not in (Charset.ASCII, Charset.LATIN_1, Charset.UNICODE):
            raise ValueError(f"{charset.value} is no character set of a serial display: ascii, latin-1 or utf-8")
        self._columns = columns
        self._rows = rows
        self._charset = charset
        panel = _Panel(port, protocol, baudrate, columns, rows, charset.value, open_line)
        self._writer = PanelWriter(label, panel, retry_s=retry_s, check_s=check_s)

    @property
    def columns(self) -> int:
        """Characters a line."""
        return self._columns

    @property
    def rows(self) -> int:
        """Lines."""
        return self._rows

    @property
    def charset(self) -> Charset:
        """What it can show."""
        return self._charset

    def show(self, lines: Sequence[str]) -> None:
        """As `agent.ports.Display.show`."""
        self._writer.show([visible(line, self._columns) for line in lines[: self._rows]])

    def settle(self, wait_s: float) -> bool:
        """Wait until the newest text was sent; whether it was within `wait_s` seconds."""
        return self._writer.settle(wait_s)

    def close(self, wait_s: float = CLOSE_S) -> None:
        """As `agent.ports.Display.close`; the last text stays."""
        self._writer.close(wait_s)


class _Panel:
    """The port with the display behind it."""

    def __init__(
        self,
        port: str,
        protocol: Spoken,
        baudrate: int,
        columns: int,
        rows: int,
        codec: str,
        open_line: Callable[[str, int], Line],
    ) -> None:
        self._port = port
        self._protocol = protocol
        self._baudrate = baudrate
        self._columns = columns
        self._rows = rows
        self._codec = codec
        self._open_line = open_line
        self._line: Line | None = None

    def open(self) -> None:
        try:
            self._line = self._open_line(self._port, self._baudrate)
            self._line.write(_BEGIN[self._protocol])
        except OSError as error:
            raise self._away(error) from error

    def write(self, lines: Sequence[str]) -> None:
        assert self._line is not None
        texts = [*lines, *[""] * (self._rows - len(lines))]
        try:
            self._line.write(_ENCODERS[self._protocol]([self._bytes(text) for text in texts]))
        except OSError as error:
            raise self._away(error) from error

    def check(self) -> None:
        assert self._line is not None
        poll = select.poll()
        poll.register(self._line.fileno(), 0)  # a hang-up is told without being asked for
        if poll.poll(0):
            raise self._away(OSError(errno.EIO, "the device hung up"))

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _bytes(self, text: str) -> bytes:
        # Each line in its full width: a CD5220 leaves what it is not told to overwrite.
        line = padded(text, self._columns) if self._protocol == "cd5220" else text
        return line.encode(self._codec, "replace")

    def _away(self, error: OSError) -> DeviceError:
        return DeviceError(trouble_of(error).told(self._port, error))


_fits: type[Display] = SerialDisplay
