"""Whether the time is known: without it sessions are recorded, and none is billed."""

from collections.abc import Callable
from datetime import UTC, datetime

from agent.diagnosis.finding import Finding, bad, good, warning
from agent.runtime.clock import EARLIEST
from agent.runtime.clock_source import ClockSource

_REMEDY = (
    "a network with NTP (timedatectl set-ntp true), a clock with a battery, "
    "or clock.trusted = true where something else keeps it right"
)


def clock_finding(
    *,
    trusted: bool,
    is_set: Callable[[], bool] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Finding:
    """`trusted`: as the configuration has it; `is_set`: whether the kernel, or a battery, vouches for the clock."""
    moment = now()
    shown = f"{moment:%Y-%m-%d %H:%M:%S}Z"
    if moment < EARLIEST:
        return bad("clock", f"shows {shown}, before this program was written: it was never set", _REMEDY)
    if trusted:
        return good("clock", f"shows {shown}, and is taken for right, as clock.trusted has it")
    if (is_set or ClockSource())():
        return good("clock", f"shows {shown}, and was set by the network or a clock with a battery")
    return warning("clock", f"shows {shown}, and nobody has set it: sessions can't be billed until then", _REMEDY)
