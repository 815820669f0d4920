"""How much somebody who is not logged in may ask of the panel: each answer is a turn of the loop that decides cards."""

from collections import OrderedDict

from agent.panel.attempts import is_here, origin_of

AT_ONCE = 120
"""A page that is opened takes some fifteen requests; a few are opened, and opened anew."""
A_SECOND = 10.0
HERE = 10.0
"""So many times that from this machine: the browser of the bench, which nobody else is to slow down."""
_MOST_ORIGINS = 1024


class Pace:
    """A bucket for each address, which fills again. `now` is in seconds, and only ever grows."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def takes(self, address: str, now: float) -> bool:
        """Whether one more is answered now."""
        origin, room = origin_of(address), HERE if is_here(address) else 1.0
        left, at = self._left.pop(origin, (AT_ONCE * room, now))
        left = min(AT_ONCE * room, left + (now - at) * A_SECOND * room)
        # One that is refused takes nothing: whoever asks too often is answered at the pace, not never.
        self._left[origin] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > _MOST_ORIGINS:
            self._left.popitem(last=False)
        return left >= 1
