"""The tap loop of one EVSE: from a tap to a text, a durable record and a switched relay, by the deadline.

The order is the product: nothing is switched on before its record is on disk, whatever fails leaves the relay
open, and the driver gets a text on every path. Taps of one EVSE are decided one after another, for only then is
"in use" a fact; EVSEs do not wait for each other. This module knows neither drivers nor OCPI.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from agent.core.decide import in_same_group, plan, settle
from agent.core.texts import Notice
from agent.core.uid import masked
from agent.errors import DeviceError, StoreError
from agent.model import (
    REFUSALS,
    Answer,
    Answers,
    Ask,
    Decision,
    EndReason,
    Entry,
    LateAnswer,
    LateRefusal,
    ListedToken,
    LocationReferences,
    Outcome,
    Policy,
    Question,
    Reason,
    Source,
    Tap,
    Verdict,
)
from agent.ports import Backend, Display, Journal, Relay, Whitelist
from agent.runtime.driver_display import DriverDisplay

log = logging.getLogger(__name__)

MOST_WAITING = 16
"""Cards that may wait behind the one being decided; more than a handful is somebody playing with the reader."""
RETRY_END_S = 2.0
"""How soon an end that could not be recorded is tried again: a full disk is not emptied faster."""
SHUT_DOWN_S = 3.0
"""How long an orderly stop waits for the disk and for late answers; systemd would wait 90 s, an installer won't."""

Recording = asyncio.Future[int]
"""A record on its way to disk; its result is the authorization's id."""
Late = AsyncGenerator[Answer, None] | None


@dataclass(frozen=True, slots=True)
class Settled:
    """A tap that is over, for whoever watches: `switched_at` is the loop time after the relay was commanded."""

    tap: Tap
    entry: Entry
    authorization_id: int | None
    switched_at: float


@dataclass(frozen=True, slots=True)
class _Active:
    """The authorization that keeps the relay closed."""

    authorization_id: int
    tap: Tap
    decision: Decision


