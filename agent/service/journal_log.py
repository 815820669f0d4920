"""The log of a service: entries with fields for systemd's journal, by its own protocol, that keep nobody waiting.

systemd.io/JOURNAL_NATIVE_PROTOCOL. One entry is one datagram, or one sealed file in memory where it is too long.
"""

import errno
import fcntl
import logging
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal

JOURNAL = "/run/systemd/journal/socket"
IDENTIFIER = "chargepoint-agent"
BUFFER = 8 << 20
"""Bytes that may wait while the journal writes to a slow disk: as many as libsystemd asks for. The kernel gives what
net.core.wmem_max allows, usually for some 200 entries."""

Field = Literal["EVSE", "PEER", "READER", "SESSION", "AUTHORIZATION", "CORRELATION_ID"]

_NAMED: tuple[tuple[str, str, Field], ...] = (
    ("evse=", "s", "EVSE"),
    ("peer ", "s", "PEER"),
    ("reader ", "s", "READER"),
    ("session ", "d", "SESSION"),
    ("authorization ", "ds", "AUTHORIZATION"),
    ("correlation=", "s", "CORRELATION_ID"),
)
"""What a message names, by the words before the value and the way in which it is written."""

_CONVERSION = re.compile(r"%(?:\((?P<key>.*?)\))?[-#0 +]*(?P<width>\*|\d*)(?:\.(?P<digits>\*|\d*))?[hlL]?(?P<kind>.)")
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def is_journal(descriptor: int, environment: Mapping[str, str], *, address: str = JOURNAL) -> bool:
    """Whether what is written to the descriptor goes to the journal, and its own socket is to be had, too.

    systemd.exec(5), JOURNAL_STREAM: the device and the inode of what systemd gave a service as standard error.
    """
    try:
        stat = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}" and os.access(address, os.W_OK)


class JournalLog(logging.Handler):
    """Sends each record as one entry, with what it names as fields of its own: EVSE, PEER, READER, ….

    `emit` never waits. What the journal does not take at once is dropped and counted, and the count is told as soon as
    it takes an entry again.
    """

    def __init__(self, *, address: str = JOURNAL, identifier: str = IDENTIFIER) -> None:
        """The journal need not be there yet."""
        super().__init__()
        self.setFormatter(logging.Formatter())
        self._address = address
        self._identifier = identifier
        self._dropped = 0
        # Not connected: a journal that was started anew is found by its path.
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._line.setblocking(False)  # noqa: FBT003  as socket has it
        self._line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record, or count it as dropped."""
        if not self._send(_entry(self._fields(record))):
            self._dropped += 1
        elif self._dropped and self._send(_entry(self._missing())):
            self._dropped = 0

    def close(self) -> None:
        """Give the socket back. May be called twice; what comes later is dropped."""
        self._line.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        try:
            message = self.format(record)
        except (TypeError, ValueError) as error:  # words and arguments that do not go together
            message = f"{record.pathname}:{record.lineno}: this line of the log can't be written: {error}"
        yield "MESSAGE", message
        yield "PRIORITY", str(_priority(record.levelno))
        yield "SYSLOG_IDENTIFIER", self._identifier
        yield "LOGGER", record.name
        yield "CODE_FILE", record.pathname
        yield "CODE_LINE", str(record.lineno)
        yield "CODE_FUNC", record.funcName or ""
        yield "THREAD_NAME", record.threadName or ""
        if isinstance(record.msg, str) and isinstance(record.args, tuple):
            for place, field in named_in(record.msg):
                if place < len(record.args) and record.args[place] is not None:
                    yield field, str(record.args[place])

    def _missing(self) -> Iterator[tuple[str, str]]:
        yield "MESSAGE", f"entries missing here that the journal did not take at once: {self._dropped}"
        yield "PRIORITY", str(_priority(logging.WARNING))
        yield "SYSLOG_IDENTIFIER", self._identifier
        yield "LOGGER", __name__

    def _send(self, entry: bytes) -> bool:
        try:
            try:
                self._line.sendto(entry, self._address)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                self._send_as_file(entry)
        except OSError:  # full, or nobody there: no place is left where it could be told
            return False
        return True

    def _send_as_file(self, entry: bytes) -> None:
        """Too long for a datagram: the journal reads it from memory that nobody can change any more."""
        memory = os.memfd_create("journal-entry", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        try:
            rest = memoryview(entry)
            while rest:
                rest = rest[os.write(memory, rest) :]
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
            # socket.send_fds() of Python 3.11 passes over its address.
            passed = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", memory))
            self._line.sendmsg([b""], [passed], 0, self._address)
        finally:
            os.close(memory)


@lru_cache(maxsize=512)
def named_in(template: str) -> tuple[tuple[int, Field], ...]:
    """Which arguments of a message's template are fields: the places, and the fields' names. The first of a name."""
    found: dict[Field, int] = {}
    place = end = 0
    for conversion in _CONVERSION.finditer(template):
        if conversion["key"] is not None:
            return ()
        place += (conversion["width"] == "*") + (conversion["digits"] == "*")
        before, end = template[end : conversion.start()], conversion.end()
        if conversion["kind"] == "%":
            continue
        for words, kinds, field in _NAMED:
            if conversion["kind"] in kinds and re.search(rf"(?<![\w-]){words}$", before):
                found.setdefault(field, place)
        place += 1
    return tuple((place, field) for field, place in found.items())


def _priority(level: int) -> int:
    """Of syslog(3)."""
    return next((priority for least, priority in _PRIORITIES if level >= least), _DEBUG)


def _entry(fields: Iterator[tuple[str, str]]) -> bytes:
    return b"".join(_field(name, value) for name, value in fields)


def _field(name: str, value: str) -> bytes:
    """With its length before it where it has several lines."""
    data = value.encode(errors="backslashreplace")
    if b"\n" not in data:
        return b"%b=%b\n" % (name.encode(), data)
    return b"%b\n%b%b\n" % (name.encode(), struct.pack("<Q", len(data)), data)
