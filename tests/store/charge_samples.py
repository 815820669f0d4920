"""Sessions and CDRs to start from, and an open file that holds them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.charges import NewCdr, ReportKind, SessionRecord
from agent.model import EndReason, Entry
from agent.store.database import Database, open_state
from agent.store.journal import Journal
from agent.store.sessions import SessionStore
from tests.store.samples import NOON, at, entry


def session(authorization_id: int, **changes: Any) -> SessionRecord:
    running = SessionRecord(
        authorization_id=authorization_id,
        session_id=f"{authorization_id:08d}-0b1c-4d2e-8f3a-445566778899",
        evse_uid="DE*ABC*E1001*1",
        peer="emsp",
        started_at=NOON,
        changed_at=at(authorization_id),
        account=b'{"until": "here"}',
        object=f'{{"id": "session of {authorization_id}"}}'.encode(),
        energy_wh=None,
        register_wh=None,
        boot_id="9a0c0305-e82c-3301-3f25-04e04f8911d3",
        monotonic_s=12.25,
        clock_known=True,
    )
    return replace(running, **changes)


def over(authorization_id: int, **changes: Any) -> SessionRecord:
    end = at(authorization_id + 60)
    return replace(
        session(authorization_id, changed_at=end, ended_at=end, ended_because=EndReason.SAME_CARD), **changes
    )


def stop(authorization_id: int, **changes: Any) -> Entry:
    """The tap that ends it."""
    tap = entry(relay_closed=False, tapped_at=at(60), ends=authorization_id, end_reason=EndReason.SAME_CARD)
    return replace(tap, **changes)


def cdr(authorization_id: int, **changes: Any) -> NewCdr:
    sealed = NewCdr(
        cdr_id=f"{authorization_id:08d}-c0de",
        authorization_id=authorization_id,
        peer="emsp",
        object=f'{{"id": "CDR of {authorization_id}"}}'.encode(),
        changed_at=at(authorization_id + 60),
    )
    return replace(sealed, **changes)


def credit(authorization_id: int, **changes: Any) -> NewCdr:
    sealed = cdr(authorization_id)
    taking = replace(
        sealed, cdr_id=f"{sealed.cdr_id}-C", object=b'{"credit": true}', changed_at=at(9000), credits=sealed.cdr_id
    )
    return replace(taking, **changes)


@dataclass(frozen=True, slots=True)
class State:
    """An open `state.db` and what keeps its rooms."""

    database: Database
    journal: Journal
    sessions: SessionStore

    async def begun(self, *, tell: bool = False, **changes: Any) -> int:
        """An authorization whose session runs."""
        authorization_id = await self.journal.record(entry())
        await self.sessions.put(session(authorization_id, **changes), tell=tell)
        return authorization_id

    async def finished(self, **changes: Any) -> int:
        """An authorization whose session has ended, with its final state and its CDR still to be told."""
        authorization_id = await self.begun()
        await self.sessions.end(over(authorization_id, **changes), cdr(authorization_id), None)
        return authorization_id

    async def billed(self) -> int:
        """One that is over and of which the peer has everything."""
        authorization_id = await self.finished()
        for report in [one for one in await self.sessions.due() if one.authorization_id == authorization_id]:
            match report.kind:
                case ReportKind.SESSION:
                    await self.sessions.told(authorization_id, report.revision)
                case ReportKind.CDR:
                    await self.sessions.acknowledged(report.revision, at(9999), None)
        return authorization_id


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[State]:
    database = await open_state(path)
    try:
        yield State(database, Journal(database), SessionStore(database))
    finally:
        await database.close()
