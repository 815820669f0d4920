"""A panel whose state a test writes: the real server, guard and stream, with nothing behind them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from agent.ocpi.server.asgi import Receive, Scope, Send
from agent.panel.app import PanelApp
from agent.panel.exchange import json_bytes
from agent.panel.guard import Guard
from agent.panel.login import Login
from agent.panel.pages import pages_of
from agent.panel.place import Place, place_of
from agent.panel.server import PanelServer
from agent.panel.stream import MOST, Stream
from tests.panel.browser.boards import Board

Did = tuple[str, Board]
"""What a page has sent to the world: path and body."""


class Script:
    """What the panel shows, and what came back from the page."""

    def __init__(self, board: Board, world: Board | None = None) -> None:
        self.board = deepcopy(board)
        self.world = deepcopy(world)
        self.card: object = None
        """What a search for a card gives; an exception is raised."""
        self.searched: list[str] = []
        self.did: list[Did] = []
        self.revealed: list[tuple[int, str]] = []
        self.on_act: Callable[[str, Board], None] = lambda path, body: None
        """The world's answer to a click: it may change `board` and `world`; with a LookupError it refuses."""
        self.goes = asyncio.Event()
        """Cleared, the server keeps its connections open and says nothing more."""
        self.goes.set()
        self.fault: Exception | None = None
        """What looking at the charge point fails with."""
        self.url = ""
        self.stream = Stream(self.look)
        self.login: Login | None = None

    def renew_token(self) -> None:
        """What a page has to bring along is another one from now on, and the stream does not say so."""
        assert self.login is not None, "served first"
        self.login._anonymous = "another"

    def end_streams(self) -> None:
        """Every page's stream ends, as when the agent behind it starts again."""
        for client in self.stream._clients:
            client.leave()

    async def look(self) -> bytes:
        """The state, as `Stream` wants it."""
        await self.goes.wait()
        if self.fault is not None:
            raise self.fault
        return json_bytes(self.board)[1:]

    async def explain(self, uid: str) -> object:
        """What the script says of every card."""
        self.searched.append(uid)
        if isinstance(self.card, Exception):
            raise self.card
        return self.card

    async def reveal(self, tap: int, user: str, client: str) -> str | None:
        """A uid in clear."""
        self.revealed.append((tap, user))
        return "04A1B2C3D4E5F6"

    async def serve_world(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`/world/state`, and clicks, which are recorded. Without a world there is nothing to tell."""
        status, body = 204, b""
        if self.world is not None and scope["path"] == "/world/state":
            status, body = 200, json.dumps(self.world).encode()
        elif self.world is not None:
            sent = json.loads((await receive())["body"])
            self.did.append((scope["path"], sent))
            status = 200
            try:
                self.on_act(scope["path"], sent)
            except LookupError as error:
                status, body = 409, json.dumps({"error": str(error)}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(
    script: Script, *, port: int = 0, login_file: Path | None = None, most: int = MOST
) -> AsyncIterator[Script]:
    """Serve the script on loopback until the end of the block; then the address is free."""
    place = place_of(f"127.0.0.1:{port}", login_file=login_file)
    stream = script.stream = Stream(script.look, most=most)
    server = PanelServer(_app(script, stream, place), place)
    script.url = place.url(server.port)
    running = [asyncio.create_task(server.run()), asyncio.create_task(stream.run())]
    try:
        yield script
    finally:
        script.goes.set()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _app(script: Script, stream: Stream, place: Place) -> PanelApp:
    loop = asyncio.get_running_loop()
    script.login = Login(place.login_file, secure=False, time=loop.time, failed_s=0.0)
    return PanelApp(
        guard=Guard(scheme=place.scheme, is_loopback=place.is_loopback),
        login=script.login,
        stream=stream,
        pages=pages_of(),
        explains=script.explain,
        reveals=script.reveal,
        world=script.serve_world,
    )


def told(script: Script, path: str) -> list[Any]:
    """What was sent to one path of the world."""
    return [body for to, body in script.did if to == path]
