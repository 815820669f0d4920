"""When a peer is given up, and when it is asked again."""

from agent.runtime.breaker import Breaker


def test_opens_after_so_many_silences_in_a_row() -> None:
    breaker = Breaker(3)
    assert [breaker.silent() for _ in range(3)] == [False, False, True]
    assert breaker.is_open


def test_an_answer_between_starts_the_count_anew() -> None:
    breaker = Breaker(2)
    breaker.silent()
    assert not breaker.answered()
    assert not breaker.silent()
    assert not breaker.is_open


def test_opens_once_and_says_so_once() -> None:
    breaker = Breaker(1)
    assert [breaker.silent() for _ in range(3)] == [True, False, False]


def test_zero_never_opens() -> None:
    breaker = Breaker(0)
    assert not any(breaker.silent() for _ in range(100))
    assert not breaker.is_open


def test_probe_that_is_answered_puts_it_on_trial() -> None:
    breaker = Breaker(3)
    for _ in range(3):
        breaker.silent()
    assert breaker.probed()
    assert not breaker.is_open
    assert breaker.silent()
    assert breaker.is_open


def test_answered_probes_do_not_end_the_trial() -> None:
    breaker = Breaker(2)
    breaker.silent()
    breaker.silent()
    breaker.probed()
    breaker.probed()
    assert breaker.silent()


def test_real_answer_ends_the_trial() -> None:
    breaker = Breaker(2)
    breaker.silent()
    breaker.silent()
    breaker.probed()
    breaker.answered()
    assert not breaker.silent()
    assert not breaker.is_open


def test_probe_while_all_is_well_forgets_a_single_silence() -> None:
    breaker = Breaker(2)
    breaker.silent()
    assert not breaker.probed()
    assert not breaker.silent()
