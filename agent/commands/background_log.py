"""The log of a running agent: lines for standard error that keep nobody waiting, whoever reads them or does not.

A pipe that nobody empties, or a terminal that was stopped, blocks its writer: here that is a thread of its own. Where
standard error is systemd's journal, the log goes there in its own way, with fields: `agent.service.journal_log`.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Mapping

from agent.service.journal_log import JournalLog, is_journal

CAPACITY = 2000
"""Lines that wait to be read; some 300 KB. What comes on top is counted instead of kept."""

END_S = 1.0
"""How long the rest may take at the end of the process; what nobody reads by then is lost."""


def log_of(descriptor: int, environment: Mapping[str, str]) -> logging.Handler:
    """The log for a standard error: `JournalLog` where that is the journal, else lines in the background."""
    return JournalLog() if is_journal(descriptor, environment) else BackgroundLog(descriptor)


class BackgroundLog(logging.Handler):
    """Writes records to a descriptor from a daemon thread. `emit` never waits for the reader.

    While the reader does not keep up, the newest lines are dropped; how many is said once it does again. A descriptor
    whose reader is gone for good gets nothing any more. `logging` closes it at the end of the process.
    """

    def __init__(self, descriptor: int, *, capacity: int = CAPACITY) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._capacity = capacity
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._ending = False
        self._news = threading.Condition()
        self._writer = threading.Thread(target=self._write_out, name="log", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the line over, or count it as dropped."""
        try:
            line = self.format(record)
        except (TypeError, ValueError) as error:  # words and arguments that do not go together
            line = f"{record.pathname}:{record.lineno}: this line of the log can't be written: {error}"
        with self._news:
            if len(self._lines) < self._capacity:
                self._lines.append(line)
                self._news.notify()
            else:
                self._dropped += 1

    def close(self) -> None:
        """Write what is left, for at most `END_S`. May be called twice."""
        with self._news:
            self._ending = True
            self._news.notify()
        self._writer.join(END_S)
        super().close()

    def _write_out(self) -> None:
        while (line := self._next()) is not None:
            data = f"{line}\n".encode(errors="backslashreplace")
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody made the descriptor non-blocking, and it is full
                with self._news:
                    self._dropped += 1
            except OSError:
                self._give_up()
                return

    def _next(self) -> str | None:
        """The next line, or that some are missing here; None at the end."""
        with self._news:
            self._news.wait_for(lambda: self._lines or self._ending)
            if self._dropped and not self._lines:
                return self._missing()
            if not self._lines:
                return None
            line = self._lines.popleft()
            if self._dropped and not self._lines:
                line = f"{line}\n{self._missing()}"
            return line

    def _missing(self) -> str:
        dropped, self._dropped = self._dropped, 0
        return f"{dropped} lines of the log are missing here: nobody read standard error in time"

    def _give_up(self) -> None:
        """Nobody reads any more: keep nothing."""
        with self._news:
            self._capacity = 0
            self._lines.clear()
