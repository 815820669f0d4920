"""A display for a charge point without one, and for the demo: a line of text for every text that a driver would see.

A terminal that was stopped, or a pipe that nobody empties, keeps whoever writes to it waiting for ever. So a thread
writes, and has the newest text only: a real display shows nothing else either.
"""

import io
import logging
import os
import threading
from collections.abc import Sequence
from typing import TextIO

from agent.ports import Charset, Display

log = logging.getLogger(__name__)

CLOSE_S = 1.0
"""How long the last text may take at the end; what nobody reads by then is lost."""


class ConsoleDisplay:
    """Prints `[label] line | line` to a text stream, cut to its size as a real display would.

    Never waits for a stream with a file descriptor, never raises for one that is gone: it says so once in the log and
    stays dark. A stream without a descriptor is in memory, and is written at once.
    """

    def __init__(self, stream: TextIO, *, columns: int, rows: int, charset: Charset, label: str) -> None:
        self._stream = stream
        self._columns = columns
        self._rows = rows
        self._charset = charset
        self._label = label
        self._dark = False
        self._news = threading.Condition()
        self._newest: bytes | None = None
        self._closing = False
        self._writer: threading.Thread | None = None

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
        if self._dark or self._closing:
            return
        shown = " | ".join(self._cell(line) for line in lines[: self._rows])
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        text = f"[{self._label}] {shown}\n".encode(encoding, "replace")
        try:
            descriptor = _descriptor(self._stream)
            if descriptor is None:
                self._stream.write(text.decode(encoding))
                self._stream.flush()
            else:
                self._hand_over(descriptor, text)
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self._go_dark(error)

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Write the newest text and end. Returns after `wait_s` at the latest; may be called twice."""
        with self._news:
            self._closing = True
            self._news.notify()
        if self._writer is not None:
            self._writer.join(wait_s)

    def _hand_over(self, descriptor: int, text: bytes) -> None:
        with self._news:
            self._newest = text
            self._news.notify()
        if self._writer is None:
            # A daemon: where a write never returns, the process must still be able to end.
            self._writer = threading.Thread(
                target=self._write_out, args=(descriptor,), name=f"display {self._label}", daemon=True
            )
            self._writer.start()

    def _write_out(self, descriptor: int) -> None:
        """Write what is newest, until closed."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._newest is not None or self._closing)
                text, self._newest = self._newest, None
            if text is None:
                return
            try:
                # Past the stream's buffer: at its end the interpreter would wait for the lock of a write that is stuck.
                while text:
                    text = text[os.write(descriptor, text) :]
            except BlockingIOError:
                continue  # somebody made the descriptor non-blocking, and it is full: this text is not seen
            except OSError as error:
                self._go_dark(error)
                return

    def _go_dark(self, error: Exception) -> None:
        self._dark = True
        log.warning("display %s: its stream is gone, no texts are shown from now on: %s", self._label, error)

    def _cell(self, line: str) -> str:
        # A peer's text reaches the display: a control sequence in it must not reach the terminal.
        visible = "".join(character if character.isprintable() else " " for character in line[: self._columns])
        return visible.encode(self._charset.value, "replace").decode(self._charset.value)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None


_fits: type[Display] = ConsoleDisplay
