"""What all displays have in common: a thread of their own that has the newest text only, and a device that comes back.

A device that is slow, stuck or away keeps whoever writes to it waiting, so nobody but that thread ever writes. What is
shown, and how, is the displays' own business.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from agent.errors import DeviceError

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 1.0
"""A missing device costs one failing attempt a second, and one plugged in again is soon back."""


class NewestOnly(Generic[T]):
    """Hands what it gets to a thread that works on the newest alone.

    `work` gets the newest, or None where nothing came since, and returns in how many seconds it wants to be called
    again at the latest; None for not before there is something new. `finish` is called once in the end. Both run in the
    thread, which begins with the first text.
    """

    def __init__(
        self, name: str, work: Callable[[T | None], float | None], finish: Callable[[], None] = lambda: None
    ) -> None:
        self._name = name
        self._work = work
        self._finish = finish
        self._news = threading.Condition()
        self._newest: T | None = None
        self._busy = False
        self._closing = False
        self._thread: threading.Thread | None = None

    def hand_over(self, value: T) -> None:
        """Replace what is not worked on yet. Returns at once; nothing happens after `close`."""
        with self._news:
            if self._closing:
                return
            self._newest = value
            self._news.notify_all()
            if self._thread is None:
                # A daemon: where a write never returns, the process must still be able to end.
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def settle(self, wait_s: float) -> bool:
        """Wait until everything handed over was worked on; whether it was within `wait_s` seconds."""
        with self._news:
            return self._news.wait_for(lambda: self._newest is None and not self._busy, wait_s)

    def close(self, wait_s: float) -> None:
        """Work on the newest and end. Returns after `wait_s` seconds at the latest; may be called twice."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join(wait_s)

    def _run(self) -> None:
        again_s: float | None = None
        while (taken := self._take(again_s)) is not None:
            again_s = self._work(*taken)
            with self._news:
                self._busy = False
                self._news.notify_all()
        self._finish()

    def _take(self, again_s: float | None) -> tuple[T | None] | None:
        """The newest, once there is something to do; None in the end."""
        with self._news:
            self._news.wait_for(lambda: self._newest is not None or self._closing, again_s)
            value, self._newest = self._newest, None
            if value is None and self._closing:
                return None
            self._busy = True
            return (value,)


class Panel(Protocol):
    """A device that shows text, as its thread sees it: every call may take its time, and raise DeviceError."""

    def open(self) -> None:
        """Find the device and make it ready."""
        ...

    def write(self, lines: Sequence[str]) -> None:
        """Show these lines instead of what is there."""
        ...

    def check(self) -> None:
        """Raise DeviceError where the device is gone or has forgotten what it showed."""
        ...

    def close(self) -> None:
        """Give the device back, with what it shows left as it is. Never raises."""
        ...


class PanelWriter:
    """Keeps a panel showing the newest text.

    A panel that is away is said once in the log, and again only with another cause. It is tried again every `retry_s`
    seconds, and shows the newest text once it is back. `check_s` is how often a panel that shows is looked after: a
    device with a cable of its own may lose its power, and with it what it showed.
    """

    def __init__(self, label: str, panel: Panel, *, retry_s: float = RETRY_S, check_s: float | None = None) -> None:
        self._label = label
        self._panel = panel
        self._retry_s = retry_s
        self._check_s = check_s
        self._wanted: Sequence[str] | None = None
        self._shown: Sequence[str] | None = None
        self._is_open = False
        self._told: str | None = None
        self._crashed_by: type[Exception] | None = None
        self._shows = threading.Event()
        self._newest = NewestOnly[Sequence[str]](f"display {label}", self._work, self._let_go)

    def show(self, lines: Sequence[str]) -> None:
        """Show these lines from now on; returns at once."""
        self._newest.hand_over(lines)

    def settle(self, wait_s: float) -> bool:
        """Wait until the newest text is shown; whether it was within `wait_s` seconds."""
        until = time.monotonic() + wait_s
        return self._newest.settle(wait_s) and self._shows.wait(max(0.0, until - time.monotonic()))

    def close(self, wait_s: float) -> None:
        """As `agent.ports.Display.close`."""
        self._newest.close(wait_s)

    def _work(self, lines: Sequence[str] | None) -> float | None:
        self._wanted = self._wanted if lines is None else lines
        try:
            self._show_wanted()
        except DeviceError as error:
            self._is_away(str(error))
            return self._retry_s
        except Exception as error:
            # Whatever a library raises: a thread that ends would leave the display dark until the next start.
            if type(error) is not self._crashed_by:
                self._crashed_by = type(error)
                log.exception("display %s: a fault of its driver, it is tried again", self._label)
            self._is_away(f"its driver has failed ({type(error).__name__}: {error}), see the trace in the log")
            return self._retry_s
        if self._told is not None:
            log.info("display %s: it is back", self._label)
            self._told = None
        return self._check_s

    def _show_wanted(self) -> None:
        if not self._is_open:
            self._panel.open()
            self._is_open = True
        elif self._shown == self._wanted:
            self._panel.check()
        if self._wanted is not None and self._shown != self._wanted:
            self._panel.write(self._wanted)
            self._shown = self._wanted
        self._shows.set()

    def _is_away(self, why: str) -> None:
        if why != self._told:
            log.warning("display %s: %s", self._label, why)
            self._told = why
        self._shows.clear()
        self._let_go()

    def _let_go(self) -> None:
        self._is_open = False
        self._shown = None
        try:
            self._panel.close()
        except Exception:
            log.exception("display %s: its driver has failed while giving it back", self._label)
