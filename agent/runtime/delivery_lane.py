"""When a peer is told what: the order of its reports, and how long each of them and the whole peer wait. Pure.

Times are those of one clock that only goes forward, in seconds.
"""

import math
import random
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from agent.charges import Report, ReportKind
from agent.model import Outcome
from agent.ocpi.failures import Failure

_OUTAGE = 3
"""So many silences in a row are an outage, rather than one report that the peer chokes on."""

_MOST_STUMBLES = 5
"""So many reports in a row that the peer failed at, and it is the peer: a proxy says 503 for a server that is gone."""

_ANSWERS_S = 120.0
"""A peer that answers, with errors only, is left alone for no longer: it may be these reports that it fails at, or,
behind a hub, those whom they are for. A live session behind them must not wait for an hour at each."""

Key = tuple[ReportKind, int]
"""A session by its authorization, a CDR by its number."""


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How reports are delivered, and how failures are waited out."""

    first_s: float = 5.0
    """The wait after a first failure. Each one in a row doubles it."""
    most_s: float = 3600.0
    """No wait is longer, whatever the peer asks for, jitter aside. A day without a network is some 35 attempts."""
    jitter: float = 0.2
    """Waits differ by as much of themselves: a fleet that lost its peer together must not return together."""
    look_every_s: float = 0.5
    """How often to see whether there is something new: microseconds each."""
    apart_s: float = 1.1
    """Between two reports of one session: OCPI's `last_updated` can't tell two within a second apart."""
    session_blocks_s: float = 600.0
    """How long a session that can't be told holds up its CDR, by which it is billed."""
    request_s: float = 180.0
    """A report may take so long altogether: a minute over a bad mobile connection; byte by byte takes for ever."""


class Fate(Enum):
    """What a failure means for what is still due."""

    REFUSED = auto()
    """The peer has decided: saying it again changes nothing."""
    NOT_OFFERED = auto()
    """The peer has no such module."""
    THIS_ONE_WAITS = auto()
    """It may lie in the report: the others go on."""
    ALL_WAIT = auto()
    """It lies in the peer or the way to it."""


_FATES: Final[Mapping[Outcome, Fate]] = {
    Outcome.REJECTED: Fate.REFUSED,
    Outcome.UNKNOWN: Fate.REFUSED,
    Outcome.NO_PEER: Fate.NOT_OFFERED,
    Outcome.UNREACHABLE: Fate.ALL_WAIT,
    Outcome.TIMEOUT: Fate.ALL_WAIT,
    Outcome.RATE_LIMITED: Fate.ALL_WAIT,
    Outcome.UNAUTHORIZED: Fate.ALL_WAIT,
    Outcome.BREAKER_OPEN: Fate.ALL_WAIT,
}


def fate_of(failure: Failure) -> Fate:
    """What `failure` means. A peer that asks to be left alone with one report is left alone with all."""
    fate = _FATES.get(failure.outcome, Fate.THIS_ONE_WAITS)
    return Fate.ALL_WAIT if fate is Fate.THIS_ONE_WAITS and failure.retry_after_s is not None else fate


def key_of(report: Report) -> Key:
    """What stays the same from one state of a session to the next."""
    return report.kind, report.authorization_id if report.kind is ReportKind.SESSION else report.revision


@dataclass(frozen=True, slots=True)
class Case:
    """What is due of one authorization, in the order in which it is told: the session, the CDR, its credit."""

    reports: tuple[Report, ...]


def by_peer(reports: Iterable[Report]) -> dict[str, list[Case]]:
    """Each peer's cases, in the order of their first reports."""
    found: dict[str, dict[int, list[Report]]] = {}
    for report in reports:
        found.setdefault(report.peer, {}).setdefault(report.authorization_id, []).append(report)
    return {peer: [Case(tuple(sorted(of, key=_rank))) for of in cases.values()] for peer, cases in found.items()}


def _rank(report: Report) -> tuple[bool, int]:
    return report.kind is ReportKind.CDR, report.revision


@dataclass(slots=True)
class _Trouble:
    """What has gone wrong with one report so far."""

    failures: int = 0
    failing_since: float = math.inf
    failed_at: float = -math.inf
    until: float = -math.inf
    with_peer: bool = False
    """The last failure was one of the whole peer."""


