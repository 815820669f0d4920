"""The parts' own pulses: each hangs when its loop or thread hangs, and comes when that goes on."""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from agent.model import Answers, Question
from agent.ports import ReaderState
from agent.runtime.charge_point import HANGS_S
from agent.store.journal import Journal
from agent.store.whitelist import Whitelist
from fakes.pcscd import Pcscd
from fakes.pn532 import Pn532Module
from hw.readers.pcsc_reader import PcscReader
from hw.readers.pn532_reader import Pn532Reader
from tests.contract.at_work import reading
from tests.contract.needs import needs
from tests.contract.rigs.pcsc import hex_uid, unavailable
from tests.scenario.stage import RESTART_S, ScriptedBackend, Stage
from tests.scenario.virtual_time import played

HANG_S = 60.0
CYCLES = 50
"""Turns of the event loop in which a pulse that needs no thread would have come."""


class DeafBackend(ScriptedBackend):
    """Does not heed the deadline, as no backend may."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = asyncio.Event()

    async def ask(self, question: Question, until: float) -> Answers:
        await self.goes_on.wait()
        return await super().ask(question, until)


async def comes_within(seconds: float, pulse: Callable[[], Awaitable[None]]) -> bool:
    """In virtual time, or where it makes no difference how loaded the machine is."""
    try:
        async with asyncio.timeout(seconds):
            await pulse()
    except TimeoutError:
        return False
    return True


# ---- an EVSE


@asynccontextmanager
async def stage(**parts: object) -> AsyncIterator[Stage]:
    played_on = Stage(**parts)  # type: ignore[arg-type]
    await asyncio.sleep(1)
    try:
        yield played_on
    finally:
        await played_on.stop()


@played
async def test_evse_at_rest_answers_at_once() -> None:
    async with stage() as here:
        began = asyncio.get_running_loop().time()
        await here.evse.pulse()
        assert asyncio.get_running_loop().time() == began


@played
async def test_evse_answers_while_a_card_has_its_time() -> None:
    async with stage(backend=DeafBackend()) as here:
        here.present("A1")
        await asyncio.sleep(here.policy.deadline_s + here.policy.reserve_s)
        assert await comes_within(0.1, here.evse.pulse)


@played
async def test_evse_hangs_with_a_card_that_is_decided_far_beyond_its_deadline_until_it_is() -> None:
    backend = DeafBackend()
    async with stage(backend=backend) as here:
        here.present("A1")
        await asyncio.sleep(here.policy.deadline_s + here.policy.reserve_s + HANGS_S + 0.1)
        pulse = asyncio.create_task(here.evse.pulse())
        await asyncio.sleep(60)
        assert not pulse.done()
        backend.goes_on.set()
        await pulse
        assert here.crashes == []


@played
async def test_evse_that_is_restarted_after_a_crash_misses_no_watchdog() -> None:
    async with stage() as here:
        here.display.breaks = True
        here.present("A1")
        await asyncio.sleep(0)
        assert await comes_within(2 * RESTART_S, here.evse.pulse)


@played
async def test_evse_that_nobody_runs_any_more_hangs() -> None:
    here = Stage()
    await asyncio.sleep(1)
    await here.stop()
    assert not await comes_within(60, here.evse.pulse)


@played
async def test_evse_whose_events_nobody_handles_hangs() -> None:
    async with stage() as here:
        here.evse._stepping = True  # as after an event that never came to its end
        here.present("A1")
        assert not await comes_within(60, here.evse.pulse)
        here.evse._stepping = False


# ---- the databases


@contextmanager
def thread_held() -> Iterator[tuple[Callable[[sqlite3.Connection], None], threading.Event, threading.Event]]:
    """Work that keeps a database's thread, as a disk that does not answer; whether it has begun, and what lets go."""
    begun, let_go = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        begun.set()
        let_go.wait(HANG_S)

    try:
        yield hold, begun, let_go
    finally:
        let_go.set()


async def turns(times: int = CYCLES) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "state.db")
    yield opened
    await opened.close()


@pytest.fixture
async def whitelist(tmp_path: Path) -> AsyncIterator[Whitelist]:
    opened = await Whitelist.open(tmp_path / "whitelist.db")
    yield opened
    await opened.close()


async def test_databases_at_rest_answer(journal: Journal, whitelist: Whitelist) -> None:
    async with asyncio.timeout(HANG_S):
        await journal.pulse()
        await whitelist.pulse()


async def test_database_hangs_with_its_writer_until_that_goes_on(journal: Journal) -> None:
    with thread_held() as (hold, begun, let_go):
        writing = asyncio.create_task(journal._database.writer.batch("try", hold))
        await asyncio.to_thread(begun.wait, HANG_S)
        pulse = asyncio.create_task(journal.pulse())
        await journal._database.read("look", "SELECT 1")  # the reader's thread goes on
        await turns()
        assert not pulse.done()
        let_go.set()
        async with asyncio.timeout(HANG_S):
            await pulse
            await writing


