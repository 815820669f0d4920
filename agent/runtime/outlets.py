"""The EVSEs behind one reader: a card is for one of them; and the reader's pauses while somebody may be guessing."""

import asyncio
import logging
from collections.abc import Sequence

from agent.core.evse_events import Tapped
from agent.core.evse_outlets import outlet_for
from agent.core.evse_state import Authorizing
from agent.core.slowdown import Pace, Pause, Slowdown, counts_as_guess
from agent.core.uid import masked
from agent.model import Reason, Tap
from agent.ports import ReaderState
from agent.runtime.charge_point import EvseTapLoop, Settled

log = logging.getLogger(__name__)


class Outlets:
    """Hands each card of a reader to the EVSE that it is for.

    In a pause only the card of a charge at one of the EVSEs gets there, so that its driver can stop; any other is
    turned away with a text. Of those the first of each pause is recorded, so that nobody can fill the disk: whoever
    holds cards to the reader for T seconds leaves no more records than the decisions that `Slowdown` allows, and one
    for each pause.
    """

    def __init__(self, evses: Sequence[EvseTapLoop], *, reader: str = "", slowdown: Slowdown | None = None) -> None:
        """One EVSE at least, all fitted alike; `reader` is the name that its taps bear. No slowdown, no pauses."""
        self.evses = tuple(evses)
        self._looking: set[asyncio.Task[None]] = set()
        self._reader = reader
        self._slowdown = slowdown
        self._pace = Pace(slowdown) if slowdown else None
        self._pause: Pause | None = None
        self._is_recorded = False
        """Whether a card of this pause is on record."""
        self._unrecorded = 0
        """Cards turned away in this pause that no record tells of."""
        self._unrecorded_before = 0
        """The same, of the pause before."""
        self.reader_state: tuple[ReaderState, str] | None = None
        """The reader's last word of itself, with what to do; None until its first."""

    def use(self, slowdown: Slowdown | None) -> None:
        """Pace the reader by this from now on: what was counted is forgotten, and a pause is over."""
        if slowdown == self._slowdown:
            return
        if self._pause is not None:
            self._end(self._pause)
        self._slowdown, self._pace = slowdown, Pace(slowdown) if slowdown else None

    def tap(self, tap: Tap) -> None:
        """Hand a card over; where a group may matter, once its groups are known."""
        pause = self._pause
        if pause is not None and pause.is_on(_now()) and not self._is_of_a_driver_here(tap):
            self._turn_away(tap, pause)
        elif len(self.evses) == 1:
            self.evses[0].tap(tap)
        elif self._may_be_of_a_group(tap):
            task = asyncio.get_running_loop().create_task(self._look_up(tap))
            self._looking.add(task)
            task.add_done_callback(self._looked_up)
        else:
            self._hand_over(tap, frozenset())

    def reader_is(self, name: str, state: ReaderState, advice: str) -> None:
        """Tell every EVSE of the reader's state."""
        self.reader_state = state, advice
        missing = state is ReaderState.MISSING
        for evse in self.evses:
            evse.reader_is(name, missing=missing)

    def settled(self, settled: Settled) -> None:
        """A tap at one of the EVSEs is over; those of other readers are none of this one's business."""
        if self._pace is None or settled.tap.reader != self._reader:
            return
        if not counts_as_guess(settled.entry, is_recorded=settled.authorization_id is not None):
            return
        pause = self._pace.refused(_now())
        if pause is None:
            return
        if self._pause is not None and self._pause.begun != pause.begun:
            self._end(self._pause)
        self._pause = pause
        log.warning("reader %s: somebody may be guessing cards: %s", self._reader, self._cause(pause))
        asyncio.get_running_loop().call_at(pause.until, self._end, pause)

    # ---- whose card it is

    def _may_be_of_a_group(self, tap: Tap) -> bool:
        running = [evse.state.running for evse in self.evses]
        if any(authorization and authorization.uid == tap.uid for authorization in running):
            return False
        return any(authorization and authorization.group for authorization in running)

    async def _look_up(self, tap: Tap) -> None:
        self._hand_over(tap, await self.evses[0].groups(tap))

    def _hand_over(self, tap: Tap, groups: frozenset[str]) -> None:
        evse = self._evse_for(tap, groups)
        log.debug("card=%s is for evse=%s", masked(tap.uid), evse.evse_uid)
        evse.tap(tap, groups)

    def _evse_for(self, tap: Tap, groups: frozenset[str]) -> EvseTapLoop:
        states = [evse.state for evse in self.evses]
        return self.evses[outlet_for(Tapped(_now(), tap, groups), states, self.evses[0].settings)]

    def _looked_up(self, task: asyncio.Task[None]) -> None:
        self._looking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("ALARM a card could not be handed to its EVSE", exc_info=error)

    # ---- the reader's pauses

    def _is_of_a_driver_here(self, tap: Tap) -> bool:
        """Whether the card runs a charge here, has just ended one, or is being decided: nothing is guessed with it."""
        return any(_is_of_its_driver(tap, evse) for evse in self.evses)

    def _turn_away(self, tap: Tap, pause: Pause) -> None:
        """Show that the reader waits. Nothing is looked up: a card of a group, too, has to wait."""
        evse = self._evse_for(tap, frozenset())
        if evse.refuse(tap, Reason.TOO_MANY_REFUSED, self._detail(pause), recorded=not self._is_recorded):
            self._unrecorded += self._is_recorded
            self._is_recorded = True

    def _detail(self, pause: Pause) -> str:
        before = self._unrecorded_before
        return self._cause(pause) + (f"; in its last pause {before} more were turned away" if before else "")

    def _cause(self, pause: Pause) -> str:
        assert self._slowdown is not None, "no pause without its settings"
        return (
            f"{self._slowdown.refusals} cards were refused at reader {self._reader} "
            f"within {self._slowdown.within_s:g} s; it waits {pause.until - pause.begun:.0f} s"
        )

    def _end(self, pause: Pause) -> None:
        """The pause is over, unless it has grown longer meanwhile."""
        if self._pause is not pause:
            return
        turned_away = self._unrecorded + self._is_recorded
        log.info("reader %s decides cards again; it has turned away %d", self._reader, turned_away)
        self._pause, self._is_recorded = None, False
        self._unrecorded, self._unrecorded_before = 0, self._unrecorded


def _is_of_its_driver(tap: Tap, evse: EvseTapLoop) -> bool:
    state = evse.state
    if isinstance(state.phase, Authorizing):
        return tap.uid in {other.uid for other in (state.phase.tap, *state.phase.waiting)}
    runs = state.running is not None and state.running.uid == tap.uid
    return runs or state.has_just_stopped(tap, evse.settings)


def _now() -> float:
    return asyncio.get_running_loop().time()
