"""What the driver reads at one EVSE: the verdict for a while, then what stands there between taps."""

import asyncio
from collections.abc import Callable

from agent.core.texts import Notice, notice, text_for
from agent.model import Decision
from agent.ports import Display

TEXT_STANDS_S = 6.0
"""How long a verdict is shown before the idle text comes back: time to read two lines and look up again."""


class DriverDisplay:
    """Fits texts to one display and puts the standing text back by itself."""

    def __init__(self, display: Display, language: str, *, standing: Callable[[], Notice]) -> None:
        """`language` is for cards that name none; `standing` says which text stands between taps."""
        self._display = display
        self._language = language
        self._standing = standing
        self._timer: asyncio.TimerHandle | None = None

    def lines(self, decision: Decision) -> tuple[str, ...]:
        """The decision as this display shows it."""
        display = self._display
        return text_for(
            decision,
            language=self._language,
            columns=display.columns,
            rows=display.rows,
            charset=display.charset,
        )

    def verdict(self, decision: Decision) -> None:
        """Show a decision, and the standing text after a while."""
        self._show(self.lines(decision))
        self._put_back()

    def asking(self) -> None:
        """Show that a peer is being asked; it stands until the verdict."""
        self._notice(Notice.ASKING)

    def stopped_late(self) -> None:
        """Show that a refusal came after the fallback had accepted, and ended the charge."""
        self._notice(Notice.STOPPED_LATE)
        self._put_back()

    def idle(self) -> None:
        """Show what stands between taps."""
        self._notice(self._standing())

    def stop(self) -> None:
        """Nothing is put back any more."""
        if self._timer:
            self._timer.cancel()

    def _notice(self, what: Notice) -> None:
        display = self._display
        self._show(
            notice(what, language=self._language, columns=display.columns, rows=display.rows, charset=display.charset)
        )

    def _put_back(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TEXT_STANDS_S, self.idle)

    def _show(self, lines: tuple[str, ...]) -> None:
        self.stop()
        self._display.show(lines)
