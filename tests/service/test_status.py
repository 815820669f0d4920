"""What `systemctl status` shows, when READY is sent, and the service that does it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.charges import Backlog
from agent.errors import StoreError
from agent.ports import Pulsing, ReaderState
from agent.service.facts import PHASES, EvseFacts, Facts, PeerFacts, ReaderFacts
from agent.service.notify import Notifier
from agent.service.status import COUNT_S, FIRST_LOOK_S, LONGEST, LOOK_S, READER_S, Attendance, is_ready, status_of
from tests.scenario.virtual_time import in_virtual_time

NOW = datetime(2027, 6, 1, 12, tzinfo=UTC)
WATCHDOG_S = 30.0


def evse(uid: str = "DE*EXA*E1", phase: str = "available", *, lost: tuple[str, ...] = (), fault: str = "") -> EvseFacts:
    return EvseFacts(uid, phase, is_live=True, relay_closed=phase == "charging", relay_fault=fault, lost=lost)


def reader(name: str = "door", state: ReaderState | None = ReaderState.READY) -> ReaderFacts:
    return ReaderFacts(name, state, "", 0)


def peer(name: str = "emsp", *, tokens: int = 0, minutes: float | None = 3, up: bool = True) -> PeerFacts:
    synced_at = None if minutes is None else NOW - timedelta(minutes=minutes)
    return PeerFacts(name, is_asked=up, rejects_credentials=False, tokens=tokens, synced_at=synced_at)


def facts(
    evses: tuple[EvseFacts, ...] = (evse(),),
    readers: tuple[ReaderFacts, ...] = (reader(),),
    peers: tuple[PeerFacts, ...] = (peer(),),
    backlog: Backlog = Backlog(),  # noqa: B008  immutable
) -> Facts:
    return Facts(evses, readers, peers, backlog)


# ---- the line


def test_line_says_all_that_an_operator_asks() -> None:
    line = status_of(
        facts(
            (evse("DE*EXA*E1", "charging"), evse("DE*EXA*E2")),
            (reader("door", ReaderState.MISSING), reader("kerb")),
            (peer("emsp", tokens=1200), peer("hub", tokens=34, minutes=1, up=False)),
            Backlog(sessions=1, cdrs=1),
        ),
        NOW,
    )
    assert line == (
        "2 EVSEs: DE*EXA*E1 charging, DE*EXA*E2 available · reader door missing · peers: emsp up, hub down"
        " · whitelist 1,234 tokens, oldest list 3 min · 2 reports due"
    )


@pytest.mark.parametrize(
    ("stands", "said"),
    [
        (facts((evse(lost=("meter", "plug")),)), "1 EVSE: DE*EXA*E1 available (meter, plug lost)"),
        (facts((evse(phase="faulted", fault="welded"),)), "DE*EXA*E1 faulted (relay lost)"),
        (facts((replace(evse(phase="faulted"), is_live=False),)), "DE*EXA*E1 not at work"),
        (facts((evse(phase="waiting-for-plug"),)), "DE*EXA*E1 waiting for plug"),
        (facts(readers=(reader(state=None),)), "reader door silent"),
        (facts(peers=()), "no peers · whitelist 0 tokens"),
        (facts(peers=(replace(peer(), rejects_credentials=True),)), "emsp rejects our token"),
        (facts(peers=(peer(minutes=None),)), "whitelist 0 tokens (emsp never synced)"),
        (facts(peers=(peer(minutes=-9),)), "oldest list 0 min"),
        (facts(peers=(peer(minutes=119.9), peer("hub"))), "oldest list 119 min"),
        (facts(peers=(peer(minutes=120),)), "oldest list 2 h"),
        (facts(peers=(peer(minutes=60 * 72),)), "oldest list 3 d"),
        (facts(backlog=Backlog(cdrs=1, parked=2)), "1 report due, 2 CDRs rejected"),
        (facts((evse("E\n1\x1b[2J\u202e"),)), "1 EVSE: E 1 available"),
    ],
)
def test_line_says(stands: Facts, said: str) -> None:
    assert said in status_of(stands, NOW)


def test_many_are_counted_and_those_that_need_somebody_named() -> None:
    evses = tuple(evse(f"E{number}", PHASES[number % 2 * 3], lost=("meter",) * (number == 7)) for number in range(12))
    peers = tuple(peer(f"emsp{number}", up=number != 5) for number in range(9))
    line = status_of(facts(evses, peers=peers), NOW)
    assert line.startswith("12 EVSEs: 6 available, 6 charging (E7 out of order) · 9 peers: 8 up, 1 down (emsp5 not up)")


def test_line_has_a_bounded_length_whatever_stands() -> None:
    long = "x" * 200
    line = status_of(facts(tuple(evse(long) for _ in range(4)), peers=tuple(peer(long) for _ in range(4))), NOW)
    assert len(line) == LONGEST
    assert line.endswith("…")


def test_parts_that_hang_are_named() -> None:
    assert " · reader door hangs since the start · " in status_of(facts(), NOW, ("reader door",))


def test_what_was_not_counted_is_not_told() -> None:
    line = status_of(facts(backlog=Backlog(cdrs=1)), NOW, is_counted=False)
    assert line == "1 EVSE: DE*EXA*E1 available · peers: emsp up · 1 report due"


# ---- ready


@pytest.mark.parametrize(
    ("live", "state", "waited_s", "ready"),
    [
        (True, ReaderState.READY, 0.0, True),
        (True, ReaderState.MISSING, 0.0, True),
        (True, None, READER_S - 0.1, False),
        (True, None, READER_S, True),
        (False, ReaderState.READY, 0.0, False),
        (False, ReaderState.READY, 3600.0, False),
        (False, None, 3600.0, False),
    ],
)
def test_ready_waits_for_evses_and_not_for_ever_for_readers(
    live: bool,  # noqa: FBT001
    state: ReaderState | None,
    waited_s: float,
    ready: bool,  # noqa: FBT001
) -> None:
    stands = facts((evse(), replace(evse("DE*EXA*E2"), is_live=live)), (reader(), reader("kerb", state)))
    assert is_ready(stands, waited_s) is ready


# ---- the service


@dataclass
class Site:
    """What is looked at, and systemd's end of the line."""

    line: socket.socket
    stands: Facts = field(default_factory=facts)
    counts: list[float] = field(default_factory=list)
    count_takes_s: float = 0.0
    disk_fails: bool = False
    count_raises: Exception | None = None
    said: list[str] = field(default_factory=list)

    def facts(self) -> Facts:
        return self.stands

    async def count(self) -> None:
        self.counts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.count_takes_s)
        if self.count_raises is not None:
            raise self.count_raises
        if self.disk_fails:
            raise StoreError("whitelist.db: disk full")

    def heard(self) -> list[str]:
        """What came since the last time."""
        new: list[str] = []
        while True:
            try:
                new.append(self.line.recv(65_536).decode())
            except BlockingIOError:
                self.said += new
                return new

    def notifier(self, *, watchdog_s: float | None = None) -> Notifier:
        return Notifier(self.line.getsockname(), watchdog_s=watchdog_s)


