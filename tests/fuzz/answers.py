"""The answers in the bytes that came over a connection: read by hand, for no HTTP library would say what is off."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.fuzz.findings import problems

_STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*")
_HEAD = re.compile(rb"HEAD [!-~]+ HTTP/1\.[01]\r\n")
_UNREAD = frozenset({400, 414, 431})
"""Answers to a request of which the server may not have read so much as the method."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, as far as it came."""

    status: int
    headers: Mapping[str, str]
    """By lower-case names."""
    body: bytes | None
    """None: a HEAD's."""
    missing: int = 0
    """Bytes that were announced and did not come."""

    @property
    def problems(self) -> list[str]:
        """What is wrong with it."""
        wrong = problems(self.status, self.headers, self.body)
        if not self.headers.get("content-length", "").isdecimal():
            wrong.append(f"Content-Length: {self.headers.get('content-length')}")
        if self.missing:
            wrong.append(f"{self.missing} bytes of {self.headers['content-length']} are missing")
        return wrong


def answers_in(got: bytes, sent: bytes = b"") -> tuple[list[Answer], bytes]:
    """The answers in what came, informational ones left out, and the rest that is none.

    Whether the first has a body is decided by `sent`: OCPI answers always have one, but for that to a HEAD.
    """
    answers: list[Answer] = []
    while line := _STATUS_LINE.match(got):
        head, end, rest = got[line.end() :].partition(b"\r\n\r\n")
        if not end:
            break
        status = int(line[1])
        if status < 200:
            got = rest
            continue
        fields = (field.partition(": ") for field in head.decode("latin-1").split("\r\n")[1:])
        headers = {name.lower(): value for name, _, value in fields}
        if not answers and _is_bodiless(sent, status, rest):
            answers.append(Answer(status, headers, None))
            got = rest
            continue
        announced = headers.get("content-length", "")
        length = int(announced) if announced.isdecimal() else 0
        answers.append(Answer(status, headers, rest[:length], max(0, length - len(rest))))
        got = rest[length:]
    return answers, got


def _is_bodiless(sent: bytes, status: int, rest: bytes) -> bool:
    if not sent.startswith(b"HEAD"):
        return False
    if status in _UNREAD or not _HEAD.match(sent):
        return not rest or rest.startswith(b"HTTP/1.1 ")
    return True
