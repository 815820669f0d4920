"""The servers that are loaded, each a process of its own: ours with its databases, and the least that ASGI costs.

As a program it prints where it listens and ends when its input does: whatever becomes of the bench, it is not left
behind. `serving()` runs it, or any other program that speaks the same way, from the bench.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import uvicorn

from agent.ocpi.server.app import create_app, versions_url
from agent.ocpi.server.asgi import Application, Receive, Scope, Send
from agent.ocpi.server.gate import Limits
from agent.ocpi.server.serve import OcpiServer
from agent.runtime.exchange import Us, connect_as
from agent.runtime.reception import Reception, TokenDesk
from agent.runtime.token_push import TokenPush
from agent.store.peers import Exchanged, PeerRole, PeerStore
from agent.store.whitelist import Whitelist
from tests.bench.cards import OWNER, PEER, fill_whitelist, made
from tests.bench.server_load_generator import CREDENTIALS_TOKEN, ROOT, listening

TOKENS = 10_000
"""In the whitelist before the first push."""

_JSON = {"type": "http.response.start", "status": 200}
_PUBLIC_URL = "http://127.0.0.1/ocpi"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    port: int
    path: str
    """Of the tokens."""
    answer: str
    """What its good answers hold."""
    version: str = ""
    """What it is made of, for a server that is not ours."""


@asynccontextmanager
async def serving(command: Sequence[str]) -> AsyncIterator[Server]:
    """Run a server until the block ends. Raises RuntimeError when it does not start."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        where = await process.stdout.readline()
        if not where:
            raise RuntimeError(f"{' '.join(command)}: did not start; see its traceback above")
        yield Server(**json.loads(where))
    finally:
        process.stdin.close()
        await process.wait()


def ours(folder: Path) -> list[str]:
    """The command line of our server with its databases in `folder`."""
    return _command("ours", str(folder))


def bare() -> list[str]:
    """The command line of the least that the same web server can do with a token."""
    return _command("bare")


def _command(which: str, *folder: str) -> list[str]:
    return [sys.executable, "-m", "tests.bench.server_load_server", which, *folder]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, parse it, write it again: no framework, no caller, no store."""
    assert scope["type"] == "http"
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = msgspec.json.encode(msgspec.json.decode(body))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({**_JSON, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def our_app(folder: Path) -> AsyncIterator[Application]:
    """The application as it is delivered, with a registered peer and no limit on its requests."""
    await fill_whitelist(made(folder), TOKENS)
    async with AsyncExitStack() as stack:
        peers = await PeerStore.open(folder / "state.db")
        stack.push_async_callback(peers.close)
        whitelist = await Whitelist.open(folder / "whitelist.db")
        stack.push_async_callback(whitelist.close)
        await _register(peers)
        us = Us("NL", "EXA", "Bench operator", versions_url(_PUBLIC_URL))
        yield create_app(
            public_url=_PUBLIC_URL,
            us=("NL", "EXA"),
            callers=TokenDesk(peers),
            credentials=Reception(peers, us, connect_as(us, allow_http=True)),
            tokens=TokenPush(whitelist),
            limits=Limits(requests_per_minute=sys.maxsize),
        )


async def _register(peers: PeerStore) -> None:
    """What a complete handshake leaves behind."""
    now = datetime.now(UTC)
    until = now + timedelta(days=1)
    await peers.invite(PEER, "token-a", expires_at=until, at=now, ca_file=None, note="")
    relation = await peers.relation(PEER)
    assert relation is not None
    roles = (PeerRole("EMSP", *OWNER, "Bench eMSP"),)
    exchanged = Exchanged("http://127.0.0.1/", "2.2.1", "base64", "their-token", CREDENTIALS_TOKEN, (), roles)
    await peers.complete(PEER, exchanged, revision=relation.revision, at=now, invite="token-a")


async def _serve_ours(folder: Path) -> None:
    async with our_app(folder) as app:
        server = OcpiServer(app, host="127.0.0.1", port=0)
        running = asyncio.create_task(server.run())
        _say(server.port, '"status_code":1000')
        await _input_ended()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _serve_bare() -> None:
    # Not through OcpiServer: what that one gets wrong would slow down the floor as well.
    config = uvicorn.Config(
        echo, http="h11", ws="none", lifespan="off", access_log=False, log_config=None, server_header=False
    )
    server = uvicorn.Server(config)
    listener = listening()
    running = asyncio.create_task(server.serve(sockets=[listener]))
    _say(listener.getsockname()[1], '"uid"')
    await _input_ended()
    server.should_exit = True
    await running


def _say(port: int, answer: str) -> None:
    print(json.dumps(asdict(Server(port, "/ocpi/2.2.1/tokens", answer))), flush=True)


async def _input_ended() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.server_load_server")
    parser.add_argument("which", choices=["ours", "bare"])
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    given = parser.parse_args()
    try:
        asyncio.run(_serve_bare() if given.which == "bare" else _serve_ours(given.folder))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
