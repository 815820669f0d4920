"""What goes back to a peer: every answer is an envelope, whatever happened."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

from agent import model
from agent.ocpi import envelope
from agent.ocpi.server.ports import Refusal
from agent.ocpi.timestamps import as_utc

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; its body is an envelope in JSON."""

    http_status: int
    body: bytes
    headers: Mapping[str, str]
    """Beside those that every answer has."""


def success(data: object = None, *, http_status: int = 200, message: str | None = None) -> Answer:
    """OCPI 1000. Without `data` the field is left out (OCPI 2.2.1 transport_and_format, Response format)."""
    return _answer(http_status, 1000, message, data)


def refused(refusal: Refusal, headers: Mapping[str, str] = _NO_HEADERS) -> Answer:
    """Why not."""
    return _answer(refusal.http_status, refusal.status_code, refusal.message, headers=headers)


def failed(http_status: int, message: str, headers: Mapping[str, str] = _NO_HEADERS) -> Answer:
    """An error below or beside OCPI: 2000 for the client's, 3000 for ours."""
    return _answer(http_status, 3000 if http_status >= 500 else 2000, message, headers=headers)


def written(token: model.Token) -> dict[str, Any]:
    """A token as it goes out: only what is set, and the time as exactly as OCPI's 25 characters hold it."""
    fields: dict[str, Any] = msgspec.to_builtins(token)
    return _set(fields) | {"last_updated": exact_text(token.last_updated)}


def _set(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _set(value) if isinstance(value, dict) else value for name, value in fields.items() if value is not None
    }


def exact_text(moment: datetime) -> str:
    """`2015-06-29T20:39:09Z`, with the fraction's first four digits where there is one (OCPI 2.2.1 types, DateTime)."""
    moment = as_utc(moment)
    fraction = f"{moment.microsecond:06}"[:4].rstrip("0")
    second = moment.replace(microsecond=0, tzinfo=None).isoformat()
    return f"{second}.{fraction}Z" if fraction else f"{second}Z"


def _answer(
    http_status: int,
    status_code: int,
    message: str | None,
    data: object = None,
    headers: Mapping[str, str] = _NO_HEADERS,
) -> Answer:
    body = envelope.encode(data, at=datetime.now(UTC), status_code=status_code, status_message=message)
    return Answer(http_status, body, headers)
