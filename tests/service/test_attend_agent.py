"""A whole agent under systemd's eyes: ready when it decides, alive while its loops turn, starving when one does not."""

import asyncio
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.service.facts import Lookout
from agent.service.notify import Notifier
from agent.service.status import Attendance
from agent.service.watchdog import parts_of
from tests.scenario.world import HANG_S, World, until, world
from tests.service.test_status import attended_by

CARD = "0AFFB2C3D4"
CARDS = {CARD: {"whitelist": "ALWAYS"}}
WATCHDOG_S = 0.9
"""So short that a test has it three times a second; what is waited for below has no limit but that of a hang."""


class Manager:
    """systemd's end of the line."""

    def __init__(self, line: socket.socket) -> None:
        self.said: list[str] = []
        self._line = line

    def take(self) -> None:
        self.said.append(self._line.recv(65_536).decode())

    async def hears(self, word: str) -> None:
        """Return when it comes anew."""
        before = len(self.said)
        await until(lambda: any(said.startswith(word) for said in self.said[before:]))

    async def starves(self) -> None:
        """Return when systemd would act: its time is over, and nothing came in it."""
        async with asyncio.timeout(HANG_S):
            fed = -1
            while fed != (fed := self.said.count("WATCHDOG=1")):  # noqa: ASYNC110  silence is no event
                await asyncio.sleep(WATCHDOG_S)


@asynccontextmanager
async def attended(here: World, folder: Path) -> AsyncIterator[Manager]:
    agent = here.agent
    lookout = Lookout(
        tuple(agent.evses.values()), agent._site.readers, agent.peers, agent.stores.whitelist, agent.stores.sessions
    )
    parts = parts_of(agent.evses.values(), agent.readers, agent.stores)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(folder / "notify"))
        manager = Manager(line)
        loop.add_reader(line, manager.take)
        notifier = Notifier(str(folder / "notify"), watchdog_s=WATCHDOG_S)
        attendance = Attendance(lookout, parts, notifier, agent._site.evses["DE*EXA*E1"]._clock.now)
        task = attended_by(attendance)
        try:
            yield manager
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            await until(lambda: manager.said[-1] == "STOPPING=1")
        finally:
            task.cancel()
            loop.remove_reader(line)


async def test_agent_that_works_is_ready_tells_its_standing_and_lives(tmp_path: Path) -> None:
    async with world(tmp_path, CARDS) as here, attended(here, tmp_path) as manager:
        await until(lambda: "READY=1" in manager.said)
        await manager.hears("WATCHDOG=1")
        await here.tap(CARD)
        await until(lambda: any("DE*EXA*E1 charging" in said for said in manager.said))
        await until(lambda: any("peers: abc up · whitelist 1 tokens, oldest list 0 min" in it for it in manager.said))
        await manager.hears("WATCHDOG=1")
        assert manager.said.count("READY=1") == 1


async def test_database_thread_that_hangs_starves_the_watchdog_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        begun.set()
        let_go.wait(HANG_S)

    async with world(tmp_path, CARDS) as here, attended(here, tmp_path) as manager:
        await manager.hears("WATCHDOG=1")
        writing = asyncio.create_task(here.agent.stores.journal._database.writer.batch("try", hold))
        try:
            await until(begun.is_set)
            await manager.starves()
            await until(lambda: "ALARM database state.db hangs" in caplog.text)
            assert "ALARM EVSE" not in caplog.text
        finally:
            let_go.set()
        await manager.hears("WATCHDOG=1")
        await writing
        assert "database state.db turns again" in caplog.text
