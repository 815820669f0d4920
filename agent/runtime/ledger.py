"""Keeps the books of one EVSE: what its machine wants on record goes to disk in its order, however long that takes.

The account of the session that runs stands in memory and is persisted when it changes, when so much energy has flowed
or so much time has passed: that much a power cut can cost. Nothing here is waited for before a relay opens; what must
be on disk before one closes was written before, by the decision.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from agent.charges import Open, SessionRecord
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
from agent.core.owner import owned
from agent.core.tariff_usage import Activity
from agent.errors import StoreError
from agent.model import EndReason, Entry, LateAnswer, Recorded
from agent.ports import Journal, Sessions
from agent.runtime.clock import Clock
from agent.runtime.records_queue import Job, RecordsQueue
from agent.runtime.sealing import Documents, DocumentsBy, sealed

__all__ = ["UNRECORDED_S", "Documents", "Ledger", "LedgerSettings"]

log = logging.getLogger(__name__)

UNRECORDED_S = 20.0
"""How long a session may run whose beginning the disk does not take."""
JUMP = timedelta(seconds=2)
"""A wall clock that differs by more from the one that only runs on was put right; less is the two drifting apart."""

_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_ACTIVITIES = {Period.CHARGING: Activity.CHARGING, Period.PARKING: Activity.PARKING}


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
    documents: Documents | str
    """What writes it and prices it, from its beginning to its end; or why nobody is billed for it."""
    pricing: Pricing
    session_id: str
    account: Account
    wall: datetime
    """What the wall clock showed at `moment`: the session's own time from there on."""
    moment: float
    changed_at: datetime
    clock_known: bool
    is_placed: bool = True
    """Whether its times were taken by a clock that this one goes on from: only then may they be moved with it."""
    told_as_of: datetime = _NEVER
    """`last_updated` of the last state that is to be told."""
    has_begun: bool = False
    """Whether it is on disk at all."""
    persisting: Job | None = None
    """Writes its newest account when its turn comes."""
    is_to_be_told: bool = False
    """With the next one."""
    is_overdue: bool = False
    """More is at stake than the settings allow, and somebody was alarmed."""
    told: bytes | None = None
    """The last OCPI Session that its peer was, or is, to be told. Written for that alone: it may be long."""
    persisted_wh: int = 0
    persisted_at: float = 0.0
    told_wh: int = 0
    told_at: float = 0.0
    step_wh: int = 0
    """What flowed between the last two readings: as much may be lost with the next one."""

    def at(self, moment: float) -> datetime:
        return self.wall + timedelta(seconds=moment - self.moment)


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
        documents_by: DocumentsBy = lambda _: "the tariff that it began with can't be used any more",
    ) -> None:
        """`documents` are for sessions that begin, `documents_by` for one that is found and had another tariff.

        `pricing` and `why_not_billed` are for those without. `on_unrecorded` hears of a session whose beginning the
        disk does not take.
        """
        self._evse_uid = evse_uid
        self._journal = journal
        self._sessions = sessions
        self._documents: Documents | str = documents or why_not_billed
        self._documents_by = documents_by
        self._pricing = pricing
        self._clock = clock
        self._settings = settings
        self._on_unrecorded = on_unrecorded
        self._facts: dict[int, Recorded] = {}
        self._running: _Running | None = None
        self._queue = RecordsQueue(evse_uid, clock.monotonic)
        self._tick: asyncio.TimerHandle | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the disk does not take what is to be recorded: nobody's charge begins meanwhile."""
        return self._queue.is_refused

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

    def found(self, left: Open) -> bool:
        """Take up what the last start left open. False: its account can't be read, and it is ended on record."""
        facts = owned(left.authorization)
        self._facts = {facts.id: facts}
        if left.session is not None:
            try:
                self._running = self._taken_up(facts, left.session)
            except ValueError as error:
                self._end_unreadable(facts, left.session, error)
                return False
        return True

    def _end_unreadable(self, facts: Recorded, session: SessionRecord, error: ValueError) -> None:
        """Unbilled, as it was last persisted: its row says more than nothing, and others are to charge here again."""
        log.critical("evse=%s ALARM session %d can't be read back, and so can't be billed: %s",
                     self._evse_uid, facts.id, error)  # fmt: skip
        self._facts = {}
        record = replace(
            session,
            changed_at=max(self._clock.now(), session.changed_at + timedelta(seconds=1)),
            ended_at=session.changed_at,
            ended_because=EndReason.RESTART,
        )
        known = begun(session.started_at, None, has_meter=True)
        known = replace(known, until=session.changed_at, energy_wh=session.energy_wh)
        final, _ = sealed(record, facts, known, f"its account can't be read: {error}")
        self._queue.add("end a session", lambda: self._sessions.end(final, None, None))

    def gone_s(self, session: SessionRecord) -> float | None:
        """Seconds since a session that was found was last accounted; None: nobody knows. Raises ValueError."""
        # Not since `changed_at`, which is ahead of the time where the clock was put back, and `monotonic_s` by as much.
        until = from_json(session.account).until
        moment = session.monotonic_s - (session.changed_at - until).total_seconds()
        return self._clock.since(session.boot_id, moment, until, wall_known=session.clock_known)

    def _taken_up(self, facts: Recorded, session: SessionRecord) -> _Running:
        clock, gone_s = self._clock, self.gone_s(session)
        is_same_boot = clock.is_boot(session.boot_id)
        documents = self._documents_of(session)
        pricing = self._pricing_of(documents)
        account, changed_at, known = from_json(session.account), session.changed_at, session.clock_known
        if gone_s is None and not known and not is_same_boot:
            # Nobody will ever know when it was; before this boot began, and for as long as it lasted.
            by = clock.at(0.0) - account.until
            account, changed_at = noted(moved(account, by, pricing), Remark.CLOCK_UNKNOWN), changed_at + by
            known = clock.is_known
        moment, wall = clock.monotonic(), clock.now()
        if is_same_boot:
            wall = changed_at + timedelta(seconds=moment - session.monotonic_s)
        return _Running(
            facts, documents, pricing, session.session_id, account, wall, moment, changed_at, known,
            is_placed=is_same_boot or gone_s is not None or not session.clock_known, told_as_of=changed_at,
            has_begun=True, told=session.object,
        )  # fmt: skip

    def _documents_of(self, session: SessionRecord) -> Documents | str:
        if session.tariff is None:
            return session.no_cdr or "billing was not configured when it began"
        if not isinstance(self._documents, str) and self._documents.tariff == session.tariff:
            return self._documents
        return self._documents_by(session.tariff)

    def _pricing_of(self, documents: Documents | str) -> Pricing:
        return self._pricing if isinstance(documents, str) else documents.pricing

    def start(self, authorization_id: int, at: float, register_wh: int | None) -> None:
        """Begin the session of an authorization."""
        account = begun(self._clock.at(at), register_wh, has_meter=self._settings.has_meter)
        self._running = _Running(
            self._facts[authorization_id], self._documents, self._pricing_of(self._documents), str(uuid4()),
            account, account.started_at, at, account.started_at, self._clock.is_known,
        )  # fmt: skip
        self._persist(at, tell=True)
        # A disk that hangs refuses nothing: see `_put_refused` for one that does.
        asyncio.get_running_loop().call_later(UNRECORDED_S, self._unbegun, self._running)

    async def confirmed(self) -> None:
        """Return once the session that was found is on disk again, as it is. Raises StoreError."""
        running = self._expected()
        record = self._record(running, self._changed(running, self._clock.monotonic(), tell=False))
        await self._sessions.put(record, tell=False)

    def resume(self, at: float) -> None:
        """The session that was found goes on."""
        running = self._expected()
        now = self._now(running, at)  # first: it may move the account
        running.account = resumed(running.account, now)
        self._persist(at, tell=True)

    def turn(self, at: float, period: Period, register_wh: int | None) -> None:
        """What the session's time is spent on from here."""
        running = self._expected()
        activity = _ACTIVITIES[period]
        now = self._now(running, at)
        running.account = turned(running.account, now, activity, register_wh, running.pricing)
        self._persist(at, tell=True)

    def reading(self, at: float, register_wh: int | None) -> None:
        """Add to the session; persist it if as much as may be lost could be lost before the next reading."""
        running = self._expected()
        before = running.account.energy_wh or 0
        now = self._now(running, at)
        running.account = read(running.account, now, register_wh, running.pricing)
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
        now = self._now(running, at)
        running.account = read(running.account, now, register_wh, running.pricing)
        self._persist(at, tell=False)

    def join(self, authorization_id: int, late: LateAnswer) -> None:
        """A reference came late: it is the authorization's, and its session's where that runs on."""
        facts = self._facts.get(authorization_id)
        if facts is None:
            return
        entry = replace(facts.entry, authorization_reference=late.answer.authorization_reference)
        self._facts[authorization_id] = facts = owned(replace(facts, entry=entry, late=(*facts.late, late)))
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
        self._facts.pop(running.facts.id, None)
        # What is persisted after this would be told as newer than the end; and the end says it all.
        self._queue.drop(running.persisting)
        end = None if at is None else self._now(running, at)
        running.account = ended(running.account, end, register_wh, running.pricing, because)
        return self._queue.add("end a session", lambda: self._put_end(running, because, tap)).done

    def end_authorization(self, authorization_id: int, because: EndReason) -> "asyncio.Future[int | None]":
        """End one that has no session."""
        self._facts.pop(authorization_id, None)
        at = self._clock.now()

        async def write() -> None:
            await self._journal.end(authorization_id, at, because)

        return self._queue.add(f"end authorization {authorization_id}", write).done

    def take_down(self, entry: Entry) -> "asyncio.Future[int | None]":
        """A card that was refused without a decision, or that has ended an authorization."""
        is_refusal = entry.ends is None
        if entry.ends is not None:
            self._facts.pop(entry.ends, None)
        return self._queue.add("record a card", lambda: self._journal.record(entry), expendable=is_refusal).done

    def abandon(self, because: EndReason) -> None:
        """The machine has failed: end what runs, so that nobody is billed for what nobody watches."""
        if self._running is not None:
            self.end(self._clock.monotonic(), None, because)
        else:
            for authorization_id in tuple(self._facts):
                self.end_authorization(authorization_id, because)
        self._facts = {}

    async def settled(self) -> None:
        """Return once everything noted so far is on disk."""
        await self._queue.settled()

    def go_on(self) -> None:
        """After a stop: bring to disk what it refused then."""
        self._queue.go_on()

    async def stop(self, within_s: float) -> None:
        """Bring everything to disk, for a bounded time.

        What the disk refuses goes there before the next record; where none comes, the next start ends what is open.
        """
        self._stop_ticking()
        await self._queue.stop(within_s)

    # ---- what a session says of itself

    def _expected(self) -> _Running:
        assert self._running is not None, "the machine speaks of a session that does not run"
        return self._running

    def _now(self, running: _Running, at: float) -> datetime:
        """The session's own time; when the wall clock was put right, everything that it had timed moves along."""
        is_known = self._clock.is_known
        if running.clock_known and not is_known:
            return running.at(at)
        actual = self._clock.at(at)
        off = actual - running.at(at)
        if abs(off) > JUMP:
            running.wall, running.moment = actual, at
            if running.is_placed:
                running.account = moved(running.account, off, running.pricing)
            if is_known:
                log.warning(
                    "evse=%s the clock was put right by %+.0f s; the session's times with it",
                    self._evse_uid, off.total_seconds(),
                )  # fmt: skip
        running.clock_known = is_known
        return running.at(at)

    def _changed(self, running: _Running, at: float, *, tell: bool) -> datetime:
        """Later than every `last_updated` before, by a whole second where it is told: OCPI has no smaller part of time.

        A peer may leave unread what seems no newer than what it has. As long as the clock is not known nobody is told:
        then it is what the clock shows, by which the session is placed later.
        """
        now = self._now(running, at)
        if not running.clock_known:
            running.changed_at = now
            return now
        running.changed_at = max(now, running.changed_at + timedelta(milliseconds=1))
        if tell:
            running.changed_at = max(running.changed_at, running.told_as_of + timedelta(seconds=1))
            running.told_as_of = running.changed_at
        return running.changed_at

    def _record(self, running: _Running, changed_at: datetime) -> SessionRecord:
        facts, account, documents = running.facts, running.account, running.documents
        # `last_updated` may be ahead of the time, and then this is, too: who reads both takes them for one moment.
        moment = running.moment + (changed_at - running.wall).total_seconds()
        return SessionRecord(
            authorization_id=facts.id,
            session_id=running.session_id,
            evse_uid=self._evse_uid,
            peer=facts.entry.peer,
            started_at=account.started_at,
            changed_at=changed_at,
            account=to_json(account),
            object=running.told,
            energy_wh=account.energy_wh,
            register_wh=account.register_wh,
            boot_id=self._clock.boot_id,
            monotonic_s=moment,
            clock_known=running.clock_known,
            no_cdr=documents if isinstance(documents, str) else documents.why_none(facts),
            tariff=None if isinstance(documents, str) else documents.tariff,
        )

    def _object(self, running: _Running, changed_at: datetime) -> bytes | None:
        """The Session of one that runs; None where nobody can be told."""
        documents, facts = running.documents, running.facts
        if isinstance(documents, str) or not running.clock_known or documents.why_none(facts) is not None:
            return None
        try:
            return documents.session(running.session_id, facts, running.account, ended=False, changed_at=changed_at)
        except ValueError as error:
            log.error("evse=%s session %d can't be written as OCPI has it: %s", self._evse_uid, facts.id, error)
            return None

    # ---- the disk

    def _persist(self, at: float, *, tell: bool) -> None:
        running = self._expected()
        energy = running.account.energy_wh or 0
        running.persisted_wh, running.persisted_at = energy, at
        if tell:
            running.told_wh, running.told_at = energy, at
            running.is_to_be_told = True
        self._keep_ticking(running)
        if not self._queue.waits(running.persisting):
            running.persisting = self._queue.add(
                "persist a session",
                lambda: self._put(running),
                on_refused=lambda waited_s: self._put_refused(running, waited_s),
            )

    async def _put(self, running: _Running) -> None:
        if running is not self._running:
            return  # it was tried before it ended: the end is written next, and says it all
        tell, running.is_to_be_told = running.is_to_be_told, False
        changed_at = self._changed(running, self._clock.monotonic(), tell=tell)
        news = self._object(running, changed_at) if tell else None
        running.told = news or running.told
        try:
            await self._sessions.put(self._record(running, changed_at), tell=news is not None)
        except StoreError:
            running.is_to_be_told = running.is_to_be_told or tell
            raise
        running.has_begun, running.is_overdue = True, False
        if not running.clock_known:
            running.is_to_be_told = running.is_to_be_told or tell  # with the first persist at a known time

    async def _put_end(self, running: _Running, because: EndReason, tap: Entry | None) -> int | None:
        # Dated as it is written: who pulls what has changed since the last time must not miss what the disk refused.
        changed_at = self._changed(running, self._clock.monotonic(), tell=True)
        record = replace(self._record(running, changed_at), ended_at=running.account.until, ended_because=because)
        final, cdr = sealed(record, running.facts, running.account, running.documents)
        return await self._sessions.end(final, cdr, tap)

    def _unbegun(self, running: _Running) -> None:
        if running is self._running and not running.has_begun:
            self._on_unrecorded(running.facts.id)

    def _put_refused(self, running: _Running, waited_s: float) -> None:
        if running is not self._running:
            self._queue.drop(running.persisting)  # ended meanwhile: see `end`
        elif not running.has_begun and waited_s >= UNRECORDED_S:
            self._on_unrecorded(running.facts.id)
        elif waited_s > self._settings.persist_every_s and not running.is_overdue:
            running.is_overdue = True
            log.critical(
                "evse=%s ALARM session %d could not be recorded for %.0f s; a power cut costs what it has drawn since:"
                " make room on the disk, or see what ails it",
                self._evse_uid, running.facts.id, waited_s,
            )  # fmt: skip

    def _keep_ticking(self, running: _Running) -> None:
        """Time goes on where no meter speaks, and costs as well."""
        self._stop_ticking()
        loop = asyncio.get_running_loop()
        self._tick = loop.call_later(self._settings.persist_every_s, self._time_passes, running)

    def _time_passes(self, running: _Running) -> None:
        if self._running is running:
            at, account = self._clock.monotonic(), running.account
            now = self._now(running, at)
            running.account = turned(running.account, now, account.activity, None, running.pricing)
            self._persist(at, tell=at - running.told_at >= self._settings.report_every_s)

    def _stop_ticking(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
