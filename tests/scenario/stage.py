"""A charge point on a stage: every port played in memory, under a clock that jumps to whatever is due next.

Only for what has no thread and no socket in it; the real things are tested with the real things elsewhere. The
props enforce what holds in the world: a relay asks whether the record is on disk at the moment it closes.
"""

import asyncio
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.charges import NewCdr, SessionRecord
from agent.core.account import Pricing
from agent.core.evse_state import Settings
from agent.errors import DeviceError, StoreError
from agent.model import (
    Answer,
    Answers,
    EndReason,
    Entry,
    LateAnswer,
    ListedToken,
    Outcome,
    Policy,
    Question,
    Tap,
    Token,
    TokenType,
    Uid,
    WhitelistType,
)
from agent.ports import Charset
from agent.runtime.charge_point import EvseTapLoop, Settled
from agent.runtime.clock import Clock
from agent.runtime.ledger import Ledger, LedgerSettings

EVSE = "DE*EXA*E1"
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, moves the clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing will ever happen again: the test hangs")
            self.now += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which time costs nothing."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def in_virtual_time(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(story())


@dataclass
class MemoryJournal:
    """A disk with moods: it may refuse, and it may stall. `committed` is what a power cut would leave."""

    committed: dict[int, Entry] = field(default_factory=dict)
    ended: dict[int, EndReason] = field(default_factory=dict)
    late: list[LateAnswer] = field(default_factory=list)
    sessions: dict[int, SessionRecord] = field(default_factory=dict)
    cdrs: list[NewCdr] = field(default_factory=list)
    told: int = 0
    refuses: bool = False
    stalls_s: float = 0.0

    async def record(self, entry: Entry) -> int:
        await self._write()
        number = len(self.committed) + 1
        self.committed[number] = entry
        if entry.ends is not None and entry.end_reason is not None:
            self.ended.setdefault(entry.ends, entry.end_reason)
        return number

    async def end(self, authorization_id: int, at: datetime, because: EndReason) -> None:
        await self._write()
        self.ended.setdefault(authorization_id, because)

    async def put(self, session: SessionRecord, *, tell: bool) -> None:
        await self._write()
        self.sessions[session.authorization_id] = session
        self.told += tell

    async def end_session(self, session: SessionRecord, cdr: NewCdr | None, tap: Entry | None) -> int | None:
        await self._write()
        assert session.ended_because is not None
        number = session.authorization_id
        assert number not in self.sessions or self.sessions[number].ended_at is None, "a session ended twice"
        self.sessions[number] = session
        self.ended.setdefault(number, session.ended_because)
        if cdr is not None:
            self.cdrs.append(cdr)
        if tap is None:
            return None
        self.committed[len(self.committed) + 1] = tap
        return len(self.committed)

    async def add_late(self, late: LateAnswer) -> None:
        await self._write()
        self.late.append(late)

    def running(self) -> set[int]:
        """Accepted, with the relay closed, and not ended on record."""
        return {number for number, entry in self.committed.items() if entry.relay_closed} - self.ended.keys()

    async def _write(self) -> None:
        await asyncio.sleep(self.stalls_s)
        if self.refuses:
            raise StoreError("state.db: disk full: free some space")


@dataclass
class MemorySessions:
    """The sessions' side of the same disk."""

    journal: MemoryJournal

    async def put(self, session: SessionRecord, *, tell: bool) -> None:
        await self.journal.put(session, tell=tell)

    async def end(self, session: SessionRecord, cdr: NewCdr | None, tap: Entry | None) -> int | None:
        return await self.journal.end_session(session, cdr, tap)


@dataclass
class WatchedRelay:
    """Checks at the moment of closing that an accepted record is on disk and running."""

    journal: MemoryJournal
    faulty: bool = False
    jammed: bool = False
    """Does not open."""
    contact_closed: bool = False
    closings: list[float] = field(default_factory=list)
    unrecorded: int = 0

    def close_contact(self) -> None:
        if self.faulty:
            raise DeviceError("relay on GPIO 17 does not answer")
        self.unrecorded += not self.journal.running()
        self.contact_closed = True
        self.closings.append(asyncio.get_running_loop().time())

    def open_contact(self) -> None:
        if self.jammed:
            raise DeviceError("relay on GPIO 17 does not answer")
        self.contact_closed = False

    def detach(self) -> None:
        self.contact_closed = False


@dataclass
class TextDisplay:
    """Keeps what it showed."""

    columns: int = 20
    rows: int = 2
    charset: Charset = Charset.UNICODE
    shown: list[str] = field(default_factory=list)

    def show(self, lines: Sequence[str]) -> None:
        self.shown.append(" ".join(lines))


@dataclass
class MemoryWhitelist:
    """Rows by uid; may be unreadable."""

    rows: Mapping[str, tuple[ListedToken, ...]] = field(default_factory=dict)
    broken: bool = False

    async def find(self, uid: Uid) -> tuple[ListedToken, ...]:
        await asyncio.sleep(0)
        if self.broken:
            raise StoreError("whitelist.db: malformed")
        return self.rows.get(uid, ())


