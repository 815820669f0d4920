"""The fake eMSP as a process of its own, so that its work does not disturb the loop that is measured.

`peer()` runs it from the bench. As a program it prints where it is, then takes a line of JSON for each change of
weather, `{"kind": "slow", "seconds": 0.02}`, and answers it with a line. It ends when its input does: whatever
becomes of the bench, this is not left behind.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.model import WhitelistType
from fakes.emsp import FINE, FakeEmsp, Kind, Weather
from tests.bench.cards import OWNER, uid_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a fake eMSP is, and what it wants to hear."""

    versions_url: str
    tokens_url: str
    sessions_url: str
    cdrs_url: str
    credentials_token: str

    @classmethod
    def of(cls, emsp: FakeEmsp) -> "Address":
        """Where this one is."""
        device = emsp.device
        return Address(emsp.versions_url, emsp.tokens_url, device.sessions_url, device.cdrs_url, emsp.credentials_token)


@dataclass(frozen=True, slots=True)
class Peer(Address):
    """A running fake eMSP whose weather can be changed."""

    process: asyncio.subprocess.Process

    async def weather(self, weather: Weather) -> None:
        """Have this weather from the next request on."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"kind": weather.kind, "seconds": weather.seconds}).encode() + b"\n")
        if not await self.process.stdout.readline():
            raise RuntimeError("the fake eMSP has ended: see its traceback above")


@asynccontextmanager
async def peer(
    *, populate: int = 0, cards: int = 0, listed: bool = False, reports: bool = False
) -> AsyncIterator[Peer]:
    """A fake eMSP that lists `populate` tokens, allows the first `cards` of each kind, and takes `reports`, or none."""
    process = await asyncio.create_subprocess_exec(
        *_command(populate, cards, listed=listed, reports=reports),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Peer(**json.loads(await process.stdout.readline()), process=process)
    finally:
        process.stdin.close()
        await process.wait()


@contextmanager
def listening(*, populate: int, cards: int, reports: bool = False) -> Iterator[Address]:
    """The same for who has no event loop, with every card on the list."""
    command = _command(populate, cards, listed=True, reports=reports)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Address(**json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()


def _command(populate: int, cards: int, *, listed: bool, reports: bool) -> list[str]:
    counts = ["--populate", str(populate), "--cards", str(cards)]
    return [
        *(sys.executable, "-m", "tests.bench.peer_process"), *counts,
        *["--listed"] * listed, *["--reports"] * reports,
    ]  # fmt: skip


async def serve(*, populate: int, cards: int, listed: bool, reports: bool) -> None:
    """Be the eMSP until standard input ends."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with FakeEmsp(country_code=OWNER[0], party_id=OWNER[1], remember=False, reports=reports) as emsp:
        emsp.populate(populate)
        for kind in WhitelistType:
            for number in range(cards):
                emsp.card(uid_of(kind, number), whitelist=kind, listed=listed)
        print(json.dumps(asdict(Address.of(emsp))), flush=True)
        while command := await commands.readline():
            asked = json.loads(command)
            emsp.set_weather(FINE)
            emsp.set_weather(Weather(Kind(asked["kind"]), seconds=asked["seconds"]))
            print("done", flush=True)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peer_process")
    parser.add_argument("--populate", type=int, default=0)
    parser.add_argument("--cards", type=int, default=0)
    parser.add_argument("--listed", action="store_true")
    parser.add_argument("--reports", action="store_true")
    given = parser.parse_args()
    try:
        asyncio.run(serve(populate=given.populate, cards=given.cards, listed=given.listed, reports=given.reports))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
