"""The PN532 driver on an emulated chip: what the contract suite can't say of every reader.

`removal_s` is an hour where a card is held. `answer_s` is long where the chip answers, so that no stall of the machine
looks like silence, and short where it doesn't.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from agent.model import Uid
from agent.ports import ReaderState
from fakes.pn532 import Fault, Pn532Module
from hw.readers.pn532_frames import FrameParser
from hw.readers.pn532_link import Link, NoAnswerError
from hw.readers.pn532_reader import Pn532Reader, SearchClock
from hw.readers.presence import Presence
from tests.contract.at_work import ReaderAtWork, reading

HANG_S = 60
AN_HOUR = 3600.0
SHORT_S = 0.05
CARD, OTHER, LONG, LONGEST = "04A1B2FF", "8000FFFE", "04A1B2C3D4E580", "80FF00FEC3D4E5F67788"


def hex_uid(raw: bytes) -> Uid:
    return Uid(raw.hex().upper())


def fill(fd: int) -> None:
    """Write until there is no room."""
    with suppress(BlockingIOError):
        while True:
            os.write(fd, b"\x00")  # byte by byte: a pipe takes what is small as a whole or not at all


@asynccontextmanager
async def at_work(
    module: Pn532Module,
    *,
    to_uid: Callable[[bytes], Uid] = hex_uid,
    poll_s: float = 0.002,
    reopen_s: float = 0.005,
    removal_s: float = AN_HOUR,
    answer_s: float = 30.0,
    flag_random: bool = True,
) -> AsyncIterator[tuple[Pn532Reader, ReaderAtWork]]:
    reader = Pn532Reader(
        "front", str(module.path), to_uid=to_uid, poll_s=poll_s, removal_s=removal_s, reopen_s=reopen_s,
        answer_s=answer_s, flag_random=flag_random,
    )  # fmt: skip
    async with asyncio.timeout(HANG_S), reading(reader) as work:
        yield reader, work


async def test_two_cards_at_once_are_a_tap_each_however_long_they_stay(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        async with at_work(module) as (_, work):
            module.present(CARD)
            module.present(LONGEST)
            await work.tapped(2)
            await module.searched(5)
            assert sorted(work.uids) == sorted([CARD, LONGEST])


async def test_both_of_two_held_cards_are_found_by_every_search(tmp_path: Path) -> None:
    # Each card that is found is named: were the first one left halted, it would be named once.
    named: list[str] = []

    def naming(raw: bytes) -> Uid:
        uid = hex_uid(raw)
        named.append(uid)
        return uid

    with Pn532Module(tmp_path) as module:
        async with at_work(module, to_uid=naming) as (_, work):
            module.present(CARD)
            module.present(LONG)
            await work.tapped(2)
            named.clear()
            await module.searched(5)
            assert min(named.count(CARD), named.count(LONG)) >= 3
            assert abs(named.count(CARD) - named.count(LONG)) <= 1


async def test_held_phone_is_one_tap_though_each_search_finds_another_uid(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        async with at_work(module) as (_, work):
            module.present_phone()
            await work.tapped(1)
            await module.searched(5)
            assert [tap.is_random for tap in work.taps] == [True]
            assert work.uids[0].startswith("08")


async def test_random_uid_is_not_marked_where_the_reader_is_not_to(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        async with at_work(module, flag_random=False) as (_, work):
            module.present_phone()
            await work.tapped(1)
            assert [tap.is_random for tap in work.taps] == [False]


async def test_cut_uid_is_dropped_and_counted_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Pn532Module(tmp_path) as module:
        async with at_work(module) as (reader, work):
            await work.is_now(ReaderState.READY)
            module.present("8804A1B2")
            await module.searched(3)
            module.remove("8804A1B2")
            module.present(CARD)
            await work.tapped(1)
            assert work.uids == [CARD]
            assert reader.bad_frames >= 3
            assert sum("only the first 4 bytes" in record.message for record in caplog.records) == 1


async def test_card_that_does_not_fit_the_settings_is_dropped_with_a_warning_without_its_uid(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def only_long(raw: bytes) -> Uid:
        if len(raw) != 7:
            raise ValueError("a uid of 7 bytes is wanted")
        return hex_uid(raw)

    caplog.set_level("DEBUG")
    with Pn532Module(tmp_path) as module:
        async with at_work(module, to_uid=only_long) as (reader, work):
            module.present(CARD)
            module.present(LONG)
            await work.tapped(1)
            assert work.uids == [LONG]
            assert reader.bad_frames >= 1
    assert "a uid of 7 bytes is wanted" in caplog.text
    assert CARD not in caplog.text.upper()
    assert LONG not in caplog.text.upper()


@pytest.mark.parametrize("fault", list(Fault))
async def test_card_behind_a_broken_answer_is_one_tap_with_the_right_uid(tmp_path: Path, fault: Fault) -> None:
    with Pn532Module(tmp_path) as module:
        async with at_work(module, answer_s=SHORT_S) as (_, work):
            await work.is_now(ReaderState.READY)
            module.misbehave(fault, times=2)
            module.present(LONG)
            await work.tapped(1)
            await module.searched(3)
            assert work.uids == [LONG]


@pytest.mark.parametrize("fault", [Fault.BAD_DCS, Fault.WRONG_LENGTH, Fault.LEFT_OVER])
async def test_broken_answer_is_counted(tmp_path: Path, fault: Fault) -> None:
    with Pn532Module(tmp_path) as module:
        async with at_work(module) as (reader, work):
            await work.is_now(ReaderState.READY)
            module.present(LONG)
            await work.tapped(1)
            module.misbehave(fault, times=1)
            await module.searched(4)
            assert reader.bad_frames == 1
            assert len(work.states) == 1


async def test_answer_with_a_bad_checksum_is_asked_for_again(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        async with at_work(module, poll_s=AN_HOUR) as (reader, work):
            module.present(LONG)
            module.misbehave(Fault.BAD_DCS, times=2)  # of the first command: no answer would be an hour's silence
            await work.tapped(1)
            assert work.uids == [LONG]
            assert reader.bad_frames == 2


@pytest.mark.parametrize("portion", [1, 2, 7])
async def test_answers_in_any_portions_are_read(tmp_path: Path, portion: int) -> None:
    with Pn532Module(tmp_path) as module:
        module.portion = portion
        async with at_work(module) as (reader, work):
            for number, card in enumerate([CARD, LONG, LONGEST], start=1):
                module.present(card)
                await work.tapped(number)
                module.remove(card)
            assert work.uids == [CARD, LONG, LONGEST]
            assert reader.bad_frames == 0


class Clone(Pn532Module):
    """A module that knows nothing of switching its field off."""

    def _configure(self, arguments: bytes) -> bool:
        return arguments[:1] != b"\x01" and super()._configure(arguments)


async def test_module_that_refuses_to_switch_its_field_off_is_set_up_once_and_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Clone(tmp_path) as module:
        async with at_work(module) as (_, work):
            await work.is_now(ReaderState.READY)
            module.present(CARD)
            await work.tapped(1)
            await module.searched(5)
            module.remove(CARD)
            module.present(OTHER)
            await work.tapped(2)
            assert work.uids == [CARD, OTHER]
            assert [state for state, _ in work.states] == [ReaderState.READY]
    assert caplog.text.count("can't switch its field off: of two cards held at once one may not be found") == 1


async def test_module_that_refuses_to_switch_its_field_off_is_not_asked_again(tmp_path: Path) -> None:
    refused = 0

    class Counting(Clone):
        def _configure(self, arguments: bytes) -> bool:
            nonlocal refused
            refused += arguments[:1] == b"\x01"
            return super()._configure(arguments)

    with Counting(tmp_path) as module:
        async with at_work(module) as (_, work):
            module.present(CARD)
            await work.tapped(1)
            await module.searched(5)
    assert refused == 1


async def test_held_card_that_does_not_fit_the_settings_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def none_fits(raw: bytes) -> Uid:
        raise ValueError("other cards are wanted")

    with Pn532Module(tmp_path) as module:
        async with at_work(module, to_uid=none_fits) as (reader, work):
            await work.is_now(ReaderState.READY)
            module.present(CARD)
            await module.searched(5)
            assert reader.bad_frames >= 3
    assert caplog.text.count("other cards are wanted") == 1


# ---- the time of the searches


def test_card_found_by_two_searches_in_a_row_has_not_gone_however_far_apart_they_were() -> None:
    clock, presence = SearchClock(1.0), Presence(1.0)
    assert [presence.seen(CARD, clock.searched(at)) for at in (100.0, 100.15, 105.0)] == [True, False, False]


def test_card_that_searches_have_missed_for_its_removal_time_is_gone() -> None:
    clock, presence = SearchClock(1.0), Presence(1.0)
    presence.seen(CARD, clock.searched(100.0))
    for missed in range(1, 8):
        clock.searched(100.0 + missed * 0.15)
    assert presence.seen(CARD, clock.searched(101.2))


def test_card_that_one_late_search_has_missed_is_gone() -> None:
    clock, presence = SearchClock(1.0), Presence(1.0)
    presence.seen(CARD, clock.searched(100.0))
    clock.searched(105.0)
    assert presence.seen(CARD, clock.searched(110.0))


async def test_answers_merged_with_their_ack_are_read(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        module.merges = True
        async with at_work(module) as (reader, work):
            module.present(LONG)
            await work.tapped(1)
            assert (work.uids, reader.bad_frames) == ([LONG], 0)


async def test_noise_between_ack_and_answer_is_passed_over(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        module.noise = bytes(range(256))
        async with at_work(module) as (_, work):
            module.present(LONG)
            await work.tapped(1)
            assert work.uids == [LONG]


async def test_silent_chip_is_missing_once_with_the_switch_to_look_at_until_it_speaks(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        module.misbehave(Fault.SILENT)
        async with at_work(module, answer_s=SHORT_S) as (_, work):
            advice = await work.is_now(ReaderState.MISSING)
            assert "is its DIP switch set to HSU" in advice
            for _ in range(3):
                await module.heard_frame()
            module.behave()
            module.present(CARD)
            await work.tapped(1)
            assert [state for state, _ in work.states][:2] == [ReaderState.MISSING, ReaderState.READY]
            assert work.uids == [CARD]


async def test_chip_that_falls_silent_is_missing_and_comes_back(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        async with at_work(module, answer_s=SHORT_S) as (_, work):
            await work.is_now(ReaderState.READY)
            module.misbehave(Fault.NO_ANSWER)
            await work.is_now(ReaderState.MISSING)
            module.behave()
            await work.is_now(ReaderState.READY)
            module.present(CARD)
            await work.tapped(1)
            assert work.uids == [CARD]


async def test_other_chip_is_missing_with_what_it_says(tmp_path: Path) -> None:
    with Pn532Module(tmp_path, ic=0x33) as module:
        async with at_work(module) as (_, work):
            assert "this is no PN532" in await work.is_now(ReaderState.MISSING)
            assert work.taps == []


async def test_chip_that_lost_its_power_for_a_moment_is_set_up_again(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        async with at_work(module, answer_s=SHORT_S) as (_, work):
            for number, card in enumerate([CARD, OTHER, LONG], start=1):
                await work.is_now(ReaderState.READY)
                module.lose_power()
                module.present(card)
                await work.tapped(number)
                module.remove(card)
            assert work.uids == [CARD, OTHER, LONG]


async def test_search_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        module.search_s = AN_HOUR
        async with at_work(module, answer_s=SHORT_S) as (_, work):
            await work.is_now(ReaderState.MISSING)
            await module.heard_frame()  # of the next round: the ACK that ends the search came before it
            assert module.aborted >= 1


async def test_oserror_of_who_gets_the_taps_ends_the_reader(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        work = ReaderAtWork(
            Pn532Reader("front", str(module.path), to_uid=hex_uid), fail_with=OSError("the disk is full")
        )
        async with asyncio.timeout(HANG_S):
            module.present(CARD)
            with pytest.raises(OSError, match="the disk is full"):
                await work.ended()
        assert not module.opened


async def test_port_that_takes_no_more_bytes_is_no_answer_and_blocks_nobody() -> None:
    # A pipe, for it stays full: the kernel moves on what is in a pseudo-terminal, and finds room behind our back.
    reading_end, writing_end = os.pipe()
    try:
        os.set_blocking(writing_end, False)
        fill(writing_end)
        link = Link(writing_end, FrameParser(), baudrate=115200, answer_s=AN_HOUR)
        async with asyncio.timeout(HANG_S):
            with pytest.raises(NoAnswerError, match="takes no more"):
                await link.ask(b"\x02")
    finally:
        os.close(reading_end)
        os.close(writing_end)


async def test_port_that_vanishes_50_times_reads_a_card_after_each(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        async with at_work(module) as (_, work):
            cards = [f"04{number:02X}FF80" for number in range(50)]
            slowest = 0.0
            for number, card in enumerate(cards, start=1):
                await work.is_now(ReaderState.READY)
                module.unplug()
                await work.is_now(ReaderState.MISSING)
                module.plug()
                module.present(card)
                plugged = time.monotonic()
                await work.tapped(number)
                slowest = max(slowest, time.monotonic() - plugged)
                module.remove(card)
            print(f"\nPN532: 50 times unplugged, the slowest tap {slowest * 1000:.0f} ms after it was plugged in")
            assert work.uids == cards


async def test_million_bytes_of_noise_on_the_line_give_no_tap_and_no_busy_loop(tmp_path: Path) -> None:
    noise = os.urandom(65536)
    with Pn532Module(tmp_path) as module:
        async with at_work(module, answer_s=SHORT_S) as (_, work):
            await work.is_now(ReaderState.READY)
            module.misbehave(Fault.SILENT)
            sent, began, wall = 0, time.process_time(), time.monotonic()
            while sent < 1_000_000:
                await module.heard_frame()  # its answer is waited for: what comes now is read as one
                for _ in range(16):
                    sent += module.send(noise[sent % 61441 :][:4096])
                    await asyncio.sleep(0)
            cpu, wall = time.process_time() - began, time.monotonic() - wall
            print(f"\nPN532: {sent} bytes of noise in {wall:.2f} s take {cpu:.2f} s of CPU, both ends together")
            module.behave()
            module.present(CARD)
            await work.tapped(1)
            assert work.uids == [CARD]


@pytest.mark.parametrize("silent", [False, True], ids=["no card", "dead chip"])
async def test_waiting_reader_costs_little(tmp_path: Path, *, silent: bool) -> None:
    with Pn532Module(tmp_path) as module:
        if silent:
            module.misbehave(Fault.SILENT)
        async with at_work(module, poll_s=0.15, reopen_s=0.15, answer_s=0.15) as (_, work):
            await work.until(lambda: bool(work.states))
            frames, began, wall = module.frames, time.process_time(), time.monotonic()
            for _ in range(6):
                await module.heard_frame()
            cpu, wall = time.process_time() - began, time.monotonic() - wall
            print(f"\nPN532: {module.frames - frames} commands in {wall:.2f} s take {cpu * 1000:.1f} ms of CPU")
            # Each command is followed by a pause: 6 of them in no less than 5 pauses, but that timers may be early.
            assert wall >= 5 * 0.14
