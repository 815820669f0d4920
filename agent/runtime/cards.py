"""The cards of one EVSE: each decided, recorded, and told to the machine, the driver, and whoever watches.

The order is the product: a card is accepted by the machine, which then closes the relay, when its record is on disk and
its deadline has not passed; a fault on the way turns an accept into a refusal with its own text.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol
from uuid import uuid4

from agent.core.decide import group_of
from agent.core.evse_effects import EndAuthorization, EndSession, Text
from agent.core.evse_events import (
    Accepted,
    Event,
    LateReference,
    LateRefused,
    RecordedTooLate,
    RecordFailed,
    Refused,
    StopCommanded,
)
from agent.core.evse_state import Authorizing, Device, Evse, Plug, Settings
from agent.core.glyphs import sanitise
from agent.core.uid import masked
from agent.errors import StoreError
from agent.model import Decision, EndReason, Entry, LateAnswer, Reason, Tap, Verdict
from agent.ports import Journal
from agent.runtime.aftermath import Aftermath, Recording, succeeded
from agent.runtime.deciding import Decided, Decider
from agent.runtime.driver_display import DriverDisplay
from agent.runtime.interlock import Place
from agent.runtime.ledger import Ledger
from agent.runtime.tap_entries import TapEntries, refusal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TapTimes:
    """Where the time of a decided tap went, from the uid's last byte to the relay, in milliseconds."""

    waiting_ms: float
    """Behind the cards before it."""
    whitelist_ms: float
    peer_ms: float
    """For the peers' answers; next to nothing where none was asked."""
    record_ms: float
    relay_ms: float


@dataclass(frozen=True, slots=True)
class Settled:
    """A tap that is over, for whoever watches: `switched_at` is the loop time after the relay was commanded."""

    tap: Tap
    entry: Entry
    authorization_id: int | None
    switched_at: float
    times: TapTimes | None = None
    """None of a card that needed no decision: one that stops a charge, or is refused by what stands here."""


class Machine(Protocol):
    """The EVSE that the cards are for."""

    @property
    def state(self) -> Evse:
        """As it is now."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether it takes events."""
        ...

    @property
    def is_broken(self) -> bool:
        """Whether it has failed, and is about to end."""
        ...

    def hand_in(self, event: Event) -> None:
        """Something happens, and is carried out before this returns."""
        ...


