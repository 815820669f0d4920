"""A thread for what takes a processor's second: it has what the taps leave, also where there is one core."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

_T = TypeVar("_T")

_NICE = 19
"""The least that Linux gives to a thread that is not to stand still."""


class Aside:
    """Does one thing at a time, beside the event loop; the thread begins with the first."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="panel", initializer=_step_back)

    async def do(self, work: Callable[[], _T]) -> _T:
        """What the work returns or raises. Cancelling does not break it off, only nobody waits for it any more."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _step_back() -> None:
    # On Linux niceness is each thread's own, sched(7). Elsewhere this is refused, and the thread is as any other.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
