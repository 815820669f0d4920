"""LCUS boards on a serial line: the bytes, the cable, and what is left when a program dies."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.errors import DeviceError
from agent.ports import RelayBoard
from fakes.relay_boards import Chatter, LcusBoard
from hw.outputs.serial_relay import SerialRelay, SerialRelayLine

HANG_S = 60.0
SOON_S = 0.01


@pytest.fixture
def board(tmp_path: Path) -> Iterator[LcusBoard]:
    with LcusBoard(tmp_path, channels=4) as board:
        yield board


def relay_on(board: LcusBoard, channel: int = 1) -> SerialRelay:
    return SerialRelay(SerialRelayLine(str(board.path), reopen_s=SOON_S), channel=channel)


class Watch:
    """What a board's `run` has said."""

    def __init__(self) -> None:
        self.said: list[tuple[bool, str]] = []
        self._news = asyncio.Event()

    def on_state(self, works: bool, advice: str) -> None:  # noqa: FBT001  # the port's signature
        self.said.append((works, advice))
        self._news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news.clear()
            await self._news.wait()

    async def works(self, *, times: int = 1) -> None:
        await self.until(lambda: sum(works for works, _ in self.said) >= times)

    async def lost(self) -> str:
        await self.until(lambda: bool(self.said) and not self.said[-1][0])
        return self.said[-1][1]


@asynccontextmanager
async def watched(relay: RelayBoard) -> AsyncIterator[Watch]:
    watch = Watch()
    async with asyncio.timeout(HANG_S):
        task = asyncio.create_task(relay.run(watch.on_state))
        try:
            yield watch
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.mark.parametrize("channel", [1, 2, 3, 4])
def test_command_is_four_bytes_with_their_sum(board: LcusBoard, channel: int) -> None:
    relay = relay_on(board, channel)
    relay.close_contact()
    assert [board.contact_closed(each) for each in (1, 2, 3, 4)] == [each == channel for each in (1, 2, 3, 4)]
    relay.detach()
    assert not board.contact_closed(channel)


def test_board_drops_a_command_with_a_wrong_sum(board: LcusBoard) -> None:
    with board.path.open("wb", buffering=0) as line:
        line.write(bytes((0xA0, 1, 1, 0xA3)) + b"noise" + bytes((0xA0, 2, 1, 0xA3)))
    assert (board.contact_closed(1), board.contact_closed(2)) == (False, True)


def test_channels_of_one_board_share_its_line(board: LcusBoard) -> None:
    line = SerialRelayLine(str(board.path))
    first, second = SerialRelay(line, channel=1), SerialRelay(line, channel=2)
    first.close_contact()
    second.close_contact()
    first.detach()
    assert (board.contact_closed(1), board.contact_closed(2)) == (False, True)
    second.detach()
    assert not line.is_open


def test_terminal_that_somebody_writes_to_at_the_same_moment_is_not_given_up(board: LcusBoard) -> None:
    """The kernel lets one write at a time, and tells a second who does not wait EAGAIN; `look` writes there, too."""
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            board.contact_closed()

    looking = threading.Thread(target=look)
    relay = relay_on(board)
    looking.start()
    try:
        for _ in range(2000):
            relay.close_contact()
            relay.open_contact()
    finally:
        over.set()
        looking.join(HANG_S)
    assert not board.contact_closed()


def test_line_that_another_program_has_is_not_switched(board: LcusBoard) -> None:
    first = relay_on(board)
    second = relay_on(board, 2)
    with pytest.raises(DeviceError, match=r"relay 2 .* does not close: .* in use by another program"):
        second.close_contact()
    with pytest.raises(DeviceError, match="does not open"):
        second.detach()
    first.detach()


@pytest.mark.parametrize("channel", [0, 9])
def test_channel_that_no_board_has_is_refused(board: LcusBoard, channel: int) -> None:
    with pytest.raises(DeviceError, match="channels 1 to 8"):
        relay_on(board, channel)


def test_channel_that_is_taken_is_refused(board: LcusBoard) -> None:
    line = SerialRelayLine(str(board.path))
    relay = SerialRelay(line, channel=1)
    with pytest.raises(DeviceError, match="a channel of its own"):
        SerialRelay(line, channel=1)
    relay.detach()


def test_board_that_is_not_there_counts_as_open_but_nobody_knows(tmp_path: Path) -> None:
    relay = relay_on(LcusBoard(tmp_path))
    assert not relay.contact_closed
    with pytest.raises(DeviceError, match=r"relay 1 on .* does not open: .* is not there"):
        relay.open_contact()
    with pytest.raises(DeviceError, match="does not close"):
        relay.close_contact()
    with pytest.raises(DeviceError, match="does not open"):
        relay.detach()
    relay.detach()


def test_board_that_comes_is_opened_by_the_next_command(tmp_path: Path) -> None:
    board = LcusBoard(tmp_path)
    relay = relay_on(board)
    with board:
        relay.open_contact()
        relay.close_contact()
        assert board.contact_closed(1)
        relay.detach()


