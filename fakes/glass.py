"""A serial text display that is not there: a pseudo-terminal, and a glass that shows what was understood.

Three kinds, written by hand from their manuals: one that shows what it gets (form feed clears, CR, LF), a CD5220
customer display (ESC @, ESC Q A, ESC Q B, ESC _), and the part of a VT100 that a display needs (CUP, EL, ED, DECTCEM).
What they don't know is counted and shown as nothing.
"""

import codecs
import os
import re
import select
import threading
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from fakes.cable import Pluggable

Kind = Literal["plain", "cd5220", "vt100"]

_CONTROL_SEQUENCE = re.compile(r"\x1b\[(\?)?([0-9;]*)([A-Za-z])")


class Glass:
    """The characters, and where the next one goes."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.rows = rows
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.cursor_seen = True
        self.not_understood = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """What a person reads, each line without blanks at its end."""
        return tuple("".join(row).rstrip() for row in self.cells)

    def clear(self) -> None:
        """Empty, and at the beginning."""
        self.cells = [[" "] * self.columns for _ in range(self.rows)]
        self.row = self.column = 0

    def put(self, text: str) -> None:
        """Write where the cursor is; at the end of a line all that follows lands on its last place."""
        for character in text:
            self.cells[self.row][min(self.column, self.columns - 1)] = character
            self.column += 1

    def down(self) -> None:
        """To the next line; from the last one everything moves up."""
        if self.row < self.rows - 1:
            self.row += 1
        else:
            self.cells = [*self.cells[1:], [" "] * self.columns]


def _plain(glass: Glass, text: str) -> int:
    """Take one character; how many that was."""
    match text[0]:
        case "\f":
            glass.clear()
        case "\r":
            glass.column = 0
        case "\n":
            glass.down()
        case character if character.isprintable():
            glass.put(character)
        case _:
            glass.not_understood += 1
    return 1


def _cd5220(glass: Glass, text: str) -> int:
    """Take one command; how many characters that was, 0 where its end has not come yet."""
    if text[0] != "\x1b":
        return _plain(glass, text)
    if text[1:2] == "@":
        glass.clear()
        return 2
    if len(text) < 3:
        return 0
    if text[1] == "Q" and text[2] in "AB":
        return _cd5220_line(glass, text)
    if text[1] != "_":
        return _skip(glass)
    glass.cursor_seen = text[2] != "\0"
    return 3


def _cd5220_line(glass: Glass, text: str) -> int:
    end = text.find("\r")
    if end < 0:
        return 0
    line = text[3:end]
    if 0 < len(line) <= glass.columns:
        glass.row, glass.column = "AB".index(text[2]), 0
        glass.put(line)
    else:
        glass.not_understood += 1
    return end + 1


def _vt100(glass: Glass, text: str) -> int:
    """Take one control sequence or character; how many characters that was, 0 where its end has not come yet."""
    if text[0] != "\x1b":
        return _plain(glass, text)
    found = _CONTROL_SEQUENCE.match(text)
    if found is None:
        return 0 if re.fullmatch(r"\x1b(\[\??[0-9;]*)?", text) else _skip(glass)
    private, numbers, final = found.groups()
    match (private, final, numbers):
        case (None, "H", _):
            row, column = ([int(number or 1) for number in numbers.split(";")] + [1, 1])[:2]
            glass.row, glass.column = min(row, glass.rows) - 1, min(column, glass.columns) - 1
        case (None, "K", "" | "0"):
            for column in range(min(glass.column, glass.columns), glass.columns):
                glass.cells[glass.row][column] = " "
        case (None, "J", "2"):
            glass.cells = [[" "] * glass.columns for _ in range(glass.rows)]
        case ("?", "l" | "h", "25"):
            glass.cursor_seen = final == "h"
        case _:
            glass.not_understood += 1
    return found.end()


def _skip(glass: Glass) -> int:
    glass.not_understood += 1
    return 1


_KINDS: dict[Kind, Callable[[Glass, str], int]] = {"plain": _plain, "cd5220": _cd5220, "vt100": _vt100}


class SerialGlass(Pluggable):
    """One display with its adapter. World side: `plug`, `unplug`, `lines`; `path` is there while it is plugged in.

    It has its own power: what it shows stays while the cable is out.
    """

    def __init__(
        self,
        directory: Path,
        kind: Kind,
        *,
        columns: int = 20,
        rows: int = 2,
        encoding: str = "ascii",
        name: str = "display",
    ) -> None:
        """The display starts unplugged."""
        self.path = directory / name
        self.stuck = threading.Event()
        """While set nothing is read, as with hardware flow control and a display that says "not now"."""
        self._take = _KINDS[kind]
        self._encoding = encoding
        self._news = threading.Condition()
        self._glass = Glass(columns, rows)
        self._bytes = 0
        self._master: int | None = None
        self._bell: int | None = None
        self._thread: threading.Thread | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """What a person reads."""
        with self._news:
            return self._glass.lines

    @property
    def cursor_seen(self) -> bool:
        """Whether a cursor blinks somewhere."""
        with self._news:
            return self._glass.cursor_seen

    @property
    def not_understood(self) -> int:
        """Commands that this kind of display does not know."""
        with self._news:
            return self._glass.not_understood

    def plug(self) -> None:
        """Plug the cable in; nothing happens where it is."""
        if self._master is not None:
            return
        self._master, slave = os.openpty()
        tty.setraw(slave)
        wake, self._bell = os.pipe()
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        # The slave's end stays open with us: without anybody on it the master would read nothing but hang-ups.
        self._thread = threading.Thread(
            target=self._read, args=(self._master, slave, wake), name="serial glass", daemon=True
        )
        self._thread.start()

    def unplug(self) -> None:
        """Pull the cable: the path is gone, and who has the line open gets an error. Nothing happens without one."""
        if self._master is None or self._thread is None or self._bell is None:
            return
        self.path.unlink(missing_ok=True)
        os.close(self._bell)
        self._thread.join()
        self._master = self._bell = self._thread = None

    def wait_for(self, size: int, wait_s: float) -> bool:
        """Wait until the glass has taken so many bytes since it was made; whether it has within `wait_s` seconds."""
        with self._news:
            return self._news.wait_for(lambda: self._bytes >= size, wait_s)

    def _read(self, master: int, slave: int, wake: int) -> None:
        decode = codecs.getincrementaldecoder(self._encoding)("replace").decode
        text = ""
        try:
            while True:
                listening = [wake] if self.stuck.is_set() else [wake, master]
                ready, _, _ = select.select(listening, [], [], 0.01 if self.stuck.is_set() else None)
                if wake in ready:
                    return
                if master in ready:
                    text = self._show(text, decode, os.read(master, 4096))
        finally:
            for descriptor in (master, slave, wake):
                os.close(descriptor)

    def _show(self, rest: str, decode: Callable[[bytes], str], chunk: bytes) -> str:
        text = rest + decode(chunk)
        with self._news:
            while text and (taken := self._take(self._glass, text)):
                text = text[taken:]
            self._bytes += len(chunk)
            self._news.notify_all()
        return text