@dataclass
class Hanging:
    hangs: bool = True

    async def pulse(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()


@contextmanager
def manager(folder: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(folder / "notify"))
        bound.setblocking(False)  # noqa: FBT003  as socket has it
        yield bound


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with manager(tmp_path) as bound:
        yield Site(bound)


def attended_by(attendance: Attendance) -> asyncio.Task[None]:
    async def both() -> None:
        await asyncio.gather(attendance.run(), attendance.watch())

    return asyncio.create_task(both())


@asynccontextmanager
async def attended(
    site: Site, *, watchdog_s: float | None = None, parts: Mapping[str, Pulsing] | None = None
) -> AsyncIterator[None]:
    notifier = site.notifier(watchdog_s=watchdog_s)
    task = attended_by(Attendance(site, parts or {}, notifier, lambda: NOW))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


def test_agent_that_works_is_ready_at_once_and_once(site: Site) -> None:
    async def story() -> None:
        async with attended(site):
            await asyncio.sleep(60)
        assert site.heard().count("READY=1") == 1
        assert site.said[-1] == "STOPPING=1"

    in_virtual_time(story)


def test_silent_reader_delays_ready_for_a_bounded_time_and_is_named(site: Site) -> None:
    async def story() -> None:
        site.stands = facts(readers=(reader(state=None),))
        async with attended(site):
            await asyncio.sleep(READER_S - 1)
            assert "READY=1" not in site.heard()
            await asyncio.sleep(2)
            assert site.heard() == ["READY=1"]
        assert "reader door silent" in site.said[0]

    in_virtual_time(story)


def test_evse_that_does_not_come_up_keeps_ready_back(site: Site) -> None:
    async def story() -> None:
        site.stands = facts((replace(evse(), is_live=False),))
        async with attended(site):
            await asyncio.sleep(3600)
            assert "READY=1" not in site.heard()
            site.stands = facts()
            await asyncio.sleep(1)
            assert "READY=1" in site.heard()

    in_virtual_time(story)


def test_status_is_told_when_it_changed_and_not_more_often_than_every_few_seconds(site: Site) -> None:
    async def story() -> None:
        async with attended(site):
            await asyncio.sleep(10)
            site.heard()
            await asyncio.sleep(600)
            assert site.heard() == []
            for number in range(100):
                site.stands = facts((evse(phase=PHASES[number % 7]),))
                await asyncio.sleep(0.1)
            assert 1 <= len(site.heard()) <= 10 / LOOK_S + 1

    in_virtual_time(story)


def test_ready_that_systemd_did_not_take_is_sent_again(tmp_path: Path) -> None:
    async def story() -> None:
        with manager(tmp_path) as bound:
            site = Site(bound)
            full = site.notifier()
            while full.alive():
                pass
            async with attended(site):
                await asyncio.sleep(1)
                assert set(site.heard()) == {"WATCHDOG=1"}
                await asyncio.sleep(1)
                assert [word.partition("=")[0] for word in site.heard()] == ["STATUS", "READY"]

    in_virtual_time(story)


def test_databases_are_counted_soon_and_then_once_a_minute_whatever_becomes_of_it(site: Site) -> None:
    async def story() -> None:
        site.disk_fails = True
        async with attended(site):
            await asyncio.sleep(10 * COUNT_S - 1)
            assert site.counts[:5] == [site.counts[0] + after_s for after_s in (0, 5, 15, 35, 75)]
            assert len(site.counts) == 13
            assert not any("whitelist" in word for word in site.heard())
            site.disk_fails = False
            await asyncio.sleep(COUNT_S)
            assert any("whitelist 0 tokens" in word for word in site.heard())

    in_virtual_time(story)


def test_counting_that_takes_long_takes_a_hundredth_of_the_time(site: Site) -> None:
    async def story() -> None:
        site.count_takes_s = 5.0
        async with attended(site):
            await asyncio.sleep(500)
            assert len(site.counts) == 1
            await asyncio.sleep(10)
            assert len(site.counts) == 2

    in_virtual_time(story)


def test_watchdog_is_fed_beside_it_and_names_who_hangs(site: Site) -> None:
    async def story() -> None:
        async with attended(site, watchdog_s=WATCHDOG_S, parts={"reader door": Hanging()}):
            await asyncio.sleep(2 * WATCHDOG_S)
            assert site.heard().count("WATCHDOG=1") in {5, 6}
        assert any("reader door hangs since the start" in word for word in site.said)

    in_virtual_time(story)


def test_without_systemd_it_counts_and_nothing_else() -> None:
    async def story() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nobody:
            site = Site(nobody)
            task = attended_by(Attendance(site, {"door": Hanging()}, Notifier(None), lambda: NOW))
            await asyncio.sleep(3 * COUNT_S - 1)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert len(site.counts) == 6

    in_virtual_time(story)


def test_reload_during_the_start_tells_ready_no_earlier(site: Site) -> None:
    async def story() -> None:
        site.stands = facts(readers=(reader(state=None),))
        attendance = Attendance(site, {}, site.notifier(), lambda: NOW)
        task = attended_by(attendance)
        await asyncio.sleep(1)
        with attendance.reloading():
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        assert not {"READY=1", "RELOADING=1"} & {word.partition("\n")[0] for word in site.heard()}
        site.stands = facts()
        await asyncio.sleep(1)
        assert "READY=1" in site.heard()
        task.cancel()
        await asyncio.wait([task])

    in_virtual_time(story)


def test_reload_is_told_and_over_when_it_is(site: Site) -> None:
    async def story() -> None:
        attendance = Attendance(site, {}, site.notifier(), lambda: NOW)
        task = attended_by(attendance)
        await asyncio.sleep(10)
        site.heard()
        with attendance.reloading():
            await asyncio.sleep(30)
            assert [word.partition("\n")[0] for word in site.heard()] == ["RELOADING=1"]
        await asyncio.sleep(FIRST_LOOK_S)
        assert site.heard() == ["READY=1"]
        task.cancel()
        await asyncio.wait([task])

    in_virtual_time(story)


def test_fault_of_the_counting_lets_no_hanging_part_be_forgotten(site: Site) -> None:
    async def story() -> None:
        evse_loop = Hanging()
        evse_loop.hangs = False
        attendance = Attendance(site, {"EVSE A": evse_loop}, site.notifier(watchdog_s=WATCHDOG_S), lambda: NOW)
        watching = asyncio.create_task(attendance.watch())
        running = asyncio.create_task(attendance.run())
        await asyncio.sleep(WATCHDOG_S)
        evse_loop.hangs = True
        site.count_raises = RuntimeError("can't start new thread")
        await asyncio.sleep(3 * WATCHDOG_S)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        running = asyncio.create_task(attendance.run())  # as the supervisor does after any fault
        site.heard()
        await asyncio.sleep(3 * WATCHDOG_S)
        assert "WATCHDOG=1" not in site.heard()
        for task in (running, watching):
            task.cancel()
        await asyncio.wait([running, watching])

    in_virtual_time(story)
