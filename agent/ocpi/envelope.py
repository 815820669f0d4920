"""The response format around every OCPI answer. What is inside `data` is for the modules' own structs."""

from datetime import datetime

import msgspec

from agent.ocpi.timestamps import to_second

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a peer's bytes: bad JSON or a bad type, bad UTF-8, and nesting without end."""

ABSENT = msgspec.Raw(b"")


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


_DECODER = msgspec.json.Decoder(Envelope, strict=False)


def decode(body: bytes) -> Envelope:
    """Read an envelope; `"1000"` counts as 1000. Raises one of UNREADABLE."""
    return _DECODER.decode(body)


def encode(data: object, *, at: datetime, status_code: int = 1000, status_message: str | None = None) -> bytes:
    """Write an envelope with every field that the chapter asks for; `data` of None is left out."""
    raw = ABSENT if data is None else msgspec.Raw(msgspec.json.encode(data))
    return msgspec.json.encode(Envelope(status_code, raw, status_message, to_second(at)))
