"""What a fault is, and the types of OCPI that most of them are about."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from fakes.emsp.messages import JSON, Reply, Request

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request."""

    text: str
    reply: Reply | None = None
    """What the device answers to it; None where it only writes it down, as most servers in the field would."""


def invalid(text: str) -> Fault:
    """A fault that is answered with 2001 (OCPI 2.2.1 status_codes)."""
    return Fault(text, Reply(status_code=2001, message=text))


def body_faults(request: Request) -> Iterator[Fault]:
    """What is wrong with a body before anybody looks at what it says."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        yield Fault(f"a body of type {request.headers.get('content-type')!r}, expected {JSON}")
    try:
        json.loads(request.body)
    except ValueError:
        yield Fault("a body that is no JSON", Reply(http_status=400, status_code=2001, message="Invalid JSON"))


def is_ci_string(value: object, longest: int = 36) -> bool:
    """Whether it is a CiString(`longest`) that is not empty: printable ASCII (OCPI 2.2.1 types, CiString)."""
    return isinstance(value, str) and 1 <= len(value) <= longest and value.isascii() and value.isprintable()


def is_string(value: object, longest: int) -> bool:
    """Whether it is a string(`longest`) that is not empty: printable (OCPI 2.2.1 types, string)."""
    return isinstance(value, str) and 1 <= len(value) <= longest and value.isprintable()


def is_url(value: object) -> bool:
    """Whether it is a URL that somebody can be called at (OCPI 2.2.1 types, URL)."""
    if not isinstance(value, str) or not is_ci_string(value, 255) or " " in value:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def is_date_time(value: object) -> bool:
    """Whether it is a DateTime in UTC (OCPI 2.2.1 types, DateTime)."""
    if not isinstance(value, str) or len(value) > 25 or not _DATE_TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value.removesuffix("Z"))
    except ValueError:
        return False
    return True
