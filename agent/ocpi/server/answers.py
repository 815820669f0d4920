"""What goes back to a peer: every answer is an envelope, whatever happened."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response

from agent import model
from agent.ocpi import envelope
from agent.ocpi.server.ports import Refusal
from agent.ocpi.timestamps import as_utc


def success(data: object = None, *, http_status: int = 200, message: str | None = None) -> Response:
    """OCPI 1000. Without `data` the field is left out (OCPI 2.2.1 transport_and_format, Response format)."""
    return _response(http_status, 1000, message, data)


def refused(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """Why not."""
    return _response(refusal.http_status, refusal.status_code, refusal.message, headers=headers)


def failed(http_status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error below or beside OCPI: 2000 for the client's, 3000 for ours."""
    return _response(http_status, 3000 if http_status >= 500 else 2000, message, headers=headers)


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


def _response(
    http_status: int,
    status_code: int,
    message: str | None,
    data: object = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = envelope.encode(data, at=datetime.now(UTC), status_code=status_code, status_message=message)
    return Response(body, http_status, headers, "application/json")
