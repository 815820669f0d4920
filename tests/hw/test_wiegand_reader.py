"""The Wiegand driver on emulated wires: what the contract suite can't say of every reader.

`removal_s` is an hour where a card is held. A card of its own ends each test as a fence: when its tap is there,
everything before it has been read.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Literal

import gpiozero
import pytest

from agent.model import Uid
from agent.ports import ReaderState
from fakes.pins import WatchedFactory, mock_pins
from fakes.wiegand import Output, WiegandOutput, bits_of
from hw.readers.wiegand_reader import WiegandReader, _unwrapped
from tests.contract.at_work import ReaderAtWork, reading

D0, D1 = 17, 27
HANG_S = 120
AN_HOUR = 3600.0
SHORT, LONG, FENCE = "80FF01", "04A1B2FF", "FFFEFD"
WRAP_S = 4294.967296
"""32 bits of microseconds: where the tick clock of pigpio begins again."""


@pytest.fixture
def pins() -> Iterator[WatchedFactory]:
    before = gpiozero.Device.pin_factory
    yield mock_pins()
    gpiozero.Device.pin_factory = before


@pytest.fixture
def output(pins: WatchedFactory) -> WiegandOutput:
    return WiegandOutput(pins, data0=D0, data1=D1)


def hex_uid(raw: bytes) -> Uid:
    return Uid(raw.hex().upper())


class AtWork:
    """A driver and what it said."""

    def __init__(self, reader: WiegandReader, work: ReaderAtWork) -> None:
        self.reader = reader
        self.work = work

    async def fence(self, output: WiegandOutput) -> list[str]:
        """All taps before a fence."""
        output.output = Output()
        output.send(FENCE)
        await self.work.until(lambda: self.work.uids[-1:] == [FENCE])
        return self.work.uids[:-1]


@asynccontextmanager
async def at_work(
    *,
    to_uid: Callable[[bytes], Uid] = hex_uid,
    bits: Literal[26, 34] | None = None,
    removal_s: float = AN_HOUR,
    flag_random: bool = False,
    sends_reversed: bool = False,
    look_s: float = 0.01,
    data1: int = D1,
    ready: bool = True,
) -> AsyncIterator[AtWork]:
    reader = WiegandReader(
        "front", data0=D0, data1=data1, to_uid=to_uid, bits=bits, removal_s=removal_s, reopen_s=0.005,
        flag_random=flag_random, sends_reversed=sends_reversed, look_s=look_s,
    )  # fmt: skip
    async with asyncio.timeout(HANG_S), reading(reader) as work:
        if ready:
            await work.is_now(ReaderState.READY)
        yield AtWork(reader, work)


async def over() -> None:
    """Wait until a frame that was sent is over for a driver in this loop."""
    await asyncio.sleep(0.06)


@pytest.mark.parametrize(
    "how",
    [
        Output(pulse_s=20e-6, interval_s=220e-6),
        Output(pulse_s=200e-6, interval_s=2e-3),
        Output(pulse_s=100e-6, interval_s=20e-3),
        Output(jitter=0.3),
        Output(glitches=12),
        Output(jitter=0.2, glitches=5, glitch_s=8e-6),
    ],
    ids=["fast", "wide", "slow", "jitter", "sparks", "both"],
)
async def test_card_is_read_however_its_reader_sends(output: WiegandOutput, how: Output) -> None:
    async with at_work() as at:
        output.output = how
        output.send(LONG)
        output.send(SHORT)
        assert await at.fence(output) == [LONG, SHORT]
        assert at.reader.bad_frames == 0


@pytest.mark.parametrize(
    "how",
    [
        Output(missing={5}),
        Output(missing={0, 1}),
        Output(flipped={7}),
        Output(pulse_s=500e-6),
        Output(interval_s=30e-3),
    ],
    ids=["a pulse missing", "two missing", "a bit on the wrong line", "long pulses", "too slow"],
)
async def test_disturbed_frame_is_counted_and_no_tap(output: WiegandOutput, how: Output) -> None:
    async with at_work() as at:
        output.output = how
        output.send(LONG)
        assert await at.fence(output) == []
        assert at.reader.bad_frames >= 1


async def test_swapped_lines_are_said_once_with_what_to_do(
    output: WiegandOutput, caplog: pytest.LogCaptureFixture
) -> None:
    async with at_work() as at:
        for card in (SHORT, LONG, SHORT, LONG):
            output.output = Output(swapped=True)
            output.send(card)
        assert await at.fence(output) == []
        assert at.reader.bad_frames == 4
    assert sum("swap D0 and D1" in record.message for record in caplog.records) == 1


async def test_frame_of_another_length_than_configured_is_bad(output: WiegandOutput) -> None:
    async with at_work(bits=26) as at:
        output.send(LONG)
        output.send(SHORT)
        assert await at.fence(output) == [SHORT]
        assert at.reader.bad_frames == 1


async def test_frame_whose_end_is_handed_over_late_is_bad_as_a_whole(output: WiegandOutput) -> None:
    async with at_work(bits=34) as at:
        rest = output.send_in_two(LONG, 26)
        await over()
        output.go_on(rest)
        await over()
        assert at.reader.bad_frames == 2
        output.send("FFFEFD01")
        await at.work.tapped(1)
        assert at.work.uids == ["FFFEFD01"]


async def test_times_that_begin_again_at_zero_are_followed(pins: WatchedFactory) -> None:
    pins.ticks_diff = lambda later, earlier: (later - earlier) % WRAP_S  # as gpiozero's for pigpio
    output = WiegandOutput(pins, data0=D0, data1=D1, wraps_s=WRAP_S)
    async with at_work() as at:
        output.rest(WRAP_S - (output.now % WRAP_S) - 0.51)  # the frame begins 10 ms before the turn
        output.send(LONG)
        assert output.now % WRAP_S < 1
        await at.work.tapped(1)
        output.send(SHORT)
        assert (await at.fence(output), at.reader.bad_frames) == ([LONG, SHORT], 0)


async def test_random_uid_of_34_bits_is_marked_where_the_reader_is_to(output: WiegandOutput) -> None:
    async with at_work(flag_random=True) as at:
        output.send("08A1B2C3")
        output.send("08FFFFFF")  # the same phone, still held
        output.send(LONG)
        await at.fence(output)
        assert [(tap.uid, tap.is_random) for tap in at.work.taps[:-1]] == [("08A1B2C3", True), (LONG, False)]


async def test_random_uid_is_marked_where_the_reader_sends_the_last_byte_first(output: WiegandOutput) -> None:
    async with at_work(flag_random=True, sends_reversed=True) as at:
        output.send("C3B2A108")
        output.send("08B2A104")
        await at.work.tapped(2)
        assert [(tap.uid, tap.is_random) for tap in at.work.taps] == [("08A1B2C3", True), ("04A1B208", False)]


async def test_card_number_that_begins_like_a_random_uid_is_a_card_where_numbers_are_no_uids(
    output: WiegandOutput,
) -> None:
    async with at_work() as at:
        output.send("08A1B2C3")
        output.send("08FFFFFF")
        output.send("88A1B2C3")
        assert await at.fence(output) == ["08A1B2C3", "08FFFFFF", "88A1B2C3"]
        assert not any(tap.is_random for tap in at.work.taps)


async def test_cut_uid_is_dropped_and_counted_and_said_once(
    output: WiegandOutput, caplog: pytest.LogCaptureFixture
) -> None:
    async with at_work(flag_random=True) as at:
        output.send("8804A1B2")
        output.send("8804FFFF")
        assert await at.fence(output) == []
        assert at.reader.bad_frames == 2
    assert sum("only the first 4 bytes" in record.message for record in caplog.records) == 1


async def test_card_that_does_not_fit_the_settings_is_dropped_with_a_warning_without_its_number(
    output: WiegandOutput, caplog: pytest.LogCaptureFixture
) -> None:
    def only_short(raw: bytes) -> Uid:
        if len(raw) != 3:
            raise ValueError("26 bits are wanted")
        return hex_uid(raw)

    caplog.set_level("DEBUG")
    async with at_work(to_uid=only_short) as at:
        output.send(LONG)
        output.send(SHORT)
        assert await at.fence(output) == [SHORT]
        assert at.reader.bad_frames == 1
    assert "26 bits are wanted" in caplog.text
    assert LONG not in caplog.text.upper()
    assert SHORT not in caplog.text.upper()


async def test_held_card_that_does_not_fit_the_settings_is_warned_of_once(
    output: WiegandOutput, caplog: pytest.LogCaptureFixture
) -> None:
    def only_short(raw: bytes) -> Uid:
        if len(raw) != 3:
            raise ValueError("26 bits are wanted")
        return hex_uid(raw)

    async with at_work(to_uid=only_short) as at:
        for _ in range(3):
            output.send(LONG)
        assert await at.fence(output) == []
        assert at.reader.bad_frames == 3
    assert caplog.text.count("26 bits are wanted") == 1


async def test_line_that_stays_low_is_missing_with_what_to_do(output: WiegandOutput) -> None:
    async with at_work() as at:
        output.rest(1)
        output.level(0, high=False)
        advice = await at.work.is_now(ReaderState.MISSING)
        assert advice.startswith(f"D0 on GPIO{D0} stays low: has the reader power")
        output.level(0, high=True)
        await at.work.is_now(ReaderState.READY)
        await over()
        output.send(LONG)
        assert await at.fence(output) == [LONG]


def hum(output: WiegandOutput) -> None:
    """Four seconds of 50 Hz from the mains on a wire that is off."""
    for _ in range(200):
        output.pulse(0, 0.01)
        output._at += 0.01


async def test_line_that_hums_without_a_rest_is_missing_until_it_rests(output: WiegandOutput) -> None:
    async with at_work() as at:
        output.rest(1)
        while all(state is ReaderState.READY for state, _ in at.work.states):
            hum(output)
            await asyncio.sleep(0.005)
        assert at.reader.bad_frames > 0
        assert at.work.states[1][1].startswith(f"D0 on GPIO{D0} and D1 on GPIO{D1} never rest: is a wire off")
        await at.work.is_now(ReaderState.READY)
        output.send(LONG)
        assert await at.fence(output) == [LONG]


async def test_frame_that_comes_while_the_pins_are_opened_is_no_card_and_the_next_is(output: WiegandOutput) -> None:
    async with at_work(ready=False) as at:
        await asyncio.sleep(0)  # the pins are taken
        output.send(LONG)  # for all that is known, the end of something longer
        await at.work.is_now(ReaderState.READY)
        await over()
        assert (at.work.uids, at.reader.bad_frames) == ([], 1)
        output.send(LONG)
        assert await at.fence(output) == [LONG]


async def test_held_card_is_one_tap_though_the_loop_was_held_up_for_longer_than_its_removal(
    output: WiegandOutput,
) -> None:
    async with at_work(removal_s=0.5) as at:
        output.send(LONG)
        await at.work.tapped(1)
        output._late_at = output.now + 0.2  # when the reader sends it again, by the edges' own times
        time.sleep(0.6)  # noqa: ASYNC251  as a slow disk would
        output.go_on(bits_of(bytes.fromhex(LONG)))
        assert await at.fence(output) == [LONG]


@pytest.mark.parametrize(
    ("gap_s", "waited_s", "meant_s"),
    [(0.2, 0.2, 0.2), (0.2, 5.0, 0.2), (0.2, WRAP_S + 0.2, WRAP_S + 0.2), (3600.0, 3600.1, 3600.0), (0.5, 0.0, 0.5)],
    ids=["punctual", "late loop", "turn of the tick clock", "nobody for an hour", "ahead of the loop"],
)
def test_time_between_two_edges_is_theirs_unless_the_tick_clock_has_turned(
    gap_s: float, waited_s: float, meant_s: float
) -> None:
    assert _unwrapped(gap_s, waited_s) == meant_s


async def test_pin_that_is_gone_is_missing_until_it_is_back(pins: WatchedFactory, output: WiegandOutput) -> None:
    async with at_work() as at:
        pins.lose(D1)
        assert f"D1 on GPIO{D1} can't be read any more" in await at.work.is_now(ReaderState.MISSING)
        pins.find_again(D1)
        await at.work.is_now(ReaderState.READY)
        output.send(LONG)
        assert await at.fence(output) == [LONG]
        assert [state for state, _ in at.work.states] == [ReaderState.READY, ReaderState.MISSING, ReaderState.READY]


async def test_pin_that_another_device_has_is_missing_and_the_other_pin_given_back(output: WiegandOutput) -> None:
    async with at_work(data1=D0, ready=False) as at:
        advice = await at.work.is_now(ReaderState.MISSING)
        assert "Give every input, relay and lamp a pin of its own" in advice
    async with at_work() as at:
        output.send(LONG)
        assert await at.fence(output) == [LONG]


async def test_tap_carries_its_bytes_and_the_time_of_its_last_edge(output: WiegandOutput) -> None:
    async with at_work() as at:
        before = asyncio.get_running_loop().time()
        output.send(LONG)
        await at.work.tapped(1)
        (tap,) = at.work.taps
        assert (tap.raw, tap.reader) == (bytes.fromhex(LONG), "front")
        assert before <= tap.at <= asyncio.get_running_loop().time() - 0.02  # the rest behind it came later


async def test_reader_that_loses_its_power_50_times_reads_a_card_after_each(output: WiegandOutput) -> None:
    cards = [f"04{number:02X}FF80" for number in range(50)]
    async with at_work(look_s=0.002) as at:
        for number, card in enumerate(cards, start=1):
            await at.work.is_now(ReaderState.READY)
            output.lose_power()
            await at.work.is_now(ReaderState.MISSING)
            output.get_power()
            output.send(card)
            await at.work.tapped(number)
        assert at.work.uids == cards


async def noise(pins: WatchedFactory, output: WiegandOutput, edges: int) -> None:
    rng = random.Random(9)
    high = [True, True]
    at = output.now + 1
    for place in range(edges):
        at += 10 ** rng.uniform(-6, -1.4)
        line = rng.randrange(2)
        high[line] = not high[line]
        pins.drive((D0, D1)[line], high=high[line], at=at)
        if place % 500 == 0:
            await asyncio.sleep(0)
    for line in (0, 1):
        pins.drive((D0, D1)[line], high=True, at=at + 1)
    output.rest(at + 2 - output.now)


@pytest.mark.parametrize(
    "edges", [pytest.param(40_000, id="gate"), pytest.param(1_000_000, id="campaign", marks=pytest.mark.campaign)]
)
async def test_random_edges_give_no_tap_and_no_busy_loop(
    pins: WatchedFactory, output: WiegandOutput, edges: int
) -> None:
    async with at_work() as at:
        began, wall = time.process_time(), time.monotonic()
        await noise(pins, output, edges)
        await over()
        cpu, wall = time.process_time() - began, time.monotonic() - wall
        print(f"\nWiegand: {edges} random edges in {wall:.1f} s take {cpu:.1f} s of CPU, both ends together")
        output.send(LONG)
        assert await at.fence(output) == [LONG]
        assert at.reader.bad_frames > 0


async def test_waiting_reader_costs_little(output: WiegandOutput) -> None:
    async with at_work(look_s=1.0):
        began = time.process_time()
        await asyncio.sleep(1.2)
        print(f"\nWiegand: 1.2 s of waiting take {(time.process_time() - began) * 1000:.1f} ms of CPU")