@dataclass
class ScriptedBackend:
    """Answers as told, at once or `late_after_s` past the deadline."""

    outcome: Outcome = Outcome.ALLOWED
    late_after_s: float | None = None
    late_outcome: Outcome = Outcome.ALLOWED
    late: list[Answer] = field(default_factory=list)
    """What comes late, in its order, `late_after_s` apart; empty for one answer with `late_outcome`."""
    breaks: bool = False
    asked: list[Question] = field(default_factory=list)

    async def ask(self, question: Question, until: float) -> Answers:
        self.asked.append(question)
        if self.breaks:
            raise RuntimeError("nobody foresaw this")
        target = question.targets[0] if question.targets else None
        if self.late_after_s is None:
            return Answers((Answer("acme", self.outcome, authorization_reference="REF-1", target=target),))
        await asyncio.sleep(until - asyncio.get_running_loop().time())
        late = [replace(answer, target=answer.target or target) for answer in self.late or self._usual()]
        return Answers((Answer("acme", Outcome.TIMEOUT, target=target),), self._late(self.late_after_s, late))

    def _usual(self) -> list[Answer]:
        return [Answer("acme", self.late_outcome, authorization_reference="REF-LATE")]

    async def _late(self, after_s: float, late: list[Answer]) -> AsyncGenerator[Answer, None]:
        for answer in late:
            await asyncio.sleep(after_s)
            yield answer


def token(uid: str, whitelist: WhitelistType, *, valid: bool = True, group_id: str | None = None) -> ListedToken:
    """A listed RFID token of DE-ABC, in a fresh list of the peer acme."""
    listed = Token("DE", "ABC", uid, TokenType.RFID, f"DE-ABC-{uid}", "ACME", valid, whitelist, NOW, group_id=group_id)
    return ListedToken(listed, "acme", synced_at=NOW - timedelta(hours=1))


@dataclass
class Stage:
    """One EVSE with everything around it. `running` plays it; `tap` waits for what comes of a card."""

    policy: Policy = field(default_factory=lambda: Policy(stop_after_s=0.0))
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    display: TextDisplay = field(default_factory=TextDisplay)
    whitelist: MemoryWhitelist = field(default_factory=MemoryWhitelist)
    backend: ScriptedBackend = field(default_factory=ScriptedBackend)
    settings: Settings = field(default_factory=lambda: Settings(stop_after_s=0.0))
    settled: list[Settled] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = replace(
            self.settings, stop_after_s=self.policy.stop_after_s, late_refusal=self.policy.late_refusal
        )
        self.relay = WatchedRelay(self.journal)
        self.start()

    def start(self) -> None:
        """The agent as it stands after a start: it remembers nothing."""
        began = asyncio.get_running_loop().time()
        time = asyncio.get_running_loop().time
        self._clock = Clock(lambda: NOW + timedelta(seconds=time() - began), time, "this-boot")
        self._news = asyncio.Event()
        self._kept: list[asyncio.Future[bool]] = []
        self.evse = EvseTapLoop(
            EVSE,
            location_id="LOC1",
            language="en",
            policy=self.policy,
            settings=self.settings,
            relay=self.relay,
            display=self.display,
            whitelist=self.whitelist,
            backend=self.backend,
            journal=self.journal,
            ledger=self._ledger,
            clock=self._clock,
            on_settled=self._on_settled,
        )
        self._running = asyncio.get_running_loop().create_task(self.evse.run())

    def _ledger(self, on_unrecorded: Callable[[int], None]) -> Ledger:
        return Ledger(
            EVSE,
            journal=self.journal,
            sessions=MemorySessions(self.journal),
            documents=None,
            pricing=Pricing(None, UTC),
            clock=self._clock,
            settings=LedgerSettings(has_meter=self.settings.has_meter),
            on_unrecorded=on_unrecorded,
        )

    def present(self, uid: str) -> Tap:
        """Hold a card to the reader and do not wait."""
        tap = Tap(Uid(uid), asyncio.get_running_loop().time(), "left")
        self.evse.tap(tap)
        return tap

    async def tap(self, uid: str) -> Settled:
        """Hold a card to the reader and wait for the verdict."""
        self.present(uid)
        return await self.next_settled()

    async def next_settled(self) -> Settled:
        """The next verdict."""
        count = len(self.settled)
        while len(self.settled) == count:
            self._news.clear()
            await self._news.wait()
        return self.settled[-1]

    def keep(self, work: "asyncio.Future[bool]") -> None:
        """Something that was begun beside the taps; it ends with the stage."""
        self._kept.append(work)

    async def stop(self) -> None:
        """Stop in good order."""
        work: list[asyncio.Future[Any]] = [*self._kept, self._running]
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    def restart(self) -> None:
        """Start again after a stop, with a disk that works: without one the agent would not start."""
        self.journal.refuses, self.journal.stalls_s = False, 0.0
        for number in self.journal.running():
            self.journal.ended[number] = EndReason.RESTART
        self.start()

    def _on_settled(self, settled: Settled) -> None:
        self.settled.append(settled)
        self._news.set()
