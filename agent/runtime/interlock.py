"""EVSEs of which only one may be in use at a time: on one supply, behind one contactor, at one parking space.

Whether an EVSE is in use is asked of it each time, so nothing has to be given back that a crash could forget. Only
while an acceptance is being recorded is a place reserved: two cards at the same moment must not both get one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class _Member:
    in_use: Callable[[], bool]
    may_be_closed: Callable[[], bool]
    reserved: bool = False


@dataclass
class Interlock:
    """The EVSEs that share one name in the configuration."""

    name: str
    _members: dict[str, _Member] = field(default_factory=dict)

    def join(self, evse_uid: str, *, in_use: Callable[[], bool], may_be_closed: Callable[[], bool]) -> "Place":
        """Make an EVSE one of them. `in_use` includes an authorization that runs and a relay that may be closed."""
        self._members[evse_uid] = _Member(in_use, may_be_closed)
        return Place(self, evse_uid)

    def used_by_other(self, evse_uid: str) -> str | None:
        """Which other EVSE is in use, or is about to be; None when none is."""
        return self._other(evse_uid, lambda member: member.reserved or member.in_use())

    def closed_by_other(self, evse_uid: str) -> str | None:
        """Which other EVSE's contact may be closed; None when all are open."""
        return self._other(evse_uid, lambda member: member.may_be_closed())

    def reserve(self, evse_uid: str, *, reserved: bool) -> None:
        """Let it count as in use, or no longer."""
        self._members[evse_uid].reserved = reserved

    def _other(self, evse_uid: str, holds: Callable[[_Member], bool]) -> str | None:
        return next((uid for uid, member in self._members.items() if uid != evse_uid and holds(member)), None)


class Place:
    """One EVSE's side of its interlock."""

    def __init__(self, interlock: Interlock, evse_uid: str) -> None:
        self._interlock = interlock
        self._evse_uid = evse_uid

    def hindrance(self) -> str | None:
        """Why no charge may begin here now, for the record; None when one may."""
        other = self._interlock.used_by_other(self._evse_uid)
        if other is None:
            return None
        return f"{other} is in use, and only one of the interlock {self._interlock.name} may be at a time"

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Within, the others can't begin; after it only what really runs counts."""
        self._interlock.reserve(self._evse_uid, reserved=True)
        try:
            yield
        finally:
            self._interlock.reserve(self._evse_uid, reserved=False)

    def forbids_closing(self) -> str | None:
        """Why this contact must stay open, whoever wants it closed: the last line of defence."""
        other = self._interlock.closed_by_other(self._evse_uid)
        if other is None:
            return None
        return f"the contact of {other} may be closed, which has the interlock {self._interlock.name} in common"
