"""What one look at the agent shows: memory, files, threads, what it has written, and what it keeps on disk."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.program import written
from tests.day.place import Place
from tests.day.running import RunningAgent
from tests.day.systemd import NotifySocket

LOOKS: Final = 15
LOOK_S: Final = 0.1
"""Together longer than a sync: a connection or a file that is open for a moment is not there at every look."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. Memory in bytes."""

    label: str
    day: int
    """From 1 on; 0 is the start."""
    rss: int
    pss: int
    anonymous: int
    """What is the process's alone and no file's: where a leak would be."""
    blocks: int
    """Given out by Python's allocator, after a collection: no noise of malloc is in it."""
    objects: int
    types: Mapping[str, int]
    """Objects by type, of which there are many."""
    files: int
    threads: int
    storage: int
    """Sent on to storage since the start, as docs/figures.md counts it."""
    characters: int
    """Handed to the kernel since the start: pipes and sockets included."""
    state_db: int
    state_used: int
    """Of `state.db`, without the pages that are free again."""
    whitelist_db: int
    wal: int
    """Both write-ahead logs."""
    authorizations: int
    sessions: int
    cdrs: int
    """Made since the start, the deleted ones included."""
    acknowledged: int
    """CDRs that are at the eMSPs."""
    fed: int
    hungry_s: float


async def look(label: str, day: int, place: Place, agent: RunningAgent, systemd: NotifySocket) -> Sample:
    """Look at an agent that nobody uses just now."""
    process = Path("/proc") / str(agent.pid)
    files, threads = await _least(process)
    blocks, objects, types = await agent.count()
    memory = _fields(process / "smaps_rollup")
    io = written(agent.pid)
    [(pages, free, size)] = place.state("SELECT * FROM pragma_page_count, pragma_freelist_count, pragma_page_size")
    [(authorizations, sessions, cdrs)] = place.state(
        "SELECT (SELECT count(*) FROM authorization), (SELECT count(*) FROM session), (SELECT max(number) FROM cdr)"
    )
    folder = place.folder / "state"
    return Sample(
        label,
        day,
        rss=memory["Rss"],
        pss=memory["Pss"],
        anonymous=memory["Anonymous"],
        blocks=blocks,
        objects=objects,
        types=types,
        files=files,
        threads=threads,
        storage=io.storage,
        characters=io.characters,
        state_db=_size(folder / "state.db"),
        state_used=(pages - free) * size,
        whitelist_db=_size(folder / "whitelist.db"),
        wal=_size(folder / "state.db-wal") + _size(folder / "whitelist.db-wal"),
        authorizations=authorizations,
        sessions=sessions,
        cdrs=cdrs or 0,
        acknowledged=len(place.emsp.cdrs) + len(place.acme.cdrs),
        fed=systemd.fed,
        hungry_s=systemd.hungry_s(),
    )


async def _least(process: Path) -> tuple[int, int]:
    """The fewest open files and threads of several looks."""
    files, threads = [], []
    for _ in range(LOOKS):
        files.append(sum(1 for _ in (process / "fd").iterdir()))
        threads.append(sum(1 for _ in (process / "task").iterdir()))
        await asyncio.sleep(LOOK_S)
    return min(files), min(threads)


def _fields(path: Path) -> dict[str, int]:
    """Bytes by name."""
    lines = [line.split() for line in path.read_text("utf-8").splitlines()[1:]]
    return {name.rstrip(":"): int(value) * 1024 for name, value, *_ in lines}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
