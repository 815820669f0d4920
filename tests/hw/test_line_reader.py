"""Line readers on a pseudo-terminal: what a half line, a pause and a flag for random uids come to."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.config import LineReaderSection
from agent.core.uid import UidFormat
from agent.devices.readers import reader_of
from agent.model import Uid
from agent.ports import ReaderState
from fakes.serial_line import SerialLine
from hw.readers.frames import FrameKind
from hw.readers.serial_reader import SerialReader, line_reader
from tests.contract.at_work import ReaderAtWork, reading

HANG_S = 60
AN_HOUR = 3600.0
FENCE = "FEFEFEFE"


def hex_uid(raw: bytes) -> Uid:
    return Uid(raw.hex().upper())


@asynccontextmanager
async def ready(line: SerialLine, **settings: Any) -> AsyncIterator[tuple[SerialReader, ReaderAtWork]]:
    """A reader of lines with 4 to 20 hex digits, at work on a line that is plugged in."""
    chosen: dict[str, Any] = {"pattern": "[0-9A-F]{4,20}", "digits": "hex", "to_uid": hex_uid} | settings
    reader = line_reader("front", str(line.path), removal_s=AN_HOUR, reopen_s=0.005, **chosen)
    async with asyncio.timeout(HANG_S), reading(reader) as work:
        await work.is_now(ReaderState.READY)
        yield reader, work


async def fence(line: SerialLine, work: ReaderAtWork) -> None:
    """Once this card has tapped, everything before it has been read."""
    assert line.send(f"\r\n{FENCE}\r\n".encode())
    await work.until(lambda: work.uids[-1:] == [FENCE])


async def test_half_line_when_the_port_is_opened_is_never_a_card(tmp_path: Path) -> None:
    with SerialLine(tmp_path, "hex-line") as line:
        reader = line_reader("front", str(line.path), pattern="[0-9A-F]{4,20}", digits="hex", to_uid=hex_uid)
        async with asyncio.timeout(HANG_S), reading(reader) as work:
            await line.wait_opened()
            assert line.send(b"B2FF80\r\n04A1B2C3\r\n")  # before the reader is ready: the rest of a line, then a card
            await work.is_now(ReaderState.READY)
            await fence(line, work)
            assert work.uids == ["04A1B2C3", FENCE]
            assert reader.bad_frames == 1


async def test_half_line_that_broke_off_does_not_join_the_next_card(tmp_path: Path) -> None:
    with SerialLine(tmp_path, "hex-line") as line:
        async with ready(line) as (reader, work):
            assert line.send(b"04A1")
            while reader.bad_frames == 0:  # noqa: ASYNC110  # a pause says nothing
                await asyncio.sleep(0.01)
            assert line.present("04FFA1FF")  # for all that is known, the rest of it
            assert line.present("80B2C3D4")
            await work.tapped(1)
            assert work.uids == ["80B2C3D4"]


async def test_line_in_portions_is_one_card(tmp_path: Path) -> None:
    with SerialLine(tmp_path, "hex-line") as line:
        async with ready(line) as (_, work):
            for byte in line.frame("80B2C3D4"):
                assert line.send(bytes([byte]))
                await asyncio.sleep(0)
            await fence(line, work)
            assert work.uids == ["80B2C3D4", FENCE]


@pytest.mark.parametrize(
    ("settings", "uid"),
    [
        (UidFormat(), "80A1B2FF"),
        (UidFormat(reverse=True), "FFB2A180"),
        (UidFormat(decimal_digits=10), "2158080767"),
        (UidFormat(keep_last=3, facility_digits=(3, 5)), "16145823"),
    ],
)
async def test_decimal_reader_gives_every_form_of_a_card(tmp_path: Path, settings: UidFormat, uid: str) -> None:
    with SerialLine(tmp_path, "decimal-line") as line:
        async with ready(line, pattern="[0-9]{10}", digits="decimal", to_uid=settings.to_uid) as (_, work):
            assert line.present("80A1B2FF")
            await work.tapped(1)
            assert work.uids == [uid]
            assert work.taps[0].raw == bytes.fromhex("80A1B2FF")


async def test_two_random_uids_while_a_phone_is_held_are_one_marked_tap(tmp_path: Path) -> None:
    with SerialLine(tmp_path, "hex-line") as line:
        async with ready(line, flag_random=True) as (_, work):
            assert line.present("08A1B2C3")
            assert line.present("08FFB2C3")
            await fence(line, work)
            assert [(tap.uid, tap.is_random) for tap in work.taps] == [("08A1B2C3", True), (FENCE, False)]


async def test_random_uid_is_marked_where_the_reader_sends_the_last_byte_first(tmp_path: Path) -> None:
    with SerialLine(tmp_path, "hex-line") as line:
        async with ready(line, flag_random=True, sends_reversed=True) as (_, work):
            assert line.present("C3B2A108")
            await work.tapped(1)
            assert [(tap.uid, tap.is_random) for tap in work.taps] == [("08A1B2C3", True)]


async def test_setting_of_the_reader_that_sends_the_last_byte_first_reaches_its_driver(tmp_path: Path) -> None:
    with SerialLine(tmp_path, "hex-line") as line:
        section = LineReaderSection(name="front", port=str(line.path), sends_reversed=True, random_uids="refuse")
        async with asyncio.timeout(HANG_S), reading(reader_of(section)) as work:
            await work.is_now(ReaderState.READY)
            assert line.present("C3B2A108")
            await work.tapped(1)
            assert [(tap.uid, tap.is_random) for tap in work.taps] == [("08A1B2C3", True)]


async def test_uid_that_looks_random_is_a_card_where_cards_are_not_of_that_kind(tmp_path: Path) -> None:
    with SerialLine(tmp_path, "hex-line") as line:
        async with ready(line) as (_, work):
            assert line.present("08A1B2C3")
            assert line.present("8804A1B2")
            await fence(line, work)
            assert [(tap.uid, tap.is_random) for tap in work.taps] == [
                ("08A1B2C3", False),
                ("8804A1B2", False),
                (FENCE, False),
            ]


async def test_cut_uid_is_dropped_counted_and_warned_of_once_while_it_is_held(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SerialLine(tmp_path, "hex-line") as line:
        async with ready(line, flag_random=True) as (reader, work):
            assert line.present("8804A1B2", times=5)
            await fence(line, work)
            assert work.uids == [FENCE]
            assert reader.bad_frames == 5
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "only the first part of a longer uid" in warnings[0]
    assert "8804A1B2" not in warnings[0]


async def test_card_back_within_the_debounce_time_is_no_second_tap(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        reader = SerialReader(
            "front", str(line.path), kind=FrameKind.RDM6300, to_uid=hex_uid, removal_s=1e-9, debounce_s=AN_HOUR
        )
        async with asyncio.timeout(HANG_S), reading(reader) as work:
            await line.wait_opened()
            for card in ("04A1B2FF80", "04A1B2FF80", "8000FFFE7F"):
                assert line.present(card)
                await asyncio.sleep(0.01)
            await work.tapped(2)
            assert work.uids == ["04A1B2FF80", "8000FFFE7F"]


async def test_no_uid_of_a_line_is_ever_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with SerialLine(tmp_path, "hex-line") as line:
        async with ready(line) as (_, work):
            assert line.present("80A1B2FF", corrupt=True)
            assert line.present("80A1B2FF")
            await fence(line, work)
    assert "reader front: dropped a bad frame, 1 by now" in caplog.text
    assert "80A1B2" not in caplog.text.upper()


@pytest.mark.parametrize("pattern", ["(", "(a+)+", "(?=a)"])
def test_pattern_of_no_use_is_refused_when_the_reader_is_made(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"regular expression|too many ways|only plain"):
        line_reader("front", "nowhere", pattern=pattern, digits="hex", to_uid=hex_uid)
