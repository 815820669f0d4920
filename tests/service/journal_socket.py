"""journald's end of its native protocol: systemd.io/JOURNAL_NATIVE_PROTOCOL."""

import array
import asyncio
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

_WHOLE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

Entry = dict[str, str]


class JournalSocket:
    """Takes entries, and takes no others than journald does."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "journal")
        self.raw: list[bytes] = []
        """All that came, as it came."""
        self.files = 0
        """How many of them came as a file."""
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        self._line.bind(self.address)
        self._line.setblocking(False)  # noqa: FBT003  as socket has it
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.close()
        Path(self.address).unlink()

    def entries(self) -> list[Entry]:
        """What came since the last time."""
        new: list[Entry] = []
        while (data := self._next()) is not None:
            self.raw.append(data)
            new.append(parsed(data))
        return new

    def entry(self) -> Entry:
        """The one that came."""
        [one] = self.entries()
        return one

    @contextmanager
    def taken(self, loop: asyncio.AbstractEventLoop) -> Iterator[list[Entry]]:
        """What comes, taken as it comes: a kernel may keep no more than ten datagrams."""
        came: list[Entry] = []
        loop.add_reader(self._line, lambda: came.extend(self.entries()))
        try:
            yield came
        finally:
            loop.remove_reader(self._line)

    def _next(self) -> bytes | None:
        try:
            data, ancillary, *_ = self._line.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        except BlockingIOError:
            return None
        files = array.array("i")
        for level, kind, passed in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            files.frombytes(passed)
        if not files:
            return data
        [file] = files
        assert data == b"", "journald takes a file alone"
        self.files += 1
        with os.fdopen(file, "rb") as memory:
            assert fcntl.fcntl(file, fcntl.F_GET_SEALS) & _WHOLE == _WHOLE, "it could still be changed"
            memory.seek(0)
            return memory.read()


def parsed(data: bytes) -> Entry:
    """The fields of one entry; each at most once, as ours have them."""
    found: Entry = {}
    while data:
        head, _, rest = data.partition(b"\n")
        name, is_short, value = head.partition(b"=")
        if is_short:
            data = rest
        else:
            [length] = struct.unpack_from("<Q", rest)
            value, end, data = rest[8 : 8 + length], rest[8 + length : 9 + length], rest[9 + length :]
            assert (len(value), end) == (length, b"\n")
        word = name.decode("ascii")
        assert word.replace("_", "").isalnum(), "journald drops such a field"
        assert word.isupper(), "journald drops such a field"
        assert not word.startswith("_"), "journald drops what only it may set"
        assert word not in found
        found[word] = value.decode("utf-8")
    return found
