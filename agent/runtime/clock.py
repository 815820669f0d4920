"""Two clocks: one that only runs on, and one that says what time it is and may be wrong, or be put right.

Durations are taken from the first alone. A controller without a battery starts in 1970 or at the moment of its last
shutdown, until the network has told it the time: then everything that was timed by the wrong clock is moved by as much.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from agent.runtime.clock_source import ClockSource

log = logging.getLogger(__name__)

EARLIEST = datetime(2026, 11, 1, tzinfo=UTC)
"""Before this program was written nobody can have charged with it: an earlier clock has not been set."""
LOOK_EVERY_S: Final = 30.0
"""How often it is looked whether the clock has been set: for the log alone."""
LOOKS: Final = 20
"""After so many, ten minutes, the network has set the clock where it can; if not, somebody should look."""
AHEAD_S: Final = 5.0
"""So far a moment may lie ahead of the clock that it was taken by, from rounding; more, and it means nothing."""

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
    is_trusted: Callable[[], bool] = lambda: True
    """Whether the wall clock was set by one who knew; what it shows does not tell, see `clock_source`."""

    @property
    def is_known(self) -> bool:
        """Whether the wall clock has been set."""
        return self.now() >= EARLIEST and self.is_trusted()

    def at(self, moment: float) -> datetime:
        """What the wall clock would have shown at a monotonic moment, were it always as right as now."""
        return self.now() - timedelta(seconds=self.monotonic() - moment)

    def is_boot(self, boot_id: str) -> bool:
        """Whether this is that boot, as far as the kernel gives them names."""
        return bool(boot_id) and boot_id == self.boot_id

    def since(self, boot_id: str, moment: float, wall: datetime, *, wall_known: bool) -> float | None:
        """Seconds since a moment that was written down by both clocks, maybe in another boot; None: nobody knows."""
        if self.is_boot(boot_id):
            gone_s = self.monotonic() - moment
            return None if gone_s < -AHEAD_S else max(0.0, gone_s)
        gone_s = (self.now() - wall).total_seconds()
        return gone_s if wall_known and self.is_known and gone_s >= 0 else None


def system_clock(*, trusted: bool = False) -> Clock:
    """This machine's, for the event loop that runs; `trusted`: its wall clock is right, whoever has set it."""
    loop = asyncio.get_running_loop()
    is_trusted = (lambda: True) if trusted else ClockSource()
    return Clock(lambda: datetime.now(UTC), loop.time, _boot_id(), is_trusted)


async def watch(clock: Clock) -> None:
    """Until the wall clock is known: tells whoever reads the log of one that nobody sets, as nobody is billed by it."""
    looks = 0
    while not clock.is_known:
        if looks == 0:
            log.info("the clock has not been set yet: sessions are recorded, and billed once it is")
        elif looks == LOOKS:
            log.warning(
                "the clock has not been set since the start, neither by the network (NTP) nor from a battery-backed"
                " clock: nobody is billed and nothing is deleted until it is. See `timedatectl`; where somebody else"
                " keeps it right, say so by trusted = true in [clock]"
            )
        looks += 1
        await asyncio.sleep(LOOK_EVERY_S)
    if looks:
        log.info("the clock has been set")


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""  # unlike any other: then the wall clock has to do
