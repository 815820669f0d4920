"""USB HID relay boards: the reports, what is read back, and a board that hangs."""

import asyncio
import time

import pytest

from agent.errors import DeviceError
from fakes.relay_boards import HidBoard, HidBus
from hw.outputs.hid_relay import HidRelay
from tests.hw.test_serial_relay import watched

PATIENT_S = 30.0
SOON_S = 0.01


def relay_of(bus: HidBus, *, channel: int = 1, serial: str | None = None, answer_s: float = PATIENT_S) -> HidRelay:
    return HidRelay(channel=channel, serial=serial, library=bus, answer_s=answer_s, look_s=SOON_S)


@pytest.mark.parametrize("channel", [1, 2])
def test_relay_switches_its_channel_and_no_other(channel: int) -> None:
    board = HidBoard()
    relay = relay_of(HidBus(board), channel=channel)
    relay.close_contact()
    assert [board.contact_closed(each) for each in (1, 2)] == [channel == 1, channel == 2]
    relay.detach()
    assert not board.contact_closed(channel)


def test_board_is_chosen_by_its_serial() -> None:
    left, right = HidBoard("LEFT1"), HidBoard("RIGHT")
    relay = relay_of(HidBus(left, right), serial="RIGHT")
    relay.close_contact()
    assert (left.contact_closed(), right.contact_closed()) == (False, True)
    assert left.opened == 0
    relay.detach()


def test_one_of_several_boards_must_be_named() -> None:
    relay = relay_of(HidBus(HidBoard("LEFT1"), HidBoard("RIGHT")))
    with pytest.raises(DeviceError, match="set serial to one of LEFT1, RIGHT"):
        relay.open_contact()
    with pytest.raises(DeviceError):
        relay.detach()


@pytest.mark.parametrize("serial", [None, "BITFT"])
def test_boards_of_one_serial_are_refused_for_nobody_can_tell_them_apart(serial: str | None) -> None:
    left, right = HidBoard("BITFT"), HidBoard("BITFT")
    relay = relay_of(HidBus(left, right), serial=serial)
    before = left.contact_closed(), right.contact_closed()
    with pytest.raises(DeviceError, match="several with the serial BITFT, which can't be told apart: leave one"):
        relay.open_contact()
    with pytest.raises(DeviceError, match="does not close"):
        relay.close_contact()
    assert (left.contact_closed(), right.contact_closed()) == before
    with pytest.raises(DeviceError):
        relay.detach()


@pytest.mark.parametrize("bus", [HidBus(), HidBus(HidBoard("OTHER"))])
def test_board_that_is_not_there_is_an_error_of_each_command(bus: HidBus) -> None:
    relay = relay_of(bus, serial="BITFT")
    for command in (relay.open_contact, relay.close_contact, relay.detach):
        with pytest.raises(DeviceError, match=r"relay 1 of the USB relay board BITFT does not (open|close)"):
            command()
    assert not relay.contact_closed


def test_relay_that_the_board_lacks_is_refused_by_its_number() -> None:
    relay = relay_of(HidBus(HidBoard(channels=2)), channel=3)
    with pytest.raises(DeviceError, match="has only 2 relays"):
        relay.open_contact()
    with pytest.raises(DeviceError):
        relay.detach()


def test_board_that_takes_the_command_and_does_nothing_is_an_error() -> None:
    board = HidBoard()
    relay = relay_of(HidBus(board))
    board.jam()
    with pytest.raises(DeviceError, match="does not close: the board takes the command and does nothing"):
        relay.close_contact()
    assert not relay.contact_closed
    board.unjam()
    relay.detach()


def test_closed_contact_that_does_not_open_counts_as_closed_until_it_does() -> None:
    board = HidBoard()
    relay = relay_of(HidBus(board))
    relay.close_contact()
    board.jam()
    for _ in range(2):
        with pytest.raises(DeviceError, match="does not open"):
            relay.open_contact()
        assert relay.contact_closed
    board.unjam()
    relay.open_contact()
    assert (relay.contact_closed, board.contact_closed()) == (False, False)
    relay.detach()


def hung() -> tuple[HidBoard, HidRelay]:
    """A board that hangs since its open relay was told to close."""
    board = HidBoard()
    relay = relay_of(HidBus(board), answer_s=0.05)
    while not _opens(relay):
        pass  # on a slow machine the board, too, is late
    board.hang()
    with pytest.raises(DeviceError, match="does not answer"):
        relay.close_contact()
    return board, relay


def test_board_that_hangs_keeps_nobody_waiting_twice_and_opens_when_it_wakes() -> None:
    board, relay = hung()
    nobody_knows = relay.contact_closed
    assert nobody_knows
    began = time.monotonic()
    for _ in range(1000):
        with pytest.raises(DeviceError, match="does not answer"):
            relay.open_contact()
    assert time.monotonic() - began < 1000 * 0.05
    board.answer_again()
    while not _opens(relay):
        pass
    assert (relay.contact_closed, board.contact_closed()) == (False, False)
    relay.detach()


def test_opening_that_a_hung_board_carried_out_late_is_taken_for_its_answer() -> None:
    board, relay = hung()
    board.answer_again()
    while relay._hangs:
        pass
    board.hang()  # whoever asked it again would wait, and hear nothing
    relay.open_contact()
    assert (relay.contact_closed, board.contact_closed()) == (False, False)
    board.answer_again()
    relay.detach()


def _opens(relay: HidRelay) -> bool:
    try:
        relay.open_contact()
    except DeviceError:
        return False
    return True


async def test_board_that_was_pulled_is_told_on_and_comes_back_open() -> None:
    board = HidBoard(self_powered=True)
    relay = relay_of(HidBus(board))
    async with watched(relay) as watch:
        await watch.works()
        relay.close_contact()
        board.unplug()
        assert "check its cable" in await watch.lost()
        with pytest.raises(DeviceError):
            relay.open_contact()
        assert relay.contact_closed
        board.plug()
        await watch.works(times=2)
        assert (relay.contact_closed, board.contact_closed()) == (False, False)
    relay.detach()


async def test_looking_moves_nothing() -> None:
    board = HidBoard()
    relay = relay_of(HidBus(board))
    async with watched(relay) as watch:
        await watch.works()
        relay.close_contact()
        looks = board.reports_read
        while board.reports_read < looks + 5:  # noqa: ASYNC110  # the board tells nobody
            await asyncio.sleep(SOON_S)
        assert (board.contact_closed(), board.moves(), len(watch.said)) == (True, 1, 1)
    relay.detach()


async def test_contact_that_somebody_else_moves_is_opened_and_told_on() -> None:
    board = HidBoard()
    relay = relay_of(HidBus(board))
    async with watched(relay) as watch:
        await watch.works()
        board.move_by_hand(1, closed=True)
        assert "let no other program switch it" in await watch.lost()
        await watch.works(times=2)
        assert not board.contact_closed()
    relay.detach()


async def test_board_that_hangs_is_told_on_without_keeping_the_loop_waiting() -> None:
    board = HidBoard()
    relay = relay_of(HidBus(board), answer_s=0.1)
    async with watched(relay) as watch:
        await watch.works()
        board.hang()
        assert "does not answer" in await watch.lost()
        board.answer_again()
        await watch.works(times=2)
    while not _opens(relay):
        pass
    assert not board.contact_closed()
    relay.detach()
