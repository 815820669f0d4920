"""The lives of processes of `exchange_until_killed`, as a test leads them."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HANG_S = 60.0


class Refused(Exception):  # noqa: N818  (it is what happened)
    """The party has not done what it was told; the text says why."""


class Died(Exception):  # noqa: N818  (it is what happened)
    """The party killed itself, as it was told to."""

    def __init__(self, where: str, state: Any) -> None:
        super().__init__(where)
        self.state = state
        """What is left of it beside its files."""


class Life:
    """One process of a party."""

    def __init__(self, mother: "Mother", pid: int, line: socket.socket) -> None:
        self._mother = mother
        self._pid = pid
        self._line = line
        self._heard = b""
        self._over = False

    async def do(self, verb: str, *arguments: Any) -> Any:
        """Have it done. Raises Refused, and Died: at once, or with the next word where it dies unasked."""
        async with asyncio.timeout(HANG_S):
            with suppress(ConnectionError):  # it may be dead; then that is what it has said
                await asyncio.get_running_loop().sock_sendall(
                    self._line, json.dumps([verb, *arguments]).encode() + b"\n"
                )
            answer = await self._answer()
            if "refused" in answer:
                raise Refused(answer["refused"])
            if "killed_at" in answer:
                code = await self._ended()
                assert code == -signal.SIGKILL, code
                raise Died(answer["where"], *answer["state"])
            return answer["done"]

    async def _answer(self) -> dict[str, Any]:
        # No stream of asyncio: that forgets what it has heard when the other side turns out to be dead.
        while b"\n" not in self._heard:
            heard = await asyncio.get_running_loop().sock_recv(self._line, 1 << 16)
            assert heard, "it has ended without a word: see its stderr"
            self._heard += heard
        words, _, self._heard = self._heard.partition(b"\n")
        answer: dict[str, Any] = json.loads(words)
        return answer

    async def end(self) -> None:
        """Kill it where it still lives."""
        if not self._over:
            os.kill(self._pid, signal.SIGKILL)
            await self._ended()

    async def _ended(self) -> int:
        """Its exit code, once the system has closed everything that it had open."""
        self._over = True
        self._line.close()
        return await self._mother.tell({"reap": self._pid})


class Mother:
    """The process that all lives are forked from: none of them has to import anything."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._turn = asyncio.Lock()

    async def life(self, party: str, **settings: Any) -> Life:
        """Start a life of `party` on `settings`, and return once it listens."""
        near, far = socket.socketpair()
        near.settimeout(0)
        with far:
            pid = await self.tell({"live": {"party": party, **settings}}, far.fileno())
        life = Life(self, pid, near)
        await life.do("disarm")
        return life

    async def tell(self, order: dict[str, Any], *fds: int) -> int:
        """Give one order and return the answer to it."""
        async with self._turn, asyncio.timeout(HANG_S):
            socket.send_fds(self._line, [json.dumps(order).encode()], fds)
            answer: int = json.loads(await asyncio.get_running_loop().sock_recv(self._line, 1 << 10))
            return answer


@asynccontextmanager
async def mother_of_all() -> AsyncIterator[Mother]:
    """Start the process that the others come from."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.settimeout(0)
    command = (sys.executable, "-m", "tests.ocpi_server.exchange_until_killed", str(far.fileno()))
    with near, far, subprocess.Popen(command, cwd=ROOT, pass_fds=(far.fileno(),)) as process:  # noqa: ASYNC220  (no wait)
        far.close()
        try:
            yield Mother(near)
        finally:
            process.kill()


@contextmanager
def held_port() -> Iterator[int]:
    """A free port of loopback, which no one else is given between two lives: bound here, and not listened on."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
