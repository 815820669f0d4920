"""The OCPI server as it runs, in a process of its own: its memory can be measured, and its log read from outside.

`served()` runs it. As a program it prints its port, then takes the name of a peer to invite from each line of its
input and answers with the token. It ends when its input does: whatever becomes of a test, this is not left behind.
"""

import argparse
import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.ocpi.server.app import create_app, versions_url
from agent.ocpi.server.gate import Limits
from agent.ocpi.server.serve import OcpiServer
from agent.runtime.exchange import Us, connect_as
from agent.runtime.reception import Reception, TokenDesk
from agent.runtime.registration import Registrar
from agent.runtime.token_push import TokenPush
from agent.store.peers import PeerStore
from agent.store.whitelist import Whitelist
from tests.ocpi_server.kept_charges import Kept, KeptCharges, cdr, session

ROOT = Path(__file__).parents[2]
PEERS, TOKENS, LOG = "state.db", "whitelist.db", "server.log"
US = ("NL", "CPO")

PATIENCE_S = 3.0
"""For the head and the body of a request, and for a call-back: much of what is sent has no end. Long enough for a busy
machine, where who sends may not get his turn for a while."""

_HERE = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def url(self) -> str:
        """The public URL."""
        return f"http://127.0.0.1:{self.port}/ocpi"

    def invite(self, name: str) -> str:
        """A token A for a peer that is not registered."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(name.encode() + b"\n")
        self.process.stdin.flush()
        token: str = json.loads(self.process.stdout.readline())
        return token

    def resident_kib(self) -> int:
        """Memory that is in use now, in KiB (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0])


@contextmanager
def served(
    folder: Path, *, requests_per_minute: int = 10**9, failed_logins_per_minute: int = 10**9
) -> Iterator[Served]:
    """Run it on the databases in `folder`; they are closed afterwards."""
    limits = (f"--requests={requests_per_minute}", f"--failed-logins={failed_logins_per_minute}")
    command = (sys.executable, "-m", "tests.fuzz.served", str(folder), *limits)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Served(process, int(process.stdout.readline()), folder)
        finally:
            process.stdin.close()


def _stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    """Fuzzed credentials name any host: as if there were no network but loopback."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if (host.decode("latin-1") if isinstance(host, bytes) else host) not in _HERE:
        raise OSError("only loopback can be reached")


async def serve(folder: Path, limits: Limits) -> None:
    """Be the server until standard input ends."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    store, whitelist = await PeerStore.open(folder / PEERS), await Whitelist.open(folder / TOKENS)
    late: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await late["app"](scope, receive, send)

    server = OcpiServer(app, host="127.0.0.1", port=0, head_s=PATIENCE_S)
    url = f"http://127.0.0.1:{server.port}/ocpi"
    us = Us(*US, "A charge point operator", versions_url(url))
    connect = connect_as(us, allow_http=False)
    late["app"] = create_app(
        public_url=url,
        us=US,
        callers=TokenDesk(store),
        credentials=Reception(store, us, connect, call_back_s=PATIENCE_S),
        tokens=TokenPush(whitelist),
        reports=_charges(),
        limits=limits,
    )
    registrar = Registrar(store, us, connect)
    running = asyncio.create_task(server.run())
    print(server.port, flush=True)
    while name := await commands.readline():
        print(json.dumps((await registrar.invite(name.decode().strip())).token), flush=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()
    await whitelist.close()


def _charges() -> KeptCharges:
    """Three pages of each list for `main`, and as much for somebody else."""
    kept, noon = KeptCharges(), datetime(2026, 3, 1, 12, tzinfo=UTC)
    for number in range(250):
        at = noon + timedelta(minutes=number)
        for peer in ("main", "fickle"):
            kept.sessions.append(Kept(peer, at, session(number, at)))
            kept.cdrs.append(Kept(peer, at, cdr(number, at)))
    return kept


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.served")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--failed-logins", type=int, required=True)
    given = parser.parse_args()
    sys.addaudithook(_stay_here)
    logging.basicConfig(filename=given.folder / LOG, level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
    for name in ("httpx", "httpcore"):  # as the agent has it
        logging.getLogger(name).setLevel(logging.WARNING)
    limits = Limits(
        body_s=PATIENCE_S,
        requests_per_minute=given.requests,
        failed_logins_per_minute=given.failed_logins,
    )
    asyncio.run(serve(given.folder, limits))


if __name__ == "__main__":
    main()
