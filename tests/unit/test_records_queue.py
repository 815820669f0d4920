"""Records on their way to disk: in their order, through a disk that refuses, and past one that is broken."""

import asyncio
import logging
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.errors import StoreError
from agent.runtime.records_queue import MOST_REFUSALS, RETRY_S, Job, RecordsQueue, Write
from agent.store.failures import explained
from tests.scenario.virtual_time import played


class Disk:
    """Takes what is written, or not."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.refuses = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.queue = RecordsQueue("E1", asyncio.get_running_loop().time)

    def add(self, what: str, *, expendable: bool = False, waited: list[float] | None = None) -> Job:
        async def write() -> int | None:
            await self.gate.wait()
            if self.refuses:
                raise StoreError("disk full")
            self.written.append(what)
            return len(self.written)

        heard = waited if waited is not None else []
        return self.queue.add(what, write, expendable=expendable, on_refused=heard.append)


async def broken() -> int | None:
    raise ZeroDivisionError


@played
async def test_records_are_written_in_their_order_with_their_results() -> None:
    disk = Disk()
    jobs = [disk.add(what) for what in "abc"]
    await disk.queue.settled()
    assert (disk.written, [job.done.result() for job in jobs]) == (["a", "b", "c"], [1, 2, 3])


@played
async def test_refused_record_goes_before_those_that_came_after_it() -> None:
    disk = Disk()
    disk.refuses = True
    first = disk.add("a")
    await asyncio.sleep(RETRY_S / 2)
    second = disk.add("b")
    assert (disk.queue.is_refused, first.done.cancelled()) == (True, True)
    disk.refuses = False
    await disk.queue.settled()
    assert (disk.written, second.done.result(), disk.queue.is_refused) == (["a", "b"], 2, False)


@played
async def test_everybody_who_waits_hears_for_how_long_when_the_disk_refuses() -> None:
    disk = Disk()
    disk.refuses = True
    first: list[float] = []
    second: list[float] = []
    disk.add("a", waited=first)
    await asyncio.sleep(RETRY_S / 2)
    disk.add("b", waited=second)
    await asyncio.sleep(RETRY_S)
    assert (first, second) == ([0.0, RETRY_S], [RETRY_S / 2])
    await disk.queue.stop(0.0)


@played
async def test_record_that_waits_can_be_dropped() -> None:
    disk = Disk()
    disk.add("a")
    dropped = disk.add("b")
    disk.add("c")
    assert disk.queue.waits(dropped)
    disk.queue.drop(dropped)
    await disk.queue.settled()
    assert (disk.written, dropped.done.cancelled()) == (["a", "c"], True)


@played
async def test_record_that_was_refused_waits_and_can_be_dropped() -> None:
    disk = Disk()
    disk.refuses = True
    dropped = disk.add("a")
    await asyncio.sleep(RETRY_S / 2)
    assert disk.queue.waits(dropped)
    disk.queue.drop(dropped)
    disk.refuses = False
    disk.add("b")
    await disk.queue.settled()
    assert disk.written == ["b"]


@played
async def test_record_that_is_being_written_does_not_wait_and_is_not_dropped() -> None:
    disk = Disk()
    disk.gate.clear()
    written = disk.add("a")
    await asyncio.sleep(0.1)
    assert not disk.queue.waits(written)
    disk.queue.drop(written)
    disk.gate.set()
    await disk.queue.settled()
    assert disk.written == ["a"]


@played
async def test_of_refused_cards_only_so_many_wait() -> None:
    disk = Disk()
    disk.refuses = True
    cards = [disk.add(str(number), expendable=True) for number in range(MOST_REFUSALS + 1)]
    assert cards[-1].done.cancelled()
    disk.add("an end")
    disk.refuses = False
    await disk.queue.settled()
    assert disk.written == [*map(str, range(MOST_REFUSALS)), "an end"]


@played
async def test_what_the_disk_refuses_at_the_stop_goes_first_when_it_works_again() -> None:
    disk = Disk()
    disk.refuses = True
    ends = disk.add("an end")
    await disk.queue.stop(5.0)
    assert (ends.done.cancelled(), disk.queue.is_refused) == (True, False)
    disk.refuses = False
    disk.add("a card")
    await disk.queue.settled()
    assert disk.written == ["an end", "a card"]


@played
async def test_stop_waits_for_what_is_being_written_and_for_no_longer_than_it_may() -> None:
    disk = Disk()
    disk.gate.clear()
    disk.add("a")
    began = asyncio.get_running_loop().time()
    await disk.queue.stop(3.0)
    assert asyncio.get_running_loop().time() - began == 3.0
    assert disk.written == []


async def test_broken_record_is_reported_and_does_not_keep_the_others_from_the_disk(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = Disk()
    with caplog.at_level(logging.CRITICAL):
        lost = disk.queue.add("break", broken)
        disk.add("a")
        await disk.queue.settled()
    assert "ALARM a record could not be made, and is lost" in caplog.text
    assert (disk.written, lost.done.cancelled()) == (["a"], True)


async def too_large() -> int | None:
    """What SQLite has no number for, as a store tells it."""
    with closing(sqlite3.connect(":memory:")) as database, explained(Path("state.db"), "end a session"):
        database.execute("SELECT ?", (10**24,))
    return None


async def breaks_a_constraint() -> int | None:
    with closing(sqlite3.connect(":memory:")) as database, explained(Path("state.db"), "end a session"):
        database.execute("CREATE TABLE session (id INTEGER NOT NULL)")
        database.execute("INSERT INTO session VALUES (NULL)")
    return None


@pytest.mark.parametrize("write", [too_large, breaks_a_constraint])
async def test_record_that_breaks_a_rule_by_itself_is_lost_with_an_alarm_and_refuses_nobody(
    caplog: pytest.LogCaptureFixture, write: Write
) -> None:
    disk = Disk()
    heard: list[float] = []
    lost = disk.queue.add("end a session", write, on_refused=heard.append)
    after = disk.add("a card")
    with caplog.at_level(logging.CRITICAL):
        async with asyncio.timeout(30):
            await disk.queue.settled()
    assert "evse=E1 ALARM can't end a session, and it is lost" in caplog.text
    assert (lost.done.cancelled(), heard) == (True, [math.inf])
    assert (disk.written, after.done.result(), disk.queue.is_refused) == (["a card"], 1, False)


@played
async def test_record_that_is_lost_after_the_disk_refused_leaves_no_refusal_behind() -> None:
    disk = Disk()
    disk.refuses = True

    async def write() -> int | None:
        if disk.refuses:
            raise StoreError("disk full")
        return await too_large()

    disk.queue.add("end a session", write)
    refused = []
    await asyncio.sleep(RETRY_S / 2)
    refused.append(disk.queue.is_refused)
    disk.refuses = False
    await asyncio.sleep(RETRY_S)
    refused.append(disk.queue.is_refused)
    assert refused == [True, False]
    await disk.queue.stop(0.0)
