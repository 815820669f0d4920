"""What is wrong with an answer, and what was sent how often."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

HANG_S = 10
"""Longer than this is no answer."""

_MOST = 40
"""Findings that are kept: a person reads no more."""


@dataclass
class Report:
    """What a run has seen."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By what was sent, as whom, and the answer."""
    findings: list[str] = field(default_factory=list)
    resident_kib: list[int] = field(default_factory=list)
    """The server's memory: after the warm-up, and then every now and then."""
    tokens: set[str] = field(default_factory=set)
    """Credentials tokens that must not be in the log."""

    @property
    def requests(self) -> int:
        """How many there were."""
        return self.counts.total()

    @property
    def growth_kib(self) -> int:
        """Memory that came after the warm-up, at its highest."""
        return max(self.resident_kib) - self.resident_kib[0] if self.resident_kib else 0

    def found(self, sent: object, *problems: str) -> None:
        """Note what is wrong."""
        for problem in problems:
            if len(self.findings) < _MOST:
                self.findings.append(f"{problem[:600]}\n    sent: {sent!s:.600}")

    def count(self, sent: str, caller: str, answer: str) -> None:
        """Note one request."""
        self.counts[sent, caller, answer] += 1


def said_in(status: int, body: bytes | None) -> str:
    """HTTP's and OCPI's status code, as they are counted."""
    code = re.search(rb'"status_code":(\d+)', body or b"")
    return f"{status} {code[1].decode() if code else ''}".strip()


def problems(status: int, headers: Mapping[str, str], body: bytes | None) -> list[str]:
    """What is wrong with an answer as OCPI answer: OCPI 2.2.1 transport_and_format. `body` None: a HEAD's.

    `headers` are found by lower-case names.
    """
    wrong = [f"no {name}" for name in ("x-request-id", "x-correlation-id") if not headers.get(name)]
    if status >= 500:
        wrong.append(f"status {status}")
    if headers.get("content-type") != "application/json":
        wrong.append(f"content type {headers.get('content-type')}")
    return wrong if body is None else wrong + _no_envelope(status, body)


def _no_envelope(status: int, body: bytes) -> list[str]:
    try:
        said = json.loads(body)
        moment = datetime.fromisoformat(said["timestamp"])
        code = said["status_code"]
    except (ValueError, TypeError, KeyError) as error:
        return [f"no envelope ({error}) with {status}: {body[:200]!r}"]
    wrong = []
    if not set(said) <= {"status_code", "status_message", "timestamp", "data"}:
        wrong.append(f"not only an envelope: {sorted(said)}")
    if type(code) is not int or not 1000 <= code < 4000:
        wrong.append(f"status_code {code!r}")
    if moment.utcoffset() is None or len(said["timestamp"]) > 25:
        wrong.append(f"timestamp {said['timestamp']!r}")
    if status >= 400 and code < 2000:
        wrong.append(f"success in an answer with {status}")
    return wrong
