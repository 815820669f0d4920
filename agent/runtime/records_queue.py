"""Brings what is noted to disk, one after another, however long that takes.

What is noted and when belongs to whoever notes it; here are the order, the disk that refuses, and the end of it all.
"""

import asyncio
import logging
import math
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.errors import StoreError

log = logging.getLogger(__name__)

RETRY_S = 2.0
"""How soon what could not be recorded is tried again: a full disk is not emptied faster."""
MOST_REFUSALS = 64
"""Refused cards that may wait for a disk that refuses: more is somebody playing with the reader."""

_BREAKS_A_RULE = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeError)
"""Causes of a StoreError that lie in the record alone: no disk is ever free enough for it."""

Write = Callable[[], Awaitable[int | None]]
"""Makes one change durable, or raises StoreError with nothing changed: then it is called again, if that can help."""


def _nothing(_: float) -> None:
    pass


@dataclass(slots=True, eq=False)
class Job:
    """Something that is to be on disk."""

    what: str
    write: Write
    done: "asyncio.Future[int | None]"
    """Its result; cancelled as soon as the disk has refused: the job goes on."""
    since: float
    expendable: bool
    on_refused: Callable[[float], None]


class RecordsQueue:
    """The records of one EVSE on their way to disk. Nothing but `settled` and `stop` waits for anything."""

    def __init__(self, evse_uid: str, monotonic: Callable[[], float]) -> None:
        self._evse_uid = evse_uid
        self._monotonic = monotonic
        self._jobs: deque[Job] = deque()
        self._writing: Job | None = None
        self._working: asyncio.Task[None] | None = None
        self._is_refused = False

    @property
    def is_refused(self) -> bool:
        """Whether the disk did not take what was tried last."""
        return self._is_refused

    def add(
        self, what: str, write: Write, *, expendable: bool = False, on_refused: Callable[[float], None] = _nothing
    ) -> Job:
        """Write this after all that was added before.

        `on_refused` hears, each time that the disk refuses this or what is before it, for how many seconds this has
        waited; infinity, when it breaks a rule of the database by itself and is lost. Of what is `expendable` only so
        much may wait; more is dropped.
        """
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        job = Job(what, write, done, self._monotonic(), expendable, on_refused)
        if expendable and sum(other.expendable for other in self._jobs) >= MOST_REFUSALS:
            log.warning("evse=%s a refused card is not recorded: too many wait for the disk", self._evse_uid)
            done.cancel()
            return job
        self._jobs.append(job)
        self._work_on()
        return job

    def waits(self, job: Job | None) -> bool:
        """Whether a job's turn is still to come, be it for another time: what it writes is not decided yet."""
        return job is not None and job is not self._writing and job in self._jobs

    def drop(self, job: Job | None) -> None:
        """Don't write what still waits."""
        if job is not None and self.waits(job):
            self._jobs.remove(job)
            job.done.cancel()

    async def settled(self) -> None:
        """Return once everything added so far is on disk."""
        while self._working is not None and not self._working.done():
            await asyncio.wait({self._working})

    def go_on(self) -> None:
        """After a stop: work on what the disk refused then."""
        self._work_on()

    async def stop(self, within_s: float) -> None:
        """Bring everything to disk, for a bounded time. What the disk still refuses then goes before the next job."""
        if self._working is not None:
            await asyncio.wait({self._working}, timeout=within_s)
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        for job in self._jobs:
            job.done.cancel()
        self._is_refused = False  # nobody tries any more: only the next record can tell

    def _work_on(self) -> None:
        if self._jobs and (self._working is None or self._working.done()):
            work = asyncio.get_running_loop().create_task(self._work(), name=f"books of {self._evse_uid}")
            work.add_done_callback(self._worked)
            self._working = work

    async def _work(self) -> None:
        while self._jobs:
            job = self._writing = self._jobs[0]
            refused: StoreError | None = None
            try:
                result = await job.write()
            except StoreError as error:
                if isinstance(error.__cause__, _BREAKS_A_RULE):
                    self._lost(job, error)
                else:
                    refused = error
            else:
                self._is_refused = False
                if not job.done.done():
                    job.done.set_result(result)
            finally:
                self._writing = None
                # Cancelled, it was handed over all the same. A broken one would keep all others from the disk.
                if refused is None:
                    self._jobs.popleft()
                    job.done.cancel()
            if refused is not None:
                self._refused(job, refused)
                await asyncio.sleep(RETRY_S)

    def _refused(self, job: Job, error: StoreError) -> None:
        log.log(
            logging.DEBUG if self._is_refused else logging.ERROR,
            "evse=%s can't %s yet, it is tried again: %s", self._evse_uid, job.what, error,
        )  # fmt: skip
        self._is_refused = True
        now = self._monotonic()
        for waiting in tuple(self._jobs):  # none of them will be on disk soon
            waiting.done.cancel()
            waiting.on_refused(now - waiting.since)

    def _lost(self, job: Job, error: StoreError) -> None:
        """It would be refused for ever, keep all others from the disk, and look like a full one to every card."""
        log.critical("evse=%s ALARM can't %s, and it is lost: %s", self._evse_uid, job.what, error)
        self._is_refused = False
        job.done.cancel()
        job.on_refused(math.inf)

    def _worked(self, work: "asyncio.Task[None]") -> None:
        if work.cancelled():
            return
        if (error := work.exception()) is not None:
            log.critical("evse=%s ALARM a record could not be made, and is lost", self._evse_uid, exc_info=error)
        if work is self._working:
            self._work_on()
