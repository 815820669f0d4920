"""What is still to be seen to when a tap is over: a record that lands too late, answers that come late.

None of it holds up a tap. It goes on in the background, survives a disk that refuses for a while, and is brought
to an end, for a bounded time, when the EVSE stops.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from datetime import datetime
from typing import Any

from agent.errors import StoreError
from agent.model import REFUSALS, SILENCES, Answer, Decision, EndReason, Entry, LateAnswer, Outcome, Source, Verdict
from agent.ports import Journal

log = logging.getLogger(__name__)

RETRY_END_S = 2.0
"""How soon an end that could not be recorded is tried again: a full disk is not emptied faster."""
MOST_TRIES = 150
"""How often a late answer is tried: five minutes."""
SHUT_DOWN_S = 3.0
"""How long an orderly stop waits for the disk and for late answers; systemd would wait 90 s, an installer won't."""

Recording = asyncio.Future[int]
"""A record on its way to disk; its result is the authorization's id."""
Late = AsyncGenerator[Answer, None]


def succeeded(recording: asyncio.Future[Any]) -> bool:
    """Whether the record is on disk."""
    return recording.done() and not recording.cancelled() and recording.exception() is None


class Aftermath:
    """The background work of one EVSE."""

    def __init__(self, evse_uid: str, journal: Journal, now: Callable[[], datetime]) -> None:
        self._evse_uid = evse_uid
        self._journal = journal
        self._now = now
        self._tasks: set[asyncio.Task[None]] = set()

    def void(self, recording: Recording, entry: Entry, because: EndReason) -> None:
        """End what a record begins although nothing was switched on, as soon as it is on disk."""
        self._spawn(self._void(recording, entry, because))

    def landed(self, recording: Recording, entry: Entry, on_landed: Callable[[int], None]) -> None:
        """Call `on_landed` with the id of an acceptance that is on disk after all."""
        self._spawn(self._landed(recording, entry, on_landed))

    def take_late(
        self,
        recording: Recording,
        decision: Decision,
        late: Late,
        *,
        on_joined: Callable[[LateAnswer], None],
        on_refused: Callable[[int], None],
    ) -> None:
        """Add what still comes to the record.

        `on_joined` gets an answer whose reference is now the authorization's, `on_refused` the id when a refusal speaks
        for the authorization; neither waits for the disk.
        """
        self._spawn(self._take_late(recording, decision, late, on_joined, on_refused))

    def watch(self, work: Coroutine[Any, Any, None]) -> None:
        """Anything else that a tap leaves to be done."""
        self._spawn(work)

    async def stop(self) -> None:
        """Bring the ends to disk, for a bounded time; what the disk refuses is ended at the next start."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SHUT_DOWN_S)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _void(self, recording: Recording, entry: Entry, because: EndReason) -> None:
        await asyncio.wait({recording})
        if entry.relay_closed and succeeded(recording):
            await self._ended(recording.result(), because)

    async def _landed(self, recording: Recording, entry: Entry, on_landed: Callable[[int], None]) -> None:
        await asyncio.wait({recording})
        if entry.relay_closed and succeeded(recording):
            on_landed(recording.result())

    async def _ended(self, authorization_id: int, because: EndReason) -> None:
        """Return once the end is on disk: an open record would bill a car that has left."""
        ended_at = self._now()
        while True:
            try:
                await self._journal.end(authorization_id, ended_at, because)
            except StoreError as error:
                log.error("evse=%s the end of authorization %d is not on disk yet: %s", self._evse_uid,
                          authorization_id, error)  # fmt: skip
                await asyncio.sleep(RETRY_END_S)
            else:
                return

    async def _take_late(
        self,
        recording: Recording,
        decision: Decision,
        late: Late,
        on_joined: Callable[[LateAnswer], None],
        on_refused: Callable[[int], None],
    ) -> None:
        await asyncio.wait({recording})
        if not succeeded(recording):
            await late.aclose()
            return
        authorization_id = recording.result()
        verdicts = _LateVerdicts(decision)
        async with aclosing(late) as answers:
            async for answer in answers:
                taken = LateAnswer(authorization_id, self._now(), answer, verdicts.take(answer))
                log.info(
                    "evse=%s authorization %d: peer %s answered late: %s after %.1f s",
                    self._evse_uid, authorization_id, answer.peer, answer.outcome, answer.elapsed_s,
                )  # fmt: skip
                # What it means comes before its own row: a relay that is to open waits for no disk, and a session that
                # ends meanwhile still names the reference.
                if taken.joined:
                    on_joined(taken)
                if verdicts.refused_by_owner:
                    on_refused(authorization_id)
                await self._kept(taken)
        if verdicts.refused_by_all:
            on_refused(authorization_id)

    async def _kept(self, late: LateAnswer) -> None:
        """On disk, for a disk that refuses for a while as well; one that does so for minutes gets no more of it."""
        for _ in range(MOST_TRIES):
            try:
                await self._journal.add_late(late)
            except StoreError as error:
                log.error("evse=%s a late answer is not on disk yet: %s", self._evse_uid, error)
                await asyncio.sleep(RETRY_END_S)
            else:
                return
        log.critical(
            "evse=%s ALARM the late answer of peer %s to authorization %d could not be recorded",
            self._evse_uid, late.answer.peer, late.authorization_id,
        )  # fmt: skip

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("evse=%s work behind a tap failed: %s", self._evse_uid, error, exc_info=error)


class _LateVerdicts:
    """What late answers mean for an authorization that the fallback had accepted; nothing for any other.

    A listed card hangs on its owner's word. A card that no list names was asked about everywhere: anybody's ALLOWED
    is good, and it is refused only when whoever answered did so and nobody allowed it.
    """

    def __init__(self, decision: Decision) -> None:
        self._target = decision.target
        self._fell_back = decision.verdict is Verdict.ACCEPTED and decision.source is Source.FALLBACK
        self._allowed = False
        self._refused = False
        self.refused_by_owner = False

    @property
    def refused_by_all(self) -> bool:
        return self._refused and not self._allowed

    def take(self, answer: Answer) -> bool:
        """Whether the answer's reference joins the authorization."""
        if not self._fell_back or answer.target != self._target or self._allowed:
            return False
        if answer.outcome is Outcome.ALLOWED:
            self._allowed = True
            return answer.authorization_reference is not None
        if answer.outcome not in SILENCES:
            self.refused_by_owner = self._target is not None
            self._refused = self._target is None and (self._refused or answer.outcome in REFUSALS)
        return False
