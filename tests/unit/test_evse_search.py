"""What one EVSE must never do, it does in none of the worlds that can come about.

Two searches over the same promises (`evse_world`): all worlds up to what makes no difference for any future, which
has no depth; and every sequence of events to a depth, with nothing left out of the state.
"""

from itertools import product

import pytest

from agent.core.evse import step
from agent.core.evse_events import (
    Accepted,
    DeviceBack,
    DeviceLost,
    LateRefused,
    Plugged,
    Reading,
    RecordFailed,
    Refused,
    Restarted,
    ShutDown,
    StopCommanded,
    Tapped,
    TimerFired,
    Unplugged,
)
from agent.core.evse_state import Device, Plug, Settings, Unlock
from agent.model import EndReason, LateRefusal
from tests.unit.evse_search import check_ways_out, explore
from tests.unit.evse_world import Happening, Moment, PowerCut, World, happenings, play

SIMPLE = Settings()
METERED = Settings(has_meter=True, late_refusal=LateRefusal.STOP)
PLUGGED = Settings(has_plug_sensor=True, late_refusal=LateRefusal.STOP, most_waiting=1)
FULL = Settings(has_plug_sensor=True, has_meter=True, late_refusal=LateRefusal.STOP, most_waiting=1)
FITTED = {"simple": SIMPLE, "metered": METERED, "plugged": PLUGGED, "full": FULL}

CHOICES = tuple(
    Settings(
        has_plug_sensor=has_plug_sensor,
        has_meter=has_meter,
        late_refusal=late_refusal,
        unlock=unlock,
        resume_within_s=resume_within_s,
        stop_after_s=stop_after_s,
        most_waiting=2,
    )
    for has_plug_sensor, has_meter, late_refusal, unlock, resume_within_s, stop_after_s in product(
        (False, True), (False, True), LateRefusal, Unlock, (0.0, 300.0), (0.0, 3.0)
    )
)

DEPTH = 5
CAMPAIGN_DEPTH = 6


def search(settings: Settings) -> str:
    graph = explore(settings, step)
    check_ways_out(graph)
    phases = {type(world.evse.phase).__name__ for world in graph.came_by if world.evse}
    depth = max(len(graph.story(world).splitlines()) for world in graph.came_by)
    return f"{len(graph.came_by)} states, {graph.transitions} transitions, {len(phases)} phases, depth {depth}"


@pytest.mark.parametrize("settings", FITTED.values(), ids=FITTED)
def test_no_world_that_can_come_about_breaks_a_promise(settings: Settings) -> None:
    print(search(settings))


@pytest.mark.campaign
@pytest.mark.parametrize("settings", CHOICES, ids=str)
def test_no_choice_of_settings_breaks_a_promise(settings: Settings) -> None:
    print(search(settings))


def in_short(happening: Happening) -> bool:  # noqa: PLR0911  a table
    """Whether a sequence may have it: of what comes in kinds, one or two of each that lead to different places."""
    match happening:
        case Tapped(groups=groups):
            return groups == (frozenset({"DE-ABC G"}) if happening.tap.uid == "B2" else None)
        case (
            ShutDown()
            | PowerCut()
            | Accepted()
            | Refused()
            | Plugged()
            | Unplugged()
            | TimerFired()
            | LateRefused()
            | Moment()
        ):
            return True
        case Restarted(plug=plug, off_for_s=off_for_s):
            return plug is not Plug.UNKNOWN and off_for_s == 1.0
        case Reading(power_w=power_w):
            return power_w == 0.0
        case DeviceLost(device=device) | DeviceBack(device=device):
            return device is Device.RELAY
        case StopCommanded(because=because):
            return because is EndReason.OPERATOR
        case RecordFailed(too_late=too_late):
            return too_late
        case _:
            return False


def sequences(world: World, depth: int, story: tuple[Happening, ...] = ()) -> int:
    """Play all of them, and count."""
    if depth == 0:
        return 1
    count = 0
    for happening in happenings(world, FULL):
        if in_short(happening):
            try:
                reached, _, _ = play(world, happening, FULL, step)
            except Exception as error:
                error.add_note("\n".join(map(repr, ("after", *story, happening))))
                raise
            count += sequences(reached, depth - 1, (*story, happening))
    return count


def test_no_sequence_of_events_breaks_a_promise() -> None:
    start, _, _ = play(World(), Restarted(0.0, plug=Plug.OUT), FULL, step)
    count = sequences(start, DEPTH)
    print(f"{count} sequences of {DEPTH} events")
    assert count > 100_000


@pytest.mark.campaign
def test_no_longer_sequence_of_events_breaks_a_promise() -> None:
    start, _, _ = play(World(), Restarted(0.0, plug=Plug.OUT), FULL, step)
    count = sequences(start, CAMPAIGN_DEPTH)
    print(f"{count} sequences of {CAMPAIGN_DEPTH} events")
    assert count > 1_000_000
