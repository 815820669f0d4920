"""What every reader promises (`agent.ports.Reader`): the real driver on a real pseudo-terminal, world side by hand.

A card of its own ends each run of frames as a fence: when its tap is there, everything before it has been read.
`removal_s` is an hour where a card is held, and nothing where it is taken away, so that no test depends on its speed.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.model import Tap, Uid
from agent.ports import ReaderState
from fakes.serial_line import Kind, SerialLine
from hw.readers.frames import FrameKind
from hw.readers.serial_reader import SerialReader

KINDS = pytest.mark.parametrize("kind", ["rdm6300", "id12la"])
HANG_S = 60
AN_HOUR = 3600.0
A_MOMENT = 1e-9

CARD = "04A1B2FF80"
OTHER = "8000FFFE7F"
FENCE = "FFFFFFFFFF"


def hex_uid(data: bytes) -> Uid:
    return Uid(data.hex().upper())


class Watching:
    """A reader at work, and what it has said."""

    def __init__(self, reader: SerialReader, line: SerialLine) -> None:
        self.reader = reader
        self.line = line
        self.taps: list[Tap] = []
        self.states: list[tuple[ReaderState, str]] = []
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(reader.run(self._on_tap, self._on_state))

    @property
    def uids(self) -> list[str]:
        return [tap.uid for tap in self.taps]

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    async def ready(self) -> None:
        await self.until(lambda: bool(self.states) and self.states[-1][0] is ReaderState.READY)
        await self.line.wait_opened()

    async def missing(self) -> str:
        await self.until(lambda: bool(self.states) and self.states[-1][0] is ReaderState.MISSING)
        return self.states[-1][1]

    async def fence(self) -> None:
        assert self.line.present(FENCE)
        await self.until(lambda: self.uids[-1:] == [FENCE])

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    def _on_tap(self, tap: Tap) -> None:
        self.taps.append(tap)
        self._changed.set()

    def _on_state(self, state: ReaderState, text: str) -> None:
        self.states.append((state, text))
        self._changed.set()


@asynccontextmanager
async def watching(
    line: SerialLine,
    kind: Kind = "rdm6300",
    *,
    to_uid: Callable[[bytes], Uid] = hex_uid,
    removal_s: float = AN_HOUR,
    reopen_s: float = 0.005,
) -> AsyncIterator[Watching]:
    reader = SerialReader(
        "front", str(line.path), kind=FrameKind(kind), to_uid=to_uid, removal_s=removal_s, reopen_s=reopen_s
    )
    async with asyncio.timeout(HANG_S):
        watch = Watching(reader, line)
        try:
            yield watch
        finally:
            await watch.cancel()


def open_terminals() -> int:
    """How many terminals this process has open: its own, and the reader's lines that are not closed."""
    links = (link_of(fd) for fd in Path("/proc/self/fd").iterdir())
    return sum(link.startswith("/dev/pts/") for link in links)


