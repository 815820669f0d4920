"""Two clocks: one that only runs on, and one that says what time it is and may be wrong, or be put right.

Durations are taken from the first alone. A controller without a battery starts in 1970 or at the moment of its last
shutdown, until the network has told it the time: then everything that was timed by the wrong clock is moved by as much.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

EARLIEST = datetime(2026, 11, 1, tzinfo=UTC)
"""Before this program was written nobody can have charged with it: an earlier clock has not been set."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Clock:
    """What the time is, and what it was at a monotonic moment of this boot."""

    now: Callable[[], datetime]
    """The wall clock, in UTC."""
    monotonic: Callable[[], float]
    """The event loop's time: seconds of CLOCK_MONOTONIC, the same for every process of one boot."""
    boot_id: str
    """Of the kernel: in another boot monotonic times mean nothing."""

    @property
    def is_known(self) -> bool:
        """Whether the wall clock has been set."""
        return self.now() >= EARLIEST

    def at(self, moment: float) -> datetime:
        """What the wall clock would have shown at a monotonic moment, were it always as right as now."""
        return self.now() - timedelta(seconds=self.monotonic() - moment)

    def since(self, boot_id: str, moment: float, wall: datetime, *, wall_known: bool) -> float | None:
        """Seconds since a moment that was written down by both clocks, maybe in another boot; None: nobody knows."""
        if boot_id and boot_id == self.boot_id:
            return max(0.0, self.monotonic() - moment)
        gone_s = (self.now() - wall).total_seconds()
        return gone_s if wall_known and self.is_known and gone_s >= 0 else None


def system_clock() -> Clock:
    """This machine's, for the event loop that runs."""
    loop = asyncio.get_running_loop()
    return Clock(lambda: datetime.now(UTC), loop.time, _boot_id())


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""  # unlike any other: then the wall clock has to do
