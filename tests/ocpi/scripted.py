"""A peer that says exactly what it is told to, for answers that no weather of the fake brings."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ScriptedPeer:
    """Answers every path with what `answers` holds for it: a status line's rest, further header lines, a body."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, bytes]] = {}
        self.url = ""

    def says(self, path: str, body: object, *, status: str = "200 OK", headers: str = "") -> None:
        self.answers[path] = (f"{status}\r\n{headers}", json.dumps(body).encode())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1].partition("?")[0]
        status_and_headers, body = self.answers[path]
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