async def test_database_hangs_with_its_reader_until_that_goes_on(whitelist: Whitelist) -> None:
    with thread_held() as (hold, begun, let_go):
        reader = whitelist._database._reader
        await reader.create_function("hold", 0, lambda: hold(reader._conn))
        looking = asyncio.create_task(whitelist._database.read("look", "SELECT hold()"))
        await asyncio.to_thread(begun.wait, HANG_S)
        pulse = asyncio.create_task(whitelist.pulse())
        await whitelist._database.writer.pulse()
        await turns()
        assert not pulse.done()
        let_go.set()
        async with asyncio.timeout(HANG_S):
            await pulse
            await looking


async def test_pulse_that_is_cancelled_leaves_the_writer_as_it_was(journal: Journal) -> None:
    with thread_held() as (hold, begun, let_go):
        writing = asyncio.create_task(journal._database.writer.batch("try", hold))
        await asyncio.to_thread(begun.wait, HANG_S)
        pulse = asyncio.create_task(journal.pulse())
        await turns()
        pulse.cancel()
        await asyncio.gather(pulse, return_exceptions=True)
        let_go.set()
        async with asyncio.timeout(HANG_S):
            await writing
            await journal.settle_open_check()
            await journal.pulse()


async def test_database_that_is_closed_has_nothing_that_hangs(journal: Journal) -> None:
    await journal.close()
    async with asyncio.timeout(HANG_S):
        await journal.pulse()


async def test_whitelist_that_was_set_aside_answers_for_the_new_file(whitelist: Whitelist) -> None:
    await whitelist.rebuild()
    async with asyncio.timeout(HANG_S):
        await whitelist.pulse()


# ---- readers


async def test_pn532_answers_whether_its_port_is_there_or_not(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        reader = Pn532Reader("front", str(module.path), to_uid=hex_uid, poll_s=0.002, reopen_s=0.005)
        async with asyncio.timeout(HANG_S), reading(reader) as work:
            await work.is_now(ReaderState.READY)
            await reader.pulse()
            module.unplug()
            await work.is_now(ReaderState.MISSING)
            await reader.pulse()


async def test_pn532_that_nobody_runs_hangs_until_somebody_does(tmp_path: Path) -> None:
    with Pn532Module(tmp_path) as module:
        reader = Pn532Reader("front", str(module.path), to_uid=hex_uid, poll_s=0.002)
        pulse = asyncio.create_task(reader.pulse())
        await turns()
        assert not pulse.done()
        async with asyncio.timeout(HANG_S), reading(reader):
            await pulse


def pcscd_or_skip() -> Pcscd:
    if (reason := unavailable()) is not None:
        needs(reason)
    return Pcscd()


def a_pcsc_reader() -> PcscReader:
    return PcscReader("front", "virtual pcd*", to_uid=hex_uid, reopen_s=0.05)


async def test_pcsc_reader_answers_whether_the_daemon_is_there_or_not() -> None:
    reader = a_pcsc_reader()
    with pcscd_or_skip() as daemon:
        async with asyncio.timeout(HANG_S), reading(reader) as work:
            await work.is_now(ReaderState.MISSING)
            await reader.pulse()
            await asyncio.to_thread(daemon.start)
            await work.is_now(ReaderState.READY)
            await reader.pulse()


async def test_pcsc_reader_hangs_with_its_daemon_and_comes_back_with_it() -> None:
    reader = a_pcsc_reader()
    with pcscd_or_skip() as daemon:
        await asyncio.to_thread(daemon.start)
        async with asyncio.timeout(HANG_S), reading(reader) as work:
            await work.is_now(ReaderState.READY)
            await reader.pulse()
            daemon.freeze()
            assert not await comes_within(7.0, reader.pulse)  # its thread comes around every 5 s, unless it hangs
            daemon.thaw()
            await reader.pulse()


async def test_pcsc_reader_whose_daemon_hangs_from_the_first_call_never_turns() -> None:
    reader = a_pcsc_reader()
    with pcscd_or_skip() as daemon:
        await asyncio.to_thread(daemon.start)
        daemon.freeze()
        async with asyncio.timeout(HANG_S), reading(reader):
            assert not await comes_within(1.0, reader.pulse)
            daemon.thaw()
            await reader.pulse()


async def test_pcsc_reader_without_its_library_has_nothing_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hw.readers.pcsc_service", None)
    reader = a_pcsc_reader()
    async with asyncio.timeout(HANG_S), reading(reader) as work:
        await work.is_now(ReaderState.MISSING)
        await reader.pulse()
