"""Which cards lie on the PC/SC readers of one driver. Pure: the times come in as values.

PC/SC tells that a card came and that it went, and nothing between; so this is not `hw.readers.presence`, which lives
on repeated frames.
"""

RETURN_S = 2.0
"""A reader that comes back is empty at first, for a card is found by pcscd's next look, 0.4 s later, and by some
readers only after their field was off and on again."""


class HeldCards:
    """Makes one tap of a card that lies on a reader, however often the field loses it and the daemon dies.

    A card is gone once it was away for `removal_s` seconds. No card begins a second tap sooner than `debounce_s`
    after its last one began. The same card on two readers at once (a slot and an antenna in one housing) is one tap.

    While a reader is away nobody knows what happens on it. When it comes back, the card that lay on it before is the
    same tap still, for how long ever it was away; another one is a tap. So a fob left on the reader does not end its
    own charge because pcscd was restarted. Whoever took his card away meanwhile, and holds it there again within
    `RETURN_S` of the reader's return, has to do so twice: the smaller evil.
    """

    def __init__(self, removal_s: float, debounce_s: float = 0.0) -> None:
        self._removal_s = removal_s
        self._debounce_s = debounce_s
        self._on: dict[str, bytes] = {}
        self._lost: dict[str, bytes] = {}
        self._left: dict[bytes, float] = {}
        self._began: dict[bytes, float] = {}

    def put(self, reader: str, card: bytes, at: float) -> bool:
        """A card was read on a reader: whether this begins a tap. `at`: seconds of a clock that never goes back."""
        same = self._lost.pop(reader, None) == card or card in self._on.values()
        if self._on.get(reader, card) != card:
            self.taken(reader, at)
        self._on[reader] = card
        self._forget(at)
        if same or card in self._left or card in self._began:
            self._left.pop(card, None)
            return False
        if self._debounce_s > 0:
            self._began[card] = at
        return True

    def taken(self, reader: str, at: float) -> None:
        """Nothing lies on this reader."""
        if (card := self._on.pop(reader, None)) is not None:
            self._left[card] = at
        elif (card := self._lost.pop(reader, None)) is not None:
            self._left[card] = at + max(0.0, RETURN_S - self._removal_s)

    def lost(self, reader: str) -> None:
        """The reader itself is away, unplugged or without its daemon."""
        if (card := self._on.pop(reader, None)) is not None:
            self._lost[reader] = card

    def _forget(self, at: float) -> None:
        """Drop what no longer matters, which also bounds what is kept."""
        self._left = {card: left for card, left in self._left.items() if at - left < self._removal_s}
        self._began = {card: began for card, began in self._began.items() if at - began < self._debounce_s}