@dataclass(slots=True)
class Lane:
    """One peer's reports: which may go, and which have to wait. Remembers only what has failed or was just told."""

    peer: str
    settings: DeliverySettings
    random: random.Random
    failures: int = field(default=0, init=False)
    """Silences of the peer in a row."""
    _until: float = field(default=-math.inf, init=False)
    _cdrs_until: float = field(default=-math.inf, init=False)
    _stumbles: int = field(default=0, init=False)
    _troubles: dict[Key, _Trouble] = field(default_factory=dict, init=False)
    _told_at: dict[int, float] = field(default_factory=dict, init=False)

    def ready(self, cases: Iterable[Case], now: float) -> list[Case]:
        """Those that may go, what has not failed yet first: one that can't be told must not keep the rest waiting.

        Nor may many of them: where the peer has failed at the last ones, every other time it is asked with the newest.
        """
        found = sorted((case for case in cases if self.ready_at(case) <= now), key=self._failed_at)
        fresh = [place for place, case in enumerate(found) if not self.has_stuck(case)]
        if fresh and self._stumbles >= _MOST_STUMBLES and self.failures % 2:
            found.insert(0, found.pop(fresh[-1]))
        return found

    def ready_at(self, case: Case) -> float:
        """From when on a case may go: when its first report may. Or a later one, if the first is a session overdue."""
        first, *rest = case.reports
        soonest = self._report_at(first)
        if rest:
            soonest = min(soonest, max(self._overdue_at(first), min(map(self._report_at, rest))))
        return max(self._until, soonest)

    def may_follow(self, report: Report, now: float) -> bool:
        """Whether a report may go once the one before it in its case is out of its way."""
        return self._report_at(report) <= now

    def is_overdue(self, report: Report, now: float) -> bool:
        """Whether it is a session's that has failed for so long that its CDR is not held up any more."""
        return self._overdue_at(report) <= now

    def settled(self, report: Report, now: float) -> None:
        """The peer has answered this one for good: nothing of it waits, and the peer is there."""
        self._troubles.pop(key_of(report), None)
        if report.kind is ReportKind.SESSION:
            self._told_at[report.authorization_id] = now
        self._stumbles = 0
        if self.failures >= _OUTAGE:
            for trouble in self._troubles.values():
                trouble.until = now if trouble.with_peer else trouble.until
        self.failures, self._until = 0, -math.inf

    def failed(self, report: Report, failure: Failure, now: float) -> float:
        """This one stays due. Returns how long it waits, whatever the peer does meanwhile."""
        trouble = self._troubles.setdefault(key_of(report), _Trouble())
        trouble.failures += 1
        trouble.failing_since = min(trouble.failing_since, now)
        trouble.failed_at = now
        fate = fate_of(failure)
        trouble.with_peer = fate is Fate.ALL_WAIT
        wait_s = self._wait_s(trouble.failures)
        if fate is Fate.NOT_OFFERED:
            # Nor are the others of its kind offered: asking costs two requests each.
            wait_s = self._jittered(self.settings.most_s)
            self._cdrs_until = now + wait_s
        elif fate is Fate.THIS_ONE_WAITS:
            self._stumbles += 1
        trouble.until = now + wait_s
        return wait_s

    def is_peers(self, failure: Failure) -> bool:
        """Whether the peer is to be left alone after `failure`, the last of a case."""
        return fate_of(failure) is Fate.ALL_WAIT or self._stumbles >= _MOST_STUMBLES

    def leave_alone(self, failure: Failure, now: float) -> float:
        """Nothing goes to the peer for the time that is returned."""
        self.failures += 1
        asked_s = min(failure.retry_after_s or 0.0, self.settings.most_s)
        wait_s = wait_after(self.failures, self.settings)
        if fate_of(failure) is Fate.THIS_ONE_WAITS:
            wait_s = min(wait_s, _ANSWERS_S)
        wait_s = max(self._jittered(wait_s), asked_s)
        self._until = now + wait_s
        return wait_s

    def renewed(self, now: float) -> None:
        """The peer has another address or other credentials: what was waited out of the old ones is over."""
        self.failures, self._stumbles = 0, 0
        self._until = self._cdrs_until = -math.inf
        for trouble in self._troubles.values():
            trouble.until = now

    def is_left_alone(self, now: float) -> bool:
        """Whether nothing at all goes to the peer for now."""
        return self._until > now

    def is_hopeful(self, case: Case, now: float) -> bool:
        """Whether more than CDRs that the peer does not take at all waits in it."""
        return case.reports[0].kind is ReportKind.SESSION or self._cdrs_until <= now

    def has_stuck(self, case: Case) -> bool:
        """Whether the first report of a case has failed."""
        return self.has_failed(case.reports[0])

    def has_failed(self, report: Report) -> bool:
        """Whether it has failed, and nothing of it was taken since."""
        return key_of(report) in self._troubles

    def keep_only(self, due: AbstractSet[Key], now: float) -> None:
        """Forget what is not due any more."""
        self._troubles = {key: trouble for key, trouble in self._troubles.items() if key in due}
        apart_s = self.settings.apart_s
        self._told_at = {key: at for key, at in self._told_at.items() if now - at < apart_s}

    def _overdue_at(self, report: Report) -> float:
        trouble = self._troubles.get(key_of(report))
        if report.kind is not ReportKind.SESSION or trouble is None:
            return math.inf
        return trouble.failing_since + self.settings.session_blocks_s

    def _failed_at(self, case: Case) -> float:
        trouble = self._troubles.get(key_of(case.reports[0]))
        return trouble.failed_at if trouble else -math.inf

    def _report_at(self, report: Report) -> float:
        trouble = self._troubles.get(key_of(report))
        own = trouble.until if trouble else -math.inf
        if report.kind is ReportKind.CDR:
            return max(own, self._cdrs_until)
        return max(own, self._told_at.get(report.authorization_id, -math.inf) + self.settings.apart_s)

    def _wait_s(self, failures: int) -> float:
        return self._jittered(wait_after(failures, self.settings))

    def _jittered(self, wait_s: float) -> float:
        return wait_s * self.random.uniform(1 - self.settings.jitter, 1 + self.settings.jitter)


def wait_after(failures: int, settings: DeliverySettings) -> float:
    """The wait after so many failures in a row, without jitter."""
    return min(settings.first_s * 2.0 ** min(failures - 1, 60), settings.most_s)
