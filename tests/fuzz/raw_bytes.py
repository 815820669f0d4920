"""What no HTTP library sends: broken heads, bodies that are not what they say, and JSON at its edges.

Every connection ends with a good request that asks for the connection to be closed, so that the server always comes
to an end by itself: with its answers, with a 400, or because what was announced does not come. There are two of them,
for the first may become part of a body.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.answers import answers_in
from tests.fuzz.corpus import BODIES, FRAMES, GOOD, HEADERS, METHODS, ODD_METHODS, TARGETS, TOKENS, VERSIONS
from tests.fuzz.findings import HANG_S, Report, said_in
from tests.fuzz.served import Served

CALLERS = ("raw, registered", "raw, unknown")
"""With a known credentials token, and without one."""

_AT_ONCE = 16
_BUFFERED = 60_000
"""Bytes sent, above which a server that closes early may take its answer with it: TCP resets what was not read."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One connection: its bytes, and whether the client hangs up without waiting."""

    kind: str
    data: bytes
    known: bool
    hangs_up: bool = False


class RawBytes:
    """Sends bytes to a server and reports what is wrong with what comes back."""

    def __init__(self, served: Served, report: Report, token: str) -> None:
        """`token`: a registered peer's."""
        self._served = served
        self._report = report
        self._known = b"Authorization: Token " + b64encode(token.encode())

    def send(self, count: int) -> None:
        """`count` connections of every kind, half of them with a known token."""
        kinds = _kinds()
        for kind, strategy in kinds.items():
            asyncio.run(self._all(_drawn(kind, strategy, -(-count // len(kinds)))))
        self._report.resident_kib.append(self._served.resident_kib())

    async def _all(self, drawn: list[Sent]) -> None:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(sent: Sent) -> None:
            async with turns:
                await self._one(sent)

        await asyncio.gather(*(one(sent) for sent in drawn))

    async def _one(self, sent: Sent) -> None:
        caller = CALLERS[0 if sent.known else 1]
        known = self._known if sent.known else b"Authorization: Token d3Jvbmc="
        data = sent.data.replace(b"AUTHORIZATION", known)
        closing = b"GET /ocpi/versions HTTP/1.1\r\nHost: x\r\n" + known + b"\r\nConnection: close\r\n\r\n"
        try:
            async with asyncio.timeout(HANG_S):
                got = await self._exchange(data if sent.hangs_up else data + closing * 2, hangs_up=sent.hangs_up)
        except TimeoutError:
            self._report.found(data, "no answer, and the connection stays open")
            self._report.count(sent.kind, caller, "none")
            return
        answers, rest = answers_in(got, data)
        for answer in answers:
            self._report.count(sent.kind, caller, said_in(answer.status, answer.body))
            if not answer.missing or len(data) < _BUFFERED:
                self._report.found(f"{sent.kind}: {data[:300]!r}", *answer.problems)
        if rest and not sent.hangs_up:
            self._report.found(f"{sent.kind}: {data[:300]!r}", f"no HTTP in the answer: {rest[:200]!r}")
        if not answers:
            self._report.count(sent.kind, caller, "hung up" if sent.hangs_up else "closed")
            if not sent.hangs_up and len(data) < _BUFFERED and not _is_unfinished(data):
                self._report.found(f"{sent.kind}: {data[:300]!r}", "closed without an answer")

    async def _exchange(self, data: bytes, *, hangs_up: bool) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._served.port)
        got = b""
        try:
            writer.write(data)
            if hangs_up:
                await writer.drain()
                writer.transport.abort()
                return got
            while part := await reader.read(65_536):
                got += part
        except ConnectionError:
            pass  # what was read until then counts
        finally:
            writer.close()
        return got


def _drawn(kind: str, strategy: st.SearchStrategy[bytes], count: int) -> list[Sent]:
    drawn: list[Sent] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(data: bytes) -> None:
        drawn.append(Sent(kind, data, known=len(drawn) % 2 == 0, hangs_up=kind == "hangs up"))

    collect()
    return drawn


def _kinds() -> dict[str, st.SearchStrategy[bytes]]:
    method, target, body = st.sampled_from(METHODS), st.sampled_from(TARGETS), st.sampled_from(BODIES)
    head = st.sampled_from([TOKENS + b"/x", b"/ocpi/2.2.1/credentials", b"/ocpi/versions"])
    cut = st.integers(0, 400)
    good = st.builds(_request, method, head, st.just([]), body)
    header = st.lists(st.sampled_from(HEADERS) | st.binary(max_size=60), min_size=1, max_size=4)
    return {
        "bytes": st.binary(min_size=1, max_size=400).map(lambda data: data + b"\r\n\r\n"),
        "request line": st.builds(
            _line,
            method | st.sampled_from(ODD_METHODS),
            target,
            st.sampled_from(VERSIONS),
            st.sampled_from([b" ", b"\t"]),
        ),
        "methods": st.builds(_request, st.sampled_from(ODD_METHODS), head, st.just([]), body),
        "targets": st.builds(
            _request, method | st.just(b"DELETE"), target | st.binary(max_size=30).map(_percent), st.just([]), body
        ),
        "headers": st.builds(_request, method, head, header, st.just(GOOD)),
        "framing": st.builds(_framed, method, head, body, st.sampled_from(FRAMES)),
        "bodies": st.builds(_request, st.sampled_from([b"PUT", b"PATCH", b"POST"]), head, st.just([]), body),
        "generated JSON": st.builds(_request, st.sampled_from([b"PUT", b"PATCH"]), head, st.just([]), _json()),
        "pipelined": st.lists(good, min_size=2, max_size=6).map(b"".join),
        "pipelined, then bytes": st.tuples(good, st.binary(max_size=80)).map(b"".join),
        "cut off": st.builds(lambda request, at: request[: at or 1], good, cut),
        "hangs up": st.builds(lambda request, at: request[: at * 4 or 1], good, cut),
    }


def _json() -> st.SearchStrategy[bytes]:
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70)
    value = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner))
    names = st.sampled_from(list(json.loads(GOOD))) | st.sampled_from(["group_id", "language", "energy_contract"])
    changes = st.dictionaries(names, value, max_size=4)
    return changes.map(lambda some: json.dumps(json.loads(GOOD) | some).encode())


def _line(method: bytes, target: bytes, version: bytes, space: bytes) -> bytes:
    return space.join((method, target, version)) + b"\r\nHost: x\r\nAUTHORIZATION\r\n\r\n"


def _request(method: bytes, target: bytes, headers: list[bytes], body: bytes) -> bytes:
    return _head(method, target, [*headers, b"Content-Length: %d" % len(body)]) + body


def _framed(method: bytes, target: bytes, body: bytes, frame: Callable[[bytes], tuple[bytes, bytes]]) -> bytes:
    header, data = frame(body)
    return _head(method, target, [header]) + data


def _head(method: bytes, target: bytes, headers: list[bytes]) -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: x", b"AUTHORIZATION", *headers, b"", b""])


def _percent(data: bytes) -> bytes:
    return TOKENS + b"/" + b"".join(b"%%%02X" % byte for byte in data)


def _is_unfinished(data: bytes) -> bool:
    """Whether the head's end was never sent, so that nothing could be answered."""
    return b"\n\r\n" not in data and b"\n\n" not in data
