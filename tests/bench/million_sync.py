"""Our side of the `million` figures as a process of its own: the agent's client, sync and whitelist, and nothing else.

It syncs once into `whitelist.db` of a folder and then prints one line of JSON, `Synced`. Before that it prints a line
for every page that is stored, if it is told to. Meanwhile cards are looked up through the same event loop.

A lookup's time counts from the moment at which it was due, not from when the loop came to it: an event loop that is
busy with a page keeps a tap waiting just as a slow database does. While it does, more of them fall due, and each of
these counts: half a second of standstill is a hundred cards that wait, and not one. asyncio's own timers, which ring up
to a millisecond late, are in it.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from agent.model import Uid
from agent.ocpi.client import OcpiClient
from agent.runtime.token_sync import SyncReport, SyncSettings, TokenSync
from agent.store.whitelist import SyncKind, SyncProgress, Whitelist
from tests.bench.cards import OWNER, PEER
from tests.bench.million_list import PAGE, uid
from tests.bench.peer_process import ROOT, Address
from tests.bench.program import written

EVERY_S = 0.005
"""Between two lookups."""

_NO_LIMIT = SyncSettings(page_size=PAGE, run_limit_s=86_400.0)
"""A run pauses after half an hour so that other peers get their turn. Here there are none."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync came to, and cost."""

    kind: str
    resumed: bool
    tokens: int
    seconds: float
    """From the call to its return: the last page, the sweep and the commit included."""
    grown_kib: int
    """The most memory that was resident at any moment, less what was before: the kernel's own high-water mark."""
    written_bytes: int
    """What this process sent to storage, closing the file included."""
    lookups_s: list[float]
    """The lookups' times, from when some card was on the device."""


async def sync(folder: Path, address: Address, *, full: bool, tells_pages: bool) -> Synced:
    """Sync once."""
    whitelist = await Whitelist.open(folder / "whitelist.db")
    client = OcpiClient(
        PEER,
        token=address.credentials_token,
        us=("NL", "EXA"),
        them=OWNER,
        tokens_url=address.tokens_url,
    )
    lookups = Lookups(whitelist)
    lookups.stored = sum(count.total for count in (await whitelist.count()).values())

    def on_progress(progress: SyncProgress, _total: int | None) -> None:
        lookups.stored = max(lookups.stored, progress.tokens)
        if tells_pages:
            print(progress.pages, flush=True)

    try:
        await client.probe()  # the connection is warm, as in the field, and everything imported
        token_sync = TokenSync(PEER, client, whitelist, lock_file=folder / "sync.lock", settings=_NO_LIMIT)
        looking = asyncio.create_task(lookups.run())
        loop = asyncio.get_running_loop()
        before = _reset_peak_kib()
        began = loop.time()
        report = await token_sync.run_once(SyncKind.FULL if full else None, on_progress)
        seconds, grown_kib = loop.time() - began, _kib("VmHWM") - before
        lookups.end()
        await looking
    finally:
        await client.aclose()
        await whitelist.close()
    return _synced(report, seconds, grown_kib, lookups.took_s)


def _synced(report: SyncReport, seconds: float, grown_kib: int, lookups_s: list[float]) -> Synced:
    storage = written(os.getpid()).storage
    return Synced(report.kind, report.resumed, report.tokens, seconds, grown_kib, storage, lookups_s)


class Find(Protocol):
    """Where cards are looked up."""

    async def find(self, uid: Uid, /) -> Sequence[object]: ...


class Lookups:
    """Cards that are held to the reader while the sync runs: any of those that are stored already."""

    def __init__(self, whitelist: Find) -> None:
        self.stored = 0
        self.took_s: list[float] = []
        self._whitelist = whitelist
        self._over = False
        self._chance = random.Random(1)

    def end(self) -> None:
        """The card that is due next is the last one."""
        self._over = True

    async def run(self) -> None:
        """Look cards up until `end`."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._over:
            due += EVERY_S
            await asyncio.sleep(due - loop.time())
            looks = self.stored > 0
            if looks:
                await self._look_up(uid(self._chance.randrange(self.stored)))
            waits_s = waits(loop.time() - due)
            if looks:
                self.took_s += waits_s
            due += (len(waits_s) - 1) * EVERY_S

    async def _look_up(self, card: Uid) -> None:
        if not await self._whitelist.find(card):
            raise RuntimeError(f"a token of a stored page is not found: {card}")


def waits(waited_s: float) -> list[float]:
    """How long each card waited when the first of them did for `waited_s`: its own, and those due before that was over.

    For these it has lasted no less than until now.
    """
    return [waited_s - missed * EVERY_S for missed in range(int(waited_s / EVERY_S) + 1)]


def _reset_peak_kib() -> int:
    """Have the kernel count the high-water mark from now on; what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return _kib("VmRSS")


def _kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def synced(folder: Path, address: Address, *, full: bool = False) -> Synced:
    """One sync by a process of its own."""
    with _process(folder, address, full=full, tells_pages=False) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
    if not line:
        raise RuntimeError("the sync has failed: see its traceback above")
    return Synced(**json.loads(line))


def killed(folder: Path, address: Address, after_pages: int) -> None:
    """Begin a full sync and kill it with SIGKILL once it has stored so many pages."""
    with _process(folder, address, full=True, tells_pages=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= after_pages:
                break
        process.kill()


@contextmanager
def _process(folder: Path, address: Address, *, full: bool, tells_pages: bool) -> Iterator[subprocess.Popen[bytes]]:
    asked = {"folder": str(folder), "address": asdict(address), "full": full, "tells_pages": tells_pages}
    command = [sys.executable, "-m", "tests.bench.million_sync", json.dumps(asked)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            yield process
        finally:
            if process.poll() is None and sys.exc_info()[0] is not None:
                process.kill()


def main() -> None:
    """Do what the bench asks for."""
    asked = json.loads(sys.argv[1])
    where, address = Path(asked["folder"]), Address(**asked["address"])
    done = asyncio.run(sync(where, address, full=asked["full"], tells_pages=asked["tells_pages"]))
    print(json.dumps(asdict(done)), flush=True)


if __name__ == "__main__":
    main()
