"""When a peer is given up, and when it is asked again."""

from agent.runtime.breaker import Breaker


def opened_by_questions(failures: int = 2) -> Breaker:
    breaker = Breaker(failures, trial_first_s=2.0, trial_most_s=60.0)
    for _ in range(failures):
        breaker.silent(0.0)
    assert breaker.is_open
    return breaker


def test_opens_after_so_many_silences_in_a_row() -> None:
    breaker = Breaker(3)
    assert [breaker.silent(0.0) for _ in range(3)] == [False, False, True]
    assert not breaker.lets_through(0.0)


def test_an_answer_between_starts_the_count_anew() -> None:
    breaker = Breaker(2)
    breaker.silent(0.0)
    assert not breaker.answered()
    assert not breaker.silent(0.0)
    assert breaker.lets_through(0.0)


def test_opens_once_and_says_so_once() -> None:
    breaker = Breaker(1)
    assert [breaker.silent(0.0) for _ in range(3)] == [True, False, False]


def test_zero_never_opens() -> None:
    breaker = Breaker(0)
    assert not any(breaker.silent(0.0) or breaker.probe_failed(0.0) for _ in range(100))
    assert breaker.lets_through(0.0)


def test_failed_probes_open_it_before_a_driver_finds_out() -> None:
    breaker = Breaker(3)
    assert [breaker.probe_failed(0.0) for _ in range(3)] == [False, False, True]


def test_answered_probes_do_not_forgive_silent_questions() -> None:
    breaker = Breaker(3)
    opened = False
    for _ in range(3):
        opened = breaker.silent(0.0)
        breaker.probed()
    assert opened


def test_answered_probe_does_not_close_what_probes_never_noticed() -> None:
    breaker = opened_by_questions()
    assert not breaker.probed()
    assert breaker.is_open


def test_answered_probe_after_an_outage_closes_it_on_trial() -> None:
    breaker = opened_by_questions()
    breaker.probe_failed(1.0)
    assert breaker.probed()
    assert breaker.lets_through(1.0)
    assert breaker.silent(1.0)
    assert breaker.is_open


def test_answer_ends_the_trial() -> None:
    breaker = opened_by_questions()
    breaker.probe_failed(1.0)
    breaker.probed()
    breaker.answered()
    assert not breaker.silent(1.0)


def test_one_question_is_let_through_after_a_while() -> None:
    breaker = opened_by_questions()
    assert not breaker.lets_through(1.9)
    assert breaker.lets_through(2.0)
    assert not breaker.lets_through(2.0)


def test_failed_trials_grow_ever_rarer_up_to_a_bound() -> None:
    breaker = opened_by_questions()
    waits, now = [], 0.0
    for _ in range(8):
        began = now
        while not breaker.lets_through(now):
            now += 0.5
        waits.append(now - began)
        breaker.silent(now)
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_answered_trial_closes_it() -> None:
    breaker = opened_by_questions()
    assert breaker.lets_through(2.0)
    assert breaker.answered()
    assert not breaker.silent(3.0)


def test_probes_that_a_question_has_refuted_open_nothing_until_one_succeeds() -> None:
    breaker = Breaker(2)
    breaker.probe_failed(0.0)
    breaker.probe_failed(0.0)
    assert breaker.lets_through(2.0)
    breaker.answered()
    assert not any(breaker.probe_failed(3.0) for _ in range(10))
    breaker.probed()
    assert [breaker.probe_failed(4.0) for _ in range(2)] == [False, True]
