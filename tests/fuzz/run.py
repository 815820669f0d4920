"""One run of all: requests by schemathesis, raw bytes, and what holds afterwards; and one against the limits."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx

from tests.fuzz.aftermath import damage
from tests.fuzz.call_back import call_back
from tests.fuzz.callers import As
from tests.fuzz.described import Described
from tests.fuzz.findings import HANG_S, Report, problems, said_in
from tests.fuzz.raw_bytes import RawBytes
from tests.fuzz.served import served

GROWTH_KIB = 50 << 10
"""Memory that the server may take after the warm-up."""

_RATE = 30
"""Requests a minute, and failed logins a minute, in the run against the limits: gone before another comes back."""


def run(folder: Path, *, described: int, raw: int, warm_up: int) -> Report:
    """Send `described` requests and `raw` connections after a warm-up of `warm_up` each; report what is wrong."""
    report = Report()
    with (
        call_back() as platform,
        served(folder) as server,
        closing(Described(server, platform, report)) as requests,
    ):
        raw_bytes = RawBytes(server, report, requests.callers.token("main"))
        if warm_up:
            requests.send(warm_up)
            raw_bytes.send(warm_up)
        report.resident_kib[:] = [server.resident_kib()]
        requests.send(described)
        raw_bytes.send(raw)
        report.found("the server, at its end", *_still_serves(server.url, requests.callers.header(As.PLAIN, "main", 0)))
    report.found("the server", *damage(folder, report.tokens))
    if report.growth_kib > GROWTH_KIB:
        report.found("the server", f"its memory grew by {report.growth_kib} KiB: {report.resident_kib}")
    return report


def run_into_limits(folder: Path) -> Report:
    """Send more than is allowed, with a known token and without one; report what is wrong with the answers."""
    report = Report()
    with served(folder, requests_per_minute=_RATE, failed_logins_per_minute=_RATE) as server:
        token = server.invite("busy")
        report.tokens.add(token)
        for caller, sent in ((As.INVITED, token), (As.WRONG, "wrong")):
            headers = {"Authorization": f"Token {b64encode(sent.encode()).decode()}"}
            with httpx.Client(base_url=server.url, headers=headers, timeout=HANG_S) as client:
                for _ in range(3 * _RATE):
                    answer = client.get("/versions")
                    report.count("GET /versions", caller, said_in(answer.status_code, answer.content))
                    report.found(f"GET /versions as {caller}", *_limited(answer))
    report.found("the server", *damage(folder, report.tokens))
    return report


def _still_serves(url: str, header: str | None) -> Iterator[str]:
    answer = httpx.get(f"{url}/versions", headers={"Authorization": header or ""}, timeout=HANG_S)
    if answer.status_code != 200:
        yield f"it answers {answer.status_code} to a good request"


def _limited(answer: httpx.Response) -> Iterator[str]:
    yield from problems(answer.status_code, answer.headers, answer.content)
    if answer.status_code == 429 and not 1 <= int(answer.headers.get("Retry-After", "0")) <= 60:
        yield f"Retry-After: {answer.headers.get('Retry-After')}"
