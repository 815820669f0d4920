"""Tells peers of sessions and CDRs until they have them: the outbox of `state.db`, emptied.

What is due and what became of it is the store's, what is sent for a report `delivery_sending`'s, and who waits for how
long `delivery_lane`'s. Here they meet: nothing is lost when the network is away for weeks, nothing is billed twice
when an answer is, and no peer and no report keeps others waiting.
"""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from agent.charges import Report, ReportKind
from agent.errors import StoreError
from agent.model import Outcome
from agent.ocpi.failures import Failure
from agent.ocpi.reports import Posted, ReportClient
from agent.runtime.delivery_lane import Case, DeliverySettings, Fate, Key, Lane, by_peer, fate_of, key_of, wait_after
from agent.runtime.delivery_sending import Sending

__all__ = ["Delivery", "DeliverySettings", "Outbox"]

log = logging.getLogger(__name__)

_DEFAULTS: Final = DeliverySettings()

_AT_ONCE: Final = 20
"""Cases that a peer is told before the outbox is read again: what it holds meanwhile must not be old news."""

_CASES: Final = 100
"""Cases a peer that are read: 2 KB each or more."""

_MOST_CASES: Final = 3200
"""So many when those in front have to wait, each for a reason of its own: 10 MB for a moment."""

_SHARE: Final = 20
"""Reading the outbox takes this part of the time at most: 3,200 cases are read in a moment, but not every moment."""

_MOST_REST_S: Final = 10.0
"""But however long a busy disk takes for it, nobody waits longer for the next time."""

_LONG: Final = timedelta(days=1)
"""A CDR that a peer fails at for longer needs somebody who asks it why."""

_NO_CLIENT: Final = (
    "ALARM no-peer: there is no such peer now; its reports are kept until it is a [[peer]] or registered"
)
_CREDENTIALS: Final = "ALARM it rejects our credentials token, so nothing reaches it: renew them, see `peers check`"
_NO_CDRS: Final = "ALARM it takes no CDRs, so nothing is billed through it; they are kept. Ask its operator"
_NO_SESSIONS: Final = "it takes no sessions, and is told of none; CDRs go to it all the same"


class Outbox(Protocol):
    """What delivery needs of the store: `agent.store.sessions.SessionStore` has it. Each method raises StoreError."""

    def commits(self) -> int | None:
        """Another number after every commit to the file; None when that can't be told."""
        ...

    async def due(self, most: int) -> list[Report]:
        """What no peer has acknowledged or rejected, oldest first, of at most `most` sessions a peer."""
        ...

    async def told(self, authorization_id: int, revision: int) -> None:
        """The peer has this state of a session. A newer one stays due."""
        ...

    async def session_rejected(self, authorization_id: int, revision: int, problem: str) -> None:
        """The peer does not want this state of a session. A newer one stays due."""
        ...

    async def acknowledged(self, number: int, at: datetime, url: str | None) -> None:
        """The peer has this CDR."""
        ...

    async def problem(self, report: Report, text: str) -> None:
        """Why this one has not been taken so far."""
        ...

    async def park(self, number: int, problem: str) -> None:
        """The peer does not want this CDR: it is not sent again until somebody says so."""
        ...


