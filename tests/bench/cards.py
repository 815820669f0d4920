"""The cards of the bench: the same ones in the whitelist, at the fake eMSP and on the reader."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.model import Token, TokenType, Uid, WhitelistType
from agent.store.whitelist import SyncKind, Whitelist

OWNER = ("DE", "ABC")
PEER = "emsp"
"""What the configuration calls the peer that brings the tokens."""

_PREFIX = {
    WhitelistType.ALWAYS: "A1",
    WhitelistType.ALLOWED: "A2",
    WhitelistType.ALLOWED_OFFLINE: "A3",
    WhitelistType.NEVER: "A4",
}
_PAGE = 1000


def uid_of(kind: WhitelistType, number: int) -> Uid:
    """A card of five bytes, as a serial reader sends it."""
    return Uid(f"{_PREFIX[kind]}{number:08X}")


async def fill_whitelist(folder: Path, count: int) -> None:
    """Have `count` tokens in the folder's `whitelist.db`, a quarter of each kind, as after a complete sync just now."""
    whitelist = await Whitelist.open(made(folder) / "whitelist.db")
    try:
        now = datetime.now(UTC)
        progress = await whitelist.start(PEER, SyncKind.FULL, "", reference=now, started_at=now)
        for page in _pages(count, now - timedelta(days=30)):
            progress = await whitelist.store_page(progress, page, next_url="")
        await whitelist.complete(progress, completed_at=datetime.now(UTC))
    finally:
        await whitelist.close()


def made(folder: Path) -> Path:
    """The folder, which is there now."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _pages(count: int, last_updated: datetime) -> Iterator[list[Token]]:
    kinds = list(WhitelistType)
    for start in range(0, count, _PAGE):
        numbers = range(start, min(start + _PAGE, count))
        yield [_token(kinds[number % 4], number // 4, last_updated) for number in numbers]


def _token(kind: WhitelistType, number: int, last_updated: datetime) -> Token:
    uid = uid_of(kind, number)
    country_code, party_id = OWNER
    return Token(
        country_code, party_id, uid, TokenType.RFID, f"DE-ABC-{uid}", "Fake eMSP",
        valid=True, whitelist=kind, last_updated=last_updated,
    )  # fmt: skip
