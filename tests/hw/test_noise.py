"""Serial readers on lines that bring noise for a long time, and on ports that come and go.

How likely noise is to be a card by chance, at each byte:

- RDM6300: STX (1/256), 12 digits of hex in either case ((22/256)^12), of which one checksum in 256 is right, and ETX:
  10^-20. Even noise of nothing but whole frames passes its XOR once in 256 times: that is what the checksum is worth,
  and `test_noise_of_a_frames_own_characters...` shows that nothing else than such a frame ever passes.
- ID-12LA: with CR and LF before the ETX, 10^-25.
- A line without a checksum is a card whenever it looks like one, so it all lies in the pattern. `[0-9A-F]{10}` between
  two ends: 4/256 * (16/256)^10 * 3/256, 10^-16. The pattern `[0-9]+` would take a million bytes for seven cards.

So a million bytes may not bring one card, and what brings one is wrong. The noise is seeded: the same bytes each time.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import reduce
from operator import xor
from pathlib import Path

import pytest

from agent.model import Uid
from agent.ports import ReaderState
from fakes.serial_line import Kind, SerialLine
from hw.readers.frames import FrameKind
from hw.readers.serial_reader import SerialReader, line_reader
from tests.contract.at_work import ReaderAtWork, reading

KINDS = pytest.mark.parametrize("kind", ["rdm6300", "id12la", "hex-line"])
TAILS = {"rdm6300": b"\x03", "id12la": b"\r\n\x03"}
NOISE = 1_000_000
HANG_S = 240
AN_HOUR = 3600.0
BACK_WITHIN_S = 5.0
"""What is promised to a driver whose reader was unplugged. `REOPEN_S` is 0.01 here and 1 in a charger."""

REOPEN_S = 0.01
FENCE = "FFFFFFFFFF"


def hex_uid(raw: bytes) -> Uid:
    return Uid(raw.hex().upper())


def reader_of(line: SerialLine, kind: Kind) -> SerialReader:
    if kind == "hex-line":
        return line_reader(
            "front", str(line.path), pattern="[0-9A-F]{10}", digits="hex", to_uid=hex_uid, removal_s=AN_HOUR,
            reopen_s=REOPEN_S,
        )  # fmt: skip
    return SerialReader(
        "front", str(line.path), kind=FrameKind(kind), to_uid=hex_uid, removal_s=AN_HOUR, reopen_s=REOPEN_S
    )


@asynccontextmanager
async def at_work(line: SerialLine, kind: Kind) -> AsyncIterator[tuple[SerialReader, ReaderAtWork]]:
    reader = reader_of(line, kind)
    async with asyncio.timeout(HANG_S), reading(reader) as work:
        await line.wait_opened()
        await work.is_now(ReaderState.READY)
        yield reader, work


async def fence(line: SerialLine, work: ReaderAtWork) -> None:
    """Once this card has tapped, everything before it has been read. A line of noise has to end before it."""
    await line.pour(b"\r\n" + line.frame(FENCE))
    await work.until(lambda: work.uids[-1:] == [FENCE])


def right_frames(noise: bytes, kind: str) -> list[str]:
    """Every whole frame with a right checksum, found by looking at all of it at once."""
    found = re.findall(b"\x02([0-9A-Fa-f]{12})" + TAILS[kind], noise)
    frames = [bytes.fromhex(digits.decode()) for digits in found]
    return [frame[:5].hex().upper() for frame in frames if reduce(xor, frame) == 0]


@KINDS
async def test_a_million_bytes_of_noise_are_no_card_and_the_next_card_is_read(tmp_path: Path, kind: Kind) -> None:
    noise = random.Random(f"noise for {kind}").randbytes(NOISE)
    with SerialLine(tmp_path, kind) as line:
        async with at_work(line, kind) as (reader, work):
            before = time.process_time()
            await line.pour(noise)
            await fence(line, work)
            busy_s = time.process_time() - before
            assert work.uids == [FENCE]
            assert [state for state, _ in work.states] == [ReaderState.READY]
            assert reader.bad_frames > NOISE // 1000
            # A line of 9600 baud takes 17 minutes for that much: this is the whole cost of a driver in constant noise.
            print(f"{kind}: {NOISE} bytes of noise, {reader.bad_frames} bad frames, {busy_s:.2f} s of processor time")


@KINDS
async def test_reader_leaves_the_processor_alone_after_noise(tmp_path: Path, kind: Kind) -> None:
    with SerialLine(tmp_path, kind) as line:
        async with at_work(line, kind) as (_, work):
            await line.pour(random.Random(f"noise for {kind}").randbytes(10_000))
            await fence(line, work)
            before = time.process_time()
            a_second = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(1.0, a_second.set_result, None)  # a spinning loop needs time to show
            await a_second
            busy_s = time.process_time() - before
            print(f"{kind}: {busy_s:.3f} s of processor time in a silent second")
            assert busy_s < 0.7
            assert work.uids == [FENCE]


@pytest.mark.parametrize("kind", ["rdm6300", "id12la"])
async def test_noise_of_a_frames_own_characters_yields_only_frames_with_a_right_checksum(
    tmp_path: Path, kind: Kind
) -> None:
    dice = random.Random(f"frames of noise for {kind}")  # 900,000 bytes
    lengths = (11, 12, 12, 12, 13)
    pieces = [
        b"\x02" + bytes(dice.choices(b"0123456789ABCDEF", k=dice.choice(lengths))) + TAILS[kind] for _ in range(60_000)
    ]
    noise = b"".join(pieces)
    right = right_frames(noise, kind)
    with SerialLine(tmp_path, kind) as line:
        async with at_work(line, kind) as (reader, work):
            await line.pour(noise)
            await fence(line, work)
            assert work.uids == [*right, FENCE]
            print(f"{kind}: of {len(pieces)} frames made of noise {len(right)} had a right checksum by chance")
            assert reader.bad_frames == len(pieces) - len(right)


@KINDS
async def test_port_that_vanishes_and_returns_fifty_times_reads_a_card_each_time(tmp_path: Path, kind: Kind) -> None:
    took_s: list[float] = []
    with SerialLine(tmp_path, kind) as line:
        async with at_work(line, kind) as (_, work):
            clock = asyncio.get_running_loop().time
            for turn in range(50):
                line.unplug()
                await work.is_now(ReaderState.MISSING)
                line.plug()
                plugged_at = clock()
                await work.is_now(ReaderState.READY)
                assert line.present(f"80FF{turn:06X}")
                await work.tapped(turn + 1)
                took_s.append(work.taps[-1].at - plugged_at)
            assert work.uids == [f"80FF{turn:06X}" for turn in range(50)]
            print(f"{kind}: 50 times back with a card read, {max(took_s):.3f} s at most from plugging in to the tap")
            assert max(took_s) < BACK_WITHIN_S
