"""Asking what may hang."""

import threading

import pytest

from hw.patience import answered_within, begun

HANG_S = 60.0


def test_answer_that_comes_is_handed_on() -> None:
    assert answered_within(HANG_S, lambda: 7, "it") == 7


def test_error_is_handed_on() -> None:
    def ask() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        answered_within(HANG_S, ask, "it")


def test_error_of_the_one_asked_that_looks_like_ours_is_handed_on() -> None:
    def ask() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        answered_within(HANG_S, ask, "it")


def test_one_that_hangs_is_named_and_holds_up_no_end_of_the_program() -> None:
    never = threading.Event()
    asked: list[threading.Thread] = []

    def ask() -> bool:
        asked.append(threading.current_thread())
        return never.wait()

    with pytest.raises(TimeoutError, match=r"pcscd has not answered within 0\.5 s"):
        answered_within(0.5, ask, "pcscd")
    assert asked[0].daemon
    never.set()


def test_what_was_begun_can_not_be_cancelled() -> None:
    may_end = threading.Event()
    answer = begun(lambda: may_end.wait(HANG_S), "it")
    assert not answer.cancel()
    may_end.set()
    assert answer.result(HANG_S)
