"""What must hold once the server has ended: whole databases, readable tokens, and a log without credentials tokens."""

import asyncio
import sqlite3
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from agent.store.whitelist import Whitelist
from tests.fuzz.served import LOG, PEERS, TOKENS

_PAGE = 500
_LONG_ENOUGH = 8
"""Characters of a token that is found in a log because it was written there, and not by chance."""


def damage(folder: Path, tokens: Iterable[str]) -> list[str]:
    """What is wrong with what the server left in `folder`; `tokens` are the credentials tokens that it met."""
    return [*_databases(folder), *asyncio.run(_whitelist(folder)), *_log(folder, tokens)]


def _databases(folder: Path) -> Iterator[str]:
    for name in (PEERS, TOKENS):
        with closing(sqlite3.connect(folder / name)) as connection:
            for pragma in ("integrity_check", "foreign_key_check"):
                rows = connection.execute(f"PRAGMA {pragma}").fetchall()
                if rows not in ([], [("ok",)]):
                    yield f"{name}: {pragma}: {rows[:3]}"


async def _whitelist(folder: Path) -> list[str]:
    """Every row must be a token, and be found as itself."""
    whitelist = await Whitelist.open(folder / TOKENS)
    try:
        stored = sum(count.total for count in (await whitelist.count()).values())
        read, last = 0, None
        wrong: list[str] = []
        while page := await whitelist.list_tokens(after=last, limit=_PAGE):
            last = page[-1]
            read += len(page)
            for one in page:
                token = one.token
                found = await whitelist.get(token.country_code, token.party_id, token.uid, token.type)
                if found != one:
                    wrong.append(f"{token!r} is listed, but found as {found!r}")
    finally:
        await whitelist.close()
    return wrong if read == stored else [*wrong, f"{stored} tokens are stored, but {read} can be listed"]


def _log(folder: Path, tokens: Iterable[str]) -> Iterator[str]:
    """Nothing crashed, and no credentials token was written in any form."""
    log = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    for line in log.splitlines():
        if line.startswith(("ERROR", "CRITICAL")):
            yield f"the log says: {line}"
    for token in tokens:
        for form in (token, b64encode(token.encode("utf-8", "surrogatepass")).decode()):
            if len(token) >= _LONG_ENOUGH and form in log:
                yield f"a credentials token is in the log: {token[:4]}…"
