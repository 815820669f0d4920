"""The EVSEs behind one reader: a card is for one of them."""

import asyncio
import logging
from collections.abc import Sequence

from agent.core.evse_events import Tapped
from agent.core.evse_outlets import outlet_for
from agent.core.uid import masked
from agent.model import Tap
from agent.runtime.charge_point import EvseTapLoop

log = logging.getLogger(__name__)


class Outlets:
    """Hands each card of a reader to the EVSE that it is for."""

    def __init__(self, evses: Sequence[EvseTapLoop]) -> None:
        """One at least, all fitted alike."""
        self.evses = tuple(evses)
        self._looking: set[asyncio.Task[None]] = set()

    def tap(self, tap: Tap) -> None:
        """Hand a card over; where a group may matter, once its groups are known."""
        if len(self.evses) == 1:
            self.evses[0].tap(tap)
        elif self._may_be_of_a_group(tap):
            task = asyncio.get_running_loop().create_task(self._look_up(tap))
            self._looking.add(task)
            task.add_done_callback(self._looked_up)
        else:
            self._hand_over(tap, frozenset())

    def reader_is(self, name: str, *, missing: bool) -> None:
        """Tell every EVSE of the reader's state."""
        for evse in self.evses:
            evse.reader_is(name, missing=missing)

    def _may_be_of_a_group(self, tap: Tap) -> bool:
        running = [evse.state.running for evse in self.evses]
        if any(authorization and authorization.uid == tap.uid for authorization in running):
            return False
        return any(authorization and authorization.group for authorization in running)

    async def _look_up(self, tap: Tap) -> None:
        self._hand_over(tap, await self.evses[0].groups(tap))

    def _hand_over(self, tap: Tap, groups: frozenset[str]) -> None:
        now = asyncio.get_running_loop().time()
        states = [evse.state for evse in self.evses]
        evse = self.evses[outlet_for(Tapped(now, tap, groups), states, self.evses[0].settings)]
        log.debug("card=%s is for evse=%s", masked(tap.uid), evse.evse_uid)
        evse.tap(tap, groups)

    def _looked_up(self, task: asyncio.Task[None]) -> None:
        self._looking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("ALARM a card could not be handed to its EVSE", exc_info=error)
