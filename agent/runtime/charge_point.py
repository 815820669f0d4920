"""The tap loop of one EVSE: from a tap to a text, a durable record and a switched relay, by the deadline.

The order is the product: nothing is switched on before its record is on disk, whatever fails leaves the relay
open, and the driver gets a text on every path. Taps of one EVSE are decided one after another, for only then is
"in use" a fact; EVSEs do not wait for each other. This module knows neither drivers nor OCPI.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from agent.core.decide import in_same_group, plan, plan_blind, settle
from agent.core.glyphs import sanitise
from agent.core.texts import Notice
from agent.core.uid import masked
from agent.errors import StoreError
from agent.model import (
    Answers,
    Ask,
    Decision,
    EndReason,
    Entry,
    LateRefusal,
    ListedToken,
    LocationReferences,
    Policy,
    Question,
    Reason,
    Source,
    Tap,
    Verdict,
)
from agent.ports import Backend, Display, Journal, Relay, Whitelist
from agent.runtime.aftermath import Aftermath, Late, Recording, succeeded
from agent.runtime.driver_display import DriverDisplay
from agent.runtime.guarded_relay import GuardedRelay

log = logging.getLogger(__name__)

MOST_WAITING = 16
"""Cards that may wait behind the one being decided; more than a handful is somebody playing with the reader."""
LOOKUP_S = 0.1
"""A lookup takes a millisecond: a card that waited behind others for all of the peers' time still gets one."""


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
    since: float


