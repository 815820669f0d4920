"""What the driver reads at one EVSE: a verdict or an event for a while, then what stands there.

The lights and buzzers beside the display are told the same at the same moment.
"""

import asyncio
from collections.abc import Callable, Sequence

from agent.core.evse_effects import Text
from agent.core.signals import signal_of, verdict_signal
from agent.core.texts import notice, text_for
from agent.model import Decision, Signal
from agent.ports import Display, Indicator
from agent.runtime.idle_screen import IdleScreen

__all__ = ["TEXT_STANDS_S", "DriverDisplay", "IdleScreen"]

TEXT_STANDS_S = 6.0
"""How long a text is shown before the standing one comes back: time to read two lines and look up again."""

FIRST_WINDOW_S = 3.0
"""How long the beginning of a text that scrolls stands: it takes a second to look at the display at all."""
LINE_S = 1.5
"""A line takes no less than this to be read."""
SCROLLED_BY_S = 30.0
"""A text of the 512 characters that OCPI allows runs faster, so that it was shown whole by then: nobody stands longer
in front of a display, and the standing text has to come back."""


class DriverDisplay:
    """Fits texts to one display and puts the standing text back by itself."""

    def __init__(
        self,
        display: Display,
        language: str,
        *,
        standing: Callable[[], Text],
        idle: IdleScreen = IdleScreen(),  # noqa: B008  # immutable
        scroll: bool = True,
        indicators: Sequence[Indicator] = (),
    ) -> None:
        """`language` is for who names none; `standing` says which text stands there when nothing has just happened.

        With `scroll` a text that is longer than the display moves through it, line by line; without, it is cut.
        """
        self._display = display
        self._language = language
        self._standing = standing
        self._idle = idle
        self._scroll = scroll
        self._indicators = indicators
        self._told: Signal | None = None
        self._shown: tuple[str, ...] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.language: str | None = None
        """The driver's whose card began what runs: texts that are no decision are in it. None when nothing runs."""

    def lines(self, decision: Decision, then: Text | None = None) -> tuple[str, ...]:
        """The decision as this display shows it; `then` is what follows from it at the EVSE.

        A text that scrolls is here whole.
        """
        display = self._display
        return text_for(
            decision,
            then=then,
            language=self._language,
            columns=display.columns,
            rows=display.rows,
            charset=display.charset,
            whole=self._scroll,
        )

    def notice(self, what: Text) -> tuple[str, ...]:
        """What is no decision, as this display shows it now: in the language of the driver whose charge runs."""
        display = self._display
        return notice(
            what,
            drivers=self.language,
            language=self._language,
            columns=display.columns,
            rows=display.rows,
            charset=display.charset,
            whole=self._scroll,
        )

    def reading(self) -> None:
        """Tell that a card was read, and its verdict is on the way; the display waits for something to say."""
        self._tell(Signal.READING)

    def verdict(self, decision: Decision, then: Text | None = None) -> None:
        """Show a decision and what follows from it, and the standing text after it was read."""
        self._tell(verdict_signal(decision, then))
        self._show_for_a_while(self.lines(decision, then))

    def say(self, text: Text) -> None:
        """Show what happened, and the standing text after a while; that a peer is asked stands until the verdict."""
        if text is self._standing():
            self.standing()
            return
        self._tell(signal_of(text))
        if text is Text.ASKING:
            self._show_for_good(self.notice(text))
        else:
            self._show_for_a_while(self.notice(text))

    def standing(self) -> None:
        """Show at once what stands there when nothing has just happened."""
        text = self._standing()
        if signal_of(text) is not self._told:  # a buzzer would sound again
            self._tell(signal_of(text))
        if text is Text.IDLE and self._idle:
            self.stop()
            self._idle_page(0)
        else:
            self._show_for_good(self.notice(text))

    def stop(self) -> None:
        """Nothing is put back any more, and nothing moves."""
        if self._timer:
            self._timer.cancel()

    def _tell(self, signal: Signal) -> None:
        self._told = signal
        for indicator in self._indicators:
            indicator.indicate(signal)

    def _show_for_a_while(self, lines: tuple[str, ...]) -> None:
        """Once through it if it scrolls, and then what stands there."""
        self.stop()
        steps = max(0, len(lines) - self._display.rows)
        step_s = _step_s(steps)
        if steps:
            self._move(lines, 0, step_s, then=self.standing)
        else:
            self._show(lines)
            self._after(TEXT_STANDS_S, self.standing)

    def _show_for_good(self, lines: tuple[str, ...]) -> None:
        """Until something else is shown; again and again through it if it scrolls."""
        self.stop()
        steps = max(0, len(lines) - self._display.rows)
        if steps:
            self._move(lines, 0, _step_s(steps), then=lambda: self._show_for_good(lines))
        else:
            self._show(lines)

    def _move(self, lines: tuple[str, ...], at: int, step_s: float, *, then: Callable[[], None]) -> None:
        """Show the window of the text that begins with line `at`, then the next ones, and in the end do `then`."""
        rows = self._display.rows
        self._show(lines[at : at + rows])
        if at + rows >= len(lines):
            self._after(FIRST_WINDOW_S, then)
        else:
            stands_s = step_s if at else FIRST_WINDOW_S
            self._after(stands_s, lambda: self._move(lines, at + 1, step_s, then=then))

    def _idle_page(self, turn: int) -> None:
        pages = self._idle.pages(self._display, self._language)
        page = pages[turn % len(pages)]
        if turn == 0 or page != self._shown:
            self._show(page)
        look_s = self._idle.next_look_s(len(pages))
        if look_s is not None:
            self._after(look_s, lambda: self._idle_page((turn + 1) if len(pages) > 1 else 1))

    def _after(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _show(self, lines: tuple[str, ...]) -> None:
        self._shown = lines
        self._display.show(lines)


def _step_s(steps: int) -> float:
    """How long each window between the first and the last stands."""
    between = max(1, steps - 1)
    return min(LINE_S, (SCROLLED_BY_S - 2 * FIRST_WINDOW_S) / between)
