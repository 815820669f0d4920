"""One EVSE at work: hands what happens to its state machine, and carries out what that wants done.

The order is the product: nothing is switched on before its record is on disk, whatever fails leaves the relay open,
and the driver gets a text on every path. What the machine knows is in `agent.core.evse`; here are the tasks, timers and
devices around it. Events are handled one at a time, each to its end, without waiting for anything.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import assert_never
from uuid import uuid4

from agent.charges import Open
from agent.core.decide import group_name
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
    DeviceBack,
    DeviceLost,
    Event,
    Plugged,
    Reading,
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
from agent.errors import StoreError
from agent.model import (
    EndReason,
    MeterReading,
    Policy,
    Reason,
    Tap,
    Uid,
)
from agent.ports import Backend, Display, Indicator, Journal, Pulsing, Relay, Whitelist
from agent.runtime.aftermath import SHUT_DOWN_S, Aftermath
from agent.runtime.cards import Cards, Settled
from agent.runtime.clock import Clock
from agent.runtime.deciding import Decider
from agent.runtime.driver_display import DriverDisplay, IdleScreen
from agent.runtime.interlock import Interlock, Place
from agent.runtime.ledger import Ledger
from agent.runtime.switchgear import OUT_OF_ORDER_S, Switchgear
from agent.runtime.tap_entries import TapEntries, refusal

__all__ = ["OUT_OF_ORDER_S", "EvseTapLoop", "Settled"]

log = logging.getLogger(__name__)

PLUG_S = 5.0
"""How long a start that finds a session waits for the plug sensor's word whether the car is still there."""
DISK_S = 5.0
"""How long a start that finds a session waits for the disk to take it again."""

HANGS_S = 5.0
"""How long after its deadline a card may still be at work before the EVSE counts as hanging: nothing is waited for
beyond the deadline, so this is for a machine that is loaded."""
_LOOK_S = 0.5
"""How often an EVSE that does not turn is looked at again: one that failed is back within seconds."""

