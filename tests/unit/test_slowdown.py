"""How fast cards may be guessed at one reader, and who is never slowed down."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate, pairwise

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from agent.core.slowdown import Pace, Pause, Slowdown, counts_as_guess
from agent.model import Entry, Reason, Source, Verdict

USUAL = Slowdown(refusals=5, within_s=60.0, pause_s=10.0, most_pause_s=600.0)
START = 1000.0

on_a_slow_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Reader:
    """Somebody holds bad cards to it; each is refused `takes_s` after it was let through."""

    slowdown: Slowdown
    takes_s: float = 0.0
    most_waiting: int = 1
    let_through: list[float] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pace = Pace(self.slowdown)
        self._under_way: deque[float] = deque()

    def tap_at(self, now: float) -> None:
        while self._under_way and self._under_way[0] <= now:
            self._refuse(self._under_way.popleft())
        is_paused = bool(self.pauses) and self.pauses[-1].is_on(now)
        if not is_paused and len(self._under_way) < self.most_waiting:
            self.let_through.append(now)
            self._under_way.append(now + self.takes_s)
            if not self.takes_s:
                self._refuse(self._under_way.popleft())

    def tap(self, times: Sequence[float]) -> None:
        for now in times:
            self.tap_at(now)

    def _refuse(self, now: float) -> None:
        if pause := self._pace.refused(now):
            if self.pauses and self.pauses[-1].begun == pause.begun:
                self.pauses.pop()
            self.pauses.append(pause)

    @property
    def lengths(self) -> list[float]:
        return [pause.until - pause.begun for pause in self.pauses]


def doublings(slowdown: Slowdown) -> int:
    return math.ceil(math.log2(slowdown.most_pause_s / slowdown.pause_s))


def most_refused(slowdown: Slowdown, within_s: float) -> float:
    """The bound that `Slowdown` promises, however taps are spread."""
    k, most = doublings(slowdown), slowdown.most_pause_s
    return slowdown.refusals * (1 + k + within_s * (1 / min(slowdown.within_s, most) + k / most))


def entry(reason: Reason, verdict: Verdict = Verdict.REFUSED) -> Entry:
    at = datetime(2027, 6, 1, tzinfo=UTC)
    return Entry(
        "DE*EXA*E1", "A1", "left", at, verdict, reason, Source.LOCAL, "", "", relay_closed=False,
        latency_ms=1.0, deadline_ms=1.0, correlation_id="",
    )  # fmt: skip


slowdowns = st.builds(
    Slowdown,
    refusals=st.integers(1, 6),
    within_s=st.floats(1.0, 120.0),
    pause_s=st.floats(1.0, 60.0),
    most_pause_s=st.floats(60.0, 900.0),
)
gaps = st.one_of(st.floats(0.0, 3.0), st.floats(0.0, 100.0), st.floats(0.0, 2000.0))
"""Between two taps: of a machine, of somebody with a bag of cards, of somebody who waits for his time."""


# ---- pauses


def test_fewer_refusals_than_allowed_begin_no_pause() -> None:
    reader = Reader(USUAL)
    reader.tap([START] * 4)
    assert reader.pauses == []


def test_refusal_that_makes_them_too_many_begins_a_pause() -> None:
    reader = Reader(USUAL)
    reader.tap([START, START + 10, START + 20, START + 30, START + 40])
    assert reader.pauses == [Pause(START + 40, START + 50)]


def test_refusals_spread_over_more_than_the_window_begin_no_pause() -> None:
    reader = Reader(USUAL)
    reader.tap([START + 15.1 * each for each in range(100)])
    assert reader.pauses == []


def test_pauses_that_follow_soon_double_up_to_the_longest() -> None:
    reader = Reader(USUAL)
    reader.tap([START + each for each in range(3600)])
    assert reader.lengths[:8] == [10, 20, 40, 80, 160, 320, 600, 600]


def test_pause_after_a_quiet_time_is_a_first_one_again() -> None:
    reader = Reader(USUAL)
    reader.tap([START + each for each in range(80)])
    reader.tap([START + 1000 + each for each in range(5)])
    assert reader.lengths == [10, 20, 40, 10]


def test_single_refusal_in_the_quiet_time_keeps_the_next_pause_long() -> None:
    reader = Reader(USUAL)
    reader.tap([START] * 5)
    reader.tap([START + 500, *[START + 1000 + each for each in range(5)]])
    assert reader.lengths == [10, 20]


def test_each_pause_is_paid_for_with_refusals_of_its_own() -> None:
    reader = Reader(USUAL)
    reader.tap([START] * 5)
    reader.tap([START + 10] * 4)
    assert reader.lengths == [10]


def test_refusals_of_cards_on_their_way_lengthen_the_pause() -> None:
    pace = Pace(USUAL)
    for _ in range(9):
        pace.refused(START)
    assert pace.refused(START + 2) == Pause(START, START + 30)


def test_full_queues_of_two_evses_lengthen_the_pause_no_further_than_the_longest() -> None:
    pace = Pace(USUAL)
    refused_at = [START + 0.1 * each for each in range(68)]
    pauses = [pause for now in refused_at if (pause := pace.refused(now))]
    assert [pause.until - START - 0.4 for pause in pauses[:6]] == pytest.approx([10, 30, 70, 150, 310, 602.5])
    assert pauses[-1] == Pause(START + 0.4, refused_at[64] + USUAL.most_pause_s)


def test_slowdown_of_no_refusals_is_off() -> None:
    reader = Reader(Slowdown(refusals=0, within_s=60.0, pause_s=10.0, most_pause_s=600.0))
    reader.tap([START] * 1000)
    assert reader.pauses == []


# ---- what a guesser gets, and what a driver


@on_a_slow_machine
@given(slowdowns, st.lists(gaps, max_size=300))
def test_nobody_has_more_cards_refused_than_the_bound_however_they_are_spread(
    slowdown: Slowdown, between: list[float]
) -> None:
    reader = Reader(slowdown)
    reader.tap(list(accumulate(between, initial=START)))
    through = reader.let_through
    most = max(
        last + 1 - first - most_refused(slowdown, through[last] - through[first])
        for first in range(len(through))
        for last in range(first, len(through))
    )
    assert most <= 1e-6


@settings(on_a_slow_machine, max_examples=25)
@given(slowdowns, st.floats(0.1, 2.0))
def test_who_taps_as_fast_as_he_is_let_gets_one_round_a_longest_pause(slowdown: Slowdown, every_s: float) -> None:
    assume(every_s * (slowdown.refusals - 1) < 0.99 * slowdown.within_s)
    two_hours_s = 7200.0
    reader = Reader(slowdown)
    reader.tap([START + every_s * each for each in range(int(two_hours_s / every_s))])
    bound = slowdown.refusals * (2 + doublings(slowdown) + two_hours_s / slowdown.most_pause_s)
    assert len(reader.let_through) <= bound


@on_a_slow_machine
@given(slowdowns, st.lists(gaps, max_size=300), st.floats(0.1, 30.0), st.integers(2, 34))
def test_slow_decisions_let_a_guesser_gain_no_more_than_what_is_under_way_with_each_pause(
    slowdown: Slowdown, between: list[float], takes_s: float, most_waiting: int
) -> None:
    reader = Reader(slowdown, takes_s, most_waiting)
    reader.tap(list(accumulate(between, initial=START)))
    within_s = reader.let_through[-1] - START
    under_way = most_waiting * (1 + len(reader.pauses))  # and those that are not refused yet
    assert len(reader.let_through) <= most_refused(slowdown, within_s) + under_way


@on_a_slow_machine
@given(slowdowns, st.lists(gaps, max_size=300))
def test_pause_grows_and_never_reaches_further_than_the_longest_from_each_refusal(
    slowdown: Slowdown, between: list[float]
) -> None:
    pace = Pace(slowdown)
    told = [(now, pause) for now in accumulate(between, initial=START) if (pause := pace.refused(now))]
    assert all(now < pause.until <= now + slowdown.most_pause_s for now, pause in told)
    assert all(a.until <= b.until for (_, a), (_, b) in pairwise(told))


@on_a_slow_machine
@given(st.lists(st.floats(0.0, 3600.0), max_size=60))
def test_four_refusals_an_hour_are_never_slowed_down(between: list[float]) -> None:
    times = list(accumulate(between, initial=START))
    kept: list[float] = []
    for now in times:
        if len(kept) < 4 or now - kept[-4] >= 3600.0:
            kept.append(now)
    reader = Reader(USUAL)
    reader.tap(kept)
    assert (reader.pauses, reader.let_through) == ([], kept)


@on_a_slow_machine
@given(slowdowns, st.lists(gaps, max_size=200))
def test_pauses_never_overlap_and_never_exceed_the_longest(slowdown: Slowdown, between: list[float]) -> None:
    reader = Reader(slowdown)
    reader.tap(list(accumulate(between, initial=START)))
    assert all(a.until <= b.begun for a, b in pairwise(reader.pauses))
    assert all(slowdown.pause_s - 1e-6 <= length <= slowdown.most_pause_s + 1e-6 for length in reader.lengths)


# ---- what counts

COUNTED = {
    Reason.BLOCKED, Reason.EXPIRED, Reason.NO_CREDIT, Reason.NOT_ALLOWED, Reason.OTHER_EVSE, Reason.UNKNOWN,
    Reason.TIMEOUT, Reason.UNREACHABLE, Reason.SERVER_ERROR, Reason.OCPI_ERROR, Reason.RATE_LIMITED, Reason.REJECTED,
    Reason.UNAUTHORIZED, Reason.MALFORMED, Reason.OVERSIZED, Reason.BREAKER_OPEN, Reason.NO_PEER,
    Reason.INVALID, Reason.NOT_LISTED, Reason.IN_USE, Reason.RANDOM_UID,
}  # fmt: skip
NOT_COUNTED = {
    Reason.STORAGE_FAULT, Reason.TOO_LATE, Reason.RELAY_FAULT, Reason.OUT_OF_ORDER, Reason.AGENT_FAULT,
    Reason.INTERLOCKED, Reason.TOO_MANY_REFUSED,
}  # fmt: skip
ONLY_ACCEPTED = {Reason.ALLOWED, Reason.WHITELISTED, Reason.STOPPED_SAME_CARD, Reason.STOPPED_GROUP_CARD}


@pytest.mark.parametrize("reason", sorted(COUNTED))
def test_card_refused_for_what_it_is_counts(reason: Reason) -> None:
    assert counts_as_guess(entry(reason), is_recorded=True)


@pytest.mark.parametrize("reason", sorted(NOT_COUNTED))
def test_card_refused_whatever_it_is_does_not_count(reason: Reason) -> None:
    assert not counts_as_guess(entry(reason), is_recorded=True)


@pytest.mark.parametrize("reason", list(Reason))
def test_accepted_card_does_not_count(reason: Reason) -> None:
    assert not counts_as_guess(entry(reason, Verdict.ACCEPTED), is_recorded=True)


@pytest.mark.parametrize("reason", sorted(COUNTED - {Reason.IN_USE}))
def test_decision_that_could_not_be_recorded_does_not_count(reason: Reason) -> None:
    assert not counts_as_guess(entry(reason), is_recorded=False)


def test_card_that_found_the_evse_in_use_counts_without_a_record() -> None:
    assert counts_as_guess(entry(Reason.IN_USE), is_recorded=False)


def test_every_reason_is_on_one_side() -> None:
    assert set(Reason) == COUNTED | NOT_COUNTED | ONLY_ACCEPTED
