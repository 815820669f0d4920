"""What the driver reads at one EVSE: a verdict or an event for a while, then what stands there."""

import asyncio
from collections.abc import Callable

from agent.core.evse_effects import Text
from agent.core.texts import notice, text_for
from agent.model import Decision
from agent.ports import Display

TEXT_STANDS_S = 6.0
"""How long a text is shown before the standing one comes back: time to read two lines and look up again."""


class DriverDisplay:
    """Fits texts to one display and puts the standing text back by itself."""

    def __init__(self, display: Display, language: str, *, standing: Callable[[], Text]) -> None:
        """`language` is for who names none; `standing` says which text stands there when nothing has just happened."""
        self._display = display
        self._language = language
        self._standing = standing
        self._timer: asyncio.TimerHandle | None = None
        self.language: str | None = None
        """The driver's whose card began what runs: texts that are no decision are in it. None when nothing runs."""

    def lines(self, decision: Decision, then: Text | None = None) -> tuple[str, ...]:
        """The decision as this display shows it; `then` is what follows from it at the EVSE."""
        display = self._display
        return text_for(
            decision,
            then=then,
            language=self._language,
            columns=display.columns,
            rows=display.rows,
            charset=display.charset,
        )

    def verdict(self, decision: Decision, then: Text | None = None) -> None:
        """Show a decision and what follows from it, and the standing text after a while."""
        self._show(self.lines(decision, then))
        self._put_back()

    def say(self, text: Text) -> None:
        """Show what happened, and the standing text after a while; that a peer is asked stands until the verdict."""
        self._notice(text)
        if text not in (Text.ASKING, self._standing()):
            self._put_back()

    def standing(self) -> None:
        """Show at once what stands there when nothing has just happened."""
        self._notice(self._standing())

    def stop(self) -> None:
        """Nothing is put back any more."""
        if self._timer:
            self._timer.cancel()

    def _notice(self, what: Text) -> None:
        display = self._display
        self._show(
            notice(
                what,
                drivers=self.language,
                language=self._language,
                columns=display.columns,
                rows=display.rows,
                charset=display.charset,
            )
        )

    def _put_back(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TEXT_STANDS_S, self.standing)

    def _show(self, lines: tuple[str, ...]) -> None:
        self.stop()
        self._display.show(lines)
