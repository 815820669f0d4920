"""The floor of the `million` figures, a process of its own: what decoding a list and inserting it into SQLite cost.

The same page bodies, which lie in memory, are decoded by msgspec into the same structs; the same rows go into an
empty file of the same schema with the same pragmas, one transaction a page, by plain `sqlite3` and `executemany`, in
one thread. There is no network, no event loop, no journal of progress, no lookup meanwhile, and nothing is looked at:
every token is taken for new and good. The rows are made in the shortest way that Python has, without the columns that
this list leaves empty, and without a None or a bool, which `sqlite3` takes half a microsecond each to bind.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from agent.ocpi.tokens import Token, TokenType, WhitelistType
from agent.store.database import CACHE_KIB
from agent.store.token_rows import TYPE_NUMBERS
from agent.store.whitelist import WAL_PAGES, Whitelist
from tests.bench.million_list import pages
from tests.bench.peer_process import ROOT
from tests.bench.program import written

_COLUMNS = (
    *("uid_key", "type", "country_key", "party_key", "contract_id", "issuer", "valid", "whitelist", "last_updated"),
    *("visual_number", "language", "peer_id", "generation"),
)
_INSERT = f"INSERT INTO token ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_TYPES = {kind: TYPE_NUMBERS[kind.value] for kind in TokenType}
_WHITELISTS = {kind: number for number, kind in enumerate(WhitelistType)}


@dataclass(frozen=True, slots=True)
class Inserted:
    """What the floor came to."""

    tokens: int
    seconds: float
    decoding_s: float
    """Of those, for the structs alone."""
    written_bytes: int


class _Envelope(msgspec.Struct):
    data: list[Token]


async def _lay_out(path: Path) -> None:
    await (await Whitelist.open(path)).close()


def insert(path: Path, tokens: int) -> Inserted:
    """Decode and insert the list."""
    asyncio.run(_lay_out(path))
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in (f"wal_autocheckpoint = {WAL_PAGES}", f"cache_size = -{CACHE_KIB}", "synchronous = NORMAL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("INSERT INTO peer (id, name) VALUES (1, 'emsp')")
    decoder = msgspec.json.Decoder(_Envelope)
    count, seconds, decoding_s = 0, 0.0, 0.0
    for page in pages(tokens):
        body = b'{"data":' + page + b',"status_code":1000,"timestamp":"2026-01-01T00:00:00Z"}'
        began = perf_counter()
        structs = decoder.decode(body).data
        decoding_s += perf_counter() - began
        connection.execute("BEGIN")
        connection.executemany(_INSERT, _rows(structs))
        connection.execute("COMMIT")
        count += len(structs)
        seconds += perf_counter() - began
    connection.close()
    return Inserted(count, seconds, decoding_s, written(os.getpid()).storage)


def _rows(tokens: Iterable[Token]) -> list[tuple[Any, ...]]:
    return [
        (
            t.uid, _TYPES[t.type], t.country_code, t.party_id, t.contract_id, t.issuer, 1 if t.valid else 0,
            _WHITELISTS[t.whitelist], int(t.last_updated.timestamp() * 1_000_000), t.visual_number, t.language, 1, 1,
        )
        for t in tokens
    ]  # fmt: skip


def inserted(path: Path, tokens: int) -> Inserted:
    """The same by a process of its own."""
    command = [sys.executable, "-m", "tests.bench.million_floor", str(path), str(tokens)]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return Inserted(**json.loads(ended.stdout))


if __name__ == "__main__":
    print(json.dumps(asdict(insert(Path(sys.argv[1]), int(sys.argv[2])))))
