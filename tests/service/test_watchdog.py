"""The watchdog lives on the pulses of the parts, and on nothing else."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.service.watchdog import Watchdog
from tests.scenario.virtual_time import in_virtual_time, played

WATCHDOG_S = 30.0
EVERY_S = 10.0


class Part:
    """Answers at once, or after so long, or not at all."""

    def __init__(self, *, takes_s: float = 0.0, hangs: bool = False) -> None:
        self.takes_s = takes_s
        self.asked = 0
        self._works = asyncio.Event()
        if not hangs:
            self._works.set()

    async def pulse(self) -> None:
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        await self._works.wait()

    def hang(self) -> None:
        self._works.clear()

    def go_on(self) -> None:
        self._works.set()


class Watched:
    """The watchdog at work; `fed` are the times at which systemd heard of it."""

    def __init__(self, parts: dict[str, Part]) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.fed: list[float] = []
        self.watchdog = Watchdog(parts, lambda: self.fed.append(self.now), watchdog_s=WATCHDOG_S)

    @property
    def now(self) -> float:
        return round(self.loop.time() - self.began, 3)

    async def at(self, seconds: float) -> None:
        await asyncio.sleep(self.began + seconds - self.loop.time())


@asynccontextmanager
async def watching(**parts: Part) -> AsyncIterator[Watched]:
    watched = Watched(parts)
    task = asyncio.create_task(watched.watchdog.run())
    try:
        yield watched
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@played
async def test_it_is_fed_three_times_in_its_time_while_all_answer() -> None:
    async with watching(evse=Part(), disk=Part(takes_s=4.0)) as watched:
        await watched.at(35)
        assert watched.fed == [4, 14, 24, 34]
        assert watched.watchdog.silent == ()


@played
async def test_all_are_asked_at_once() -> None:
    async with watching(**{f"disk {number}": Part(takes_s=6.0) for number in range(20)}) as watched:
        await watched.at(20)
        assert watched.fed == [6, 16]


def test_part_that_hangs_starves_it_and_is_named_once_before_systemd_acts(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        evse = Part()
        async with watching(evse=evse, disk=Part()) as watched:
            await watched.at(5)
            evse.hang()
            await watched.at(1000)
            assert watched.fed == [0]

    in_virtual_time(story)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.CRITICAL,
            "ALARM evse hangs: no sign of life for 10 s; systemd restarts the agent unless it comes within 10 s",
        )
    ]


def test_part_that_comes_back_in_time_feeds_it_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        evse, disk = Part(), Part()
        async with watching(evse=evse, disk=disk) as watched:
            await watched.at(5)
            evse.hang()
            await watched.at(25)
            evse.go_on()
            await watched.at(36)
            assert watched.fed == [0, 25, 25, 35]
            assert disk.asked == 4  # not again for another's sake

    in_virtual_time(story)
    assert [record.levelname for record in caplog.records] == ["CRITICAL", "WARNING"]
    assert caplog.messages[1] == "evse turns again: the agent is not restarted"


def test_part_that_never_turned_starves_nothing_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with watching(evse=Part(), reader=Part(hangs=True)) as watched:
            await watched.at(41)
            assert watched.fed == [10, 20, 30, 40]
            assert watched.watchdog.silent == ("reader",)

    in_virtual_time(story)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "reader has given no sign of life since the start; the agent goes on without it")
    ]


@played
async def test_part_that_never_turned_does_not_hide_one_that_hangs() -> None:
    evse = Part()
    async with watching(evse=evse, reader=Part(hangs=True)) as watched:
        await watched.at(15)
        evse.hang()
        await watched.at(1000)
        assert watched.fed == [10, 20]


@played
async def test_part_that_turns_late_counts_from_then_on() -> None:
    reader = Part(hangs=True)
    async with watching(evse=Part(), reader=reader) as watched:
        await watched.at(15)
        reader.go_on()
        await watched.at(19)
        assert watched.fed == [10, 15]
        await watched.at(21)
        reader.hang()
        await watched.at(1000)
        assert watched.fed == [10, 15, 20]
        assert watched.watchdog.silent == ()


@played
async def test_part_that_hangs_is_asked_anew_for_what_it_was_asked_for_may_be_gone() -> None:
    evse = Part()
    async with watching(evse=evse) as watched:
        await watched.at(5)
        evse.hang()
        await watched.at(21)
        assert evse.asked == 3


@played
async def test_part_that_is_taken_away_is_not_waited_for() -> None:
    parts = {"evse": Part(), "reader": Part()}
    watched = Watched(parts)
    task = asyncio.create_task(watched.watchdog.run())
    await watched.at(5)
    parts["reader"].hang()
    await watched.at(15)
    del parts["reader"]
    await watched.at(31)
    assert watched.fed == [0, 20, 20, 30]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@played
async def test_pulse_that_fails_ends_the_service_unfed() -> None:
    class Broken(Part):
        async def pulse(self) -> None:
            raise RuntimeError("nobody foresaw this")

    watched = Watched({"evse": Broken(), "disk": Part()})
    with pytest.raises(RuntimeError, match="nobody foresaw"):
        await watched.watchdog.run()
    assert watched.fed == []


@played
async def test_cancelling_cancels_the_pulses() -> None:
    tasks_before = asyncio.all_tasks()
    async with watching(evse=Part(hangs=True)) as watched:
        await watched.at(1)
        assert len(asyncio.all_tasks()) == len(tasks_before) + 2
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks_before
