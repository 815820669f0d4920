"""How fast cards may be guessed at one reader: pure state, driven by the taps that it refused and the time it is.

Whoever holds a programmable card to a reader can try ten uids a second, and a whitelist of a million cards makes every
few thousandth uid of four bytes a good one. What is done with a tap in a pause is the business of whoever holds the
readers.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

from agent.model import Entry, Reason, Verdict

_TELLS_NOTHING = frozenset(
    {
        Reason.STORAGE_FAULT,
        Reason.TOO_LATE,
        Reason.RELAY_FAULT,
        Reason.OUT_OF_ORDER,
        Reason.AGENT_FAULT,
        Reason.INTERLOCKED,
        Reason.TOO_MANY_REFUSED,
    }
)
"""Refused whatever card it is: a guesser learns nothing, and drivers must not pay twice for a fault of ours."""


@dataclass(frozen=True, slots=True)
class Slowdown:
    """From how many refused taps on a reader pauses, and for how long.

    However taps are spread, of n = `refusals` and k = the doublings from `pause_s` to `most_pause_s` no more than

        n * (1 + k + T * (1 / min(within_s, most_pause_s) + k / most_pause_s))

    are refused by a decision in any T seconds, and of who goes on as fast as the reader lets him no more than
    n * (2 + k + T / most_pause_s); and besides, with each pause, those that were being decided or recorded as it
    began. Fewer than n in any `within_s` are never slowed down.
    """

    refusals: int
    """So many refused taps within `within_s` lead to a pause; 0 switches the slowdown off."""
    within_s: float
    pause_s: float
    """The first pause; each that follows is twice as long as the one before."""
    most_pause_s: float
    """No refusal lets the reader wait longer than this from then on; and when as long after the last pause nothing
    was refused, the next is a first one again."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which a reader's cards are not decided; loop times, in seconds."""

    begun: float
    until: float

    def is_on(self, now: float) -> bool:
        """Whether it is not over."""
        return now < self.until


@dataclass(slots=True)
class Pace:
    """The refused taps of one reader, and the pauses that they lead to. Times are loop times and never go back.

    Each `refusals` taps are paid for with a pause. An accepted card changes nothing: a guesser may hold one good card
    between the others.
    """

    settings: Slowdown
    _recent: deque[float] = field(default_factory=deque, init=False)
    """When taps were refused that are not paid for yet, within the window."""
    _refused_at: float = field(default=-inf, init=False)
    _pause: Pause = field(default=Pause(-inf, -inf), init=False)
    _next_s: float = field(default=0.0, init=False)

    def refused(self, now: float) -> Pause | None:
        """A tap was refused. Returns the pause that begins with it.

        One that was being decided as the pause began counts as well: the pause on its way grows longer by the next
        one, instead of ending sooner for who fills the queue before it; but it never reaches further than the longest
        pause does from now, or the next driver would wait for every card of that queue.
        """
        settings = self.settings
        if not settings.refusals:
            return None
        if now - max(self._refused_at, self._pause.until) >= settings.most_pause_s:
            self._next_s = settings.pause_s
        self._refused_at = now
        self._recent.append(now)
        while now - self._recent[0] > settings.within_s:
            self._recent.popleft()
        if len(self._recent) < settings.refusals:
            return None
        self._recent.clear()
        self._pause = self._longer(now)
        self._next_s = min(2 * self._next_s, settings.most_pause_s)
        return self._pause

    def _longer(self, now: float) -> Pause:
        if self._pause.is_on(now):
            until = min(self._pause.until + self._next_s, now + self.settings.most_pause_s)
            return Pause(self._pause.begun, until)
        return Pause(now, now + self._next_s)


def counts_as_guess(entry: Entry, *, is_recorded: bool) -> bool:
    """Whether a tap that came to this may have been a guess; `is_recorded` when its record is on disk.

    So may a card that found the EVSE in use, for a uid that stops the charge can be guessed as well; one that no peer
    answered for, or else who cuts the network would guess undisturbed; and a random uid, for its record fills the disk
    like any other. A decision that could not be recorded does not count: the driver reads of our fault instead, good
    card or bad. Nor does a card turned away in a pause: it was not decided, and an impatient driver would prolong the
    pause for ever.
    """
    if entry.verdict is not Verdict.REFUSED or entry.reason in _TELLS_NOTHING:
        return False
    return is_recorded or entry.reason is Reason.IN_USE