def link_of(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except FileNotFoundError:  # the listing's own
        return ""


@KINDS
async def test_card_held_for_many_frames_is_one_tap(tmp_path: Path, kind: Kind) -> None:
    with SerialLine(tmp_path, kind) as line:
        async with watching(line, kind) as watch:
            await watch.ready()
            for _ in range(5):
                line.present(CARD, times=20)
                await asyncio.sleep(0)
            await watch.fence()
            assert watch.uids == [CARD, FENCE]


@KINDS
async def test_second_card_right_behind_the_first_is_not_swallowed(tmp_path: Path, kind: Kind) -> None:
    with SerialLine(tmp_path, kind) as line:
        async with watching(line, kind) as watch:
            await watch.ready()
            line.send(line.frame(CARD) * 3 + line.frame(OTHER) + line.frame(CARD) + line.frame(OTHER))
            await watch.fence()
            assert watch.uids == [CARD, OTHER, FENCE]


@KINDS
async def test_card_taken_away_and_held_there_again_is_a_second_tap(tmp_path: Path, kind: Kind) -> None:
    with SerialLine(tmp_path, kind) as line:
        async with watching(line, kind, removal_s=A_MOMENT) as watch:
            await watch.ready()
            for taps in (1, 2, 3):
                line.present(CARD, times=4)  # one write, read at one time: held
                await watch.until(lambda taps=taps: len(watch.taps) == taps)  # type: ignore[misc]
            assert watch.uids == [CARD, CARD, CARD]


@KINDS
async def test_tap_carries_the_time_of_its_bytes_and_the_readers_name(tmp_path: Path, kind: Kind) -> None:
    with SerialLine(tmp_path, kind) as line:
        async with watching(line, kind) as watch:
            await watch.ready()
            before = asyncio.get_running_loop().time()
            line.present(CARD)
            await watch.until(lambda: bool(watch.taps))
            assert before <= watch.taps[0].at <= asyncio.get_running_loop().time()
            assert watch.taps[0].reader == watch.reader.name == "front"


@KINDS
async def test_corrupt_frame_is_counted_and_no_tap(tmp_path: Path, kind: Kind) -> None:
    with SerialLine(tmp_path, kind) as line:
        async with watching(line, kind) as watch:
            await watch.ready()
            line.present(CARD, corrupt=True)
            await watch.fence()
            assert watch.uids == [FENCE]
            assert watch.reader.bad_frames == 1


@KINDS
async def test_good_frame_behind_garbage_and_a_cut_frame_is_a_tap(tmp_path: Path, kind: Kind) -> None:
    with SerialLine(tmp_path, kind) as line:
        async with watching(line, kind) as watch:
            await watch.ready()
            line.send(bytes(range(256)) * 3 + line.frame(OTHER)[:9] + line.frame(CARD))
            await watch.fence()
            assert watch.uids == [CARD, FENCE]


@KINDS
@pytest.mark.parametrize("size", [1, 2, 5, 13])
async def test_frames_in_any_portions_are_read(tmp_path: Path, kind: Kind, size: int) -> None:
    with SerialLine(tmp_path, kind) as line:
        async with watching(line, kind) as watch:
            await watch.ready()
            stream = line.frame(CARD) + line.frame(OTHER)
            for begin in range(0, len(stream), size):
                line.send(stream[begin : begin + size])
                await asyncio.sleep(0)  # the reader takes each portion by itself
            await watch.fence()
            assert watch.uids == [CARD, OTHER, FENCE]


async def test_every_byte_value_on_a_card_survives_the_line(tmp_path: Path) -> None:
    cards = [bytes([byte, 255 - byte, 0x80, byte, byte ^ 0xAA]).hex().upper() for byte in range(256)]
    with SerialLine(tmp_path) as line:
        async with watching(line) as watch:
            await watch.ready()
            for card in cards:
                line.present(card)
                await asyncio.sleep(0)
            await watch.fence()
            assert watch.uids == [*cards, FENCE]


async def test_more_frames_than_one_read_takes_are_all_read(tmp_path: Path) -> None:
    cards = [f"{card:010X}" for card in range(280)]
    with SerialLine(tmp_path) as line:
        async with watching(line) as watch:
            await watch.ready()
            assert line.send(b"".join(line.frame(card) for card in cards))
            await watch.fence()
            assert watch.uids == [*cards, FENCE]


async def test_cards_from_before_the_reader_was_opened_do_not_tap(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        early = os.open(line.path, os.O_RDWR | os.O_NOCTTY)  # somebody who never read what came
        assert line.present(CARD)
        async with watching(line) as watch:
            await watch.ready()
            await watch.fence()
            assert watch.uids == [FENCE]
        os.close(early)


async def test_card_that_does_not_fit_the_uid_settings_is_dropped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def no_zeros(data: bytes) -> Uid:
        if data == bytes(5):
            raise ValueError("nothing but zeros")
        return hex_uid(data)

    with SerialLine(tmp_path) as line:
        async with watching(line, to_uid=no_zeros) as watch:
            await watch.ready()
            line.present("0000000000")
            await watch.fence()
            assert watch.uids == [FENCE]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "reader front: a card does not fit the reader's uid settings: nothing but zeros"
    ]


async def test_no_uid_is_ever_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with SerialLine(tmp_path) as line:
        async with watching(line) as watch:
            await watch.ready()
            line.present(CARD, corrupt=True)
            line.present(CARD)
            await watch.fence()
    assert "reader front: dropped a bad frame, 1 by now" in caplog.text
    assert CARD not in caplog.text.upper()


async def test_reader_missing_at_start_says_what_to_do_and_comes_when_plugged_in(tmp_path: Path) -> None:
    line = SerialLine(tmp_path)
    async with watching(line) as watch:
        assert await watch.missing() == (
            f"{line.path} is not there (No such file or directory, ENOENT): "
            "check the cable, and the port's name in the configuration"
        )
        with line:
            await watch.ready()
            await watch.fence()
            assert watch.uids == [FENCE]
            assert [state for state, _ in watch.states] == [ReaderState.MISSING, ReaderState.READY]


async def test_unplugged_reader_comes_back_twenty_times_with_one_word_each(tmp_path: Path) -> None:
    cards = [f"{card:010X}" for card in range(20)]
    with SerialLine(tmp_path) as line:
        async with watching(line) as watch:
            await watch.ready()
            terminals = open_terminals()
            for card in cards:
                line.unplug()
                await watch.missing()
                line.plug()
                await watch.ready()
                assert line.present(card)
                await watch.until(lambda card=card: watch.uids[-1:] == [card])  # type: ignore[misc]
            assert watch.uids == cards
            states = [state for state, _ in watch.states]
            assert states == [ReaderState.READY, *[ReaderState.MISSING, ReaderState.READY] * 20]
            assert open_terminals() == terminals


@KINDS
async def test_half_frame_from_before_an_unplug_does_not_join_the_other_half(tmp_path: Path, kind: Kind) -> None:
    with SerialLine(tmp_path, kind) as line:
        async with watching(line, kind) as watch:
            await watch.ready()
            half = len(line.frame(OTHER)) // 2
            line.send(line.frame(CARD) + line.frame(OTHER)[:half])
            await watch.until(lambda: watch.uids == [CARD])
            line.unplug()
            await watch.missing()
            line.plug()
            await watch.ready()
            line.send(line.frame(OTHER)[half:])
            await watch.fence()
            assert watch.uids == [CARD, FENCE]


async def test_port_in_use_by_another_program_says_so_and_is_ours_when_that_ends(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        async with watching(line) as first:
            await first.ready()
            async with watching(line) as second:
                assert "in use by another program" in await second.missing()
                await first.cancel()
                await second.ready()
                await second.fence()
                assert second.uids == [FENCE]
                assert first.uids == []


async def test_file_that_is_no_serial_line_says_so(tmp_path: Path) -> None:
    line = SerialLine(tmp_path)
    line.path.write_text("no reader")
    async with watching(line) as watch:
        assert "can't be used as a serial line" in await watch.missing()
        assert line.path.read_text() == "no reader"


async def test_new_cause_of_being_missing_is_told_once(tmp_path: Path) -> None:
    line = SerialLine(tmp_path)
    async with watching(line) as watch:
        await watch.missing()
        line.path.write_text("no reader")
        await watch.until(lambda: len(watch.states) == 2)
        line.path.unlink()
        with line:
            await watch.ready()
        words = [text.split("(")[0].removeprefix(f"{line.path} ") for _, text in watch.states]
        assert words[:2] == ["is not there ", "can't be used as a serial line "]
        assert watch.states[-1][0] is ReaderState.READY


async def test_cancelled_reader_has_closed_its_port(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        terminals = open_terminals()
        async with watching(line) as watch:
            await watch.ready()
            assert open_terminals() == terminals + 1
            await watch.cancel()
            assert open_terminals() == terminals
            assert not line.opened
            assert watch.task.cancelled()


async def test_cancelled_reader_can_run_again(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        async with watching(line) as watch:
            await watch.ready()
            await watch.cancel()
            again = asyncio.create_task(watch.reader.run(watch._on_tap, watch._on_state))
            await line.wait_opened()
            await watch.fence()
            again.cancel()
            await asyncio.wait([again])
            assert watch.uids == [FENCE]


async def test_error_of_who_gets_the_taps_ends_the_reader_with_its_port_closed(tmp_path: Path) -> None:
    def on_tap(tap: Tap) -> None:
        raise LookupError(tap.reader)

    with SerialLine(tmp_path) as line:
        reader = SerialReader("front", str(line.path), kind=FrameKind.RDM6300, to_uid=hex_uid)
        terminals = open_terminals()
        async with asyncio.timeout(HANG_S):
            task = asyncio.create_task(reader.run(on_tap, lambda _state, _text: None))
            await line.wait_opened()
            line.present(CARD)
            with pytest.raises(LookupError, match="front"):
                await task
        assert open_terminals() == terminals


@pytest.mark.parametrize("plugged_before", [True, False])
async def test_reader_without_its_port_leaves_the_processor_alone(tmp_path: Path, *, plugged_before: bool) -> None:
    line = SerialLine(tmp_path)
    async with watching(line, reopen_s=0.02) as watch:
        if plugged_before:
            line.plug()
            await watch.ready()
            line.unplug()
        await watch.missing()
        said, busy_s = len(watch.states), time.process_time()
        a_second = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1.0, a_second.set_result, None)  # a spinning loop needs time to show
        await a_second
        assert time.process_time() - busy_s < 0.7
        assert len(watch.states) == said
