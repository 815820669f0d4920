"""Which of two outlets behind one reader a card is for."""

from collections.abc import Sequence

import pytest

from agent.core.evse_events import Accepted, DeviceLost, Plugged, Tapped
from agent.core.evse_outlets import outlet_for
from agent.core.evse_state import Device, Evse
from agent.model import Tap, Uid
from tests.unit.evse_story import GROUP, PLUG_AND_METER, charging, story, tapped

FREE = story(PLUG_AND_METER).evse
PLUGGED = story(PLUG_AND_METER, Plugged(5.0)).evse
PLUGGED_LATER = story(PLUG_AND_METER, Plugged(6.0)).evse
MINE = charging(PLUG_AND_METER).evse
BUSY = story(PLUG_AND_METER, tapped("C3", 1.0), Accepted(2.0, 3), Plugged(3.0)).evse
ASKING = story(PLUG_AND_METER, tapped("C3", 1.0), tapped("A1", 2.0)).evse
BROKEN = story(PLUG_AND_METER, DeviceLost(1.0, Device.RELAY)).evse


@pytest.mark.parametrize(
    ("outlets", "chosen"),
    [
        ((FREE, FREE), 0),
        ((FREE, PLUGGED), 1),
        ((PLUGGED, PLUGGED_LATER), 1),
        ((PLUGGED, MINE), 1),
        ((BUSY, FREE), 1),
        ((BROKEN, FREE), 1),
        ((BROKEN, BUSY), 1),
        ((PLUGGED, ASKING), 1),
    ],
)
def test_card_goes_to_what_it_began_then_to_the_plugged_then_to_the_free_outlet(
    outlets: Sequence[Evse], chosen: int
) -> None:
    assert outlet_for(tapped("A1", 50.0), outlets, PLUG_AND_METER) == chosen


def test_card_of_the_group_goes_to_the_charge_of_its_group() -> None:
    assert outlet_for(tapped("B2", 50.0, frozenset({GROUP})), (PLUGGED, MINE), PLUG_AND_METER) == 1
    assert outlet_for(tapped("B2", 50.0, frozenset()), (PLUGGED, MINE), PLUG_AND_METER) == 0


def test_card_that_has_just_stopped_goes_to_where_it_stopped() -> None:
    stopped = charging(PLUG_AND_METER)
    stopped.then(tapped("A1", 20.0))
    assert outlet_for(tapped("A1", 22.0), (FREE, stopped.evse), PLUG_AND_METER) == 1
    assert outlet_for(tapped("A1", 40.0), (FREE, stopped.evse), PLUG_AND_METER) == 0


def test_card_is_not_for_a_car_that_came_while_it_was_looked_up() -> None:
    came_first = story(PLUG_AND_METER, Plugged(5.0)).evse
    came_later = story(PLUG_AND_METER, Plugged(51.0)).evse
    looked_up = Tapped(52.0, Tap(Uid("C3"), 50.0, "left"), frozenset())
    assert outlet_for(looked_up, (came_later, came_first), PLUG_AND_METER) == 1
    assert outlet_for(looked_up, (FREE, came_later), PLUG_AND_METER) == 0
