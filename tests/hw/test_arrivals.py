"""What a descriptor brings, and that a late event loop is not taken for a silent device."""

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from hw.readers.arrivals import Arrivals, Heard
from hw.readers.line_clock import LineClock

HANG_S = 60
QUIET_S = 0.5
LATE_S = 0.6


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    source, sink = os.pipe2(os.O_NONBLOCK)
    yield source, sink
    os.close(source)
    os.close(sink)


async def test_silence_of_a_silent_device_is_silence(pipe: tuple[int, int]) -> None:
    with Arrivals(pipe[0], LineClock(QUIET_S)) as arrivals:
        assert await arrivals.silence(0.01)
        assert await arrivals.next_within(0.01) is None


async def test_what_comes_in_the_silence_is_kept(pipe: tuple[int, int]) -> None:
    async with asyncio.timeout(HANG_S):
        with Arrivals(pipe[0], LineClock(QUIET_S)) as arrivals:
            os.write(pipe[1], b"card")
            assert not await arrivals.silence(0.01)
            heard = await arrivals.next()
            assert isinstance(heard, Heard)
            assert heard.chunk == b"card"
            assert heard.at <= asyncio.get_running_loop().time()


@pytest.mark.parametrize("waiting", ["silence", "next_within"])
async def test_late_loop_is_no_silence_of_the_device(pipe: tuple[int, int], waiting: str) -> None:
    async with asyncio.timeout(HANG_S):
        with Arrivals(pipe[0], LineClock(QUIET_S)) as arrivals:
            heard = asyncio.create_task(getattr(arrivals, waiting)(QUIET_S))
            await asyncio.sleep(0)
            os.write(pipe[1], b"card")
            time.sleep(LATE_S)  # noqa: ASYNC251  somebody else holds the loop up, until the time is over
            assert await heard not in {None, True}


async def test_end_of_the_device_is_an_error_after_what_it_had_sent(pipe: tuple[int, int]) -> None:
    source, sink = os.pipe2(os.O_NONBLOCK)
    os.write(sink, b"card")
    os.close(sink)
    async with asyncio.timeout(HANG_S):
        with Arrivals(source, LineClock(QUIET_S)) as arrivals:
            first, then = await arrivals.next(), await arrivals.next()
    os.close(source)
    assert isinstance(first, tuple)
    assert isinstance(then, OSError)


async def test_descriptor_is_watched_no_longer_when_it_is_left(pipe: tuple[int, int]) -> None:
    with Arrivals(pipe[0], LineClock(QUIET_S)):
        pass
    assert not asyncio.get_running_loop().remove_reader(pipe[0])
    assert os.fstat(pipe[0])


async def test_end_is_known_before_what_came_first_has_been_taken() -> None:
    source, sink = os.pipe2(os.O_NONBLOCK)
    os.write(sink, b"card")
    os.close(sink)
    with Arrivals(source, LineClock(QUIET_S)) as arrivals:
        async with asyncio.timeout(HANG_S):
            while arrivals.ended is None:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0)
        assert isinstance(await arrivals.next(), Heard)
    os.close(source)


# ---- the line's own clock


async def first(arrivals: Arrivals, sink: int) -> float:
    """When something came, by the line's clock."""
    os.write(sink, b"card")
    heard = await arrivals.next()
    assert isinstance(heard, Heard)
    return heard.line_at


async def test_time_in_which_the_loop_was_held_up_is_none_on_the_line(pipe: tuple[int, int]) -> None:
    async with asyncio.timeout(HANG_S):
        with Arrivals(pipe[0], LineClock(QUIET_S)) as arrivals:
            before = await first(arrivals, pipe[1])
            time.sleep(LATE_S)  # noqa: ASYNC251  the card is repeated meanwhile, and nobody looks
            assert await first(arrivals, pipe[1]) - before < QUIET_S


async def test_silence_that_the_loop_has_seen_is_one_on_the_line(pipe: tuple[int, int]) -> None:
    async with asyncio.timeout(HANG_S):
        with Arrivals(pipe[0], LineClock(QUIET_S)) as arrivals:
            before = await first(arrivals, pipe[1])
            await asyncio.sleep(LATE_S)  # the stretch of silence that it is about
            assert await first(arrivals, pipe[1]) - before >= QUIET_S


async def test_time_in_which_the_line_was_closed_counts(pipe: tuple[int, int]) -> None:
    clock = LineClock(QUIET_S)
    async with asyncio.timeout(HANG_S):
        with Arrivals(pipe[0], clock) as arrivals:
            before = await first(arrivals, pipe[1])
        time.sleep(LATE_S)  # noqa: ASYNC251  nobody could look, and nobody had the line
        with Arrivals(pipe[0], clock) as arrivals:
            assert await first(arrivals, pipe[1]) - before >= QUIET_S
