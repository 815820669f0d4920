"""Asks what may hang: a daemon that was frozen, a bus whose clock somebody holds, a name server that is silent."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def begun(ask: Callable[[], T], name: str) -> Future[T]:
    """What `ask` returns or raises, once it does: in a thread of its own, which the end of the program won't wait for.

    A `ThreadPoolExecutor` is waited for at the end of the program.
    """
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # noqa: BLE001  it is raised where somebody waits for it
            answer.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return answer


def answered_within(limit_s: float, ask: Callable[[], T], whom: str) -> T:
    """What `ask` returns or raises. Raises TimeoutError where that takes longer; it goes on then, unheard."""
    answer = begun(ask, f"ask {whom}")
    try:
        return answer.result(limit_s)
    except TimeoutError:
        if answer.done():
            raise
        raise TimeoutError(f"{whom} has not answered within {limit_s:g} s") from None
