"""A disk in memory, with moods, that is asked for nothing which no disk should be asked for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from agent.charges import NewCdr, Open, SessionRecord
from agent.errors import StoreError
from agent.model import EndReason, Entry, LateAnswer, Recorded

T = TypeVar("T")


@dataclass
class MemoryJournal:
    """A disk with moods: it may refuse, and it may stall. `committed` is what a power cut would leave."""

    committed: dict[int, Entry] = field(default_factory=dict)
    ended: dict[int, EndReason] = field(default_factory=dict)
    late: list[LateAnswer] = field(default_factory=list)
    sessions: dict[int, SessionRecord] = field(default_factory=dict)
    cdrs: list[NewCdr] = field(default_factory=list)
    told: list[SessionRecord] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    """What no disk is asked for."""
    refuses: bool = False
    stalls_s: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def after_power_cut(self) -> "MemoryJournal":
        """What was committed, on a disk that works; whoever still writes to this one writes to nothing."""
        return MemoryJournal(
            dict(self.committed), dict(self.ended), list(self.late), dict(self.sessions), list(self.cdrs),
            list(self.told), list(self.violations),
        )  # fmt: skip

    async def record(self, entry: Entry) -> int:
        return await self._write(lambda: self._recorded(entry))

    async def end(self, authorization_id: int, at: datetime, because: EndReason) -> None:
        await self._write(lambda: self.ended.setdefault(authorization_id, because))

    async def put(self, session: SessionRecord, *, tell: bool) -> None:
        def change() -> None:
            known = self.sessions.get(session.authorization_id)
            self._expect(session.authorization_id in self.committed, "a session of nobody's is written")
            self._expect(session.ended_at is None, "a session is ended by the way")
            if known is None or known.ended_at is None:
                self._keep(session, tell=tell)

        await self._write(change)

    async def end_session(self, session: SessionRecord, cdr: NewCdr | None, tap: Entry | None) -> int | None:
        def change() -> int | None:
            assert session.ended_because is not None
            number = session.authorization_id
            self._expect(number in self.running(), "a session ends whose authorization does not run")
            self._keep(session, tell=session.object is not None)
            self.ended.setdefault(number, session.ended_because)
            if cdr is not None:
                self.cdrs.append(cdr)
            return None if tap is None else self._recorded(tap)

        return await self._write(change)

    async def add_late(self, late: LateAnswer) -> None:
        def change() -> None:
            self.late.append(late)
            if late.joined:
                number, reference = late.authorization_id, late.answer.authorization_reference
                self.committed[number] = replace(self.committed[number], authorization_reference=reference)

        await self._write(change)

    def open(self) -> list[Open]:
        """Accepted and not ended on record, oldest first."""
        return [
            Open(
                Recorded(
                    number, self.committed[number],
                    late=tuple(late for late in self.late if late.authorization_id == number),
                ),
                self.sessions.get(number),
            )
            for number in sorted(self.running())
        ]  # fmt: skip

    def running(self) -> set[int]:
        """Accepted, with the relay closed, and not ended on record."""
        return {number for number, entry in self.committed.items() if entry.relay_closed} - self.ended.keys()

    def check(self) -> None:
        """Every session that has ended, with its authorization, has one CDR or says why not; no two overlap."""
        for number, session in self.sessions.items():
            self._expect((number in self.ended) == (session.ended_at is not None), "one of two has ended")
            made = sum(cdr.authorization_id == number for cdr in self.cdrs)
            due = session.ended_at is not None and session.no_cdr is None and session.clock_known
            self._expect(made == due, f"{made} CDRs instead of {due:d}")
        spans = sorted((each.started_at, each.ended_at) for each in self.sessions.values() if each.ended_at)
        self._expect(all(start <= end for start, end in spans), "a session lasted less than nothing")
        self._expect(all(a[1] <= b[0] for a, b in pairwise(spans)), "two sessions overlap")
        self._expect(len({cdr.cdr_id for cdr in self.cdrs}) == len(self.cdrs), "two CDRs have the same id")
        assert not self.violations, self.violations

    def _keep(self, session: SessionRecord, *, tell: bool) -> None:
        known = self.sessions.get(session.authorization_id)
        rises = known is None or not known.clock_known or session.changed_at > known.changed_at
        self._expect(rises, "last_updated does not rise")
        self.sessions[session.authorization_id] = session
        if tell:
            before = [each for each in self.told if each.session_id == session.session_id]
            second = timedelta(seconds=1)
            is_later = not before or session.changed_at - before[-1].changed_at >= second
            self._expect(is_later, "last_updated rises by less than a second from one report to the next")
            self.told.append(session)

    def _expect(self, holds: bool, violation: str) -> None:  # noqa: FBT001  reads like assert
        if not holds:
            self.violations.append(violation)

    def _recorded(self, entry: Entry) -> int:
        number = len(self.committed) + 1
        self.committed[number] = entry
        if entry.ends is not None and entry.end_reason is not None:
            self.ended.setdefault(entry.ends, entry.end_reason)
        return number

    async def _write(self, change: Callable[[], T]) -> T:
        """One after another; what was handed over is written, whether or not anybody still waits for it."""
        return await asyncio.shield(asyncio.ensure_future(self._written(change)))

    async def _written(self, change: Callable[[], T]) -> T:
        async with self._turn:
            await asyncio.sleep(self.stalls_s)
            if self.refuses:
                raise StoreError("state.db: disk full: free some space")
            return change()


@dataclass
class MemorySessions:
    """The sessions' side of the same disk."""

    journal: MemoryJournal

    async def put(self, session: SessionRecord, *, tell: bool) -> None:
        await self.journal.put(session, tell=tell)

    async def end(self, session: SessionRecord, cdr: NewCdr | None, tap: Entry | None) -> int | None:
        return await self.journal.end_session(session, cdr, tap)
