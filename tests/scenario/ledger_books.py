"""One EVSE's books on a real `state.db`, in a machine whose clock may not be set, and which may lose its power."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.charges import Charge, SessionRecord
from agent.core.account import Pricing, Remark, from_json
from agent.model import EndReason
from agent.runtime.clock import Clock
from agent.runtime.documents import Documents
from agent.runtime.ledger import Ledger, LedgerSettings
from agent.runtime.sealing import Sealing
from agent.runtime.tariff_terms import read_tariff
from tests.store.charge_samples import State, opened
from tests.store.samples import entry
from tests.unit.test_documents import BERLIN, PLACE, documents

DAY, NIGHT = documents(id="DAY"), documents(id="NIGHT", currency="SEK")
EVSE = "DE*ABC*E1001*1"


@dataclass
class Machine:
    """Its true time, and what its clocks show."""

    true: datetime = datetime(2026, 12, 1, 8, 0, tzinfo=UTC)
    up_s: float = 100.0
    boot: int = 1
    is_set: bool = False
    """Whether the network has told it the time; until then it began in 1970."""

    @property
    def clock(self) -> Clock:
        return Clock(self.now, lambda: self.up_s, f"boot-{self.boot}")

    @property
    def began(self) -> datetime:
        """When this boot began, truly."""
        return self.true - timedelta(seconds=self.up_s)

    def now(self) -> datetime:
        return self.true if self.is_set else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=self.up_s)

    def passes(self, seconds: float) -> None:
        self.true += timedelta(seconds=seconds)
        self.up_s += seconds

    def loses_power(self, for_s: float) -> None:
        self.passes(for_s)
        self.boot, self.up_s, self.is_set = self.boot + 1, 20.0, False


def written_by(tariff: bytes) -> Documents | str:
    return Documents(party=("DE", "CPO"), place=PLACE, tariff=read_tariff(tariff), tz=BERLIN)


@dataclass
class Books:
    """What is kept, and who keeps it."""

    path: Path
    state: State
    machine: Machine = field(default_factory=Machine)

    def ledger(self, papers: Documents | None = DAY, *, evse_uid: str = EVSE, **changes: Any) -> Ledger:
        parts: dict[str, Any] = {
            "journal": self.state.journal,
            "sessions": self.state.sessions,
            "documents": papers,
            "pricing": Pricing(None, BERLIN),
            "clock": self.machine.clock,
            "settings": LedgerSettings(has_meter=True),
            "documents_by": written_by,
        }
        return Ledger(evse_uid, **parts | changes)

    async def begun(self, ledger: Ledger, *, evse_uid: str = EVSE) -> int:
        """A card is accepted and its session begins."""
        accepted = entry(evse_uid=evse_uid, tapped_at=self.machine.now())
        number = await self.state.journal.record(accepted)
        ledger.accepted(number, accepted)
        ledger.start(number, self.machine.up_s, 50_000)
        await ledger.settled()
        return number

    async def charged(self, seconds: float = 3600, *, wh: int = 7000, ledger: Ledger | None = None) -> int:
        """A charge from card to end."""
        ledger = ledger or self.ledger()
        number = await self.begun(ledger)
        self.machine.passes(seconds)
        ledger.end(self.machine.up_s, 50_000 + wh, EndReason.UNPLUGGED)
        await ledger.settled()
        return number

    async def charge(self, number: int) -> Charge:
        return (await self.state.sessions.of([number]))[number]

    async def session(self, number: int) -> SessionRecord:
        return (await self.charge(number)).session

    async def cdr(self, number: int) -> Any:
        """The CDR of a charge, as its peer is to get it; None when there is none."""
        kept = (await self.charge(number)).cdrs
        return json.loads(kept[0].cdr.object) if kept else None

    async def remarks(self, number: int) -> set[Remark]:
        return set(from_json((await self.session(number)).account).remarks)

    def sealing(
        self, papers: Callable[[str, bytes], Documents | str] = lambda _, tariff: written_by(tariff)
    ) -> Sealing:
        return Sealing(self.state.sessions, papers, self.machine.clock)


@asynccontextmanager
async def books_in(folder: Path) -> AsyncIterator[Books]:
    async with opened(folder / "state.db") as state:
        yield Books(folder / "state.db", state)
