"""A peer that allows every card with an answer prepared beforehand: the fastest server there is in Python.

A program of its own, which prints its port and ends when its input does. It reads no more of a request than where it
ends, so that what is measured is the client.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.bench.server_load_generator import ROOT

_BODY = (
    b'{"data":{"allowed":"ALLOWED","token":{"country_code":"DE","party_id":"ABC","uid":"04A1B2C3D4E5F6",'
    b'"type":"RFID","contract_id":"DEABC000000001","issuer":"Bench eMSP","valid":true,"whitelist":"NEVER",'
    b'"last_updated":"2026-01-01T00:00:00Z"},"authorization_reference":"bench-authorization-reference"},'
    b'"status_code":1000,"timestamp":"2026-01-01T00:00:00Z"}'
)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class _Allows(asyncio.Protocol):
    def __init__(self) -> None:
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, body = self._read.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if end and len(body) >= (int(length[1]) if length else 0):
            self._read = b""  # no client here sends a second request before it has its answer
            self._transport.write(_ANSWER)


@asynccontextmanager
async def quick_peer() -> AsyncIterator[int]:
    """Have it run until the block ends; its port on 127.0.0.1."""
    command = [sys.executable, "-m", "tests.bench.client_load_peer"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Allows, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


if __name__ == "__main__":
    try:
        asyncio.run(_serve())
    except KeyboardInterrupt:
        sys.exit(130)
