"""An HID board that outlives the program: what comes next opens its contacts, at the level of its feature report.

There is no kernel's hidraw here, so no agent of its own process: the drivers are those that it has, on one bus.
"""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from agent.errors import DeviceError
from fakes.relay_boards import HidBoard, HidBus
from hw.outputs.hid_relay import HidRelay

PATIENT_S = 30.0
CHANNELS = (1, 2)


def relays_on(bus: HidBus) -> list[HidRelay]:
    return [HidRelay(channel=channel, library=bus, hold=bus.hold, answer_s=PATIENT_S) for channel in CHANNELS]


def closed(board: HidBoard) -> list[int]:
    return [channel for channel in CHANNELS if board.contact_closed(channel)]


@pytest.fixture
def bus() -> Iterator[HidBus]:
    """A board with a supply of its own, both contacts left closed by a program that was killed."""
    bus = HidBus(HidBoard(self_powered=True))
    dead = relays_on(bus)
    for relay in dead:
        relay.close_contact()
    bus.kill_programs()
    assert closed(bus.boards[0]) == [1, 2]
    yield bus
    for relay in dead:  # else it would open its contact when this interpreter ends
        with suppress(DeviceError):
            relay.detach()


def test_next_program_opens_every_channel_at_once(bus: HidBus) -> None:
    relays = relays_on(bus)
    assert closed(bus.boards[0]) == []
    for relay in relays:
        relay.detach()


def test_board_that_was_pulled_is_not_taken_for_open_and_opens_when_it_is_back(bus: HidBus) -> None:
    board = bus.boards[0]
    board.unplug()
    relays = relays_on(bus)
    for relay in relays:
        with pytest.raises(DeviceError, match="does not open"):
            relay.open_contact()
    board.plug()
    for relay in relays:
        relay.open_contact()
    assert closed(board) == []
    for relay in relays:
        relay.detach()
