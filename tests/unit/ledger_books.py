"""A ledger on a disk in memory, and what it is given to keep."""

import asyncio
from datetime import UTC
from typing import Any

from agent.core.account import Pricing, from_json
from agent.model import Entry, Reason, Source, Verdict
from agent.runtime.clock import Clock
from agent.runtime.ledger import Ledger, LedgerSettings
from tests.scenario.charging import papers
from tests.scenario.memory_disk import MemoryJournal, MemorySessions
from tests.scenario.stage import EVSE
from tests.scenario.virtual_time import NOW, WallClock

BOOKS = LedgerSettings(has_meter=True, persist_energy_wh=100, persist_every_s=120.0, report_energy_wh=1000)


def entry(**changes: Any) -> Entry:
    """An accepted card that the peer allowed."""
    fields: dict[str, Any] = {
        "evse_uid": EVSE,
        "uid": "A1",
        "reader": "left",
        "tapped_at": NOW,
        "verdict": Verdict.ACCEPTED,
        "reason": Reason.ALLOWED,
        "source": Source.REALTIME,
        "detail": "",
        "text": "",
        "relay_closed": True,
        "latency_ms": 1.0,
        "deadline_ms": 5000.0,
        "correlation_id": "c",
        "peer": "acme",
        "country_code": "DE",
        "party_id": "ABC",
        "contract_id": "DE-ABC-A1",
        "authorization_reference": "REF-1",
    }
    return Entry(**fields | changes)


REFUSED = {"verdict": Verdict.REFUSED, "reason": Reason.IN_USE, "source": Source.LOCAL, "relay_closed": False}


class Books:
    """A ledger on a disk in memory."""

    def __init__(
        self,
        settings: LedgerSettings = BOOKS,
        journal: MemoryJournal | None = None,
        wall: WallClock | None = None,
        **changes: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.journal = journal or MemoryJournal()
        self.wall = wall or WallClock()
        self.unrecorded: list[int] = []
        self.ledger = Ledger(
            EVSE,
            journal=self.journal,
            sessions=MemorySessions(self.journal),
            documents=papers(),
            pricing=Pricing(None, UTC),
            clock=Clock(self.wall.now, loop.time, "boot"),
            settings=settings,
            on_unrecorded=self.unrecorded.append,
            **changes,
        )

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def accept(self, **changes: Any) -> int:
        """A card is accepted, on record."""
        accepted = entry(**changes)
        number = await self.journal.record(accepted)
        self.ledger.accepted(number, accepted)
        return number

    async def begin(self, register_wh: int | None = 10_000, **changes: Any) -> int:
        """A session begins, on record."""
        number = await self.accept(**changes)
        self.ledger.start(number, self.now, register_wh)
        await self.ledger.settled()
        return number

    async def read(self, register_wh: int | None, after_s: float = 1.0) -> None:
        """The meter is read."""
        await asyncio.sleep(after_s)
        self.ledger.reading(self.now, register_wh)

    def persisted_wh(self, number: int = 1) -> int | None:
        """What a power cut now would leave."""
        return self.journal.sessions[number].energy_wh

    @property
    def persisted_at(self) -> float:
        """The moment up to which the session is accounted on disk."""
        until = from_json(self.journal.sessions[1].account).until
        return self.now - (self.wall.now() - until).total_seconds()

    async def close(self) -> None:
        """Stop, with books that balance."""
        await self.ledger.stop(3.0)
        self.journal.check()
