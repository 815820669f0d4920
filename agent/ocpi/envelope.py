"""The response format around every OCPI answer. What is inside `data` is for the modules' own structs."""

import re
from datetime import datetime
from typing import Final

import msgspec

from agent.ocpi.timestamps import to_second

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a peer's bytes: bad JSON or a bad type, bad UTF-8, and nesting without end."""

ABSENT = msgspec.Raw(b"")

_LONGEST_WORDS: Final = 4096
"""Bytes of a status message or timestamp that are read: a page may carry megabytes in their place."""


_HALF = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""Half of a surrogate pair: what a peer leaves of an emoji when it cuts a text by UTF-16 units."""

_MOST_MENDED: Final = 4 << 20
"""Bytes of an answer that are searched for them: some 100 ms at worst."""


class Envelope(msgspec.Struct, omit_defaults=True):
    """OCPI 2.2.1 transport_and_format, Response format.

    Only `status_code` decides anything, so only it must be right; `data` is kept undecoded until the code is known.
    """

    status_code: int
    data: msgspec.Raw = ABSENT
    status_message: object = None
    timestamp: object = None

    @property
    def has_data(self) -> bool:
        """Whether there is anything in `data`; `null` is nothing."""
        return bytes(self.data) not in {b"", b"null"}

    @property
    def message(self) -> str:
        """The peer's status message, empty where it sent none or something else."""
        return self.status_message if isinstance(self.status_message, str) else ""


class _Arrived(msgspec.Struct):
    status_code: int
    data: msgspec.Raw = ABSENT
    status_message: msgspec.Raw = ABSENT
    timestamp: msgspec.Raw = ABSENT


_DECODER = msgspec.json.Decoder(_Arrived, strict=False)


def decode(body: bytes) -> Envelope:
    """Read an envelope; `"1000"` counts as 1000, half a character as U+FFFD. Raises one of UNREADABLE."""
    try:
        arrived = _DECODER.decode(body)
    except msgspec.DecodeError:
        mended = _HALF.sub(rb"\\ufffd", body) if len(body) <= _MOST_MENDED else body
        if mended == body:
            raise
        arrived = _DECODER.decode(mended)
    return Envelope(arrived.status_code, arrived.data, _words(arrived.status_message), _words(arrived.timestamp))


def _words(raw: msgspec.Raw) -> object:
    return msgspec.json.decode(raw) if 0 < len(memoryview(raw)) <= _LONGEST_WORDS else None


def encode(data: object, *, at: datetime, status_code: int = 1000, status_message: str | None = None) -> bytes:
    """Write an envelope with every field that the chapter asks for; `data` of None is left out."""
    raw = ABSENT if data is None else msgspec.Raw(msgspec.json.encode(data))
    return msgspec.json.encode(Envelope(status_code, raw, status_message, to_second(at)))
