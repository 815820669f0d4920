"""One EVSE at work: hands what happens to its state machine, and carries out what that wants done.

The order is the product: nothing is switched on before its record is on disk, whatever fails leaves the relay open,
and the driver gets a text on every path. What the machine knows is in `agent.core.evse`; here are the tasks, timers and
devices around it. Events are handled one at a time, each to its end, without waiting for anything.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import assert_never
from uuid import uuid4

from agent.charges import Open
from agent.core.decide import group_name, group_of
from agent.core.evse import step
from agent.core.evse_effects import (
    AddReading,
    AskDecision,
    BeginPeriod,
    CancelTimer,
    CloseRelay,
    Effect,
    EndAuthorization,
    EndSession,
    JoinReference,
    LockCable,
    LookUpGroups,
    OpenRelay,
    RaiseAlarm,
    RecordRefusal,
    ResumeSession,
    SetTimer,
    Show,
    StartSession,
    Text,
    UnlockCable,
    standing_text,
)
from agent.core.evse_events import (
    Accepted,
    DeviceBack,
    DeviceLost,
    Event,
    LateReference,
    LateRefused,
    Plugged,
    Reading,
    RecordedTooLate,
    RecordFailed,
    Refused,
    Restarted,
    Running,
    SessionUnrecorded,
    ShutDown,
    StopCommanded,
    Tapped,
    TimerFired,
    Unplugged,
)
from agent.core.evse_state import START, Authorizing, Device, Evse, Plug, Settings, Timer
from agent.core.glyphs import sanitise
from agent.core.uid import masked
from agent.errors import StoreError
from agent.model import (
    Decision,
    EndReason,
    Entry,
    LateAnswer,
    MeterReading,
    Policy,
    Reason,
    Tap,
    Uid,
    Verdict,
)
from agent.ports import Backend, Display, Journal, Relay, Whitelist
from agent.runtime.aftermath import SHUT_DOWN_S, Aftermath, Recording, succeeded
from agent.runtime.clock import Clock
from agent.runtime.deciding import Decided, Decider
from agent.runtime.driver_display import DriverDisplay
from agent.runtime.guarded_relay import GuardedRelay
from agent.runtime.ledger import Ledger
from agent.runtime.tap_entries import TapEntries, refusal

log = logging.getLogger(__name__)

PLUG_S = 5.0
"""How long a start that finds a session waits for the plug sensor's word whether the car is still there."""
OUT_OF_ORDER_S = 6.0
"""How long a relay that did not close, and is open, keeps the EVSE out of order: time to read it, and to cool down."""

_DECIDED = frozenset({Text.REFUSED, Text.NOT_RECORDED, Text.TOO_LATE, Text.PLUG_IN, Text.CHARGING, Text.SUSPENDED})
"""Texts that go with a decision's own words, where one was just made."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A tap that is over, for whoever watches: `switched_at` is the loop time after the relay was commanded."""

    tap: Tap
    entry: Entry
    authorization_id: int | None
    switched_at: float


