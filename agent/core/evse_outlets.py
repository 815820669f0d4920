"""Which of several EVSEs behind one reader a card is for."""

from collections.abc import Sequence
from typing import assert_never

from agent.core.evse_events import Tapped
from agent.core.evse_state import (
    Authorizing,
    Available,
    Charging,
    Evse,
    Faulted,
    Plug,
    Settings,
    Suspended,
    WaitingForPlug,
    WaitingForUnplug,
)
from agent.model import Tap


def outlet_for(tapped: Tapped, outlets: Sequence[Evse], settings: Settings) -> int:
    """Which of the EVSEs behind one reader a tap is for, as an index; the first where several are as good.

    What the card, or then its group, has begun or ended there comes before all else: a driver who wants to stop must
    never start a stranger's car. Then the car that was plugged in last when the card came, for its driver stands at the
    reader; then a free outlet, also one where a car has come since. `groups` must have been looked up, unless an
    authorization of this very card runs.
    """
    return min(range(len(outlets)), key=lambda place: _claim(tapped, outlets[place], settings))


def _claim(tapped: Tapped, evse: Evse, settings: Settings) -> tuple[int, float]:
    """The least one gets the tap."""
    if _is_of_this_card(tapped.tap, evse, settings):
        return (0, 0.0)
    if evse.running and evse.running.group in (tapped.groups or ()):
        return (1, 0.0)
    match evse.phase:
        case Available():
            stood_there = evse.plug is Plug.IN and evse.plugged_at <= tapped.tap.at
            return (2, -evse.plugged_at) if stood_there else (3, 0.0)
        case WaitingForUnplug():
            return (4, -evse.plugged_at)
        case Authorizing() | WaitingForPlug() | Charging() | Suspended():
            return (5, 0.0)
        case Faulted():
            return (6, 0.0)
        case never:
            assert_never(never)


def _is_of_this_card(tap: Tap, evse: Evse, settings: Settings) -> bool:
    if isinstance(evse.phase, Authorizing):
        return tap.uid in {other.uid for other in (evse.phase.tap, *evse.phase.waiting)}
    runs = evse.running is not None and evse.running.uid == tap.uid
    return runs or evse.has_just_stopped(tap, settings)