@dataclass(frozen=True, slots=True)
class _Stop:
    """A tap that has opened the relay already and is still to be recorded."""

    tap: Tap
    active: _Active
    switched_at: float


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
        self._relay = GuardedRelay(relay, evse_uid)
        self._display = DriverDisplay(display, language, standing=self._standing)
        self._whitelist = whitelist
        self._backend = backend
        self._journal = journal
        self._now = now
        self._on_settled = on_settled
        self._on_whitelist_fault = on_whitelist_fault
        self._aftermath = Aftermath(evse_uid, journal, now)
        self._waiting: deque[Tap | _Stop] = deque()
        self._arrived = asyncio.Event()
        self._deciding: Tap | None = None
        self._active: _Active | None = None
        self._readers_missing: dict[str, bool] = {}

    @property
    def active_authorization(self) -> int | None:
        """The authorization that keeps the relay closed, if one does."""
        return self._active.authorization_id if self._active else None

    def tap(self, tap: Tap) -> None:
        """Hand over a tap. A card that is being decided, or waits to be, joins itself.

        The card that began the charge opens the relay here and now: switching off waits for nothing. Right after
        the verdict it is still the same tap: an impatient driver, or one who tries the other reader as well.
        """
        active = self._active
        if active is not None and tap.uid == active.tap.uid:
            if tap.at - active.since >= self._policy.stop_after_s:
                self._waiting.appendleft(_Stop(tap, active, self._switch_off()))
                self._arrived.set()
        elif (self._deciding and self._deciding.uid == tap.uid) or any(
            isinstance(waiting, Tap) and waiting.uid == tap.uid for waiting in self._waiting
        ):
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
        """Decide taps until cancelled. Begins and leaves with the relay open, and its authorization ended on record."""
        self._relay.open()
        self._display.idle()
        try:
            while True:
                while self._waiting:
                    await self._take(self._waiting.popleft())
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            active, self._active = self._active, None
            self._relay.open()
            self._relay.stop()
            self._deciding = None
            self._display.stop()
            if active:
                self._aftermath.end(active.authorization_id, EndReason.SHUTDOWN)
            for stop in self._waiting:
                if isinstance(stop, _Stop):
                    self._aftermath.end(stop.active.authorization_id, EndReason.SAME_CARD)
            self._waiting.clear()
            await self._aftermath.stop()

    async def end(self, because: EndReason) -> bool:
        """Open the relay and end its authorization on record. False when there was none."""
        active = self._active
        self._switch_off()
        if active is None:
            return False
        await self._aftermath.ended(active.authorization_id, because)
        self._display.idle()
        return True

    async def _take(self, work: Tap | _Stop) -> None:
        """One tap, to its end. What nobody foresaw refuses the driver, with the relay open; then the next tap."""
        self._deciding = work.tap if isinstance(work, _Stop) else work
        try:
            if isinstance(work, _Stop):
                await self._record_stop(work, Reason.STOPPED_SAME_CARD, EndReason.SAME_CARD)
            else:
                await self._decide(work)
        except Exception as error:
            log.critical("evse=%s ALARM a tap could not be decided", self.evse_uid, exc_info=True)
            if active := work.active if isinstance(work, _Stop) else self._active:
                self._switch_off()
                self._aftermath.end(active.authorization_id, EndReason.AGENT_FAULT)
            detail = f"the agent failed at this tap, its log has the trace: {type(error).__name__}"
            fault = Decision(Verdict.REFUSED, Reason.AGENT_FAULT, Source.LOCAL, detail)
            await self._carry_out(self._deciding, fault, str(uuid4()), None)
        finally:
            self._deciding = None

    async def _decide(self, tap: Tap) -> None:
        if self._relay.stuck:
            detail = "the relay has not opened since it was last told to"
            await self._carry_out(tap, _refused(Reason.RELAY_FAULT, detail), str(uuid4()), None)
        elif self._active is not None:
            await self._decide_in_use(tap, self._active)
        else:
            await self._decide_anew(tap)

    async def _decide_anew(self, tap: Tap) -> None:
        rows = await self._find(tap)
        step = plan_blind() if rows is None else plan(rows, self._policy, self._now())
        correlation_id = str(uuid4())
        late: Late | None = None
        if isinstance(step, Ask):
            self._display.asking()
            answers = await self._ask(tap, step, correlation_id)
            step, late = settle(step, answers.given), answers.late
        if rows is None:
            step = replace(step, detail=f"the whitelist could not be read; {step.detail}")
        await self._carry_out(tap, step, correlation_id, late)

    def _deadline(self, tap: Tap) -> float:
        return tap.at + self._policy.deadline_s

    def _peers_until(self, tap: Tap) -> float:
        """The loop time at which the peers have had their time: what is left is for the record and the relay."""
        return self._deadline(tap) - self._policy.reserve_s

    async def _find(self, tap: Tap) -> tuple[ListedToken, ...] | None:
        """The whitelist's rows; None when it can't be read in time, which is not the same as having none."""
        least = asyncio.get_running_loop().time() + LOOKUP_S
        until = max(self._peers_until(tap), min(least, self._deadline(tap)))
        try:
            async with asyncio.timeout_at(until):
                return await self._whitelist.find(tap.uid)
        except StoreError as error:
            log.error("evse=%s the whitelist can't be read, deciding without it: %s", self.evse_uid, error)
            self._on_whitelist_fault(error)
        except TimeoutError:
            log.error("evse=%s the whitelist did not answer by the deadline, deciding without it", self.evse_uid)
        return None

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
        """The relay is closed: a card of the same group opens it, any other is refused."""
        rows = await self._find(tap) or ()
        if self._active is not active:
            await self._decide(tap)
            return
        mine = active.decision.token
        if mine and any(in_same_group(row.token, mine) for row in rows):
            stop = _Stop(tap, active, self._switch_off())
            await self._record_stop(stop, Reason.STOPPED_GROUP_CARD, EndReason.GROUP_CARD)
            return
        decision = _refused(Reason.IN_USE, f"authorization {active.authorization_id} of another card is running")
        token = rows[0].token if rows else None
        await self._carry_out(tap, replace(decision, token=token), str(uuid4()), None)

    async def _record_stop(self, stop: _Stop, reason: Reason, because: EndReason) -> None:
        """The relay is open; now the record."""
        active = stop.active
        decision = replace(
            active.decision,
            verdict=Verdict.ACCEPTED,
            reason=reason,
            source=Source.LOCAL,
            detail=f"ends authorization {active.authorization_id}",
            info=None,
        )
        entry = self._entry(stop.tap, decision, str(uuid4()))
        entry = replace(entry, ends=active.authorization_id, end_reason=because)
        self._display.verdict(decision)
        recording = asyncio.ensure_future(self._journal.record(entry))
        try:
            await self._wait_for(recording, stop.tap)
        finally:
            if not succeeded(recording):
                self._aftermath.end_unless_recorded(recording, active.authorization_id, because)
        self._settled(stop.tap, entry, recording, stop.switched_at)

    async def _carry_out(self, tap: Tap, decision: Decision, correlation_id: str, late: Late | None) -> None:
        """Record, then switch, then tell: a fault on the way turns an accept into a refusal with its own text."""
        entry = self._entry(tap, decision, correlation_id)
        recording = asyncio.ensure_future(self._journal.record(entry))
        try:
            await self._wait_for(recording, tap)
        except asyncio.CancelledError:
            self._aftermath.void(recording, entry, EndReason.SHUTDOWN)
            raise
        fault = self._record_fault(recording, tap)
        if fault is not None:
            self._aftermath.void(recording, entry, EndReason.TOO_LATE)
        if entry.relay_closed:
            fault = fault or self._switch_on(recording, entry, tap, decision)
        if entry.relay_closed and fault is not None:
            decision = _refused(fault, f"was {decision.verdict}, but {fault}: {decision.detail}", decision)
            entry = self._entry(tap, decision, correlation_id)
        switched_at = asyncio.get_running_loop().time()
        self._display.verdict(decision)
        self._settled(tap, entry, recording, switched_at)
        if late is not None:
            self._aftermath.take_late(recording, decision, late, self._refused_late)

    async def _wait_for(self, recording: Recording, tap: Tap) -> None:
        """Until the record is on disk or refused, or the deadline has come; the record goes on by itself."""
        left_s = self._deadline(tap) - asyncio.get_running_loop().time()
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
            return Reason.TOO_LATE if asyncio.get_running_loop().time() > self._deadline(tap) else None
        if not isinstance(error, StoreError):
            raise error
        log.error("evse=%s the record can't be written; cards are refused until it can: %s", self.evse_uid, error)
        return Reason.STORAGE_FAULT

    def _switch_on(self, recording: Recording, entry: Entry, tap: Tap, decision: Decision) -> Reason | None:
        if not self._relay.close():
            self._aftermath.void(recording, entry, EndReason.RELAY_FAULT)
            return Reason.RELAY_FAULT
        self._active = _Active(recording.result(), tap, decision, asyncio.get_running_loop().time())
        return None

    def _switch_off(self) -> float:
        """Open the relay; the loop time after it was told."""
        self._active = None
        self._relay.open()
        return asyncio.get_running_loop().time()

    def _refused_late(self, authorization_id: int) -> None:
        if self._policy.late_refusal is LateRefusal.KEEP or self.active_authorization != authorization_id:
            return
        self._switch_off()
        self._display.stopped_late()
        self._aftermath.end(authorization_id, EndReason.LATE_REFUSAL)

    def _standing(self) -> Notice:
        if self._active is not None:
            return Notice.CHARGING
        blind = self._readers_missing and all(self._readers_missing.values())
        return Notice.OUT_OF_ORDER if blind or self._relay.stuck else Notice.IDLE

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

    def _settled(self, tap: Tap, entry: Entry, recording: Recording, switched_at: float) -> None:
        authorization_id = recording.result() if succeeded(recording) else None
        log.info(
            "evse=%s card=%s %s %s by %s in %.1f ms, record %s: %s",
            self.evse_uid, masked(tap.uid), entry.verdict, entry.reason, entry.source,
            (switched_at - tap.at) * 1000, authorization_id, sanitise(entry.detail),
        )  # fmt: skip
        self._on_settled(Settled(tap, entry, authorization_id, switched_at))


def _refused(reason: Reason, detail: str, instead_of: Decision | None = None) -> Decision:
    token, peer = (instead_of.token, instead_of.peer) if instead_of else (None, None)
    reference = instead_of.authorization_reference if instead_of else None
    return Decision(Verdict.REFUSED, reason, Source.LOCAL, detail, token, peer, authorization_reference=reference)
