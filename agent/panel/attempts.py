"""How often somebody may try to log in: a delay that doubles for each address, and a limit for all together.

Pure state, driven by the time that it is given.
"""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from math import ceil

from agent.ocpi.server.protocol import plain_address

FREE = 3
"""Wrong passwords that cost nothing but the time of the next: people mistype."""

FIRST_S = 2.0
"""After one more; doubled for each further one."""

MOST_S = 900.0

_MOST_USERS = 4
"""That are remembered of an address: with two it is nobody who has mistyped."""

MOST_HERE_S = 30.0
"""From this machine: a program that guesses there keeps nobody at the charger out for longer, and gets nowhere so."""

FORGET_S = 3600.0
"""After so long without a wrong password an address begins anew."""

_MOST_ORIGINS = 1024
"""Addresses that are remembered; the one that tried longest ago is forgotten first. The limit for all holds anyway."""

ALL_IN_MINUTE = 20
"""Wrong passwords a minute from everywhere but this machine, whatever their addresses: a small controller takes a
second for each."""


@dataclass(slots=True)
class _Failures:
    count: int
    last_at: float
    users: frozenset[str]
    """For whom; of many, some."""


class Attempts:
    """Remembers wrong passwords. `now` is in seconds, and only ever grows."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, _Failures] = OrderedDict()
        self._left = float(ALL_IN_MINUTE)
        self._left_at = 0.0

    def wait_s(self, address: str, now: float) -> int:
        """0 when it may try now, else in how many seconds."""
        origin = origin_of(address)
        failures = self._of.get(origin)
        own_s = 0.0
        if failures is not None and failures.count > FREE and now - failures.last_at < FORGET_S:
            most_s = MOST_HERE_S if is_here(address) else MOST_S
            own_s = failures.last_at + min(most_s, FIRST_S * 2.0 ** min(failures.count - FREE - 1, 32)) - now
        all_s = 0.0
        if not is_here(address):
            all_s = (1 - self._left_now(now)) * 60 / ALL_IN_MINUTE
        return max(0, ceil(max(own_s, all_s)))

    def failed(self, address: str, now: float, user: str = "") -> None:
        """A wrong name or password came from there."""
        origin = origin_of(address)
        before = self._of.pop(origin, None)
        is_old = before is None or now - before.last_at >= FORGET_S
        known = before if before is not None and not is_old else _Failures(0, now, frozenset())
        users = known.users if len(known.users) >= _MOST_USERS else known.users | {user}
        self._of[origin] = _Failures(known.count + 1, now, users)
        if len(self._of) > _MOST_ORIGINS:
            self._of.popitem(last=False)
        if not is_here(address):
            self._left, self._left_at = max(0.0, self._left_now(now) - 1), now

    def succeeded(self, address: str, user: str = "") -> None:
        """The right password came from there: that makes up for this user's wrong ones, and for nobody else's."""
        origin = origin_of(address)
        failures = self._of.get(origin)
        if failures is not None and failures.users <= {user}:
            self._of.pop(origin)

    def _left_now(self, now: float) -> float:
        return min(float(ALL_IN_MINUTE), self._left + (now - self._left_at) * ALL_IN_MINUTE / 60)


def origin_of(address: str) -> str:
    """What one client has of its own: an address of IPv4; of IPv6 a network of 2^64 addresses; this machine.

    Of those that hold on one link only (fe80::) every machine there has its own in the same network.
    """
    try:
        known = ipaddress.ip_address(plain_address(address.partition("%")[0]))
    except ValueError:
        return address
    if known.is_loopback:
        return "127.0.0.1"
    if known.version == 4 or known.is_link_local:
        return str(known)
    return str(ipaddress.IPv6Network((known, 64), strict=False))


def is_here(address: str) -> bool:
    """Whether it is this machine's own: who sits at the charger is not to be kept out by those who try from outside."""
    try:
        return ipaddress.ip_address(plain_address(address)).is_loopback
    except ValueError:
        return False
