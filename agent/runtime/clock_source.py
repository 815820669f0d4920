"""Whether anything has told this machine the time: the network, or a clock with a battery.

A controller with neither looks as if it knew. It starts at the moment of its last shutdown, which systemd-timesyncd or
fake-hwclock kept in a file: the right year, and wrong by as long as it was off.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

AGREES_S: Final = 120.0
"""A battery clock that the kernel has not set itself by: a script did, if they show the same but for their drift."""
DAY_S: Final = 86_400.0
"""One that it has set itself by may keep local time, and drifts. Without its battery it is off by years."""

_SYNCHRONISED = Path("run/systemd/timesync/synchronized")
_BATTERY_CLOCKS = Path("sys/class/rtc")
_TIME_ERROR = 5
"""adjtimex(2), TIME_ERROR: the clock is not synchronised."""


def is_synchronised() -> bool:
    """Whether the kernel says that its clock is disciplined, by whatever program; False also where it can't be asked.

    See adjtimex(2): with no modes it only reads, which needs no right.
    """
    import ctypes  # noqa: PLC0415  a quarter of a megabyte that is not needed where a file has told

    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    return adjtimex is not None and adjtimex(ctypes.create_string_buffer(512)) not in (-1, _TIME_ERROR)


class ClockSource:
    """Called, it says whether the wall clock was ever set by one who knew; from then on for good: it runs on by itself.

    The cheapest is asked first. None of it waits for anything but a register of a battery clock, about a millisecond.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        kernel: Callable[[], bool] = is_synchronised,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`root` is where /run and /sys are; `now` the wall clock, in seconds since 1970."""
        self._root = root
        self._kernel = kernel
        self._now = now
        self._has_told = False

    def __call__(self) -> bool:
        self._has_told = self._has_told or self._tells()
        return self._has_told

    def _tells(self) -> bool:
        # timesyncd's file lives as long as the boot; the kernel forgets after hours without a network.
        return (
            (self._root / _SYNCHRONISED).exists()
            or any(map(self._is_set_by, (self._root / _BATTERY_CLOCKS).glob("rtc*")))
            or self._kernel()
        )

    def _is_set_by(self, battery_clock: Path) -> bool:
        with suppress(OSError, ValueError):  # one whose battery was empty refuses to be read
            off_s = abs(int((battery_clock / "since_epoch").read_text(encoding="ascii")) - self._now())
            has_set = (battery_clock / "hctosys").read_text(encoding="ascii").strip() == "1"
            return off_s <= (DAY_S if has_set else AGREES_S)
        return False
