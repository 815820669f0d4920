"""Death at one chosen moment: every await point of the work that is watched is counted, and the nth one kills.

Nothing is replaced in what is watched: its coroutine is driven by hand, one step after the other, down to the futures
that the event loop is given, whoever awaits them: our code, a library, or a task that either has started.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from types import CoroutineType
from typing import Any, TypeVar

_T = TypeVar("_T")

_watched: ContextVar[bool] = ContextVar("watched", default=False)
"""Goes along into every task and call-back that watched work starts."""

_QUIET_TURNS = 50
"""Of the event loop: accepting a connection, reading from it and starting a task for it take one each, or a few."""


class Death:
    """Counts the moments of watched work from `arm` on, and calls `strike` at the one that is set.

    An await point has two moments: when it is about to wait, so that what it waits for has been handed over (to the
    kernel, to SQLite's thread) and may be done or not; and when it has been woken, so that it is done, and nothing
    has been made of it yet.
    """

    def __init__(self, strike: Callable[[int, str], None]) -> None:
        """`strike` gets the moment's number, from 1, and where it is; it ends the process."""
        self.moments = 0
        self._strike = strike
        self._at: int | None = None
        self._armed = False
        self._under_way = 0

    def arm(self, at: int | None) -> None:
        """Count from now on, and strike at moment `at`; None only counts."""
        self._armed, self._at, self.moments = True, at, 0

    def disarm(self) -> None:
        """Strike and count no more."""
        self._armed = False

    async def watch(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do `work`, under watch with all that it starts. For work that is not under watch already."""
        mark = _watched.set(True)
        try:
            return await self._done(work)
        finally:
            _watched.reset(mark)

    async def quiet(self) -> None:
        """Return when no work is under way that is watched, nor any that the kernel holds a request for."""
        turns = 0
        while turns < _QUIET_TURNS:
            turns = 0 if self._under_way else turns + 1
            await asyncio.sleep(0)

    def watch_tasks_of(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have `loop` put under watch each task that watched work starts."""

        def make(loop: asyncio.AbstractEventLoop, work: Any, **settings: Any) -> asyncio.Task[Any]:
            return asyncio.Task(self._done(work) if _watched.get() else work, loop=loop, **settings)

        loop.set_task_factory(make)

    async def _done(self, work: Coroutine[Any, Any, _T]) -> _T:
        self._under_way += 1
        try:
            result: _T = await _Steps(work, self)
            return result
        finally:
            self._under_way -= 1

    def pass_by(self, work: Coroutine[Any, Any, Any]) -> None:
        """One moment more."""
        if self._armed:
            self.moments += 1
            if self.moments == self._at:
                self._strike(self.moments, _where(work))


class _Steps:
    """Awaits `work` in place of `await`, and lets death pass by before and after each time that it waits."""

    def __init__(self, work: Coroutine[Any, Any, Any], death: Death) -> None:
        self._work = work
        self._death = death

    def __await__(self) -> Generator[Any, Any, Any]:
        thrown: BaseException | None = None
        while True:
            try:
                waits_for = self._work.send(None) if thrown is None else self._work.throw(thrown)
            except StopIteration as ended:
                return ended.value
            thrown = None
            self._death.pass_by(self._work)
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001  (whatever it is belongs to `work`, CancelledError above all)
                thrown = error
            self._death.pass_by(self._work)


def _where(work: object) -> str:
    """The innermost coroutines of `work`: `PeerStore.begin:230 < Registrar.register:121`."""
    names: list[str] = []
    while isinstance(work, CoroutineType):
        names.append(f"{work.__qualname__}:{work.cr_frame.f_lineno if work.cr_frame else '-'}")
        work = work.cr_await
    return " < ".join(reversed(names[-4:]))
