"""The fake eMSP with a list of a million, as a process of its own: its pages lie ready before it says where it is.

`million_peer()` runs it from the bench. It answers two words on its standard input with a line of JSON: `change`
has it change the first 1,000 tokens of its list now, `asked` tells the offsets of the whole list's pages that were
asked for since the last time, in their order. It ends when its input does.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from fakes.emsp import FakeEmsp, Part
from fakes.emsp.lists import PreparedList
from tests.bench.cards import OWNER
from tests.bench.million_list import PAGE, pages, uid
from tests.bench.peer_process import ROOT, Address

CHANGES = 1000
"""Tokens that `change` changes."""


@dataclass(frozen=True, slots=True)
class MillionPeer:
    """A running fake eMSP, and what it can be asked."""

    address: Address
    process: subprocess.Popen[bytes]

    def change(self) -> int:
        """Change tokens; how many."""
        return int(self._say("change"))

    def asked(self) -> list[int]:
        """The offsets asked for since the last time. Raises RuntimeError when the client broke OCPI."""
        told = json.loads(self._say("asked"))
        if told["complaints"]:
            raise RuntimeError(f"the fake eMSP complains: {told['complaints'][0]}")
        return [int(offset) for offset in told["offsets"]]

    def _say(self, word: str) -> bytes:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()
        return _line(self.process)


@contextmanager
def million_peer(tokens: int) -> Iterator[MillionPeer]:
    """A fake eMSP that lists so many tokens."""
    command = [sys.executable, "-m", "tests.bench.million_peer", str(tokens)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        try:
            yield MillionPeer(Address(**json.loads(_line(process))), process)
        finally:
            process.stdin.close()


def _line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the fake eMSP has ended: see its traceback above")
    return line


async def serve(tokens: int) -> None:
    """Be the eMSP until standard input ends."""
    loop = asyncio.get_running_loop()
    words = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    async with FakeEmsp(country_code=OWNER[0], party_id=OWNER[1]) as emsp:
        emsp.page_size = PAGE
        emsp._list.prepared = PreparedList(list(pages(tokens)), tokens)
        _tell(asdict(Address.of(emsp)))
        while word := (await words.readline()).decode().strip():
            if word == "change":
                _tell(_change(emsp, min(CHANGES, tokens)))
            else:
                _tell({"offsets": _asked(emsp), "complaints": emsp.complaints})


def _change(emsp: FakeEmsp, count: int) -> int:
    for position in range(count):
        emsp.card(uid(position), valid=False, issuer="Changed")
    return count


def _asked(emsp: FakeEmsp) -> list[str]:
    lists = [request.query for request in emsp.requests if request.part is Part.LIST]
    emsp.requests.clear()
    # A client's sign of life asks for a single token.
    whole = [query for query in lists if query.get("limit") == str(PAGE) and "date_from" not in query]
    return [query.get("offset", "0") for query in whole]


def _tell(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
