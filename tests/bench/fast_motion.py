"""Charges without waiting for them: the books of one EVSE, on real files, under a clock that is put forward by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.billing import tariff_of
from agent.books import ledger_of
from agent.charges import ReportKind
from agent.config import parse
from agent.model import EndReason
from agent.runtime.clock import Clock
from agent.runtime.ledger import Ledger
from agent.storage import Stores, stores_of
from fakes.serial_line import SerialLine
from tests.bench.rig import configuration
from tests.store.samples import entry

METER_S = 5.0
"""How often a meter on an RS-485 line is read, unless the configuration says otherwise."""
BEGIN = datetime(2026, 11, 2, tzinfo=UTC)
"""A time that the agent takes for known."""
_SHORT_S = 240.0
"""10,000 sessions of this length fill a month."""


@dataclass(slots=True)
class FastMotion:
    """One EVSE's books. Times are seconds since its clock began."""

    ledger: Ledger
    stores: Stores
    time_s: list[float]
    """One element: what the clock shows."""
    register_wh: float = 1_000_000.0

    async def begin(self) -> None:
        """A driver is accepted, with the plug in."""
        accepted = entry(evse_uid="DE*EXA*E1", tapped_at=BEGIN + timedelta(seconds=self.time_s[0]))
        authorization_id = await self.stores.journal.record(accepted)
        self.ledger.accepted(authorization_id, accepted)
        self.ledger.start(authorization_id, self.time_s[0], round(self.register_wh))

    def draw(self, power_w: float, seconds: float) -> None:
        """Energy flows, and then the meter is read."""
        self.time_s[0] += seconds
        self.register_wh += power_w * seconds / 3600
        self.ledger.reading(self.time_s[0], round(self.register_wh))

    async def end(self) -> None:
        """The driver unplugs; once all is on disk."""
        self.ledger.end(self.time_s[0], round(self.register_wh), EndReason.UNPLUGGED)
        await self.ledger.settled()

    async def persisted_wh(self) -> int:
        """The register as a start after a kill would find it."""
        [left] = await self.stores.sessions.open()
        assert left.session is not None, "it has begun"
        assert left.session.register_wh is not None, "with a reading"
        return left.session.register_wh

    async def charge(self) -> None:
        """One short session, from the tap to the unplugging."""
        await self.begin()
        self.draw(11_000, _SHORT_S)
        await self.end()

    async def tell(self, *kinds: ReportKind, most: int = 100) -> int:
        """Have peers take what is due of these kinds, as delivery notes it; how many reports that was."""
        sessions = self.stores.sessions
        due = [report for report in await sessions.due(most) if report.kind in kinds]
        for report in due:
            match report.kind:
                case ReportKind.SESSION:
                    await sessions.told(report.authorization_id, report.revision)
                case ReportKind.CDR:
                    url = f"https://emsp.example.com/ocpi/2.2.1/cdrs/{report.revision}"
                    await sessions.acknowledged(report.revision, BEGIN + timedelta(seconds=self.time_s[0]), url)
        return len(due)


@asynccontextmanager
async def fast_motion(folder: Path, *, durable: bool = True) -> AsyncIterator[FastMotion]:
    """The books in this folder, on the settings that a configuration has by default.

    Not `durable`: a power cut of this machine could spoil the files, which are quicker to make then.
    """
    path = folder / "config.toml"
    config = parse(configuration(folder, [SerialLine(folder, name="reader-1")], None, billed=True), path)
    shown = [0.0]
    clock = Clock(lambda: BEGIN + timedelta(seconds=shown[0]), lambda: shown[0], "bench")
    async with stores_of(config) as stores:
        if not durable:
            await stores.sessions._database.writer._connection.execute_fetchall("PRAGMA synchronous = OFF")
        ledger = ledger_of(config, config.evse[0], tariff_of(config, path), stores, clock)(lambda _: None)
        try:
            yield FastMotion(ledger, stores, shown)
        finally:
            await ledger.stop(60.0)
