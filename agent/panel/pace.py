"""How much somebody who is not logged in may ask of the panel: each answer is a turn of the loop that decides cards."""

from collections.abc import Callable

from agent.ocpi.server.limits import Bucket
from agent.panel.attempts import is_here, origin_of

AT_ONCE = 120
"""A page that is opened takes some fifteen requests; a few are opened, and opened anew."""
A_SECOND = 10
_MOST_ORIGINS = 1024
HERE = 10
"""So many times that from this machine: the browser of the bench, which nobody else is to slow down."""


class Pace:
    """A bucket for each address."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is in seconds, and only ever grows."""
        self._outside = Bucket(A_SECOND, 1.0, burst=AT_ONCE, most_keys=_MOST_ORIGINS, clock=clock)
        self._here = Bucket(A_SECOND * HERE, 1.0, burst=AT_ONCE * HERE, clock=clock)

    def takes(self, address: str) -> bool:
        """Whether one more is answered now."""
        bucket = self._here if is_here(address) else self._outside
        return bucket.take(origin_of(address)) == 0
