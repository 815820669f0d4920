"""What is remembered of each peer between starts: where its tokens are, found by the versions handshake.

Credentials are not here. A peer is known by the name that the configuration gives it.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from agent.store.database import Database, from_us, open_state, to_us


@dataclass(frozen=True, slots=True)
class PeerEndpoint:
    """Where a peer's tokens were found: OCPI 2.2.1 versions, Endpoint for module `tokens`, role SENDER."""

    versions_url: str
    """Where the discovery began; another one in the configuration makes this one stale."""
    version: str
    tokens_url: str
    saved_at: datetime


class PeerStore:
    """The table `peer_endpoint` of `state.db`."""

    def __init__(self, database: Database) -> None:
        """Use an open `state.db`, which the caller closes."""
        self._database = database

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the file for this store alone; `close` closes it. Raises StoreError."""
        return cls(await open_state(path))

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()

    async def save_endpoint(self, name: str, versions_url: str, version: str, tokens_url: str, at: datetime) -> None:
        """Remember what was discovered, in place of what was known before. Raises StoreError."""
        await self._database.writer.write(
            "remember a peer's endpoint",
            "INSERT OR REPLACE INTO peer_endpoint (name, versions_url, version, tokens_url, saved_at)"
            " VALUES (?, ?, ?, ?, ?)",
            (name, versions_url, version, tokens_url, to_us(at)),
        )

    async def endpoint(self, name: str) -> PeerEndpoint | None:
        """What was discovered last, or None. Raises StoreError."""
        rows = await self._database.read(
            "read a peer's endpoint",
            "SELECT versions_url, version, tokens_url, saved_at FROM peer_endpoint WHERE name = ?",
            (name,),
        )
        for versions_url, version, tokens_url, saved_at in rows:
            return PeerEndpoint(versions_url, version, tokens_url, from_us(saved_at))
        return None
