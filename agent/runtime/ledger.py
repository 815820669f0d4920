"""Keeps the books of one EVSE: what its machine wants on record goes to disk in its order, however long that takes.

The account of the session that runs stands in memory and is persisted when it changes, when so much energy has flowed
or so much time has passed: that much a power cut can cost. Nothing here is waited for before a relay opens; what must
be on disk before one closes was written before, by the decision.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

from agent.charges import NewCdr, Open, SessionRecord
from agent.core.account import (
    Account,
    Pricing,
    Remark,
    begun,
    ended,
    from_json,
    moved,
    noted,
    read,
    resumed,
    to_json,
    turned,
)
from agent.core.evse_effects import Period
from agent.core.tariff_usage import Activity
from agent.errors import StoreError
from agent.model import EndReason, Entry, LateAnswer, Recorded
from agent.ports import Journal, Sessions
from agent.runtime.clock import Clock

log = logging.getLogger(__name__)

RETRY_S = 2.0
"""How soon what could not be recorded is tried again: a full disk is not emptied faster."""
UNRECORDED_S = 20.0
"""How long a session may run whose beginning the disk refuses to take."""
JUMP = timedelta(seconds=2)
"""A wall clock that differs by more from the one that only runs on was put right; less is the two drifting apart."""
MOST_REFUSALS = 64
"""Refused cards that may wait for a disk that refuses: more is somebody playing with the reader."""
NOTHING_S = 60.0
"""A charge that a fault of ours ends within this, with nothing delivered, has not been one: no start fee for it."""

_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_OUR_FAULTS = frozenset({EndReason.RELAY_FAULT, EndReason.STORAGE_FAULT, EndReason.AGENT_FAULT, EndReason.PLUG_FAULT})
_ACTIVITIES = {Period.CHARGING: Activity.CHARGING, Period.PARKING: Activity.PARKING}


class Documents(Protocol):
    """Writes a session as OCPI has it; see `agent.runtime.documents`."""

    @property
    def pricing(self) -> Pricing:
        """By what it is priced."""
        ...

    def why_none(self, recorded: Recorded) -> str | None:
        """Why nobody can be billed for it; None when somebody can."""
        ...

    def session(
        self, session_id: str, recorded: Recorded, account: Account, *, ended: bool, changed_at: datetime
    ) -> bytes:
        """OCPI 2.2.1 mod_sessions, Session."""
        ...

    def cdr(self, cdr_id: str, session_id: str, recorded: Recorded, account: Account, *, changed_at: datetime) -> bytes:
        """OCPI 2.2.1 mod_cdrs, CDR."""
        ...


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """How much a power cut may cost, and how often the peer hears of a session that runs."""

    has_meter: bool = False
    persist_energy_wh: int = 100
    persist_every_s: float = 120.0
    report_energy_wh: int = 1000
    report_every_s: float = 300.0


@dataclass(slots=True)
class _Running:
    """The session that runs, as far as it is known."""

    facts: Recorded
    session_id: str
    account: Account
    wall: datetime
    """What the wall clock showed at `moment`: the session's own time from there on."""
    moment: float
    changed_at: datetime
    clock_known: bool
    told_as_of: datetime = _NEVER
    """`last_updated` of the last state that is to be told."""
    has_begun: bool = False
    """Whether it is on disk at all."""
    persisted_wh: int = 0
    persisted_at: float = 0.0
    told_wh: int = 0
    told_at: float = 0.0
    step_wh: int = 0
    """What flowed between the last two readings: as much may be lost with the next one."""

    def at(self, moment: float) -> datetime:
        return self.wall + timedelta(seconds=moment - self.moment)


@dataclass(slots=True, eq=False)
class _Job:
    """Something that is to be on disk. Jobs are done one after another."""

    what: str
    write: Callable[[], Awaitable[int | None]]
    done: "asyncio.Future[int | None]"
    """Its result, or why the first try failed; the job goes on."""
    persists: _Running | None = None
    """Whose newest account it writes when its turn comes; another one for the same session may join it."""
    tell: bool = False
    expendable: bool = False
    since: float = field(default=0.0)