class Cards:
    """What a card at one EVSE comes to."""

    def __init__(
        self,
        evse_uid: str,
        machine: Machine,
        *,
        settings: Settings,
        decider: Decider,
        entries: TapEntries,
        journal: Journal,
        ledger: Ledger,
        aftermath: Aftermath,
        display: DriverDisplay,
        on_settled: Callable[[Settled], None],
        place: Place | None = None,
    ) -> None:
        """All parts are the EVSE's own; `place` is its side of an interlock."""
        self._evse_uid = evse_uid
        self._machine = machine
        self._settings = settings
        self._decider = decider
        self._entries = entries
        self._journal = journal
        self._ledger = ledger
        self._aftermath = aftermath
        self._display = display
        self._on_settled = on_settled
        self._place = place
        self._late: dict[int, LateAnswer] = {}
        self.closed_at = -math.inf
        """When the relay was last told to close."""
        self.words: Decision | None = None
        """The decision that the machine is just hearing of: its own words go with what follows from it."""

    def late(self, authorization_id: int) -> LateAnswer:
        """The answer whose reference the machine was just told of."""
        return self._late.pop(authorization_id)

    async def decide(self, tap: Tap) -> None:
        """One card, to its end. What nobody foresaw refuses the driver, with the relay open; then the next tap."""
        correlation_id = str(uuid4())
        try:
            decided = self._turned_away(correlation_id) or await self._decided(tap, correlation_id)
            if self._place is None or decided.decision.verdict is Verdict.REFUSED:
                await self._record(tap, decided)
            else:
                with self._place.reserved():
                    await self._record(tap, decided)
        except Exception as error:
            log.critical("evse=%s ALARM a tap could not be decided", self._evse_uid, exc_info=True)
            detail = f"the agent failed at this tap, its log has the trace: {type(error).__name__}"
            fault = Decided(refusal(Reason.AGENT_FAULT, detail), correlation_id)
            if (
                not self._machine.is_broken
                and isinstance(self._machine.state.phase, Authorizing)
                and self._machine.state.phase.tap == tap
            ):
                await self._record(tap, fault)
            else:
                self._machine.hand_in(StopCommanded(self._time(), EndReason.AGENT_FAULT))
                self._display.verdict(fault.decision)
                self.take_down(tap, self._entries.decided(tap, fault.decision, correlation_id))

    def _turned_away(self, correlation_id: str) -> Decided | None:
        """Refused by the interlock, without asking a peer who would count it as a charge; None to decide it."""
        hindrance = self._place and self._place.hindrance()
        return Decided(refusal(Reason.INTERLOCKED, hindrance), correlation_id) if hindrance else None

    async def _decided(self, tap: Tap, correlation_id: str) -> Decided:
        """What the whitelist or the peers say, unless something here is against an acceptance."""
        decided = await self._decider.decide(tap, correlation_id, lambda: self._display.say(Text.ASKING))
        decision = decided.decision
        if decision.verdict is Verdict.REFUSED:
            return decided
        if self._ledger.is_refused:
            detail = f"what is to be billed can't be recorded now; else: {decision.detail}"
            return replace(decided, decision=refusal(Reason.STORAGE_FAULT, detail, decision))
        if self._place is not None and (hindrance := self._place.hindrance()):
            return replace(
                decided, decision=refusal(Reason.INTERLOCKED, f"{hindrance}; else: {decision.detail}", decision)
            )
        return decided

    async def _record(self, tap: Tap, decided: Decided) -> None:
        """Record, then switch, then tell: a fault on the way turns an accept into a refusal with its own text."""
        decision = decided.decision
        entry = self._entries.decided(tap, decision, decided.correlation_id, self._then())
        recording = asyncio.ensure_future(self._journal.record(entry))
        try:
            await self._wait_for(recording, tap)
        except asyncio.CancelledError:
            self._aftermath.void(recording, entry, EndReason.SHUTDOWN)
            raise
        fault = self._record_fault(recording, tap)
        if fault is not None:
            decision = refusal(fault, f"was {decision.verdict}, but {fault}: {decision.detail}", decision)
        self.words, handed_in_at = decision, self._time()
        try:
            if fault is not None:
                self._machine.hand_in(RecordFailed(self._time(), too_late=fault is Reason.TOO_LATE))
                self._aftermath.landed(recording, entry, self._landed)
            elif entry.relay_closed:
                fault = self._accepted(recording.result(), entry, decision)
            else:
                self._machine.hand_in(Refused(self._time()))
        finally:
            self.words = None
        if self._machine.is_broken:
            raise RuntimeError("the EVSE has failed at this card, see above")
        switched_at = self.closed_at if self.closed_at >= handed_in_at else self._time()
        if entry.relay_closed and fault is not None:
            if decision.verdict is Verdict.ACCEPTED:
                decision = refusal(fault, f"was accepted, but {fault}: {decision.detail}", decision)
                self._display.verdict(decision)
            entry = self._entries.decided(tap, decision, decided.correlation_id)
        times = _times(tap, decided, handed_in_at, switched_at)
        self._settled(tap, entry, recording.result() if succeeded(recording) else None, switched_at, times)
        if decided.late is not None:
            self._aftermath.take_late(
                recording, decision, decided.late, on_joined=self._joined_late, on_refused=self._refused_late
            )

    def _accepted(self, authorization_id: int, entry: Entry, decision: Decision) -> Reason | None:
        """Why nothing came of it, None when it runs."""
        token = decision.token
        self._ledger.accepted(authorization_id, entry)
        self._display.language = token.language if token else None
        group = group_of(token) if token else None
        self._machine.hand_in(Accepted(self._time(), authorization_id, group))
        if self._machine.state.runs(authorization_id):
            return None
        return Reason.OUT_OF_ORDER if self._machine.state.lost - {Device.RELAY} else Reason.RELAY_FAULT

    def _landed(self, authorization_id: int) -> None:
        if self._machine.is_live:
            self._machine.hand_in(RecordedTooLate(self._time(), authorization_id))
        else:
            self._ledger.end_authorization(authorization_id, EndReason.TOO_LATE)

    async def _wait_for(self, recording: Recording, tap: Tap) -> None:
        """Until the record is on disk or refused, or the deadline has come; the record goes on by itself."""
        await asyncio.wait({recording}, timeout=max(0.0, self._decider.deadline(tap) - self._time()))

    def _record_fault(self, recording: Recording, tap: Tap) -> Reason | None:
        """Why nothing may be switched on, None when the record is on disk in time.

        A disk can stall for seconds (an SD card that tidies up). The driver does not wait for it: the record is
        still written, and says afterwards that nothing was switched on.
        """
        if not recording.done():
            log.error("evse=%s the disk is too slow: the record is not written at the deadline", self._evse_uid)
            return Reason.TOO_LATE
        error = recording.exception()
        if error is None:
            return Reason.TOO_LATE if self._time() > self._decider.deadline(tap) else None
        if not isinstance(error, StoreError):
            raise error
        log.error("evse=%s the record can't be written; cards are refused until it can: %s", self._evse_uid, error)
        return Reason.STORAGE_FAULT

    def _joined_late(self, late: LateAnswer) -> None:
        reference = late.answer.authorization_reference
        assert reference is not None, "only a reference joins"
        self._late[late.authorization_id] = late
        self._machine.hand_in(LateReference(self._time(), late.authorization_id, reference))
        self._late.pop(late.authorization_id, None)  # an EVSE that has failed asks for it no more

    def _refused_late(self, authorization_id: int) -> None:
        self._machine.hand_in(LateRefused(self._time(), authorization_id))

    # ---- cards that are not decided, and ends

    def end(self, effect: EndSession | EndAuthorization) -> None:
        switched_at = self._time()
        tap = effect.tap
        entry = None
        if tap is not None:
            begun = self._ledger.facts(effect.authorization_id)
            had_session = isinstance(effect, EndSession)
            entry = self._entries.stopped(tap, effect.authorization_id, effect.because, begun, had_session=had_session)
        if isinstance(effect, EndSession):
            account = self._ledger.account
            energy = "energy not metered" if account is None or account.energy_wh is None else f"{account.energy_wh} Wh"
            log.info("evse=%s session %d ends: %s, %s", self._evse_uid, effect.authorization_id, effect.because, energy)
            done = self._ledger.end(effect.at, effect.energy_wh, effect.because, entry)
        elif entry is None:
            done = self._ledger.end_authorization(effect.authorization_id, effect.because)
        else:
            done = self._ledger.take_down(entry)
        if tap is not None and entry is not None:
            self._settle_later(tap, entry, done, switched_at)

    def take_down(self, tap: Tap, entry: Entry) -> None:
        self._settle_later(tap, entry, self._ledger.take_down(entry), self._time())

    def _settle_later(self, tap: Tap, entry: Entry, done: "asyncio.Future[int | None]", switched_at: float) -> None:
        """Say that the tap is over once its record is on disk, or has failed, or takes too long."""

        async def settle() -> None:
            await asyncio.wait({done}, timeout=max(0.0, self._decider.deadline(tap) - self._time()))
            self._settled(tap, entry, done.result() if succeeded(done) else None, switched_at)

        self._aftermath.watch(settle())

    def _then(self) -> Text | None:
        """What an accepted card leads to."""
        if not self._settings.has_plug_sensor:
            return None
        return Text.CHARGING if self._machine.state.plug is Plug.IN else Text.PLUG_IN

    def _settled(
        self,
        tap: Tap,
        entry: Entry,
        authorization_id: int | None,
        switched_at: float,
        times: TapTimes | None = None,
    ) -> None:
        log.info(
            "evse=%s card=%s %s %s by %s in %.1f ms, reader %s, authorization %s, correlation=%s: %s",
            self._evse_uid, masked(tap.uid), entry.verdict, entry.reason, entry.source,
            (switched_at - tap.at) * 1000, tap.reader, authorization_id, entry.correlation_id, sanitise(entry.detail),
        )  # fmt: skip
        self._on_settled(Settled(tap, entry, authorization_id, switched_at, times))

    def _time(self) -> float:
        return asyncio.get_running_loop().time()


def _times(tap: Tap, decided: Decided, recorded_at: float, switched_at: float) -> TapTimes | None:
    """`recorded_at`: when the record was on disk, or had failed."""
    if decided.began_at is None or decided.found_at is None or decided.decided_at is None:
        return None
    steps = (tap.at, decided.began_at, decided.found_at, decided.decided_at, recorded_at, switched_at)
    return TapTimes(*(max(0.0, (end - begin) * 1000) for begin, end in pairwise(steps)))
