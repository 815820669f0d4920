"""USB HID relay boards: the reports, what is read back, and a board that hangs."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.errors import DeviceError
from fakes.relay_boards import HidBoard, HidBus, HidDevice
from hw.outputs.hid_hold import NodeHold
from hw.outputs.hid_relay import HidRelay
from tests.hw.test_serial_relay import watched

PATIENT_S = 30.0
SOON_S = 0.01


def relay_of(bus: HidBus, *, channel: int = 1, serial: str | None = None, answer_s: float = PATIENT_S) -> HidRelay:
    return HidRelay(channel=channel, serial=serial, library=bus, hold=bus.hold, answer_s=answer_s, look_s=SOON_S)


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


def test_board_of_another_serial_is_named_where_ours_is_not_there() -> None:
    board = HidBoard("OTHER")
    relay = relay_of(HidBus(board), serial="BITFT")
    with pytest.raises(DeviceError, match="it is not there, only OTHER: check its cable, and serial"):
        relay.open_contact()
    with pytest.raises(DeviceError):
        relay.detach()
    assert (board.contact_closed(), board.opened) == (False, 0)


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


class Broken(HidBus):
    """A library that fails in a way of its own: `at` names the call that does, once it is set."""

    at = ""

    def enumerate(self, vendor: int = 0, product: int = 0) -> list[dict[str, Any]]:
        self._fail_at("enumerate")
        return super().enumerate(vendor, product)

    def device(self) -> HidDevice:
        self._fail_at("device")
        return BrokenDevice(self)

    def _fail_at(self, call: str) -> None:
        if self.at == call:
            raise AttributeError(f"{call} is not what it was")


class BrokenDevice(HidDevice):
    def __init__(self, bus: Broken) -> None:
        super().__init__(bus)
        self._broken = bus

    def send_feature_report(self, data: Sequence[int]) -> int:
        self._broken._fail_at("send")
        return super().send_feature_report(data)

    def get_feature_report(self, report_num: int, max_length: int) -> list[int]:
        self._broken._fail_at("get")
        return super().get_feature_report(report_num, max_length)

    def close(self) -> None:
        super().close()
        self._broken._fail_at("close")


@pytest.mark.parametrize("call", ["enumerate", "device", "send", "get", "close"])
def test_whatever_the_library_raises_is_a_device_error_and_the_board_comes_back(call: str) -> None:
    board = HidBoard()
    bus = Broken(board)
    relay = relay_of(bus)
    board.unplug()
    board.plug()
    bus.at = call
    with pytest.raises(DeviceError, match="does not close"):
        relay.close_contact()
    assert relay.contact_closed >= board.contact_closed()
    bus.at = ""
    relay.open_contact()
    relay.close_contact()
    assert board.contact_closed()
    relay.detach()
    assert (board.contact_closed(), board.opened) == (False, 0)


async def test_library_that_fails_while_a_board_is_watched_is_told_on_and_ends_no_watch() -> None:
    board = HidBoard()
    bus = Broken(board)
    relay = relay_of(bus)
    async with watched(relay) as watch:
        await watch.works()
        bus.at = "get"
        assert "its library has failed (AttributeError: get is not what it was)" in await watch.lost()
        bus.at = ""
        await watch.works(times=2)
    relay.detach()


# ---- one relay, one program


def test_relay_that_another_agent_has_is_not_switched_until_that_agent_has_ended() -> None:
    board = HidBoard()
    bus = HidBus(board)
    first = relay_of(bus)
    first.close_contact()
    second = relay_of(bus)
    with pytest.raises(DeviceError, match="does not open: another program has it: end the other agent"):
        second.open_contact()
    with pytest.raises(DeviceError, match="does not close: nobody knows whether it is open"):
        second.close_contact()
    assert (board.contact_closed(), second.contact_closed, board.opened) == (True, False, 1)
    bus.kill_programs()
    second.open_contact()
    assert not board.contact_closed()
    second.detach()
    first.detach()


def test_relays_of_one_board_are_each_for_an_agent_of_its_own() -> None:
    bus = HidBus(HidBoard())
    first, second = relay_of(bus, channel=1), relay_of(bus, channel=2)
    first.close_contact()
    second.close_contact()
    first.detach()
    second.detach()
    assert bus.holds == []


def test_relay_that_was_given_back_is_there_for_the_next_at_once() -> None:
    bus = HidBus(HidBoard())
    for _ in range(20):
        relay = relay_of(bus)
        relay.close_contact()
        relay.detach()
    assert bus.holds == []


def test_relay_stays_ours_while_its_board_answers_badly() -> None:
    board = HidBoard()
    bus = Broken(board)
    relay = relay_of(bus)
    bus.at = "get"
    with pytest.raises(DeviceError):
        relay.close_contact()
    assert len(bus.holds) == 1
    bus.at = ""
    relay.detach()
    assert bus.holds == []


def test_board_that_was_plugged_in_anew_is_held_anew() -> None:
    board = HidBoard()
    bus = HidBus(board)
    relay = relay_of(bus)
    [before] = bus.holds
    board.unplug()
    board.plug()
    relay.open_contact()  # it is open already, so that this one may fail
    relay.open_contact()
    [now] = bus.holds
    assert now is not before
    relay.detach()


def test_byte_of_a_node_has_one_holder(tmp_path: Path) -> None:
    node = tmp_path / "hidraw0"
    node.touch()
    path = os.fsencode(node)
    ours = NodeHold(path, 1)
    with pytest.raises(BlockingIOError):
        NodeHold(path, 1)
    NodeHold(path, 2).close()
    ours.close()
    NodeHold(path, 1).close()
    ours.close()


def test_hold_keeps_another_process_out_and_ends_with_its_holder(tmp_path: Path) -> None:
    node = tmp_path / "hidraw0"
    node.touch()
    holder = (
        "import sys; from hw.outputs.hid_hold import NodeHold;"
        "hold = NodeHold(sys.argv[1].encode(), 1); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(node)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            NodeHold(os.fsencode(node), 1)
        process.kill()
        process.wait()
    NodeHold(os.fsencode(node), 1).close()


def test_hold_knows_its_node_from_one_that_took_its_place(tmp_path: Path) -> None:
    node = tmp_path / "hidraw0"
    node.touch()
    path = os.fsencode(node)
    hold = NodeHold(path, 1)
    assert hold.is_on(path)
    node.rename(tmp_path / "gone")
    assert not hold.is_on(path)
    node.touch()
    assert not hold.is_on(path)
    hold.close()


def test_board_that_libusb_names_is_locked_by_nobody() -> None:
    first, second = NodeHold(b"1-1.2:1.0", 1), NodeHold(b"1-1.2:1.0", 1)
    assert first.is_on(b"1-1.2:1.0")
    first.close()
    second.close()
