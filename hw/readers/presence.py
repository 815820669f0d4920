"""Which cards are on a reader. Pure: the times come in as values."""

from dataclasses import dataclass

MAX_CARDS = 64
"""More than a coil can tell apart or a line of 9600 baud can bring within `removal_s`; a bound, not a setting."""


@dataclass(slots=True)
class _Card:
    tapped_at: float
    last_seen: float


class Presence:
    """Makes one tap of a card that is held, however often its reader repeats it.

    Each card counts for itself: a second one is never swallowed by the first, and two that a reader reports in turn
    are one tap each. Remembers at most `MAX_CARDS` cards, and none for longer than it matters. The caller names the
    cards: uids that are other ones each time, as phones', go under one name, or a phone that is held would tap again
    with each.
    """

    def __init__(self, removal_s: float, debounce_s: float = 0.0) -> None:
        """`removal_s`: seconds without a frame after which a card counts as taken away.

        `debounce_s`: no second tap of a card sooner than these seconds after its last tap. A card that comes back
        sooner is still the same tap, and goes on being that for as long as it is held: it doesn't tap on its own
        once the time is over, but when it has been away for `removal_s` again.
        """
        self._removal_s = removal_s
        self._debounce_s = debounce_s
        self._cards: dict[str, _Card] = {}

    def __len__(self) -> int:
        return len(self._cards)

    def seen(self, card: str, at: float) -> bool:
        """Whether this frame begins a tap. `at` is in seconds of a clock that never goes back."""
        known = self._cards.pop(card, None)
        newly = known is None or self._over(known, at)
        tapped_at = at if known is None or newly else known.tapped_at
        self._forget_over(at)
        self._cards[card] = _Card(tapped_at, at)  # at the end: the dictionary stays in the order of the last frames
        if len(self._cards) > MAX_CARDS:
            del self._cards[next(iter(self._cards))]
        return newly

    def held(self, card: str, at: float) -> None:
        """Note that a card was there until `at`: for readers that tell when a card goes and send nothing meanwhile.

        Never begins a tap; nothing happens for a card that is not known.
        """
        known = self._cards.pop(card, None)
        if known is not None:
            self._cards[card] = _Card(known.tapped_at, at)

    def _over(self, card: _Card, at: float) -> bool:
        return at - card.last_seen >= self._removal_s and at - card.tapped_at >= self._debounce_s

    def _forget_over(self, at: float) -> None:
        for name in [name for name, card in self._cards.items() if self._over(card, at)]:
            del self._cards[name]
