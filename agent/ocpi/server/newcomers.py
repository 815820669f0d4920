"""How fast connections may come, before anything is done for them: with TLS each costs the event loop a signature."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from agent.ocpi.server.limits import Bucket


class Pace(NamedTuple):
    """Connections of one origin."""

    per_s: int
    burst: int
    """All at once."""


REMOTE: Final = Pace(10, 40)
"""A browser opens six. A peer has a handful and uses them again; one that opens a connection for each request is no
slower for it, as long as its requests are accepted: see `give_back`. At once, more than one address may keep with TLS.
A small controller signs for some 10 ms with a key of RSA: one stranger takes a tenth of its time."""

REMOTE_PLAIN: Final = Pace(50, 128)
"""Without TLS there is nothing to sign: at once as many as one address may keep."""

LOCAL: Final = Pace(100, 200)
"""Of this machine, with TLS. Without, it has none: a proxy may open one for each request of everybody's."""

_KNOWN_TIMES = 5
"""As fast may they come from where somebody has proved who it is: a stranger behind the same address is not to keep its
peer out."""

_MOST_KNOWN = 64
"""Of such addresses; whose last proof is the oldest goes first."""

_MACHINE = "this machine"


class Newcomers:
    """Counts connections by where they come from."""

    def __init__(
        self,
        *,
        tls: bool,
        remote: Pace | None = None,
        local: Pace = LOCAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tls = tls
        remote = remote or (REMOTE if tls else REMOTE_PLAIN)
        self._remote = Bucket(remote.per_s, 1.0, burst=remote.burst, clock=clock)
        times = _KNOWN_TIMES
        self._known = Bucket(times * remote.per_s, 1.0, burst=times * remote.burst, clock=clock)
        self._proved: OrderedDict[str, None] = OrderedDict()
        self._local = Bucket(local.per_s, 1.0, burst=local.burst, clock=clock)

    def admits(self, origin: str) -> bool:
        """Whether one more may come from there now."""
        bucket, key = self._of(origin)
        return bucket is None or bucket.take(key) == 0

    def give_back(self, origin: str) -> None:
        """One from there has proved who it is: it counts no more."""
        self._proved[origin] = None
        self._proved.move_to_end(origin)
        if len(self._proved) > _MOST_KNOWN:
            self._proved.popitem(last=False)
        bucket, key = self._of(origin)
        if bucket is not None:
            bucket.give_back(key)

    def _of(self, origin: str) -> tuple[Bucket | None, str]:
        # Any process of this machine has all of 127.0.0.0/8 to come from.
        if origin == "::1" or origin.startswith("127."):
            return self._local if self._tls else None, _MACHINE
        return self._known if origin in self._proved else self._remote, origin
