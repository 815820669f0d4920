"""What the page knows that nobody else keeps: what each display shows, each light tells, and the last taps.

Every method here is called on a tap's way. It takes note and returns; who looks at the notes comes later.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import ParamSpec

from agent.model import Answers, MeterReading, Outcome, Question, Recorded, Signal
from agent.panel.board import Glass, SeenTap
from agent.ports import Backend, Charset, Display, Indicator
from agent.runtime.cards import Settled

log = logging.getLogger(__name__)

_P = ParamSpec("_P")


def harmless(note: Callable[_P, None]) -> Callable[_P, None]:
    """A fault in taking note stays here: what a page shows is nothing to the charge point."""

    @wraps(note)
    def taken(*values: _P.args, **named: _P.kwargs) -> None:
        try:
            note(*values, **named)
        except Exception:  # whatever it is: on a tap's way it would open a relay
            log.exception("the panel can't take note of this; the charge point goes on")

    return taken


TAPS = 20
"""The last so many are shown: what stands in one look, and what an installer has tried just now."""


@dataclass(slots=True)
class _Notes:
    glass: Glass = field(default_factory=Glass)
    signal: Signal | None = None
    reading: MeterReading | None = None


class Watch:
    """Takes note, and says so."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` returns at once."""
        self._on_change = on_change
        self._evses: dict[str, _Notes] = {}
        self._taps: deque[SeenTap] = deque(maxlen=TAPS)
        self._unrecorded = 0
        self.latency_ms: dict[str, float] = {}
        """By peer: how long its last answer took."""

    @property
    def taps(self) -> Sequence[SeenTap]:
        """In the order in which they came."""
        return tuple(self._taps)

    def tap(self, number: int) -> SeenTap | None:
        """One of them; None for one that is not shown any more."""
        return next((tap for tap in self._taps if tap.id == number), None)

    def glass(self, evse_uid: str) -> Glass:
        """What its display shows."""
        return self._of(evse_uid).glass

    def signal(self, evse_uid: str) -> Signal | None:
        """What its light tells."""
        return self._of(evse_uid).signal

    def reading(self, evse_uid: str) -> MeterReading | None:
        """The last one of its meter."""
        return self._of(evse_uid).reading

    def displays(self, evse_uid: str, display: Display) -> Display:
        """The same display, watched."""
        notes = self._of(evse_uid)
        notes.glass = Glass((), display.columns, display.rows)

        @harmless
        def shown(lines: Sequence[str]) -> None:
            notes.glass = replace(notes.glass, lines=tuple(lines), columns=display.columns, rows=display.rows)
            self._on_change()

        return _WatchedDisplay(display, shown)

    def indicators(self, evse_uid: str) -> Indicator:
        """A light that nobody sees but the page."""
        notes = self._of(evse_uid)

        @harmless
        def told(signal: Signal) -> None:
            notes.signal = signal
            self._on_change()

        return _NotedSignal(told)

    def backend(self, backend: Backend) -> Backend:
        """Asks as this one does; which card is asked about where is noted, and how long each peer took."""
        return _WatchedBackend(backend, self._asked, self._answered)

    @harmless
    def read(self, evse_uid: str, reading: MeterReading) -> None:
        """The meter of an EVSE has said something."""
        self._of(evse_uid).reading = reading

    @harmless
    def settled(self, tap: Settled) -> None:
        """A tap is over."""
        number = tap.authorization_id
        if number is None:
            # Another one than any of an earlier life, too: a page that is open may still hold those.
            self._unrecorded = min(self._unrecorded - 1, -int(tap.entry.tapped_at.timestamp() * 1000))
            number = self._unrecorded
        total_ms = max(0.0, (tap.switched_at - tap.tap.at) * 1000)
        seen = SeenTap(number, tap.entry, tap.times, total_ms)
        ids = [one.id for one in self._taps]
        if number in ids:
            self._taps[ids.index(number)] = seen  # its record was recalled before it was over
        else:
            self._taps.append(seen)
        self._on_change()

    def recall(self, records: Sequence[Recorded]) -> None:
        """Taps of an earlier life, newest first: they go before those of this one."""
        known = {tap.id for tap in self._taps}
        before = [SeenTap(one.id, one.entry) for one in records if one.id not in known]
        room = TAPS - len(self._taps)
        self._taps.extendleft(before[:room])
        self._on_change()

    @harmless
    def _asked(self, question: Question) -> None:
        # What its owner says of the card stands on the glass before the tap is over.
        for evse_uid in question.location.evse_uids:
            notes = self._of(evse_uid)
            notes.glass = replace(notes.glass, card=question.uid)

    @harmless
    def _answered(self, answers: Answers) -> None:
        for answer in answers.given:
            if answer.elapsed_s > 0 and answer.outcome not in _UNANSWERED:
                self.latency_ms[answer.peer] = answer.elapsed_s * 1000

    def _of(self, evse_uid: str) -> _Notes:
        return self._evses.setdefault(evse_uid, _Notes())


class _WatchedDisplay:
    """Shows on the real one first."""

    def __init__(self, display: Display, shown: Callable[[Sequence[str]], None]) -> None:
        self._display = display
        self._shown = shown

    @property
    def columns(self) -> int:
        return self._display.columns

    @property
    def rows(self) -> int:
        return self._display.rows

    @property
    def charset(self) -> Charset:
        return self._display.charset

    def show(self, lines: Sequence[str]) -> None:
        self._display.show(lines)
        self._shown(lines)

    def close(self, wait_s: float) -> None:
        self._display.close(wait_s)


class _NotedSignal:
    def __init__(self, told: Callable[[Signal], None]) -> None:
        self._told = told

    def indicate(self, signal: Signal) -> None:
        self._told(signal)


_UNANSWERED = frozenset({Outcome.BREAKER_OPEN, Outcome.UNREACHABLE, Outcome.TIMEOUT, Outcome.NO_PEER})
"""What took a time, too, but brought nothing."""


class _WatchedBackend:
    def __init__(
        self, backend: Backend, asked: Callable[[Question], None], answered: Callable[[Answers], None]
    ) -> None:
        self._backend = backend
        self._asked = asked
        self._answered = answered

    async def ask(self, question: Question, until: float) -> Answers:
        self._asked(question)
        answers = await self._backend.ask(question, until)
        self._answered(answers)
        return answers


def _fits(
    display: _WatchedDisplay, signal: _NotedSignal, backend: _WatchedBackend
) -> tuple[Display, Indicator, Backend]:
    return display, signal, backend