class EvseTapLoop:
    """Works one EVSE. `tap` and the like hand in what happens; `run` works until cancelled: then the relay is open."""

    def __init__(
        self,
        evse_uid: str,
        *,
        location_id: str,
        language: str,
        policy: Policy,
        settings: Settings,
        relay: Relay,
        display: Display,
        whitelist: Whitelist,
        backend: Backend,
        journal: Journal,
        ledger: Callable[[Callable[[int], None]], Ledger],
        clock: Clock,
        found: Open | None = None,
        on_settled: Callable[[Settled], None] = lambda _: None,
        on_whitelist_fault: Callable[[StoreError], None] = lambda _: None,
    ) -> None:
        """All parts are passed in.

        `ledger` makes the books, given whom to tell of a session that can't be recorded; `found` is what the last
        start left open here.
        """
        self.evse_uid = evse_uid
        self._policy = policy
        self._settings = settings
        self._relay = GuardedRelay(relay, evse_uid, on_open_at_last=lambda: self._device_is(Device.RELAY, works=True))
        self._display = DriverDisplay(display, language, standing=lambda: standing_text(self._evse))
        self._entries = TapEntries(evse_uid, policy, self._display, clock)
        self._decider = Decider(
            evse_uid, location_id=location_id, policy=policy, whitelist=whitelist, backend=backend, now=clock.now,
            on_whitelist_fault=on_whitelist_fault,
        )  # fmt: skip
        self._journal = journal
        self._clock = clock
        self._found = found
        self._on_settled = on_settled
        self._ledger = ledger(lambda number: self._hand_in(SessionUnrecorded(self._time(), number)))
        self._aftermath = Aftermath(evse_uid, journal, clock.now)
        self._evse: Evse = START
        self._events: deque[Event] = deque()
        self._live = False
        self._stepping = False
        self._broken: asyncio.Future[None] | None = None
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._repair: asyncio.TimerHandle | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._words: Decision | None = None
        self._late: dict[int, LateAnswer] = {}
        self._readers_missing: dict[str, bool] = {}
        self._lost: set[Device] = set()
        self._plug = Plug.UNKNOWN
        self._plug_known = asyncio.Event()

    @property
    def state(self) -> Evse:
        """The machine's state, for whoever watches."""
        return self._evse

    @property
    def settings(self) -> Settings:
        """How the EVSE is fitted."""
        return self._settings

    @property
    def ledger(self) -> Ledger:
        """Its books."""
        return self._ledger

    @property
    def active_authorization(self) -> int | None:
        """The authorization that runs, with or without a session."""
        return self._evse.running.id if self._evse.running else None

    # ---- what happens

    def tap(self, tap: Tap, groups: frozenset[str] | None = None) -> None:
        """Hand over a tap; `groups` where somebody has looked them up already."""
        self._hand_in(Tapped(self._time(), tap, groups))

    async def groups(self, tap: Tap) -> frozenset[str]:
        """The groups that a card is listed in."""
        return await self._decider.groups(tap)

    def reader_is(self, name: str, *, missing: bool) -> None:
        """Take note of a reader's state: without any, the driver must not be asked for a card."""
        self._readers_missing[name] = missing
        self._device_is(Device.READER, works=not all(self._readers_missing.values()))

    def plug_is(self, *, plugged: bool) -> None:
        """The plug sensor's word."""
        self._plug = Plug.IN if plugged else Plug.OUT
        self._plug_known.set()
        self._hand_in(Plugged(self._time()) if plugged else Unplugged(self._time()))

    def plug_sensor_is(self, *, works: bool) -> None:
        """Without its plug sensor nobody can say whose car the current goes to."""
        if not works:
            self._plug = Plug.UNKNOWN
        self._device_is(Device.PLUG, works=works)

    def read(self, reading: MeterReading) -> None:
        """The meter's word."""
        self._hand_in(Reading(self._time(), reading.energy_wh, reading.power_w))

    def meter_is(self, *, works: bool) -> None:
        """A charge goes on without its meter; none begins."""
        self._device_is(Device.METER, works=works)

    async def end(self, because: EndReason) -> bool:
        """Open the relay and end what runs, on record. False when there was nothing."""
        if self._evse.running is None:
            return False
        self._hand_in(StopCommanded(self._time(), because))
        await self._ledger.settled()
        return True

    async def run(self) -> None:
        """Work until cancelled. Begins and leaves with the relay open, and what is not to be resumed ended on record.

        Raises what broke it; the relay is open and the books are closed then, and it may be run again.
        """
        self._relay.open()
        self._broken = asyncio.get_running_loop().create_future()
        try:
            await self._start()
            await self._broken
        finally:
            try:
                self._leave()
            finally:
                await self._take_down()

    # ---- a life from start to end

    async def _start(self) -> None:
        found, self._found = self._found, None
        if found is not None:
            self._ledger.found(found)
            if found.session is not None and self._settings.has_plug_sensor:
                await self._plug_report()
        self._evse, self._live = START, True
        self._events.appendleft(Restarted(self._time(), _running(found), self._plug, self._off_for_s(found)))
        self._events.extend(DeviceLost(self._time(), device) for device in self._lost)
        self._handle()

    async def _plug_report(self) -> None:
        try:
            async with asyncio.timeout(PLUG_S):
                await self._plug_known.wait()
        except TimeoutError:
            log.error("evse=%s the plug sensor has not said whether a car is there", self.evse_uid)

    def _off_for_s(self, found: Open | None) -> float | None:
        if found is None or found.session is None:
            return None
        last = found.session
        return self._clock.since(last.boot_id, last.monotonic_s, last.changed_at, wall_known=last.clock_known)

    def _leave(self) -> None:
        """Open the relay, now; and end what is not to be resumed."""
        if self._live and not self._is_broken:
            self._hand_in(ShutDown(self._time()))
        self._live = False
        self._relay.open()
        self._relay.stop()
        if self._is_broken:
            self._ledger.abandon(EndReason.AGENT_FAULT)
        self._evse = START

    async def _take_down(self) -> None:
        self._display.stop()
        self._events.clear()
        for handle in (*self._timers.values(), *([self._repair] if self._repair else [])):
            handle.cancel()
        self._timers.clear()
        for task in tuple(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        # What a decision that was cut off leaves to be ended comes first, then the books.
        await self._aftermath.stop()
        await self._ledger.stop(SHUT_DOWN_S)

    # ---- the machine

    def _time(self) -> float:
        return asyncio.get_running_loop().time()

    def _hand_in(self, event: Event) -> None:
        if not self._live and not isinstance(event, Tapped):
            return  # a start asks for the state of every device
        self._events.append(event)
        self._handle()

    def _handle(self) -> None:
        if self._stepping or not self._live:
            return
        self._stepping = True
        try:
            while self._events:
                self._step(self._events.popleft())
        except (Exception, SystemExit) as error:
            log.critical("evse=%s ALARM the EVSE has failed; its relay opens", self.evse_uid, exc_info=True)
            self._fail(error)
        finally:
            self._stepping = False

    @property
    def _is_broken(self) -> bool:
        return self._broken is not None and self._broken.done() and not self._broken.cancelled()

    def _fail(self, error: BaseException) -> None:
        self._relay.open()
        self._events.clear()
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

    def _step(self, event: Event) -> None:
        self._evse, effects = step(self._evse, event, self._settings)
        for effect in effects:
            self._carry_out(effect, event)
        if self._evse.running is None:
            self._display.language = None

    def _carry_out(self, effect: Effect, event: Event) -> None:  # noqa: C901, PLR0912  a table
        match effect:
            case OpenRelay():
                if not self._relay.open():
                    self._events.appendleft(DeviceLost(self._time(), Device.RELAY))
            case CloseRelay():
                if not self._relay.close():
                    self._not_closed()
            case Show(text):
                self._show(text)
            case AskDecision(tap):
                self._spawn(self._decide(tap))
            case LookUpGroups(tap):
                self._spawn(self._look_up(tap))
            case RecordRefusal(tap, because, lost):
                self._take_down_card(tap, self._entries.refused(tap, because, lost, self.active_authorization))
            case StartSession(authorization_id, at, energy_wh):
                self._ledger.start(authorization_id, at, energy_wh)
            case ResumeSession(_, at):
                self._ledger.resume(at)
            case BeginPeriod(_, at, period, energy_wh):
                self._ledger.turn(at, period, energy_wh)
            case AddReading(_, at, energy_wh):
                self._add_reading(event, at, energy_wh)
            case EndSession() | EndAuthorization():
                self._end(effect)
            case JoinReference(authorization_id, _):
                self._ledger.join(authorization_id, self._late.pop(authorization_id))
            case SetTimer(timer, after_s):
                self._timers[timer] = asyncio.get_running_loop().call_later(after_s, self._fire, timer)
            case CancelTimer(timer):
                self._timers.pop(timer).cancel()
            case LockCable() | UnlockCable():
                pass  # no lock is fitted
            case RaiseAlarm(alarm):
                log.critical("evse=%s ALARM %s", self.evse_uid, alarm)
            case never:
                assert_never(never)

    def _fire(self, timer: Timer) -> None:
        self._timers.pop(timer, None)
        self._hand_in(TimerFired(self._time(), timer))

    def _device_is(self, device: Device, *, works: bool) -> None:
        if works:
            self._lost.discard(device)
            self._hand_in(DeviceBack(self._time(), device))
        else:
            self._lost.add(device)
            self._hand_in(DeviceLost(self._time(), device))

    def _not_closed(self) -> None:
        """Lost, before anything else happens; and back after a while if it is at least open."""
        self._events.appendleft(DeviceLost(self._time(), Device.RELAY))
        if not self._relay.stuck:
            loop = asyncio.get_running_loop()
            self._repair = loop.call_later(OUT_OF_ORDER_S, lambda: self._device_is(Device.RELAY, works=True))

    def _add_reading(self, event: Event, at: float, energy_wh: int | None) -> None:
        if isinstance(event, ShutDown):
            self._ledger.keep(at, energy_wh)
        else:
            self._ledger.reading(at, energy_wh)

    def _show(self, text: Text) -> None:
        if text is Text.ASKING:
            return  # said when a peer is asked: a card that the whitelist alone decides sees the verdict at once
        if self._words is not None and text in _DECIDED:
            self._display.verdict(self._words, text if self._settings.has_plug_sensor else None)
        else:
            self._display.say(text)

    # ---- a decision

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("evse=%s ALARM the EVSE has failed; its relay opens", self.evse_uid, exc_info=error)
            self._fail(error)

    async def _look_up(self, tap: Tap) -> None:
        self.tap(tap, await self._decider.groups(tap))

    async def _decide(self, tap: Tap) -> None:
        """One card, to its end. What nobody foresaw refuses the driver, with the relay open; then the next tap."""
        correlation_id = str(uuid4())
        try:
            decided = await self._decider.decide(tap, correlation_id, lambda: self._display.say(Text.ASKING))
            if self._ledger.is_refused and decided.decision.verdict is Verdict.ACCEPTED:
                detail = f"what is to be billed can't be recorded now; else: {decided.decision.detail}"
                decided = replace(decided, decision=refusal(Reason.STORAGE_FAULT, detail, decided.decision))
            await self._record(tap, decided)
        except Exception as error:
            log.critical("evse=%s ALARM a tap could not be decided", self.evse_uid, exc_info=True)
            detail = f"the agent failed at this tap, its log has the trace: {type(error).__name__}"
            fault = Decided(refusal(Reason.AGENT_FAULT, detail), correlation_id)
            if not self._is_broken and isinstance(self._evse.phase, Authorizing) and self._evse.phase.tap == tap:
                await self._record(tap, fault)
            else:
                self._hand_in(StopCommanded(self._time(), EndReason.AGENT_FAULT))
                self._display.verdict(fault.decision)
                self._take_down_card(tap, self._entries.decided(tap, fault.decision, correlation_id))

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
        self._words = decision
        try:
            if fault is not None:
                self._hand_in(RecordFailed(self._time(), too_late=fault is Reason.TOO_LATE))
                self._aftermath.landed(recording, entry, self._landed)
            elif entry.relay_closed:
                fault = self._accepted(recording.result(), entry, decision)
            else:
                self._hand_in(Refused(self._time()))
        finally:
            self._words = None
        if self._broken is not None and self._is_broken:
            self._broken.result()
        switched_at = self._time()
        if entry.relay_closed and fault is not None:
            if decision.verdict is Verdict.ACCEPTED:
                decision = refusal(fault, f"was accepted, but {fault}: {decision.detail}", decision)
                self._display.verdict(decision)
            entry = self._entries.decided(tap, decision, decided.correlation_id)
        self._settled(tap, entry, recording.result() if succeeded(recording) else None, switched_at)
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
        self._hand_in(Accepted(self._time(), authorization_id, group))
        if self._evse.runs(authorization_id):
            return None
        return Reason.OUT_OF_ORDER if self._evse.lost - {Device.RELAY} else Reason.RELAY_FAULT

    def _landed(self, authorization_id: int) -> None:
        if self._live:
            self._hand_in(RecordedTooLate(self._time(), authorization_id))
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
            log.error("evse=%s the disk is too slow: the record is not written at the deadline", self.evse_uid)
            return Reason.TOO_LATE
        error = recording.exception()
        if error is None:
            return Reason.TOO_LATE if self._time() > self._decider.deadline(tap) else None
        if not isinstance(error, StoreError):
            raise error
        log.error("evse=%s the record can't be written; cards are refused until it can: %s", self.evse_uid, error)
        return Reason.STORAGE_FAULT

    def _joined_late(self, late: LateAnswer) -> None:
        reference = late.answer.authorization_reference
        assert reference is not None, "only a reference joins"
        self._late[late.authorization_id] = late
        self._hand_in(LateReference(self._time(), late.authorization_id, reference))

    def _refused_late(self, authorization_id: int) -> None:
        self._hand_in(LateRefused(self._time(), authorization_id))

    # ---- cards that are not decided, and ends

    def _end(self, effect: EndSession | EndAuthorization) -> None:
        switched_at = self._time()
        tap = effect.tap
        entry = None
        if tap is not None:
            begun = self._ledger.facts(effect.authorization_id)
            entry = self._entries.stopped(tap, effect.authorization_id, effect.because, begun)
        if isinstance(effect, EndSession):
            done = self._ledger.end(effect.at, effect.energy_wh, effect.because, entry)
        elif entry is None:
            done = self._ledger.end_authorization(effect.authorization_id, effect.because)
        else:
            done = self._ledger.take_down(entry)
        if tap is not None and entry is not None:
            self._settle_later(tap, entry, done, switched_at)

    def _take_down_card(self, tap: Tap, entry: Entry) -> None:
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
        return Text.CHARGING if self._evse.plug is Plug.IN else Text.PLUG_IN

    def _settled(self, tap: Tap, entry: Entry, authorization_id: int | None, switched_at: float) -> None:
        log.info(
            "evse=%s card=%s %s %s by %s in %.1f ms, record %s: %s",
            self.evse_uid, masked(tap.uid), entry.verdict, entry.reason, entry.source,
            (switched_at - tap.at) * 1000, authorization_id, sanitise(entry.detail),
        )  # fmt: skip
        self._on_settled(Settled(tap, entry, authorization_id, switched_at))


def _running(found: Open | None) -> Running | None:
    if found is None:
        return None
    entry, session = found.authorization.entry, found.session
    return Running(
        found.authorization.id,
        Uid(entry.uid),
        group_name(entry.country_code, entry.party_id, entry.group_id),
        session_started=session is not None,
        energy_wh=session.register_wh if session else None,
    )