class EvseTapLoop:
    """Decides every tap at one EVSE. `tap` hands one over, `run` decides until cancelled, then the relay is open."""

    def __init__(
        self,
        evse_uid: str,
        *,
        location_id: str,
        language: str,
        policy: Policy,
        relay: Relay,
        display: Display,
        whitelist: Whitelist,
        backend: Backend,
        journal: Journal,
        now: Callable[[], datetime],
        on_settled: Callable[[Settled], None] = lambda _: None,
        on_whitelist_fault: Callable[[StoreError], None] = lambda _: None,
    ) -> None:
        """All parts are passed in; `now` is the wall clock in UTC, used for records and the age of lists only."""
        self.evse_uid = evse_uid
        self._location = LocationReferences(location_id, (evse_uid,))
        self._policy = policy
        self._relay = relay
        self._display = DriverDisplay(display, language, standing=self._standing)
        self._whitelist = whitelist
        self._backend = backend
        self._journal = journal
        self._now = now
        self._on_settled = on_settled
        self._on_whitelist_fault = on_whitelist_fault
        self._waiting: deque[Tap] = deque()
        self._arrived = asyncio.Event()
        self._deciding: Tap | None = None
        self._active: _Active | None = None
        self._readers_missing: dict[str, bool] = {}
        self._background: set[asyncio.Task[None]] = set()

    @property
    def active_authorization(self) -> int | None:
        """The authorization that keeps the relay closed, if one does."""
        return self._active.authorization_id if self._active else None

    def tap(self, tap: Tap) -> None:
        """Hand over a tap. A card that is being decided, or waits to be, joins itself."""
        if (self._deciding and self._deciding.uid == tap.uid) or any(w.uid == tap.uid for w in self._waiting):
            log.debug("evse=%s card=%s joins its own decision", self.evse_uid, masked(tap.uid))
        elif len(self._waiting) >= MOST_WAITING:
            log.warning("evse=%s more than %d cards wait; one was dropped", self.evse_uid, MOST_WAITING)
        else:
            self._waiting.append(tap)
            self._arrived.set()

    def reader_is(self, name: str, *, missing: bool) -> None:
        """Take note of a reader's state: without any, the driver must not be asked for a card."""
        self._readers_missing[name] = missing
        if self._deciding is None:
            self._display.idle()

    async def run(self) -> None:
        """Decide taps until cancelled. Leaves with the relay open and its authorization ended on record."""
        self._display.idle()
        try:
            while True:
                while self._waiting:
                    self._deciding = self._waiting.popleft()
                    await self._decide(self._deciding)
                    self._deciding = None
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._open_relay()
            self._deciding = None
            await self._shut_down()

    async def end(self, because: EndReason) -> bool:
        """Open the relay and end its authorization on record. False when there was none."""
        active, self._active = self._active, None
        self._open_relay()
        if active is None:
            return False
        await self._record_end(active.authorization_id, because)
        self._display.idle()
        return True

    async def _decide(self, tap: Tap) -> None:
        if self._active is not None:
            await self._decide_in_use(tap, self._active)
            return
        rows = await self._find(tap)
        step = plan(rows, self._policy, self._now())
        correlation_id = str(uuid4())
        late: Late = None
        if isinstance(step, Ask):
            self._display.asking()
            answers = await self._ask(tap, step, correlation_id)
            step, late = settle(step, answers.given), answers.late
        await self._carry_out(tap, step, correlation_id, late)

    def _peers_until(self, tap: Tap) -> float:
        """The loop time at which the peers have had their time: what is left is for the record and the relay."""
        return tap.at + self._policy.deadline_s - self._policy.reserve_s

    async def _find(self, tap: Tap) -> tuple[ListedToken, ...]:
        """The whitelist's rows; none when the whitelist can't be read in time, as if it had none."""
        try:
            async with asyncio.timeout_at(self._peers_until(tap)):
                return await self._whitelist.find(tap.uid)
        except StoreError as error:
            log.error("evse=%s the whitelist can't be read, deciding without it: %s", self.evse_uid, error)
            self._on_whitelist_fault(error)
        except TimeoutError:
            log.error("evse=%s the whitelist did not answer by the deadline, deciding without it", self.evse_uid)
        return ()

    async def _ask(self, tap: Tap, ask: Ask, correlation_id: str) -> Answers:
        # A list knows how the owner writes the uid, and may be the only one who compares with case.
        spelled = {c.listed.token.uid for c in ask.candidates}
        question = Question(
            uid=spelled.pop() if len(spelled) == 1 else tap.uid,
            location=self._location,
            correlation_id=correlation_id,
            targets=ask.targets,
        )
        return await self._backend.ask(question, self._peers_until(tap))

    async def _decide_in_use(self, tap: Tap, active: _Active) -> None:
        """The relay is closed: the same card or one of its group opens it, any other is refused."""
        if tap.uid == active.tap.uid:
            await self._stop(tap, active, Reason.STOPPED_SAME_CARD, EndReason.SAME_CARD)
            return
        rows = await self._find(tap)
        if self._active is not active:
            await self._decide(tap)
            return
        mine = active.decision.token
        if mine and any(in_same_group(row.token, mine) for row in rows):
            await self._stop(tap, active, Reason.STOPPED_GROUP_CARD, EndReason.GROUP_CARD)
            return
        detail = f"authorization {active.authorization_id} of another card is running: refused"
        decision = Decision(Verdict.REFUSED, Reason.IN_USE, Source.LOCAL, detail, rows[0].token if rows else None)
        await self._carry_out(tap, decision, str(uuid4()), None)

    async def _stop(self, tap: Tap, active: _Active, reason: Reason, because: EndReason) -> None:
        """Open first, record then: switching off waits for nothing."""
        self._active = None
        self._open_relay()
        switched_at = asyncio.get_running_loop().time()
        decision = replace(
            active.decision,
            verdict=Verdict.ACCEPTED,
            reason=reason,
            source=Source.LOCAL,
            detail=f"ends authorization {active.authorization_id}",
            info=None,
        )
        stop = replace(self._entry(tap, decision, str(uuid4())), ends=active.authorization_id, end_reason=because)
        self._display.verdict(decision)
        recording = asyncio.ensure_future(self._journal.record(stop))
        try:
            await self._wait_for(recording, tap)
        finally:
            if not _succeeded(recording):
                self._spawn(self._end_unless_recorded(recording, active.authorization_id, because))
        self._settled(tap, stop, recording, switched_at)

    async def _carry_out(self, tap: Tap, decision: Decision, correlation_id: str, late: Late) -> None:
        """Record, then switch, then tell: a fault on the way turns an accept into a refusal with its own text."""
        entry = self._entry(tap, decision, correlation_id)
        recording = asyncio.ensure_future(self._journal.record(entry))
        try:
            await self._wait_for(recording, tap)
        except asyncio.CancelledError:
            self._spawn(self._void(recording, entry, EndReason.SHUTDOWN))
            raise
        fault = self._record_fault(recording, tap)
        if fault is not None:
            self._spawn(self._void(recording, entry, EndReason.TOO_LATE))
        if entry.relay_closed:
            if fault is None and (fault := self._close_relay()) is None:
                self._active = _Active(recording.result(), tap, decision)
            else:
                if fault is Reason.RELAY_FAULT:
                    self._spawn(self._void(recording, entry, EndReason.RELAY_FAULT))
                detail = f"was {decision.verdict}, but {fault}: {decision.detail}"
                decision = replace(
                    decision, verdict=Verdict.REFUSED, reason=fault, source=Source.LOCAL, detail=detail, info=None
                )
                entry = self._entry(tap, decision, correlation_id)
        switched_at = asyncio.get_running_loop().time()
        self._display.verdict(decision)
        self._settled(tap, entry, recording, switched_at)
        if late is not None:
            self._spawn(self._take_late(recording, decision, late))

    async def _wait_for(self, recording: Recording, tap: Tap) -> None:
        """Until the record is on disk or refused, or the deadline has come; the record goes on by itself."""
        left_s = tap.at + self._policy.deadline_s - asyncio.get_running_loop().time()
        await asyncio.wait({recording}, timeout=max(0.0, left_s))

    def _record_fault(self, recording: Recording, tap: Tap) -> Reason | None:
        """Why nothing may be switched on, None when the record is on disk in time.

        A disk can stall for seconds (an SD card that tidies up). The driver does not wait for it: the record is
        still written, and says afterwards that nothing was switched on.
        """
        if not recording.done():
            log.error("evse=%s the disk is too slow: the record is not written at the deadline", self.evse_uid)
            return Reason.TOO_LATE
        error = recording.exception()
        if error is None:
            late = asyncio.get_running_loop().time() > tap.at + self._policy.deadline_s
            return Reason.TOO_LATE if late else None
        if not isinstance(error, StoreError):
            raise error
        log.error("evse=%s the record can't be written; cards are refused until it can: %s", self.evse_uid, error)
        return Reason.STORAGE_FAULT

    async def _take_late(self, recording: Recording, decision: Decision, late: Late) -> None:
        """Add what still comes to the record; a reference joins the authorization, a refusal may stop it."""
        assert late is not None, "only called with answers outstanding"
        async with aclosing(late) as answers:
            authorization_id = await asyncio.shield(recording)
            async for answer in answers:
                fell_back = decision.verdict is Verdict.ACCEPTED and decision.source is Source.FALLBACK
                mine = fell_back and answer.peer == decision.peer
                joined = mine and answer.outcome is Outcome.ALLOWED and answer.authorization_reference is not None
                await self._journal.add_late(LateAnswer(authorization_id, self._now(), answer, joined))
                log.info(
                    "evse=%s authorization %d: peer %s answered late: %s after %.1f s",
                    self.evse_uid, authorization_id, answer.peer, answer.outcome, answer.elapsed_s,
                )  # fmt: skip
                if mine and answer.outcome in REFUSALS | {Outcome.UNKNOWN}:
                    await self._refused_late(authorization_id)

    async def _refused_late(self, authorization_id: int) -> None:
        if self._policy.late_refusal is LateRefusal.KEEP or self.active_authorization != authorization_id:
            return
        self._active = None
        self._open_relay()
        self._display.stopped_late()
        await self._record_end(authorization_id, EndReason.LATE_REFUSAL)

    async def _void(self, recording: Recording, entry: Entry, because: EndReason) -> None:
        """End what a record begins although nothing was switched on, as soon as it is on disk."""
        await asyncio.wait({recording})
        if entry.relay_closed and _succeeded(recording):
            await self._record_end(recording.result(), because)

    async def _end_unless_recorded(self, recording: Recording, authorization_id: int, because: EndReason) -> None:
        """End an authorization whose relay is open already, if the record of the tap that ended it fails."""
        await asyncio.wait({recording})
        if not _succeeded(recording):
            await self._record_end(authorization_id, because)

    async def _record_end(self, authorization_id: int, because: EndReason) -> None:
        """Note an end, and keep trying while the disk refuses: an open record would bill a car that has left."""
        ended_at = self._now()
        while True:
            try:
                await self._journal.end(authorization_id, ended_at, because)
            except StoreError as error:
                log.error("evse=%s the end of authorization %d is not on disk yet: %s", self.evse_uid,
                          authorization_id, error)  # fmt: skip
                await asyncio.sleep(RETRY_END_S)
            else:
                return

    def _standing(self) -> Notice:
        if self._active is not None:
            return Notice.CHARGING
        blind = self._readers_missing and all(self._readers_missing.values())
        return Notice.OUT_OF_ORDER if blind else Notice.IDLE

    def _entry(self, tap: Tap, decision: Decision, correlation_id: str) -> Entry:
        token = decision.token
        latency_s = asyncio.get_running_loop().time() - tap.at
        starts = decision.verdict is Verdict.ACCEPTED and decision.source is not Source.LOCAL
        return Entry(
            evse_uid=self.evse_uid,
            uid=tap.uid,
            reader=tap.reader,
            tapped_at=self._now() - timedelta(seconds=latency_s),
            verdict=decision.verdict,
            reason=decision.reason,
            source=decision.source,
            detail=decision.detail,
            text="\n".join(self._display.lines(decision)),
            relay_closed=starts,
            latency_ms=latency_s * 1000,
            deadline_ms=self._policy.deadline_s * 1000,
            correlation_id=correlation_id,
            peer=decision.peer,
            country_code=token.country_code if token else None,
            party_id=token.party_id if token else None,
            contract_id=token.contract_id if token else None,
            group_id=token.group_id if token else None,
            authorization_reference=decision.authorization_reference,
        )

    def _close_relay(self) -> Reason | None:
        try:
            self._relay.close_contact()
        except DeviceError as error:
            log.error("evse=%s the relay did not close: %s", self.evse_uid, error)
            self._open_relay()
            return Reason.RELAY_FAULT
        return None

    def _open_relay(self) -> None:
        try:
            self._relay.open_contact()
        except DeviceError as error:
            log.critical("evse=%s the relay may not have opened, check it now: %s", self.evse_uid, error)

    def _settled(self, tap: Tap, entry: Entry, recording: Recording, switched_at: float) -> None:
        authorization_id = recording.result() if _succeeded(recording) else None
        log.info(
            "evse=%s card=%s %s %s by %s in %.1f ms, record %s: %s",
            self.evse_uid, masked(tap.uid), entry.verdict, entry.reason, entry.source,
            (switched_at - tap.at) * 1000, authorization_id, entry.detail,
        )  # fmt: skip
        self._on_settled(Settled(tap, entry, authorization_id, switched_at))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("evse=%s work behind a tap failed: %s", self.evse_uid, error, exc_info=error)

    async def _shut_down(self) -> None:
        """Bring the ends to disk, for a bounded time; what the disk refuses is ended at the next start."""
        self._display.stop()
        active, self._active = self._active, None
        if active:
            self._spawn(self._record_end(active.authorization_id, EndReason.SHUTDOWN))
        if self._background:
            await asyncio.wait(self._background, timeout=SHUT_DOWN_S)
        for task in tuple(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)


def _succeeded(recording: Recording) -> bool:
    return recording.done() and not recording.cancelled() and recording.exception() is None
