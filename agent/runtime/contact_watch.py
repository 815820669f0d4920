"""Compares what a contactor was told with what its feedback sees, and says so when they have differed for too long."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from agent.core.contact import SETTLE_S, Contactor, Finding, find

LATE_S = 0.1
"""A loop later than this has stood still, as for a USB board that hangs: the contact's edge waits in it, too."""


class ContactWatch:
    """One contactor under watch. Without feedback nothing is ever found. Works in the running loop."""

    def __init__(self, on_finding: Callable[[Finding], None], *, settle_s: float = SETTLE_S) -> None:
        """`on_finding` gets each change of `finding`."""
        self._on_finding = on_finding
        self._settle_s = settle_s
        self._contactor = Contactor()
        self._timer: asyncio.TimerHandle | None = None
        self.finding = Finding.FINE

    @property
    def may_be_closed(self) -> bool:
        """Whether it is seen closed, or was welded when it was last seen."""
        return bool(self._contactor.seen) or self.finding is Finding.WELDED

    @property
    def due_at(self) -> float | None:
        """The loop time at which it must be where it was told to be; None while it is."""
        return self._contactor.due_at(self._settle_s)

    def commanded(self, *, closed: bool) -> None:
        """The relay before it was switched, or told to."""
        self._look(self._contactor.told(self._time(), closed=closed))

    def seen(self, *, closed: bool | None) -> None:
        """The feedback's word; None when it is lost."""
        self._look(self._contactor.looked_at(self._time(), closed=closed))

    def stop(self) -> None:
        """Find nothing more by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, contactor: Contactor) -> None:
        self._contactor = contactor
        self._judge(self._time())

    def _judge(self, now: float) -> None:
        self.stop()
        due_at = self.due_at
        if due_at is not None and now < due_at:
            self._timer = asyncio.get_running_loop().call_at(due_at, self._due, due_at)
        finding = find(self._contactor, self.finding, now, self._settle_s)
        if finding is not self.finding:
            self.finding = finding
            self._on_finding(finding)

    def _due(self, due_at: float) -> None:
        """Judge; but where the loop stood still, what the contact did meanwhile has yet to be heard."""
        now = self._time()
        if now - due_at > LATE_S:
            self._contactor = replace(self._contactor, differs_since=now)
            due_at = now
        self._judge(due_at)

    def _time(self) -> float:
        return asyncio.get_running_loop().time()
