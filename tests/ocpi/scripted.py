"""A peer that says exactly what it is told to, for answers that no weather of the fake brings."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ScriptedPeer:
    """Answers every path with what it was told for it, or for a method on it: `DELETE /credentials`.

    What it was asked is in `requests`, as `GET /versions`; what came with that in `heads` and `bodies`.
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, bytes] | None] = {}
        self.url = ""
        self.requests: list[str] = []
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    def says(self, path: str, body: object, *, status: str = "200 OK", headers: str = "") -> None:
        self.sends(path, json.dumps(body).encode(), status=status, headers=headers)

    def sends(self, path: str, body: bytes, *, status: str = "200 OK", headers: str = "") -> None:
        """The same for a body that is no JSON."""
        self.answers[path] = (f"{status}\r\n{headers}", body)

    def hangs(self, path: str) -> None:
        """Read the request and never answer."""
        self.answers[path] = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
        self.bodies.append(await reader.readexactly(int(length[1]) if length else 0))
        self.heads.append(head)
        method, target, _ = head.split(" ", 2)
        path = target.partition("?")[0]
        self.requests.append(f"{method} {path}")
        answer = self.answers.get(f"{method} {path}", self.answers.get(path, ("404 Not Found\r\n", b"")))
        if answer is None:
            await reader.read()  # until the client hangs up
        else:
            status_and_headers, body = answer
            writer.write(
                f"HTTP/1.1 {status_and_headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
            )
            await writer.drain()
        writer.close()


@asynccontextmanager
async def scripted_peer() -> AsyncIterator[ScriptedPeer]:
    peer = ScriptedPeer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    async with server:
        peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield peer
