"""A display for a charge point without one, and for the demo: a line of text for every text that a driver would see."""

import logging
from collections.abc import Sequence
from typing import TextIO

from agent.ports import Charset, Display

log = logging.getLogger(__name__)


class ConsoleDisplay:
    """Prints `[label] line | line` to a text stream, cut to its size as a real display would.

    Never raises: when the stream is closed or broken it says so once in the log and stays dark.
    """

    def __init__(self, stream: TextIO, *, columns: int, rows: int, charset: Charset, label: str) -> None:
        self._stream = stream
        self._columns = columns
        self._rows = rows
        self._charset = charset
        self._label = label
        self._dark = False

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
        """Print one line; what its character set, or the stream's, does not have becomes `?`."""
        if self._dark:
            return
        shown = " | ".join(self._cell(line) for line in lines[: self._rows])
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(f"[{self._label}] {shown}\n".encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self._dark = True
            log.warning("display %s: its stream is gone, no texts are shown from now on: %s", self._label, error)

    def _cell(self, line: str) -> str:
        # A peer's text reaches the display: a control sequence in it must not reach the terminal.
        visible = "".join(character if character.isprintable() else " " for character in line[: self._columns])
        return visible.encode(self._charset.value, "replace").decode(self._charset.value)


_fits: type[Display] = ConsoleDisplay
