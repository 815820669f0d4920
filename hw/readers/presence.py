"""Which cards are on a reader. Pure: the times come in as values."""

MAX_CARDS = 64
"""More than a coil can tell apart or a line of 9600 baud can bring within `removal_s`; a bound, not a setting."""


class Presence:
    """Makes one tap of a card that is held, however often its reader repeats it.

    Each card counts for itself: a second one is never swallowed by the first, and two that a reader reports in turn
    are one tap each. Remembers at most `MAX_CARDS` cards, and none for longer than it matters.
    """

    def __init__(self, removal_s: float) -> None:
        """`removal_s`: seconds without a frame after which a card counts as taken away."""
        self._removal_s = removal_s
        self._last_seen: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._last_seen)

    def seen(self, card: str, at: float) -> bool:
        """Whether this frame begins a tap. `at` is in seconds of a clock that never goes back."""
        self._forget_removed(at)
        newly = self._last_seen.pop(card, None) is None
        self._last_seen[card] = at  # at the end: the dictionary stays in the order of the last frames
        if len(self._last_seen) > MAX_CARDS:
            del self._last_seen[next(iter(self._last_seen))]
        return newly

    def _forget_removed(self, at: float) -> None:
        while self._last_seen:
            oldest, last_seen = next(iter(self._last_seen.items()))
            if at - last_seen < self._removal_s:
                return
            del self._last_seen[oldest]
