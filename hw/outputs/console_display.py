"""A display for a charge point without one, and for the demo: a line of text for every text that a driver would see.

A terminal that was stopped, or a pipe that nobody empties, keeps whoever writes to it waiting for ever. So a thread
writes, as for every display: see `newest`.
"""

import io
import logging
import os
from collections.abc import Sequence
from typing import TextIO

from agent.ports import Charset, Display
from hw.outputs.newest import NewestOnly
from hw.outputs.visible import visible

log = logging.getLogger(__name__)

CLOSE_S = 1.0
"""How long the last text may take at the end; what nobody reads by then is lost."""


_CODECS = (Charset.ASCII, Charset.LATIN_1, Charset.UNICODE)


class ConsoleDisplay:
    """Prints `[label] line | line` to a text stream, cut to its size as a real display would.

    Never waits for a stream with a file descriptor, never raises for one that is gone: it says so once in the log and
    stays dark. A stream without a descriptor is in memory, and is written at once.
    """

    def __init__(self, stream: TextIO | None, *, columns: int, rows: int, charset: Charset, label: str) -> None:
        self._stream = stream
        self._columns = columns
        self._rows = rows
        self._charset = charset
        self._label = label
        self._dark = False
        self._closing = False
        self._writer = NewestOnly[tuple[int, bytes]](f"display {label}", self._write_out)

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
        """Print one line; what its character set, or the stream's, does not have becomes `?`.

        While an earlier text is still being written, only the newest of those that follow is kept.
        """
        stream = self._stream
        if self._dark or self._closing or stream is None:
            return
        shown = " | ".join(self._cell(line) for line in lines[: self._rows])
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = f"[{self._label}] {shown}\n".encode(encoding, "replace")
        try:
            descriptor = _descriptor(stream)
            if descriptor is None:
                stream.write(text.decode(encoding))
                stream.flush()
            else:
                self._writer.hand_over((descriptor, text))
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self._go_dark(error)

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Write the newest text and end. Returns after `wait_s` at the latest; may be called twice."""
        self._closing = True
        self._writer.close(wait_s)

    def settle(self, wait_s: float) -> bool:
        """Wait until the newest text was written; whether it was within `wait_s` seconds."""
        return self._writer.settle(wait_s)

    def _write_out(self, news: tuple[int, bytes] | None) -> None:
        """Write one text to a descriptor, past the stream's buffer.

        At its end the interpreter would wait for the buffer's lock, which a write that is stuck never gives back.
        """
        if news is None or self._dark:
            return
        descriptor, text = news
        try:
            while text:
                text = text[os.write(descriptor, text) :]
        except BlockingIOError:
            return  # somebody made the descriptor non-blocking, and it is full: this text is not seen
        except OSError as error:
            self._go_dark(error)

    def _go_dark(self, error: Exception) -> None:
        self._dark = True
        log.warning("display %s: its stream is gone, no texts are shown from now on: %s", self._label, error)

    def _cell(self, line: str) -> str:
        # A console can play another display, whose charset no codec of Python's knows: its texts are fitted already.
        codec = self._charset.value if self._charset in _CODECS else "utf-8"
        return visible(line, self._columns).encode(codec, "replace").decode(codec)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None


_fits: type[Display] = ConsoleDisplay
