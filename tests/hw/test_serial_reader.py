"""Readers on a serial line: a port that breaks at once, and an event loop that somebody else holds up."""

import asyncio
import os
import threading
import time
from pathlib import Path

import serial

from agent.model import Uid
from agent.ports import ReaderState
from fakes.serial_line import SerialLine
from hw.readers.frames import FrameKind
from hw.readers.serial_reader import SerialReader
from hw.serial_port import open_port
from tests.contract.at_work import reading

HANG_S = 60
CARD, OTHER = "04A1B2C3D4", "80FFFE7F01"
REMOVAL_S, LATE_S = 0.5, 0.6


def hex_uid(raw: bytes) -> Uid:
    return Uid(raw.hex().upper())


class OnABrokenPort(SerialReader):
    """Its port can be opened again and again, and hangs up each time."""

    opened = 0

    def _open(self) -> serial.Serial:
        self.opened += 1
        device, cable = os.openpty()
        line = open_port(os.ttyname(cable), 9600)
        os.close(cable)
        os.close(device)
        return line


async def test_port_that_hangs_up_each_time_it_is_opened_is_missing_once_and_never_ready() -> None:
    reader = OnABrokenPort("front", "/dev/broken", kind=FrameKind.RDM6300, to_uid=hex_uid, reopen_s=0.001)
    async with asyncio.timeout(HANG_S), reading(reader) as work:
        await work.is_now(ReaderState.MISSING)
        while reader.opened < 4:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
        assert [state for state, _ in work.states] == [ReaderState.MISSING]


async def test_held_card_is_one_tap_though_the_loop_was_held_up_for_longer_than_its_removal(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        reader = SerialReader(
            "front", str(line.path), kind=FrameKind.RDM6300, to_uid=hex_uid, removal_s=REMOVAL_S, reopen_s=0.005
        )
        async with asyncio.timeout(HANG_S), reading(reader) as work:
            await work.is_now(ReaderState.READY)
            line.send(line.frame(CARD))
            await work.tapped(1)
            repeats = threading.Timer(LATE_S - 0.05, line.send, [line.frame(CARD)])
            repeats.start()
            time.sleep(LATE_S)  # noqa: ASYNC251  as a slow disk would
            repeats.join()
            line.send(line.frame(OTHER))
            await work.until(lambda: work.uids[-1:] == [OTHER])
            assert work.uids == [CARD, OTHER]