class Ledger:
    """The books of one EVSE. Every method but `stop` and `settled` only takes note; what needs disk happens behind."""

    def __init__(
        self,
        evse_uid: str,
        *,
        journal: Journal,
        sessions: Sessions,
        documents: Documents | None,
        pricing: Pricing,
        clock: Clock,
        settings: LedgerSettings,
        on_unrecorded: Callable[[int], None] = lambda _: None,
        why_not_billed: str = "billing is not configured: see [billing]",
    ) -> None:
        """`pricing` and `why_not_billed` are for sessions without documents.

        `on_unrecorded` hears of a session whose beginning the disk does not take.
        """
        self._evse_uid = evse_uid
        self._journal = journal
        self._sessions = sessions
        self._documents = documents
        self._pricing = documents.pricing if documents else pricing
        self._clock = clock
        self._settings = settings
        self._on_unrecorded = on_unrecorded
        self._why_not_billed = why_not_billed
        self._facts: dict[int, Recorded] = {}
        self._running: _Running | None = None
        self._jobs: deque[_Job] = deque()
        self._working: asyncio.Task[None] | None = None
        self._writing: _Job | None = None
        self._is_refused = False
        self._tick: asyncio.TimerHandle | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the disk does not take what is to be recorded: nobody's charge begins meanwhile."""
        return self._is_refused

    @property
    def account(self) -> Account | None:
        """Of the session that runs, up to its last reading."""
        return self._running.account if self._running else None

    def facts(self, authorization_id: int) -> Entry:
        """What was recorded of an authorization that runs."""
        return self._facts[authorization_id].entry

    def accepted(self, authorization_id: int, entry: Entry) -> None:
        """Keep what a session of this authorization will have to say; of several only the last may run."""
        self._facts = {authorization_id: Recorded(authorization_id, entry)}

    def found(self, left: Open) -> None:
        """Take up what the last start left open."""
        self._facts = {left.authorization.id: left.authorization}
        session = left.session
        if session is None:
            return
        gone_s = self._clock.since(
            session.boot_id, session.monotonic_s, session.changed_at, wall_known=session.clock_known
        )
        account = from_json(session.account)
        moment = self._clock.monotonic()
        wall = self._clock.now() if gone_s is None else session.changed_at + timedelta(seconds=gone_s)
        known = session.clock_known
        if gone_s is None and not known and self._clock.is_known:
            # Nobody will ever know when it was; not later than now, and for as long as it lasted.
            account, known = moved(account, wall - account.until, self._pricing), True
            account = noted(account, Remark.CLOCK_UNKNOWN)
        self._running = _Running(
            left.authorization, session.session_id, account, wall, moment, session.changed_at, known,
            told_as_of=session.changed_at, has_begun=True,
        )  # fmt: skip

    def start(self, authorization_id: int, at: float, register_wh: int | None) -> None:
        """Begin the session of an authorization."""
        account = begun(self._clock.at(at), register_wh, has_meter=self._settings.has_meter)
        self._running = _Running(
            self._facts[authorization_id], str(uuid4()), account, account.started_at, at,
            account.started_at, self._clock.is_known,
        )  # fmt: skip
        self._persist(at, tell=True)

    def resume(self, at: float) -> None:
        """The session that was found goes on."""
        running = self._expected()
        running.account = resumed(running.account, self._now(running, at))
        self._persist(at, tell=True)

    def turn(self, at: float, period: Period, register_wh: int | None) -> None:
        """What the session's time is spent on from here."""
        running = self._expected()
        activity = _ACTIVITIES[period]
        running.account = turned(running.account, self._now(running, at), activity, register_wh, self._pricing)
        self._persist(at, tell=True)

    def reading(self, at: float, register_wh: int | None) -> None:
        """Add to the session; persist it if as much as may be lost could be lost before the next reading."""
        running = self._expected()
        before = running.account.energy_wh or 0
        running.account = read(running.account, self._now(running, at), register_wh, self._pricing)
        energy = running.account.energy_wh or 0
        running.step_wh = energy - before
        settings = self._settings
        is_told = energy - running.told_wh >= settings.report_energy_wh or at - running.told_at >= (
            settings.report_every_s
        )
        is_much = energy - running.persisted_wh + running.step_wh > settings.persist_energy_wh
        if register_wh is None or is_told or is_much or at - running.persisted_at >= settings.persist_every_s:
            self._persist(at, tell=is_told)

    def keep(self, at: float, register_wh: int | None) -> None:
        """Persist the session as it is: the agent ends, and the next start may resume it."""
        running = self._expected()
        running.account = read(running.account, self._now(running, at), register_wh, self._pricing)
        self._persist(at, tell=False)

    def join(self, authorization_id: int, late: LateAnswer) -> None:
        """A reference came late: it is the authorization's, and its session's where that runs on."""
        facts = self._facts.get(authorization_id)
        if facts is None:
            return
        entry = replace(facts.entry, authorization_reference=late.answer.authorization_reference)
        self._facts[authorization_id] = facts = replace(facts, entry=entry, late=(*facts.late, late))
        if self._running is not None and self._running.facts.id == authorization_id:
            self._running.facts = facts
            self._persist(self._clock.monotonic(), tell=True)

    def end(
        self, at: float | None, register_wh: int | None, because: EndReason, tap: Entry | None = None
    ) -> "asyncio.Future[int | None]":
        """End the session that runs, at its last persisted reading where `at` is None."""
        running = self._expected()
        self._running = None
        self._stop_ticking()
        end = None if at is None else self._now(running, at)
        running.account = ended(running.account, end, register_wh, self._pricing, because)
        changed_at = self._changed(running, self._clock.monotonic(), tell=True)
        record = replace(self._record(running, changed_at), ended_at=running.account.until, ended_because=because)
        cdr, record = self._sealed(running, record, because)
        return self._do("end a session", lambda: self._sessions.end(record, cdr, tap))

    def end_authorization(self, authorization_id: int, because: EndReason) -> "asyncio.Future[int | None]":
        """End one that has no session."""
        at = self._clock.now()

        async def write() -> None:
            await self._journal.end(authorization_id, at, because)

        return self._do(f"end authorization {authorization_id}", write)

    def take_down(self, entry: Entry) -> "asyncio.Future[int | None]":
        """A card that was refused without a decision, or that has ended an authorization."""
        return self._do("record a card", lambda: self._journal.record(entry), expendable=entry.ends is None)

    def abandon(self, because: EndReason) -> None:
        """The machine has failed: end what runs, so that nobody is billed for what nobody watches."""
        if self._running is not None:
            self.end(self._clock.monotonic(), None, because)
        else:
            for authorization_id in self._facts:
                self.end_authorization(authorization_id, because)
        self._facts = {}

    async def settled(self) -> None:
        """Return once everything noted so far is on disk."""
        while self._working is not None and not self._working.done():
            await asyncio.wait({self._working})

    async def stop(self, within_s: float) -> None:
        """Bring everything to disk, for a bounded time; what the disk refuses is ended at the next start."""
        self._stop_ticking()
        if self._working is not None:
            await asyncio.wait({self._working}, timeout=within_s)
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
            self._working = None
        for job in self._jobs:
            if not job.done.done():
                job.done.cancel()
        self._jobs.clear()

    # ---- what a session says of itself

    def _expected(self) -> _Running:
        assert self._running is not None, "the machine speaks of a session that does not run"
        return self._running

    def _now(self, running: _Running, at: float) -> datetime:
        """The session's own time; when the wall clock was put right, everything that it had timed moves along."""
        actual = self._clock.at(at)
        off = actual - running.at(at)
        if abs(off) > JUMP and (self._clock.is_known or not running.clock_known):
            running.account = moved(running.account, off, self._pricing)
            running.wall, running.moment = actual, at
            if running.clock_known or self._clock.is_known:
                log.warning(
                    "evse=%s the clock was put right by %+.0f s; the session's times with it",
                    self._evse_uid, off.total_seconds(),
                )  # fmt: skip
            running.clock_known = self._clock.is_known
        return running.at(at)

    def _changed(self, running: _Running, at: float, *, tell: bool) -> datetime:
        """Later than every `last_updated` before, by a whole second where it is told: OCPI has no smaller part of time.

        A peer may leave unread what seems no newer than what it has.
        """
        running.changed_at = max(self._now(running, at), running.changed_at + timedelta(milliseconds=1))
        if tell:
            running.changed_at = max(running.changed_at, running.told_as_of + timedelta(seconds=1))
            running.told_as_of = running.changed_at
        return running.changed_at

    def _record(self, running: _Running, changed_at: datetime) -> SessionRecord:
        facts, account = running.facts, running.account
        return SessionRecord(
            authorization_id=facts.id,
            session_id=running.session_id,
            evse_uid=self._evse_uid,
            peer=facts.entry.peer,
            started_at=account.started_at,
            changed_at=changed_at,
            account=to_json(account),
            object=self._object(running, changed_at, has_ended=False),
            energy_wh=account.energy_wh,
            register_wh=account.register_wh,
            boot_id=self._clock.boot_id,
            monotonic_s=self._clock.monotonic(),
            clock_known=running.clock_known,
            no_cdr=self._why_no_cdr(running),
        )

    def _why_no_cdr(self, running: _Running) -> str | None:
        if self._documents is None:
            return self._why_not_billed
        return self._documents.why_none(running.facts)

    def _object(self, running: _Running, changed_at: datetime, *, has_ended: bool) -> bytes | None:
        if self._documents is None or self._why_no_cdr(running) is not None or not running.clock_known:
            return None
        try:
            return self._documents.session(
                running.session_id, running.facts, running.account, ended=has_ended, changed_at=changed_at
            )
        except ValueError as error:
            log.error("evse=%s session %s can't be written as OCPI has it: %s", self._evse_uid, running.facts.id, error)
            return None

    def _sealed(
        self, running: _Running, record: SessionRecord, because: EndReason
    ) -> tuple[NewCdr | None, SessionRecord]:
        """The CDR of a session that has ended, or the session with the reason why it gets none."""
        documents, facts = self._documents, running.facts
        record = replace(record, object=self._object(running, record.changed_at, has_ended=True))
        why = self._why_no_cdr(running) or _why_nothing(running.account, because)
        if why is not None or documents is None or record.peer is None:
            return None, replace(record, no_cdr=why or "no peer is known that this card belongs to")
        if not running.clock_known:
            return None, replace(record, no_cdr=None)  # sealed once the time is known
        cdr_id = str(uuid4())
        try:
            document = documents.cdr(cdr_id, running.session_id, facts, running.account, changed_at=record.changed_at)
        except ValueError as error:
            log.critical("evse=%s ALARM no CDR can be made of session %s: %s", self._evse_uid, facts.id, error)
            return None, replace(record, no_cdr=f"it can't be written as OCPI has it: {error}")
        return NewCdr(cdr_id, facts.id, record.peer, document, record.changed_at), record

    # ---- the disk

    def _persist(self, at: float, *, tell: bool) -> None:
        running = self._expected()
        energy = running.account.energy_wh or 0
        running.persisted_wh, running.persisted_at = energy, at
        if tell:
            running.told_wh, running.told_at = energy, at
        self._keep_ticking(running)
        last = self._jobs[-1] if self._jobs else None
        if last is not None and last.persists is running and last is not self._writing:
            last.tell = last.tell or tell
            return
        self._do("persist a session", lambda: self._put(running), persists=running, tell=tell)

    async def _put(self, running: _Running) -> None:
        job = self._writing
        assert job is not None
        moment = self._clock.monotonic()
        record = self._record(running, self._changed(running, moment, tell=job.tell))
        await self._sessions.put(record, tell=job.tell and record.object is not None)
        running.has_begun = True

    def _keep_ticking(self, running: _Running) -> None:
        """Time goes on where no meter speaks, and costs as well."""
        self._stop_ticking()
        loop = asyncio.get_running_loop()
        self._tick = loop.call_later(self._settings.persist_every_s, self._time_passes, running)

    def _time_passes(self, running: _Running) -> None:
        if self._running is running:
            at, account = self._clock.monotonic(), running.account
            now = self._now(running, at)
            running.account = turned(running.account, now, account.activity, None, self._pricing)
            self._persist(at, tell=at - running.told_at >= self._settings.report_every_s)

    def _stop_ticking(self) -> None:
        if self._tick is not None:
            self._tick.cancel()

    def _do(
        self,
        what: str,
        write: Callable[[], Awaitable[int | None]],
        *,
        persists: _Running | None = None,
        tell: bool = False,
        expendable: bool = False,
    ) -> "asyncio.Future[int | None]":
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        if expendable and sum(job.expendable for job in self._jobs) >= MOST_REFUSALS:
            log.warning("evse=%s a refused card is not recorded: too many wait for the disk", self._evse_uid)
            done.cancel()
            return done
        self._jobs.append(_Job(what, write, done, persists, tell, expendable, self._clock.monotonic()))
        if self._working is None or self._working.done():
            self._working = asyncio.get_running_loop().create_task(self._work(), name=f"books of {self._evse_uid}")
        return done

    async def _work(self) -> None:
        while self._jobs:
            self._writing = self._jobs[0]
            try:
                result = await self._writing.write()
            except StoreError as error:
                self._refused(self._writing, error)
                await asyncio.sleep(RETRY_S)
            else:
                self._jobs.popleft()
                self._is_refused = False
                if not self._writing.done.done():
                    self._writing.done.set_result(result)
            finally:
                self._writing = None

    def _refused(self, job: _Job, error: StoreError) -> None:
        log.log(
            logging.DEBUG if self._is_refused else logging.ERROR,
            "evse=%s can't %s yet, it is tried again: %s", self._evse_uid, job.what, error,
        )  # fmt: skip
        self._is_refused = True
        for waiting in self._jobs:  # none of them will be on disk soon
            waiting.done.cancel()
        running = job.persists
        if running is None or running is not self._running or running.has_begun:
            return
        if self._clock.monotonic() - job.since >= UNRECORDED_S:
            self._on_unrecorded(running.facts.id)


def _why_nothing(account: Account, because: EndReason) -> str | None:
    """Why nobody is billed for a charge that could have been billed."""
    lasted_s = (account.until - account.started_at).total_seconds()
    soon_s = 1.0 if Remark.NO_METER in account.remarks else NOTHING_S
    if because in _OUR_FAULTS and not account.energy_wh and lasted_s < soon_s:
        return f"nothing was delivered: {because} after {lasted_s:.0f} s"
    return None
