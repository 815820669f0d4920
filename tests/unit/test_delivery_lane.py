"""Which report may go when: what each failure keeps back, and for how long."""

import random
from datetime import UTC, datetime

import pytest

from agent.charges import Report, ReportKind
from agent.model import Outcome
from agent.ocpi.failures import Failure
from agent.runtime.delivery_lane import Case, DeliverySettings, Fate, Lane, by_peer, fate_of, wait_after

SETTINGS = DeliverySettings(jitter=0.0)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOWN = Failure(Outcome.UNREACHABLE, "Connection refused")
SPOILT = Failure(Outcome.SERVER_ERROR, "HTTP 500")


def session(authorization_id: int, peer: str = "emsp") -> Report:
    return Report(ReportKind.SESSION, authorization_id, peer, b"{}", 1, NOON)


def cdr(number: int, authorization_id: int, peer: str = "emsp") -> Report:
    return Report(ReportKind.CDR, authorization_id, peer, b"{}", number, NOON)


@pytest.fixture
def lane() -> Lane:
    return Lane("emsp", SETTINGS, random.Random(1))


def test_reports_are_put_in_order_a_peer_and_a_session() -> None:
    found = by_peer([cdr(9, 1), cdr(3, 1), session(2, "other"), session(1)])
    assert found == {"emsp": [Case((session(1), cdr(3, 1), cdr(9, 1)))], "other": [Case((session(2, "other"),))]}


@pytest.mark.parametrize(
    ("outcome", "fate"),
    [
        (Outcome.REJECTED, Fate.REFUSED),
        (Outcome.UNKNOWN, Fate.REFUSED),
        (Outcome.NO_PEER, Fate.NOT_OFFERED),
        (Outcome.SERVER_ERROR, Fate.THIS_ONE_WAITS),
        (Outcome.MALFORMED, Fate.THIS_ONE_WAITS),
        (Outcome.OVERSIZED, Fate.THIS_ONE_WAITS),
        (Outcome.OCPI_ERROR, Fate.THIS_ONE_WAITS),
        (Outcome.UNREACHABLE, Fate.ALL_WAIT),
        (Outcome.TIMEOUT, Fate.ALL_WAIT),
        (Outcome.RATE_LIMITED, Fate.ALL_WAIT),
        (Outcome.UNAUTHORIZED, Fate.ALL_WAIT),
        (Outcome.BREAKER_OPEN, Fate.ALL_WAIT),
    ],
)
def test_each_outcome_has_its_fate(outcome: Outcome, fate: Fate) -> None:
    assert fate_of(Failure(outcome, "")) is fate


def test_waits_double_up_to_the_longest() -> None:
    waits = [wait_after(failures, SETTINGS) for failures in (1, 2, 3, 10, 11, 5000)]
    assert waits == [5, 10, 20, 2560, 3600, 3600]


def test_waits_differ_by_a_fifth() -> None:
    lane = Lane("emsp", DeliverySettings(), random.Random(1))
    waits = [lane.failed(session(number), SPOILT, 0.0) for number in range(1000)]
    assert 4.0 <= min(waits) < 4.1
    assert 5.9 < max(waits) <= 6.0


def test_a_success_resets_the_wait(lane: Lane) -> None:
    assert [lane.leave_alone(DOWN, 0.0) for _ in range(3)] == [5, 10, 20]
    lane.settled(session(1), 100.0)
    assert lane.ready([Case((session(2),))], 100.0)
    assert lane.leave_alone(DOWN, 100.0) == 5


def test_no_peer_may_ask_for_more_than_the_longest_wait(lane: Lane) -> None:
    assert lane.leave_alone(Failure(Outcome.RATE_LIMITED, "", 10.0**9), 0.0) == 3600


def stumbled(lane: Lane, times: int) -> None:
    """So many reports in a row at which the peer fails, and it is left alone once."""
    for number in range(times):
        lane.failed(session(1000 + number), SPOILT, 0.0)
    lane.leave_alone(SPOILT, 0.0)


def test_a_peer_that_answers_is_not_left_alone_for_long(lane: Lane) -> None:
    stumbled(lane, 5)
    assert max(lane.leave_alone(SPOILT, 0.0) for _ in range(20)) == 120
    assert lane.leave_alone(DOWN, 0.0) == 3600


def test_behind_those_that_a_peer_fails_at_the_newest_is_tried_first_every_other_time(lane: Lane) -> None:
    cases = [Case((session(number),)) for number in (1, 2, 3)]
    stumbled(lane, 5)
    assert lane.ready(cases, 500.0) == [cases[2], cases[0], cases[1]]
    lane.leave_alone(SPOILT, 500.0)
    assert lane.ready(cases, 1000.0) == cases


def test_a_few_that_a_peer_fails_at_change_no_order(lane: Lane) -> None:
    cases = [Case((session(number),)) for number in (1, 2, 3)]
    stumbled(lane, 4)
    assert lane.ready(cases, 500.0) == cases


def test_a_peer_that_has_registered_anew_is_not_left_alone_any_more(lane: Lane) -> None:
    lane.failed(cdr(1, 1), Failure(Outcome.NO_PEER, ""), 0.0)
    for _ in range(5):
        lane.leave_alone(DOWN, 0.0)
    lane.renewed(1.0)
    assert lane.ready([Case((cdr(1, 1),)), Case((cdr(2, 2),))], 1.0) == [Case((cdr(2, 2),)), Case((cdr(1, 1),))]
    assert lane.leave_alone(DOWN, 1.0) == 5


def test_what_has_failed_goes_after_what_has_not(lane: Lane) -> None:
    cases = [Case((session(number),)) for number in (1, 2, 3)]
    lane.failed(session(1), DOWN, 10.0)
    lane.failed(session(2), DOWN, 5.0)
    assert lane.ready(cases, 20.0) == [cases[2], cases[1], cases[0]]


def test_the_end_of_an_outage_is_the_end_for_every_report(lane: Lane) -> None:
    for now in (0.0, 1000.0, 2000.0, 3000.0):
        lane.failed(session(1), DOWN, now)
        lane.leave_alone(DOWN, now)
    lane.failed(session(2), SPOILT, 3000.0)
    lane.settled(session(3), 3001.0)
    assert lane.ready_at(Case((session(1),))) == 3001.0
    assert lane.ready_at(Case((session(2),))) == 3005.0


def test_a_report_that_alone_fails_waits_ever_longer_whatever_else_succeeds(lane: Lane) -> None:
    waits = []
    for now in (0.0, 1000.0, 2000.0, 3000.0):
        waits.append(lane.failed(session(1), DOWN, now))
        lane.leave_alone(DOWN, now)
        lane.settled(session(2), now)
    assert waits == [5, 10, 20, 40]


def test_a_cdr_waits_for_its_session_until_that_is_overdue(lane: Lane) -> None:
    case = Case((session(1), cdr(1, 1)))
    lane.failed(session(1), SPOILT, 0.0)
    for now in (10.0, 100.0, 400.0, 500.0):
        lane.failed(session(1), SPOILT, now)
    assert lane.ready_at(case) == 580.0
    lane.failed(session(1), SPOILT, 590.0)
    assert lane.ready_at(case) == 600.0
    assert not lane.is_overdue(session(1), 599.9)
    assert lane.is_overdue(session(1), 600.0)


def test_what_is_not_due_any_more_is_forgotten(lane: Lane) -> None:
    lane.failed(session(1), SPOILT, 0.0)
    lane.settled(session(2), 0.0)
    lane.keep_only(set(), 100.0)
    assert lane.ready_at(Case((session(1),))) < 0.0
    assert not lane._told_at
