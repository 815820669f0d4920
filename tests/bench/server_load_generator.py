"""PUTs tokens at a server over kept connections and says how long each took: a program, cheap and of its own.

It shares no interpreter with the server that it loads, and sends bytes that are ready before the first goes out. So
that it can load any server, it knows nothing of ours; and nothing but the standard library is imported.
"""

import argparse
import asyncio
import json
import re
import selectors
import socket
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parents[2]

CREDENTIALS_TOKEN = "bench-credentials-token"
OWNER = ("DE", "ABC")

PREFIX = "B1"
"""What the uids of pushed tokens begin with, and no others."""

WARM_UP = 50
"""Answers of each run that do not count: connections, caches and the servers' own first steps."""

_HANG_S = 60.0
"""Against hangs alone."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Load:
    """What one run sends, and where to."""

    port: int
    path: str
    """Below it are country, party and uid."""
    answer: str
    """What a good answer's body holds."""
    connections: int
    first: int
    count: int
    edition: int
    """The same tokens in a higher one are newer."""


@dataclass(slots=True)
class Driven:
    """How it went; several runs add up."""

    elapsed_s: float = 0.0
    took_s: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.took_s) / self.elapsed_s

    def add(self, other: "Driven") -> None:
        """Count another run in."""
        self.elapsed_s += other.elapsed_s
        self.took_s += other.took_s


async def drive(load: Load) -> Driven:
    """Send it from a process of its own. Raises RuntimeError when an answer is not the good one."""
    values = [str(getattr(load, name)) for name in Load.__dataclass_fields__]
    command = [sys.executable, "-m", "tests.bench.server_load_generator", *values]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError("the load was not answered as it should be: see the traceback above")
    return Driven(**json.loads(out))


def listening() -> socket.socket:
    """A socket for a server, on any free port, of the kind that asyncio itself makes.

    With the protocol named: asyncio turns Nagle's algorithm off on no other, and then every answer that is written in
    two parts waits 40 ms for the client's acknowledgement of the first.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    listener.setblocking(False)  # noqa: FBT003 - the library's own
    return listener


def requests(load: Load) -> list[bytes]:
    """The bytes of every request."""
    return [_request(load.port, load.path, number, load.edition) for number in _numbers(load)]


def last_updated(edition: int) -> str:
    """When the tokens of an edition were changed."""
    return f"2026-01-01T{edition // 3600 % 24:02}:{edition // 60 % 60:02}:{edition % 60:02}Z"


def _numbers(load: Load) -> range:
    return range(load.first, load.first + load.count)


def _request(port: int, path: str, number: int, edition: int) -> bytes:
    country_code, party_id = OWNER
    uid = f"{PREFIX}{number:08X}"
    token = {
        "country_code": country_code,
        "party_id": party_id,
        "uid": uid,
        "type": "RFID",
        "contract_id": f"DEABC{number:09}",
        "visual_number": f"DE-ABC-{number:09}",
        "issuer": "Bench eMSP",
        "valid": True,
        "whitelist": "ALLOWED",
        "language": "de",
        "last_updated": last_updated(edition),
    }
    body = json.dumps(token).encode()
    head = (
        f"PUT {path}/{country_code}/{party_id}/{uid} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\n"
        f"Authorization: Token {b64encode(CREDENTIALS_TOKEN.encode()).decode()}\r\n"
        "Accept: application/json\r\n"
        f"X-Request-ID: 5f0b3c9e-6a51-4c55-9b2e-{number:012x}\r\n"
        f"X-Correlation-ID: 0d9f6a3b-2f0e-4f0c-8a8e-{number:012x}\r\n"
        f"OCPI-from-country-code: {country_code}\r\nOCPI-from-party-id: {party_id}\r\n"
        "OCPI-to-country-code: NL\r\nOCPI-to-party-id: EXA\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Line:
    """One kept connection with at most one request under way."""

    def __init__(self, port: int, answer: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_HANG_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._answer = answer
        self._read = b""

    def send(self, request: bytes) -> None:
        self._read = b""
        self.sent_at = perf_counter()
        self.socket.sendall(request)

    def answered(self) -> bool:
        """Read what is here; whether the answer is whole. Raises RuntimeError for a wrong one."""
        part = self.socket.recv(65536)
        self._read += part
        head, end, body = self._read.partition(b"\r\n\r\n")
        if not part:
            raise RuntimeError(f"the server hung up after {self._read[:200]!r}")
        if not end:
            return False
        length = _LENGTH.search(head)
        if length is None:
            raise RuntimeError(f"an answer without Content-Length: {head!r}")
        if len(body) < int(length[1]):
            return False
        if not head.startswith(b"HTTP/1.1 20") or self._answer not in body:
            raise RuntimeError(f"not a good answer: {self._read[:500]!r}")
        return True


def _drive(load: Load) -> Driven:
    waiting = iter(requests(load))
    lines = [_Line(load.port, load.answer.encode()) for _ in range(load.connections)]
    with selectors.DefaultSelector() as selector:
        for line in lines:
            selector.register(line.socket, selectors.EVENT_READ, line)
        return _exchange(selector, lines, waiting)


def _exchange(selector: selectors.BaseSelector, lines: Sequence[_Line], waiting: Iterator[bytes]) -> Driven:
    driven = Driven()
    under_way = 0
    for line, request in zip(lines, waiting, strict=False):
        line.send(request)
        under_way += 1
    warm = -WARM_UP
    began = perf_counter()
    while under_way:
        ready = selector.select(_HANG_S)
        if not ready:
            raise RuntimeError(f"no answer within {_HANG_S:g} s")
        for key, _ in ready:
            line = key.data
            if not line.answered():
                continue
            now = perf_counter()
            warm += 1
            if warm == 0:
                began = now
            elif warm > 0:
                driven.took_s.append(now - line.sent_at)
                driven.elapsed_s = now - began
            if request := next(waiting, b""):
                line.send(request)
            else:
                under_way -= 1
    return driven


def main() -> None:
    """Do what the command line asks for; print the result as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.server_load_generator")
    for name, declared in Load.__dataclass_fields__.items():
        parser.add_argument(name, type=int if declared.type is int else str)
    try:
        driven = _drive(Load(**vars(parser.parse_args())))
    except KeyboardInterrupt:
        sys.exit(130)
    print(json.dumps({"elapsed_s": driven.elapsed_s, "took_s": driven.took_s}))


if __name__ == "__main__":
    main()