_DECIDED = frozenset({Text.REFUSED, Text.NOT_RECORDED, Text.TOO_LATE, Text.PLUG_IN, Text.CHARGING, Text.SUSPENDED})
"""Texts that go with a decision's own words, where one was just made."""


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
        idle: IdleScreen = IdleScreen(),  # noqa: B008  # immutable
        scroll: bool = True,
        indicators: Sequence[Indicator] = (),
        interlock: Interlock | None = None,
        min_off_s: float = 0.0,
    ) -> None:
        """All parts are passed in.

        `ledger` makes the books, given whom to tell of a session that can't be recorded; `found` is what the last
        start left open here; `idle`, `scroll` and `indicators` are as in `DriverDisplay`, `min_off_s` as in
        `GuardedRelay`. With an `interlock` no charge begins while another EVSE of it is in use.
        """
        self.evse_uid = evse_uid
        self._settings = settings
        self._place: Place | None = None
        if interlock is not None:
            self._place = interlock.join(
                evse_uid, in_use=lambda: self.is_in_use, may_be_closed=lambda: self._switchgear.may_be_closed
            )
        self._switchgear = Switchgear(
            relay, evse_uid, on_lost=lambda: self._relay_is(works=False), on_back=lambda: self._relay_is(works=True),
            forbids=self._place.forbids_closing if self._place else lambda: None, min_off_s=min_off_s,
        )  # fmt: skip
        self._display = DriverDisplay(
            display, language, standing=lambda: standing_text(self._evse), idle=idle, scroll=scroll,
            indicators=indicators,
        )  # fmt: skip
        self._entries = TapEntries(evse_uid, policy, self._display, clock)
        self._decider = Decider(
            evse_uid, location_id=location_id, policy=policy, whitelist=whitelist, backend=backend, now=clock.now,
            on_whitelist_fault=on_whitelist_fault,
        )  # fmt: skip
        self._clock = clock
        self._found = found
        self._resumes = found is not None and found.session is not None
        """What the last start left open may still be resumed."""
        self._ledger = ledger(lambda number: self.hand_in(SessionUnrecorded(self._time(), number)))
        self._aftermath = Aftermath(evse_uid, journal, clock.now)
        self._cards = Cards(
            evse_uid, self, settings=settings, decider=self._decider, entries=self._entries, journal=journal,
            ledger=self._ledger, aftermath=self._aftermath, display=self._display, on_settled=on_settled,
            place=self._place,
        )  # fmt: skip
        self._evse: Evse = START
        self._events: deque[Event] = deque()
        self._live = False
        self._stepping = False
        self._broken: asyncio.Future[None] | None = None
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._work: dict[asyncio.Task[None], float] = {}
        """What is at work on a card, and since when."""
        self._hangs_s = policy.deadline_s + policy.reserve_s + HANGS_S
        self._next: tuple[Policy, Settings] | None = None
        """What is to be decided by once nobody waits for a decision."""
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
    def relay_fault(self) -> str:
        """Why its relay or contactor is out of order; empty when it is not."""
        return self._switchgear.detail

    @property
    def active_authorization(self) -> int | None:
        """The authorization that runs, with or without a session."""
        return self._evse.running.id if self._evse.running else None

    @property
    def is_in_use(self) -> bool:
        """Whether something runs here, may be resumed, or current may flow: to others of its interlock."""
        return self._evse.running is not None or self._resumes or self._switchgear.may_be_closed

    # ---- what happens

    def tap(self, tap: Tap, groups: frozenset[str] | None = None) -> None:
        """Hand over a tap; `groups` where somebody has looked them up already."""
        if self._live:
            self._display.reading()
        self.hand_in(Tapped(self._time(), tap, groups))

    def refuse(self, tap: Tap, because: Reason, detail: str, *, recorded: bool) -> bool:
        """Turn a card away that the machine is not to hear of: shown, and if `recorded` taken down and settled.

        False, and nothing is done, while the EVSE is not at work. To a reader's slowdown a card that it turned away
        itself is no guess, or an impatient driver would prolong the pause for ever: see `counts_as_guess`.
        """
        if not self._live:
            return False
        decision = refusal(because, detail)
        self._display.verdict(decision)
        if recorded:
            self._cards.take_down(tap, self._entries.decided(tap, decision, str(uuid4())))
        return True

    async def groups(self, tap: Tap) -> frozenset[str]:
        """The groups that a card is listed in; none where that can't be told: it must not end a charge then."""
        try:
            return await self._decider.groups(tap)
        except Exception:  # a spoilt row of anybody's card must not cost the driver who charges
            log.critical("evse=%s ALARM a card could not be looked up; it counts as of no group", self.evse_uid,
                         exc_info=True)  # fmt: skip
            return frozenset()

    def reader_is(self, name: str, *, missing: bool) -> None:
        """Take note of a reader's state: without any, the driver must not be asked for a card."""
        self._readers_missing[name] = missing
        self._device_is(Device.READER, works=not all(self._readers_missing.values()))

    def plug_is(self, *, plugged: bool) -> None:
        """The plug sensor's word."""
        self._plug = Plug.IN if plugged else Plug.OUT
        self._plug_known.set()
        self.hand_in(Plugged(self._time()) if plugged else Unplugged(self._time()))

    def plug_sensor_is(self, *, works: bool) -> None:
        """Without its plug sensor nobody can say whose car the current goes to."""
        if not works:
            self._plug = Plug.UNKNOWN
        self._device_is(Device.PLUG, works=works)

    def read(self, reading: MeterReading) -> None:
        """The meter's word."""
        self.hand_in(Reading(self._time(), reading.energy_wh, reading.power_w))

    def meter_is(self, *, works: bool) -> None:
        """A charge goes on without its meter; none begins."""
        self._device_is(Device.METER, works=works)

    def relay_board_is(self, *, works: bool) -> None:
        """The word of the board that the relay is on: when it is back, the contact is open."""
        self._switchgear.board_is(works=works)

    def contact_is(self, *, closed: bool) -> None:
        """The word of the contactor's feedback."""
        self._switchgear.contact_is(closed=closed)

    def contact_feedback_is(self, *, works: bool) -> None:
        """A charge goes on without its contactor's feedback; none begins."""
        self._switchgear.feedback_is(works=works)

    def use(self, policy: Policy, settings: Settings) -> None:
        """Decide by these from the next card on; one that is being decided has its decision first.

        What a running session has begun with stays, except that a late refusal is dealt with as `policy` now says.
        """
        self._next = policy, settings
        self._take_up()

    async def end(self, because: EndReason) -> bool:
        """Open the relay and end what runs, on record. False when there was nothing."""
        if self._evse.running is None:
            return False
        self.hand_in(StopCommanded(self._time(), because))
        await self._ledger.settled()
        return True

    async def pulse(self) -> None:
        """Return at once while the EVSE works; see `agent.ports.Pulsing`.

        It hangs while it is not live, while a card is at work long after its deadline, and while events lie there that
        nobody handles. One that has failed is live again as soon as it is run again.
        """
        while not self._turns:  # noqa: ASYNC110  what hangs has no event to say so
            await asyncio.sleep(_LOOK_S)

    @property
    def _turns(self) -> bool:
        # Events are handled before anybody else has his turn: whoever sees one lying here sees that nobody will.
        if not self._live or self.is_broken or self._events or self._stepping:
            return False
        oldest = min(self._work.values(), default=math.inf)
        return self._time() - oldest <= self._hangs_s

    async def run(self) -> None:
        """Work until cancelled. Begins and leaves with the relay open, and what is not to be resumed ended on record.

        Raises what broke it; the relay is open and the books are closed then, and it may be run again.
        """
        self._switchgear.open()
        self._ledger.go_on()
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
        if found is not None and not self._ledger.found(found):
            found = None
        if found is not None and found.session is not None and self._settings.has_plug_sensor:
            await self._plug_report()
        off_for_s = self._off_for_s(found)
        if found is not None and found.session is not None and self._settings.can_resume and self._plug is Plug.IN:
            off_for_s = off_for_s if await self._disk_takes_it() else None
        self._evse, self._live = START, True
        self._events.appendleft(Restarted(self._time(), _running(found), self._plug, off_for_s))
        lost = self._lost | ({Device.RELAY} if self._switchgear.is_lost else set())
        self._events.extend(DeviceLost(self._time(), device) for device in lost)
        self._handle()
        self._resumes = False

    async def _disk_takes_it(self) -> bool:
        """Whether the session that was found can be written: on a disk that refuses, its end may be what is missing."""
        try:
            async with asyncio.timeout(DISK_S):
                await self._ledger.confirmed()
        except StoreError as error:
            log.error("evse=%s the session that was running is not resumed: %s", self.evse_uid, error)
        except TimeoutError:
            log.error("evse=%s the session that was running is not resumed: the disk does not answer", self.evse_uid)
        else:
            return True
        return False

    async def _plug_report(self) -> None:
        try:
            async with asyncio.timeout(PLUG_S):
                await self._plug_known.wait()
        except TimeoutError:
            log.error("evse=%s the plug sensor has not said whether a car is there", self.evse_uid)

    def _off_for_s(self, found: Open | None) -> float | None:
        if found is None or found.session is None:
            return None
        return self._ledger.gone_s(found.session)

    def _leave(self) -> None:
        """Open the relay, now; and end what is not to be resumed."""
        if self._live and not self.is_broken:
            self.hand_in(ShutDown(self._time()))
        self._live = self._resumes = False
        self._switchgear.open()
        if self.is_broken:
            self._ledger.abandon(EndReason.AGENT_FAULT)  # a relay that is stuck is told on: it is run again soon
        else:
            self._switchgear.stop()
        self._evse = START

    async def _take_down(self) -> None:
        self._display.stop()
        self._events.clear()
        self._switchgear.rest()
        for handle in self._timers.values():
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

    def hand_in(self, event: Event) -> None:
        """Something happens; it is carried out before this returns, unless another event is under way."""
        if not self._live and not isinstance(event, Tapped):
            return  # a start asks for the state of every device
        self._events.append(event)
        self._handle()

    def _handle(self) -> None:
        if self._stepping or not self._live or self.is_broken:
            return
        self._stepping = True
        try:
            while self._events:
                self._step(self._events.popleft())
                self._take_up()
        except (Exception, SystemExit) as error:
            log.critical("evse=%s ALARM the EVSE has failed; its relay opens", self.evse_uid, exc_info=True)
            self._fail(error)
        finally:
            self._stepping = False

    def _take_up(self) -> None:
        if self._next is None or isinstance(self._evse.phase, Authorizing):
            return
        (policy, self._settings), self._next = self._next, None
        self._hangs_s = policy.deadline_s + policy.reserve_s + HANGS_S
        self._decider.use(policy)
        self._entries.use(policy)

    @property
    def is_live(self) -> bool:
        """Whether it takes events."""
        return self._live

    @property
    def is_broken(self) -> bool:
        """Whether it has failed, and is about to end."""
        return self._broken is not None and self._broken.done() and not self._broken.cancelled()

    def _fail(self, error: BaseException) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)  # first: whatever opening comes to, nothing more is handed in
        self._events.clear()
        self._switchgear.open()

    def _step(self, event: Event) -> None:
        self._evse, effects = step(self._evse, event, self._settings)
        for effect in effects:
            self._carry_out(effect, event)
        if self._evse.running is None:
            self._display.language = None

    def _carry_out(self, effect: Effect, event: Event) -> None:  # noqa: C901, PLR0912  a table
        match effect:
            case OpenRelay():
                if not self._switchgear.open():
                    self._events.appendleft(DeviceLost(self._time(), Device.RELAY))
            case CloseRelay():
                if not self._switchgear.close():
                    self._events.appendleft(DeviceLost(self._time(), Device.RELAY))
                self._cards.closed_at = self._time()
            case Show(text):
                self._show(text)
            case AskDecision(tap):
                self._spawn(self._cards.decide(tap))
            case LookUpGroups(tap):
                self._spawn(self._look_up(tap))
            case RecordRefusal(tap, because, lost):
                entry = self._entries.refused(
                    tap, because, lost, self.active_authorization, why=self._switchgear.detail or None
                )
                self._cards.take_down(tap, entry)
            case StartSession(authorization_id, at, energy_wh):
                log.info("evse=%s session %d begins", self.evse_uid, authorization_id)
                self._ledger.start(authorization_id, at, energy_wh)
            case ResumeSession(authorization_id, at):
                log.info("evse=%s session %d goes on", self.evse_uid, authorization_id)
                self._ledger.resume(at)
            case BeginPeriod(_, at, period, energy_wh):
                self._ledger.turn(at, period, energy_wh)
            case AddReading(_, at, energy_wh):
                self._add_reading(event, at, energy_wh)
            case EndSession() | EndAuthorization():
                self._cards.end(effect)
            case JoinReference(authorization_id, _):
                self._ledger.join(authorization_id, self._cards.late(authorization_id))
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
        self.hand_in(TimerFired(self._time(), timer))

    def _device_is(self, device: Device, *, works: bool) -> None:
        if works:
            self._lost.discard(device)
            self.hand_in(DeviceBack(self._time(), device))
        else:
            self._lost.add(device)
            self.hand_in(DeviceLost(self._time(), device))

    def _relay_is(self, *, works: bool) -> None:
        """What it is lost for, the switchgear remembers."""
        event = DeviceBack if works else DeviceLost
        self.hand_in(event(self._time(), Device.RELAY))

    def _add_reading(self, event: Event, at: float, energy_wh: int | None) -> None:
        if isinstance(event, ShutDown):
            self._ledger.keep(at, energy_wh)
        else:
            self._ledger.reading(at, energy_wh)

    def _show(self, text: Text) -> None:
        if text is Text.ASKING:
            return  # said when a peer is asked: a card that the whitelist alone decides sees the verdict at once
        if self._cards.words is not None and text in _DECIDED:
            self._display.verdict(self._cards.words, text if self._settings.has_plug_sensor else None)
        else:
            self._display.say(text)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work[task] = self._time()
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        del self._work[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("evse=%s ALARM the EVSE has failed; its relay opens", self.evse_uid, exc_info=error)
            self._fail(error)

    async def _look_up(self, tap: Tap) -> None:
        self.tap(tap, await self.groups(tap))


def _fits(evse: EvseTapLoop) -> Pulsing:
    return evse


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
