"""What is looked at before h11 splits it into lines: one client's odd request must not keep the charge point waiting.

h11 reads whatever has come in one go, and a card waits meanwhile: 15 000 lines for 60 ms, as many chunks for 150 ms; a
line of blanks that ends in a NUL costs the square of its length, a second at 16 KiB and twenty at 64.
"""

from typing import Final

import h11
from h11._receivebuffer import ReceiveBuffer

from agent.ocpi.headers import END_OF_HEAD, NO_TEXT

HEAD_BYTES: Final = 16 << 10
"""Of a request line and its headers: a browser sends one or two thousand, OCPI's peers less."""

HEAD_LINES: Final = 100
"""OCPI's peers send some 15 headers, a browser behind two proxies thirty."""

_CHUNK_LINE_BYTES = 256
"""A length in hexadecimal digits. Extensions are allowed, and nobody sends any."""

_CHUNKS = 2048
"""Of a body, however small they are."""

_CHUNK_BYTES = 1024
"""Of a body with more of them than that, on average."""


class Http(h11.Connection):
    """The server's side of a connection: refuses what would take long to read, and remembers as what."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, HEAD_BYTES)
        # The one place that everything passes which is split into lines, be it pipelined, chunked, or in many pieces.
        self._receive_buffer = _Received()
        self.refused_as = 400
        """Once something could not be read: the status that says so …"""
        self.refused_because = ""
        """… and why, where it was one of these bounds."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """As h11's own."""
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431:
                self.refused_as = 431
            if isinstance(error, _TooMuch):
                self.refused_because = str(error)
            raise


class _TooMuch(h11.RemoteProtocolError):
    """What is within HTTP, and beyond these bounds."""


class _Received(ReceiveBuffer):
    """h11's, with bounds: raises RemoteProtocolError, and h11 then reads nothing more from this client."""

    def __init__(self) -> None:
        super().__init__()
        self._chunks = 0
        self._body_bytes = 0

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """A head, or what stands behind the last chunk."""
        self._chunks = self._body_bytes = 0
        if not self._data.startswith((b"\n", b"\r\n")):
            self._check_head()
        return super().maybe_extract_lines()

    def maybe_extract_next_line(self) -> bytearray | None:
        """A chunk's length."""
        if self._data.find(b"\n", 0, _CHUNK_LINE_BYTES) < 0 and len(self._data) >= _CHUNK_LINE_BYTES:
            raise _TooMuch("a chunk's length is too long")
        line = super().maybe_extract_next_line()
        if line is not None:
            self._check_chunk(line)
        return line

    def maybe_extract_at_most(self, count: int) -> bytearray | None:
        """Part of a body."""
        part = super().maybe_extract_at_most(count)
        self._body_bytes += len(part or b"")
        return part

    def _check_head(self) -> None:
        blank = END_OF_HEAD.search(self._data, 0, HEAD_BYTES)
        end = blank.end() if blank else len(self._data)
        if end > HEAD_BYTES or self._data.count(b"\n", 0, end) > HEAD_LINES:
            limits = f"{HEAD_BYTES >> 10} KiB and {HEAD_LINES} lines"
            raise _TooMuch(f"the head of a request has {limits} at most", error_status_hint=431)
        if blank and NO_TEXT.search(self._data, 0, end):
            raise _TooMuch("the head of a request holds what is no text")

    def _check_chunk(self, line: bytearray) -> None:
        if len(line) > _CHUNK_LINE_BYTES:
            raise _TooMuch("a chunk's length is too long")
        self._chunks += 1
        if self._chunks - 1 > max(_CHUNKS, self._body_bytes // _CHUNK_BYTES):
            raise _TooMuch(f"the body comes in more than {_CHUNKS} chunks of less than {_CHUNK_BYTES} bytes")
