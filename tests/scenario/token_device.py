"""A device as `tokens import` and `tokens export` meet it, and the files that they read."""

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from agent.commands.token_files import export_tokens, import_tokens
from agent.config import load
from agent.model import Token
from agent.storage import storage_folder
from agent.store.whitelist import SyncKind, Whitelist
from fakes.emsp import FakeEmsp
from tests.scenario.world import configuration
from tests.store.samples import NOON

A, B, C = "0104A1B2C3", "01FF80C3D4", "0104A1B2C5"
LATER = NOON + timedelta(days=1)
EARLIER = NOON - timedelta(days=1)
PEER = """
    [[peer]]
    name = "{0}"
    country_code = "DE"
    party_id = "{1}"
    tokens_url = "http://127.0.0.1:9/tokens"
    token = "secret"
    """
ABC = PEER.format("abc", "ABC")
CHARGE_POINT = """
    [[reader]]
    name = "front"
    kind = "rdm6300"
    port = "/dev/ttyUSB0"
    [[evse]]
    uid = "DE*EXA*E1"
    readers = ["front"]
    relay = { gpio = 17 }
    """


def object_of(uid: str, **changes: Any) -> dict[str, Any]:
    """A Token as a hand would write it."""
    written = {
        "country_code": "DE",
        "party_id": "ABC",
        "uid": uid,
        "type": "RFID",
        "contract_id": f"DE-ABC-{uid}",
        "issuer": "An issuer",
        "valid": True,
        "whitelist": "ALLOWED",
        "last_updated": "2026-03-01T12:00:00Z",
    }
    return written | changes


def line(uid: str, **changes: Any) -> bytes:
    return json.dumps(object_of(uid, **changes)).encode()


def written(path: Path, lines: Iterable[bytes]) -> Path:
    """A file of these lines."""
    path.write_bytes(b"".join(one + b"\n" for one in lines))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """The files in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


class Device:
    """A configuration, its folder, and what the commands make of it, in this process and in others."""

    def __init__(self, folder: Path, peers: str = ABC, *, emsps: Sequence[FakeEmsp] = ()) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.state = folder / "state"
        self.path = folder / "config.toml"
        self.path.write_text(configuration(folder, emsps, [], more=CHARGE_POINT + ("" if emsps else peers)))
        self.config = load(self.path)

    async def takes(self, source: Path, *, peer: str | None = None, complete: bool = False) -> bool:
        """`tokens import`."""
        return await import_tokens(self.config, source, peer=peer, complete=complete)

    async def gives(self, target: Path, *, peer: str | None = None) -> bytes:
        """`tokens export`, and what is in the file then."""
        await export_tokens(self.config, target, peer=peer)
        return contents(target.parent)[target.name]

    @asynccontextmanager
    async def whitelist(self) -> AsyncIterator[Whitelist]:
        """Its tokens, as somebody else who has them open sees them."""
        storage_folder(self.config)
        opened = await Whitelist.open(self.state / "whitelist.db")
        try:
            yield opened
        finally:
            await opened.close()

    async def tokens(self) -> list[Token]:
        """Those that are not withdrawn."""
        async with self.whitelist() as whitelist:
            rows = await whitelist.list_tokens(limit=1_000_000)
        return [row.token for row in rows if not row.withdrawn]

    async def uids(self) -> list[str]:
        return [token.uid for token in await self.tokens()]

    async def pulls(self, tokens: Sequence[Token], peer: str = "abc") -> None:
        """A full synchronisation over a network brought these, and nothing else."""
        async with self.whitelist() as whitelist:
            progress = await whitelist.start(peer, SyncKind.FULL, "http://abc/", reference=NOON, started_at=NOON)
            progress = await whitelist.store_page(progress, tokens, next_url="")
            await whitelist.complete(progress, completed_at=NOON)
