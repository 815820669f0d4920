"""What a contactor's feedback means: what it was told, what is seen, and since when these differ. Pure.

Every `at` is monotonic seconds of the caller's clock.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

SETTLE_S = 0.5
"""A contactor moves within 0.1 s; a slow one with a suppressor on its coil takes 0.3 s to drop out."""


class Finding(StrEnum):
    """What is to be thought of the contactor."""

    FINE = "fine"
    MISSING = "missing"
    """It was told to close and is open: no coil current, no contactor, or it has dropped out."""
    WELDED = "welded"
    """It was told to open and is closed."""


@dataclass(frozen=True, slots=True)
class Contactor:
    """What is known of one."""

    commanded: bool = False
    seen: bool | None = None
    """None as long as nobody has said, and while the feedback is lost."""
    differs_since: float | None = None
    """Since when it is seen where it was not told to be; None while it is where it should be, or not seen."""

    def told(self, at: float, *, closed: bool) -> "Contactor":
        """It was commanded. Told the same again, nothing begins anew."""
        return self if closed is self.commanded else _compared(replace(self, commanded=closed), at)

    def looked_at(self, at: float, *, closed: bool | None) -> "Contactor":
        """The feedback says so."""
        return self if closed is self.seen else _compared(replace(self, seen=closed), at)

    def due_at(self, settle_s: float) -> float | None:
        """When there will be something to find; None where that is known now."""
        return None if self.differs_since is None else self.differs_since + settle_s


def _compared(contactor: Contactor, at: float) -> Contactor:
    differs = contactor.seen is not None and contactor.seen is not contactor.commanded
    return replace(contactor, differs_since=at if differs else None)


def find(contactor: Contactor, before: Finding, at: float, settle_s: float = SETTLE_S) -> Finding:
    """What to think now, after `before`. A welded one is welded until it is seen open: no command mends it."""
    if before is Finding.WELDED and contactor.seen is not False:
        return Finding.WELDED
    due_at = contactor.due_at(settle_s)
    if due_at is None:
        return Finding.FINE
    if at < due_at:
        return before if before is Finding.MISSING else Finding.FINE
    return Finding.WELDED if contactor.seen else Finding.MISSING