class Delivery:
    """Delivers reports, one after the other to each peer and to all peers at the same time.

    Of one session: its state before its CDR, the CDR before its credit. A session that can't be told does not keep its
    CDR from going for longer than `session_blocks_s`. A CDR that is rejected is parked, with an alarm. Nothing is
    written of an attempt but its result, and of failures no more than the change of their reason.
    """

    def __init__(
        self,
        reports: Outbox,
        client: Callable[[str], ReportClient | None],
        *,
        now: Callable[[], datetime],
        settings: DeliverySettings = _DEFAULTS,
        random: random.Random,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`client` finds the one for a peer, None while there is none. `clock` is the running loop's unless given."""
        self._outbox = reports
        self._client = client
        self._now = now
        self._settings = settings
        self._random = random
        self._clock = clock
        self._lanes: dict[str, Lane] = {}
        self._clients: dict[str, ReportClient] = {}
        """By whom each lane's peer was told last: a peer that has another one since is no longer what failed."""
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._sending = Sending(settings.request_s)
        self._noted: dict[Key, str] = {}
        self._said: set[tuple[str, str]] = set()
        """What an operator was told of a peer, and need not be again while it lasts."""
        self._orphans: set[str] = set()
        """Peers with something due but without a client."""
        self._most = _CASES
        self._seen: int | None = None
        self._look_at = -math.inf
        self._not_before = -math.inf
        self._store_failures = 0

    async def run(self) -> None:
        """Until cancelled, and then again if need be. A report that was on its way at that moment is sent again."""
        self._look_at = -math.inf
        try:
            while True:
                self._collect()
                if self._is_time():
                    await self._look()
                await self._pause()
        finally:
            workers = [*self._workers.values()]
            self._workers.clear()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _collect(self) -> None:
        """Take leave of the workers that are done: there may be more for their peers."""
        for peer in [peer for peer, worker in self._workers.items() if worker.done()]:
            self._workers.pop(peer).result()
            self._look_at = -math.inf

    def _is_time(self) -> bool:
        """Whether to read the outbox: it has changed, a wait is over, or a peer has got a client."""
        now = self._time()
        if now < self._not_before:
            return False
        commits = self._outbox.commits()
        if commits is None or commits != self._seen or now >= self._look_at:
            return True
        return any(self._client(peer) is not None for peer in self._orphans) or bool(self._renewed())

    def _renewed(self) -> list[str]:
        """The peers that have another client than their lane was made for, and are told nothing just now."""
        now = {peer: self._client(peer) for peer in self._clients.keys() - self._workers.keys()}
        return [peer for peer, client in now.items() if client is not None and client is not self._clients[peer]]

    async def _pause(self) -> None:
        """A moment, or until a worker is done."""
        self._woken.clear()
        if any(worker.done() for worker in self._workers.values()):
            return
        rest_s = self._not_before - self._time()
        wait_s = min(self._settings.look_every_s, rest_s) if rest_s > 0 else self._settings.look_every_s
        timer = asyncio.get_running_loop().call_later(wait_s, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()

    async def _look(self) -> None:
        """Read what is due, and set a worker to work for each peer that can be told something."""
        # Both before reading: what changes while it is read must be found the next time.
        self._seen, busy = self._outbox.commits(), set(self._workers)
        began, self._look_at = self._time(), math.inf
        try:
            due = await self._outbox.due(self._most)
        except StoreError as error:
            self._store_failed(error)
            return
        now = self._time()
        self._not_before = now + min(_SHARE * (now - began), _MOST_REST_S)
        self._remember(due, now)
        self._renew(now)
        self._orphans.clear()
        cases = by_peer(due)
        if self._most > _CASES and max(map(len, cases.values()), default=0) < self._most // 2:
            self._most //= 2
        for peer in cases.keys() - busy:
            self._set_to_work(peer, cases[peer], now)

    def _remember(self, due: Sequence[Report], now: float) -> None:
        """Keep what is known of the reports that are due, and forget the rest."""
        keys = {key_of(report) for report in due}
        self._sending.begin(self._now(), due)
        self._noted = {key: text for key, text in self._noted.items() if key in keys}
        for lane in self._lanes.values():
            lane.keep_only(keys, now)

    def _renew(self, now: float) -> None:
        """Who has registered anew, or has other credentials, is told at once."""
        for peer in self._renewed():
            del self._clients[peer]
            self._lanes[peer].renewed(now)
            self._said = {(known, words) for known, words in self._said if known != peer}

    def _set_to_work(self, peer: str, cases: list[Case], now: float) -> None:
        client = self._client(peer)
        if client is None:
            self._orphans.add(peer)
            self._say_once(peer, _NO_CLIENT, logging.CRITICAL)
            news = [report for case in cases for report in case.reports if self._is_news(report, _NO_CLIENT)]
            if news:
                self._start(peer, self._note_all(news, _NO_CLIENT))
            return
        self._said.discard((peer, _NO_CLIENT))
        self._clients.setdefault(peer, client)
        lane = self._lanes.setdefault(peer, Lane(peer, self._settings, self._random))
        ready = lane.ready(cases, now)
        hopeful = sum(lane.is_hopeful(case, now) for case in cases)
        if hopeful >= self._most < _MOST_CASES and not lane.is_left_alone(now) and all(map(lane.has_stuck, ready)):
            # All that was read has failed before. Behind it there is something that has not, and must not wait for it.
            self._most *= 2
            self._look_at = -math.inf
        elif ready:
            self._start(peer, self._work(lane, ready[:_AT_ONCE]))
        else:
            self._look_at = min([self._look_at, *map(lane.ready_at, cases)])

    def _start(self, peer: str, work: Coroutine[None, None, None]) -> None:
        worker = asyncio.create_task(work, name=f"delivery to {peer}")
        worker.add_done_callback(lambda _done: self._woken.set())
        self._workers[peer] = worker

    async def _note_all(self, reports: Sequence[Report], problem: str) -> None:
        try:
            for report in reports:
                await self._note(report, problem)
        except StoreError as error:
            self._store_failed(error)

    async def _work(self, lane: Lane, cases: Sequence[Case]) -> None:
        """Tell a peer of some cases, one after the other."""
        try:
            for case in cases:
                client = self._client(lane.peer)
                if client is None or not await self._tell(lane, client, case):
                    break
        except StoreError as error:
            self._store_failed(error)
        else:
            self._store_failures = 0

    async def _tell(self, lane: Lane, client: ReportClient, case: Case) -> bool:
        """Tell a peer what is due of one authorization, in order. Returns whether it can be told more."""
        if lane.ready_at(case) > self._time():
            # What the peer said to another one keeps this one back as well.
            return True
        last: Failure | None = None
        for place, report in enumerate(case.reports):
            if place and not lane.may_follow(report, self._time()):
                break
            last = await self._try(lane, client, report)
            if last is not None and not lane.is_overdue(report, self._time()):
                break
        if last is None or not lane.is_peers(last):
            return True
        wait_s = lane.leave_alone(last, self._time())
        level = logging.WARNING if lane.failures == 1 else logging.DEBUG
        words = "peer %s takes no reports now: %s; they are kept, next try in %.0f s"
        log.log(level, words, lane.peer, _words(last), wait_s)
        return False

    async def _try(self, lane: Lane, client: ReportClient, report: Report) -> Failure | None:
        """Send one report and put on record what came of it. Returns why it is still due; None when it is not."""
        try:
            result = await self._sending.send(client, report)
        except Exception:
            # Broad, for it supervises: a report that finds a fault of ours must not stop the others.
            log.exception("peer %s: %s could not be told: a fault", lane.peer, _name(report))
            result = Failure(Outcome.MALFORMED, "a fault of the agent; its log has more")
        if not isinstance(result, Failure):
            await self._taken(report, result)
        elif fate_of(result) is Fate.REFUSED:
            await self._refused(report, result)
        elif fate_of(result) is Fate.NOT_OFFERED and report.kind is ReportKind.SESSION:
            await self._outbox.session_rejected(report.authorization_id, report.revision, "it takes no sessions")
            self._say_once(report.peer, _NO_SESSIONS, logging.INFO, result)
        else:
            await self._failed(lane, report, result)
            return result
        self._settled(lane, report)
        return None

    async def _taken(self, report: Report, posted: Posted | None) -> None:
        if posted is None:
            await self._outbox.told(report.authorization_id, report.revision)
            return
        await self._outbox.acknowledged(report.revision, self._now(), posted.url)
        self._said.discard((report.peer, _NO_CDRS))
        log.info("peer %s has acknowledged %s", report.peer, _name(report))

    async def _refused(self, report: Report, failure: Failure) -> None:
        """What the peer rejects is not said again: a CDR waits for an operator, a session for its next state."""
        if report.kind is ReportKind.SESSION:
            await self._outbox.session_rejected(report.authorization_id, report.revision, _words(failure))
            log.warning("peer %s rejects %s: %s", report.peer, _name(report), _words(failure))
            return
        await self._outbox.park(report.revision, _words(failure))
        log.critical(
            "ALARM peer %s rejects %s: %s. It is not billed until somebody acts: ask the peer's operator, then send it "
            "again with `chargepoint-agent cdrs resend %d`",
            *(report.peer, _name(report), _words(failure), report.revision),
        )

    async def _failed(self, lane: Lane, report: Report, failure: Failure) -> None:
        """It stays due: say so where a person has to know, and note why."""
        level = logging.DEBUG if lane.has_failed(report) else logging.WARNING
        wait_s = lane.failed(report, failure, self._time())
        if failure.outcome is Outcome.UNAUTHORIZED:
            self._say_once(lane.peer, _CREDENTIALS, logging.CRITICAL, failure)
        elif fate_of(failure) is Fate.NOT_OFFERED:
            self._say_once(lane.peer, _NO_CDRS, logging.CRITICAL, failure)
        elif fate_of(failure) is Fate.THIS_ONE_WAITS:
            words = "peer %s has not taken %s: %s; next try in %.0f s"
            log.log(level, words, lane.peer, _name(report), _words(failure), wait_s)
        if (
            report.kind is ReportKind.CDR
            and self._now() - report.since > _LONG
            and fate_of(failure) is Fate.THIS_ONE_WAITS
        ):
            self._say_once(lane.peer, f"ALARM it has not taken {_name(report)} for a day", logging.CRITICAL, failure)
        await self._note(report, _words(failure))

    def _settled(self, lane: Lane, report: Report) -> None:
        if lane.failures:
            log.info("peer %s takes reports again", lane.peer)
        lane.settled(report, self._time())
        self._sending.settled(report)
        self._noted.pop(key_of(report), None)
        self._said.discard((lane.peer, _CREDENTIALS))

    def _is_news(self, report: Report, problem: str) -> bool:
        return problem not in {report.problem, self._noted.get(key_of(report))}

    async def _note(self, report: Report, problem: str) -> None:
        """Put on record why a report is still due, unless that is what stands there."""
        if self._is_news(report, problem):
            await self._outbox.problem(report, problem)
            self._noted[key_of(report)] = problem

    def _say_once(self, peer: str, words: str, level: int, failure: Failure | None = None) -> None:
        if (peer, words) not in self._said:
            self._said.add((peer, words))
            log.log(level, "peer %s: %s%s", peer, words, f" ({_words(failure)})" if failure else "")

    def _store_failed(self, error: StoreError) -> None:
        """Nothing is sent for a while: what comes of it could not be put on record either."""
        self._store_failures += 1
        wait_s = wait_after(self._store_failures, self._settings)
        self._not_before = max(self._not_before, self._time() + wait_s)
        self._look_at = -math.inf
        level = logging.ERROR if self._store_failures == 1 else logging.DEBUG
        log.log(level, "reports are not delivered, next try in %.0f s: %s", wait_s, error)

    def _time(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()


def _name(report: Report) -> str:
    if report.kind is ReportKind.CDR:
        return f"CDR {report.revision}"
    return f"the session of authorization {report.authorization_id}"


def _words(failure: Failure) -> str:
    return f"{failure.outcome}: {failure.detail}"
