"""HTTP headers that a peer fills in as it likes: what can't be read counts as not sent."""

import re
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx

from agent.ocpi.timestamps import as_utc

END_OF_HEAD = re.compile(rb"\n\r?\n")

NO_TEXT = re.compile(rb"[\x00\x0b\x0c]|\r(?!\n)")
"""No line may hold them (RFC 9110, 5.5), and on them alone h11's pattern of a header goes back over its blanks."""

_MOST_DIGITS = 15
"""More than any size, count or wait has; int() of thousands of digits raises."""

_LONGEST_DATE = 100
"""Characters; the longest form of RFC 9110 has 33."""

_NO_DATE = (ValueError, OverflowError, TypeError, IndexError)
"""What the standard library raises for odd dates: a year of twenty digits overflows, some versions miss a part."""


def number(text: str | None) -> int | None:
    """A whole number; None for anything else."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def http_date(text: str | None) -> datetime | None:
    """An HTTP date (RFC 9110, 5.6.7) in UTC."""
    if not text or len(text) > _LONGEST_DATE:
        return None
    try:
        return as_utc(parsedate_to_datetime(text))
    except _NO_DATE:
        return None


def retry_after_s(headers: httpx.Headers, now: datetime) -> float | None:
    """Retry-After in seconds (RFC 9110, 10.2.3).

    A date is compared with the peer's own Date where it sends one: our clock may be off.
    """
    value = headers.get("retry-after")
    seconds = number(value)
    if seconds is not None:
        return float(seconds)
    moment = http_date(value)
    if moment is None:
        return None
    return max(0.0, (moment - (http_date(headers.get("date")) or now)).total_seconds())