async def test_board_that_was_pulled_is_told_on_and_comes_back_open(board: LcusBoard) -> None:
    relay = relay_on(board)
    async with watched(relay) as watch:
        await watch.works()
        relay.close_contact()
        board.unplug()
        assert "is not there" in await watch.lost() or "hung up" in watch.said[-1][1]
        with pytest.raises(DeviceError):
            relay.open_contact()
        assert relay.contact_closed  # nobody knows
        board.plug()
        await watch.works(times=2)
        assert (relay.contact_closed, board.contact_closed(1)) == (False, False)
        relay.close_contact()
        assert board.contact_closed(1)
    relay.detach()


async def test_board_with_a_supply_of_its_own_is_open_before_it_counts_as_back(tmp_path: Path) -> None:
    with LcusBoard(tmp_path, self_powered=True) as board:
        relay = relay_on(board)
        async with watched(relay) as watch:
            await watch.works()
            relay.close_contact()
            board.unplug()
            await watch.lost()
            assert board.contact_closed(1)
            board.plug()
            await watch.works(times=2)
            assert not board.contact_closed(1)
        relay.detach()


async def test_open_relay_of_a_lost_board_is_open(board: LcusBoard) -> None:
    relay = relay_on(board)
    async with watched(relay) as watch:
        await watch.works()
        board.unplug()
        await watch.lost()
        relay.open_contact()
        assert not relay.contact_closed
        with pytest.raises(DeviceError, match="does not close"):
            relay.close_contact()
        assert not relay.contact_closed
    relay.detach()


async def test_every_channel_hears_of_the_cable(board: LcusBoard) -> None:
    line = SerialRelayLine(str(board.path), reopen_s=SOON_S)
    first, second = SerialRelay(line, channel=1), SerialRelay(line, channel=2)
    async with watched(first) as one, watched(second) as other:
        await one.works()
        await other.works()
        board.unplug()
        await one.lost()
        await other.lost()
        board.plug()
        await one.works(times=2)
        await other.works(times=2)
    first.detach()
    second.detach()


async def test_missing_board_is_told_once(tmp_path: Path) -> None:
    relay = relay_on(LcusBoard(tmp_path))
    async with watched(relay) as watch:
        assert "check the cable" in await watch.lost()
        some_turns = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(20 * SOON_S, some_turns.set_result, None)
        await some_turns
        assert len(watch.said) == 1
    with pytest.raises(DeviceError):
        relay.detach()


@pytest.mark.parametrize("answers", ["bytes", "lines"])
async def test_what_a_board_says_disturbs_nothing(tmp_path: Path, answers: Chatter) -> None:
    with LcusBoard(tmp_path, answers=answers) as board:
        relay = relay_on(board)
        async with watched(relay) as watch:
            await watch.works()
            for _ in range(50):
                board.say(b"CH1:OFF \r\n\x00\x01\xff")
                await asyncio.sleep(0)
            relay.close_contact()
            assert board.contact_closed(1)
            assert len(watch.said) == 1
        relay.detach()


async def test_watched_board_leaves_the_processor_alone(board: LcusBoard) -> None:
    relay = relay_on(board)
    async with watched(relay) as watch:
        await watch.works()
        busy_s = time.process_time()
        a_second = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1.0, a_second.set_result, None)  # a spinning loop needs time to show
        await a_second
        assert time.process_time() - busy_s < 0.7
    relay.detach()


async def test_error_of_who_is_told_ends_the_watch_and_the_relay_still_obeys(board: LcusBoard) -> None:
    def on_state(works: bool, advice: str) -> None:  # noqa: FBT001  # the port's signature
        raise LookupError(advice)

    relay = relay_on(board)
    with pytest.raises(LookupError):
        await relay.run(on_state)
    relay.close_contact()
    assert board.contact_closed(1)
    relay.detach()


PROGRAM = """
import sys
from hw.outputs.serial_relay import SerialRelay
relay = SerialRelay({port!r}, channel=1)
relay.close_contact()
print("closed", flush=True)
{end}
"""


def closed_by_a_process(board: LcusBoard, end: str) -> "subprocess.Popen[bytes]":
    program = PROGRAM.format(port=str(board.path), end=end)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"closed\n"
    return process


def test_killed_process_leaves_the_contact_closed_and_a_new_driver_opens_it(board: LcusBoard) -> None:
    with closed_by_a_process(board, "sys.stdin.read(); import time; time.sleep(600)") as process:
        assert board.contact_closed(1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert board.contact_closed(1)
    relay = relay_on(board)
    assert not board.contact_closed(1)
    relay.detach()


@pytest.mark.parametrize("end", ["", "sys.exit(3)"])
def test_process_that_ends_without_detaching_opens_first(board: LcusBoard, end: str) -> None:
    with closed_by_a_process(board, end) as process:
        process.wait(HANG_S)
    assert not board.contact_closed(1)
