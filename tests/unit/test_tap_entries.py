"""The words of the record of a card that the machine refuses."""

from datetime import UTC, datetime

import pytest

from agent.core.evse_effects import Refusal, Text
from agent.core.evse_state import Device
from agent.model import Policy, Reason, Tap, Uid
from agent.runtime.clock import Clock
from agent.runtime.driver_display import DriverDisplay
from agent.runtime.tap_entries import TapEntries
from tests.scenario.stage import TextDisplay

RELAY_AND_PLUG = frozenset({Device.RELAY, Device.PLUG})


@pytest.fixture
def entries() -> TapEntries:
    display = DriverDisplay(TextDisplay(), "en", standing=lambda: Text.IDLE)
    clock = Clock(lambda: datetime(2027, 6, 1, tzinfo=UTC), lambda: 100.0, "boot-1", lambda: True)
    return TapEntries("DE*EXA*E1", Policy(), display, clock)


TAP = Tap(Uid("A1"), 99.5, "left")


def test_relay_that_is_lost_goes_before_whatever_else_is(entries: TapEntries) -> None:
    entry = entries.refused(TAP, Refusal.OUT_OF_ORDER, RELAY_AND_PLUG, None)
    detail = "the relay has not opened since it was last told to, or did not close"
    assert (entry.reason, entry.detail) == (Reason.RELAY_FAULT, detail)


def test_record_says_what_is_wrong_with_the_relay_where_that_is_known(entries: TapEntries) -> None:
    entry = entries.refused(TAP, Refusal.OUT_OF_ORDER, RELAY_AND_PLUG, None, why="the contactor is welded")
    assert (entry.reason, entry.detail) == (Reason.RELAY_FAULT, "the contactor is welded")


def test_what_is_wrong_with_the_relay_is_not_said_of_an_evse_in_use(entries: TapEntries) -> None:
    entry = entries.refused(TAP, Refusal.IN_USE, frozenset(), 7, why="the contactor is welded")
    assert (entry.reason, entry.detail) == (Reason.IN_USE, "authorization 7 of another card is running")


def test_record_names_the_devices_that_are_missing(entries: TapEntries) -> None:
    entry = entries.refused(TAP, Refusal.OUT_OF_ORDER, frozenset({Device.METER, Device.PLUG}), None)
    assert (entry.reason, entry.detail) == (
        Reason.OUT_OF_ORDER, "nothing may begin while this is missing: meter, plug",
    )  # fmt: skip
