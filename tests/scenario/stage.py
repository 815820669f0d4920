"""A charge point on a stage: every port played in memory, in virtual time.

Only for what has no thread and no socket in it; the real things are tested with the real things elsewhere. The
props enforce what holds in the world: a relay asks whether the record is on disk at the moment it closes, a disk
takes no second end of a session. What lives through a power cut belongs to the stage: the car, the meter's register,
what is on disk, and the time.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from functools import partial
from typing import Any

from agent.charges import Open
from agent.core.account import Pricing
from agent.core.evse_state import Settings
from agent.errors import DeviceError, StoreError
from agent.model import (
    Answer,
    Answers,
    EndReason,
    ListedToken,
    MeterReading,
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
from agent.runtime.ledger import Documents, Ledger, LedgerSettings
from tests.scenario.memory_disk import MemoryJournal, MemorySessions
from tests.scenario.virtual_time import NOW, WallClock

EVSE = "DE*EXA*E1"
RESTART_S = 1.0
"""How soon an EVSE that has failed is started again, as the agent does it."""
REPORT_S = 0.05
"""How soon after a start the plug sensor and the meter have spoken."""


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

    def after_power_cut(self, journal: MemoryJournal) -> "WatchedRelay":
        """The coil has no current: open, unless its contact is welded."""
        return WatchedRelay(journal, self.faulty, self.jammed, self.jammed and self.contact_closed)

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
    breaks: bool = False
    """Fails once, as no display may."""
    failures: int = 0

    def show(self, lines: Sequence[str]) -> None:
        if self.breaks:
            self.breaks = False
            self.failures += 1
            raise RuntimeError("nobody foresaw this")
        self.shown.append(" ".join(lines))

    def close(self, wait_s: float) -> None:
        """Nothing to give back."""


@dataclass
class MemoryWhitelist:
    """Rows by uid; may be unreadable."""

    rows: Mapping[str, tuple[ListedToken, ...]] = field(default_factory=dict)
    broken: bool = False
    spoilt: frozenset[str] = frozenset()
    """Uids whose rows no program understands."""
    takes_s: float = 0.0

    async def find(self, uid: Uid) -> tuple[ListedToken, ...]:
        await asyncio.sleep(self.takes_s)
        if self.broken:
            raise StoreError("whitelist.db: malformed")
        if uid in self.spoilt:
            raise ValueError("'ALWAYZ' is not a valid WhitelistType")
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
    """One EVSE with everything around it: `tap`, `plug` and `flow` are what people and cars do."""

    policy: Policy = field(default_factory=lambda: Policy(stop_after_s=0.0))
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    display: TextDisplay = field(default_factory=TextDisplay)
    whitelist: MemoryWhitelist = field(default_factory=MemoryWhitelist)
    backend: ScriptedBackend = field(default_factory=ScriptedBackend)
    settings: Settings = field(default_factory=lambda: Settings(stop_after_s=0.0))
    books: LedgerSettings = field(default_factory=LedgerSettings)
    documents: Documents | None = None
    ledger_type: Callable[..., Ledger] = Ledger
    uid: str = EVSE
    plugged: bool = False
    register_wh: int = 10_000
    settled: list[Settled] = field(default_factory=list)
    crashes: list[Exception] = field(default_factory=list)
    lives: int = 0
    fitted_with: Mapping[str, Any] = field(default_factory=dict)
    """What `EvseTapLoop` takes besides: an interlock, a minimum time off."""

    def __post_init__(self) -> None:
        self.settings = replace(
            self.settings, stop_after_s=self.policy.stop_after_s, late_refusal=self.policy.late_refusal
        )
        self.wall = WallClock()
        self.relay = WatchedRelay(self.journal)
        self.boot = 1
        self.first_register_wh = self.register_wh
        self.inputs_work = self.meter_works = self.plug_sensor_works = True
        self._past: list[asyncio.Task[None]] = []
        self.start()

    def start(self, found: Open | None = None) -> None:
        """The agent as it stands after a start: it remembers nothing but what it `found` on disk."""
        loop = asyncio.get_running_loop()
        self.lives += 1
        self.clock = Clock(self.wall.now, loop.time, f"boot-{self.boot}", lambda: self.wall.is_trusted)
        self._news = asyncio.Event()
        self._kept: list[asyncio.Future[bool]] = []
        self.evse = EvseTapLoop(
            self.uid,
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
            clock=self.clock,
            found=found,
            on_settled=partial(self._on_settled, self.lives),
            **self.fitted_with,
        )
        self._running = loop.create_task(self._supervise(self.evse))
        self._reports = loop.create_task(self._report(self.evse))

    async def _supervise(self, evse: EvseTapLoop) -> None:
        """Start it again when it has failed, as the agent does."""
        while True:
            try:
                await evse.run()
            except Exception as error:  # noqa: BLE001  as agent.main does
                self.crashes.append(error)
                await asyncio.sleep(RESTART_S)

    async def _report(self, evse: EvseTapLoop) -> None:
        await asyncio.sleep(REPORT_S)
        if self.settings.has_plug_sensor and self.inputs_work:
            if self.plug_sensor_works:
                evse.plug_is(plugged=self.plugged)
            evse.plug_sensor_is(works=self.plug_sensor_works)
        await asyncio.sleep(REPORT_S)
        if self.settings.has_meter and self.inputs_work:
            if self.meter_works:
                self.read()
            evse.meter_is(works=self.meter_works)

    def _ledger(self, on_unrecorded: Callable[[int], None]) -> Ledger:
        return self.ledger_type(
            self.uid,
            journal=self.journal,
            sessions=MemorySessions(self.journal),
            documents=self.documents,
            pricing=Pricing(None, UTC),
            clock=self.clock,
            settings=replace(self.books, has_meter=self.settings.has_meter),
            on_unrecorded=on_unrecorded,
        )

    # ---- what people and cars do

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

    def plug(self, *, inserted: bool) -> None:
        """Plug the cable in, or take it out."""
        self.plugged = inserted
        self.evse.plug_is(plugged=inserted)

    def read(self, power_w: float | None = None) -> None:
        """The meter says what its register shows."""
        self.evse.read(MeterReading(asyncio.get_running_loop().time(), self.register_wh, power_w))

    async def flow(self, energy_wh: int, over_s: float = 1.0, *, power_w: float | None = None) -> None:
        """Let energy flow, and the meter be read at the end."""
        await asyncio.sleep(over_s)
        self.register_wh += energy_wh
        self.read(power_w)

    async def begin(self, uid: str = "A1") -> int:
        """Plug in, hold a card to the reader, and charge; returns the authorization."""
        await asyncio.sleep(3 * REPORT_S)
        if self.settings.has_plug_sensor:
            self.plug(inserted=True)
        settled = await self.tap(uid)
        await self.evse.ledger.settled()
        assert settled.authorization_id is not None
        return settled.authorization_id

    def keep(self, work: "asyncio.Future[bool]") -> None:
        """Something that was begun beside the taps; it ends with the stage."""
        self._kept.append(work)

    # ---- how a life ends, and the next begins

    async def stop(self) -> None:
        """Stop in good order."""
        work: list[asyncio.Future[Any]] = [*self._kept, self._reports, self._running, *self._past]
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    def restart(self) -> None:
        """Start again after a stop, with a disk that works: without one the agent would not start."""
        self._forget()
        self.start(self._left_open())

    async def kill(self, off_s: float = 0.0) -> None:
        """`kill -9`, and a start after so long: what was in memory, or on its way to disk, is gone."""
        # The old objects are left to themselves, with things of their own to play with.
        self._past += [self._running, self._reports]
        for task in self._past:
            task.cancel()
        self._forget()
        await asyncio.sleep(off_s)
        self.start(self._left_open())

    def _forget(self) -> None:
        self.journal = self.journal.after_power_cut()
        self.relay = self.relay.after_power_cut(self.journal)
        self.display = TextDisplay(
            self.display.columns, self.display.rows, self.display.charset, failures=self.display.failures
        )

    async def power_cut(self, off_s: float = 0.0) -> None:
        """The same with another boot: monotonic times of before mean nothing any more."""
        self.boot += 1
        await self.kill(off_s)

    def _left_open(self) -> Open | None:
        """As the agent finds it; what nobody can take up is ended."""
        left = sorted(self.journal.open(), key=lambda each: (each.session is not None, each.authorization.id))
        for each in left[:-1]:
            assert each.session is None, "two sessions of one EVSE run on record"
            self.journal.ended[each.authorization.id] = EndReason.RESTART
        return left[-1] if left else None

    def _on_settled(self, life: int, settled: Settled) -> None:
        if life == self.lives:
            self.settled.append(settled)
            self._news.set()
