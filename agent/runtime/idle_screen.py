"""What a display shows while nobody is there: the invitation, the operator's own text, the clock."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from agent.core.evse_effects import Text
from agent.core.glyphs import lay_out
from agent.core.texts import notice
from agent.ports import Display

PAGE_S = 5.0
"""How long a page stands where one display is too small for everything: time to read it and look up again."""


@dataclass(frozen=True, slots=True)
class IdleScreen:
    """What stands beside the invitation."""

    text: str | None = None
    """The operator's: the site's name, a telephone number."""
    clock: Callable[[], datetime | None] | None = None
    """The time as the driver's watch has it; None while it is not known: a wrong time is worse than none."""

    def __bool__(self) -> bool:
        """Whether there is anything beside the invitation."""
        return bool(self.text or self.clock)

    def pages(self, display: Display, language: str) -> tuple[tuple[str, ...], ...]:
        """What to show in turn: all on one page, the operator's text first and the clock last, if it has room.

        Otherwise the invitation has its own page. Each page has at most the display's rows.
        """
        text = lay_out(self.text or "", display.columns, display.charset)
        clock = self._clock(display.columns)
        left = display.rows - len(text) - len(clock)
        if left > 0 and len(invitation := _invitation(display, language, left, whole=True)) <= left:
            return ((*text, *invitation, *clock),)
        beside = (*text, *clock)
        chunks = (beside[at : at + display.rows] for at in range(0, len(beside), display.rows))
        return (_invitation(display, language, display.rows, whole=False), *chunks)

    def next_look_s(self, pages: int) -> float | None:
        """In how many seconds the display may have to change; None for never."""
        if pages > 1:
            return PAGE_S
        if self.clock is None:
            return None
        now = self.clock()
        return 60.0 - now.second - now.microsecond / 1e6 if now else 60.0

    def _clock(self, columns: int) -> tuple[str, ...]:
        now = self.clock() if self.clock else None
        return (f"{now:%H:%M}",) if now and columns >= len("00:00") else ()


def _invitation(display: Display, language: str, rows: int, *, whole: bool) -> tuple[str, ...]:
    return notice(
        Text.IDLE, language=language, columns=display.columns, rows=rows, charset=display.charset, whole=whole
    )
