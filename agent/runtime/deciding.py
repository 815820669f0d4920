"""What one card at one EVSE comes to, by its deadline: looked up, planned, asked about where need be, settled.

Nothing is recorded, shown or switched here. This module knows neither drivers nor OCPI.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from agent.core.decide import group_of, plan, plan_blind, settle
from agent.errors import StoreError
from agent.model import (
    Answers,
    Ask,
    Decision,
    ListedToken,
    LocationReferences,
    Policy,
    Question,
    Reason,
    Source,
    Tap,
    Verdict,
)
from agent.ports import Backend, Whitelist
from agent.runtime.aftermath import Late

log = logging.getLogger(__name__)

LOOKUP_S = 0.1
"""A lookup takes a millisecond: a card that waited behind others for all of the peers' time still gets one."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, and what may still come."""

    decision: Decision
    correlation_id: str
    """Of the questions to peers."""
    late: Late | None = None
    began_at: float | None = None
    """Loop times: when the whitelist was asked …"""
    found_at: float | None = None
    """… when it had answered …"""
    decided_at: float | None = None
    """… and when the decision was made. None of a card that was not decided by them."""


class Decider:
    """Decides the cards of one EVSE; of one at a time."""

    def __init__(
        self,
        evse_uid: str,
        *,
        location_id: str,
        policy: Policy,
        whitelist: Whitelist,
        backend: Backend,
        now: Callable[[], datetime],
        on_whitelist_fault: Callable[[StoreError], None],
    ) -> None:
        """`now` is the wall clock in UTC: for the age of lists."""
        self._evse_uid = evse_uid
        self._location = LocationReferences(location_id, (evse_uid,))
        self._policy = policy
        self._whitelist = whitelist
        self._backend = backend
        self._now = now
        self._on_whitelist_fault = on_whitelist_fault

    def use(self, policy: Policy) -> None:
        """Decide by this from the next card on; not to be called while one is being decided."""
        self._policy = policy

    def deadline(self, tap: Tap) -> float:
        """The loop time by which the relay is switched, or never."""
        return tap.at + self._policy.deadline_s

    async def decide(self, tap: Tap, correlation_id: str, on_asking: Callable[[], None]) -> Decided:
        """By the deadline, less what the record and the relay need. `on_asking` is called if a peer must be asked."""
        if tap.is_random:
            return Decided(_refused_as_random(tap), correlation_id)
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        rows = await self._find(tap)
        found_at = loop.time()
        step = plan_blind() if rows is None else plan(rows, self._policy, self._now())
        late: Late | None = None
        if isinstance(step, Ask):
            on_asking()
            answers = await self._ask(tap, step, correlation_id)
            step, late = settle(step, answers.given), answers.late
        if rows is None:
            step = replace(step, detail=f"the whitelist could not be read; {step.detail}")
        return Decided(step, correlation_id, late, began_at, found_at, loop.time())

    async def groups(self, tap: Tap) -> frozenset[str]:
        """The groups that the card is listed in; none where the whitelist can't be read, or the uid is random."""
        if tap.is_random:
            return frozenset()
        groups = (group_of(row.token) for row in await self._find(tap) or ())
        return frozenset(group for group in groups if group is not None)

    def _peers_until(self, tap: Tap) -> float:
        """The loop time at which the peers have had their time: what is left is for the record and the relay."""
        return self.deadline(tap) - self._policy.reserve_s

    async def _find(self, tap: Tap) -> tuple[ListedToken, ...] | None:
        """The whitelist's rows; None when it can't be read in time, which is not the same as having none."""
        least = asyncio.get_running_loop().time() + LOOKUP_S
        until = max(self._peers_until(tap), min(least, self.deadline(tap)))
        try:
            async with asyncio.timeout_at(until):
                return await self._whitelist.find(tap.uid)
        except StoreError as error:
            log.error("evse=%s the whitelist can't be read, deciding without it: %s", self._evse_uid, error)
            self._on_whitelist_fault(error)
        except TimeoutError:
            log.error("evse=%s the whitelist did not answer by the deadline, deciding without it", self._evse_uid)
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


def _refused_as_random(tap: Tap) -> Decision:
    """ISO/IEC 14443-3 lets a phone make up a uid each time: no list has it, and a peer would learn it for nothing."""
    detail = (
        f"the uid is a random one, another at each tap, as phones send it; "
        f'reader {tap.reader} takes such cards with random_uids = "accept"'
    )
    return Decision(Verdict.REFUSED, Reason.RANDOM_UID, Source.LOCAL, detail)
