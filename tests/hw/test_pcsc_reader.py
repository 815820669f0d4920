"""The PC/SC driver on a real pcscd: what `tests.contract` asks of every reader, and here what only PC/SC can do."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.model import Signal
from agent.ports import ReaderState
from fakes.pcscd import Pcscd
from fakes.vpcd import PORTS, CardSlot, Manner
from hw.readers.pcsc_reader import PcscReader
from tests.contract.at_work import reading
from tests.contract.needs import needs
from tests.contract.rigs.pcsc import READER_NAMES, hex_uid, unavailable, wait_empty

HANG_S = 60
CARD, LONG, LONGEST = "80FFA1B2", "04A1B2FF80C3E5", "04FFA1FFB2807FC3D4E5"
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def daemon() -> AsyncIterator[Pcscd]:
    """Ours alone for this test, not started yet."""
    if (reason := unavailable()) is not None:
        needs(reason)
    pcscd = Pcscd()
    await asyncio.to_thread(pcscd.__enter__)
    try:
        yield pcscd
    finally:
        pcscd.__exit__(None, None, None)


@pytest.fixture
async def running(daemon: Pcscd) -> Pcscd:
    await asyncio.to_thread(daemon.start)
    return daemon


@pytest.fixture
async def slots(daemon: Pcscd) -> AsyncIterator[list[CardSlot]]:
    with CardSlot(PORTS[0]) as first, CardSlot(PORTS[1]) as second:
        yield [first, second]


def a_reader(pattern: str = "virtual pcd*", *, removal_s: float = 0.0, lamps: bool = False) -> PcscReader:
    return PcscReader("front", pattern, to_uid=hex_uid, removal_s=removal_s, reopen_s=0.05, lamps=lamps)


async def until(holds: Callable[[], object]) -> None:
    """Wait for something that has no event, of another thread or the emulator."""
    async with asyncio.timeout(HANG_S):
        while not holds():  # noqa: ASYNC110  see above
            await asyncio.sleep(0.01)


def readers_called(name: str, folder: Path) -> Path:
    """pcscd's configuration with the virtual reader under another name."""
    conf = Path("/etc/reader.conf.d/vpcd").read_text("utf-8").replace("Virtual PCD", name)
    folder.mkdir()
    (folder / "vpcd").write_text(conf, "utf-8")
    return folder


@pytest.mark.parametrize("card", [CARD, LONG, LONGEST])
async def test_each_length_on_the_second_slot_taps(running: Pcscd, slots: list[CardSlot], card: str) -> None:
    async with reading(a_reader()) as work:
        slots[1].present(card)
        await work.tapped(1)
        assert [(tap.uid, tap.raw, tap.reader) for tap in work.taps] == [(card, bytes.fromhex(card), "front")]


async def test_a_pattern_for_one_slot_leaves_the_other_alone(running: Pcscd, slots: list[CardSlot]) -> None:
    async with reading(a_reader("VIRTUAL PCD * 01")) as work:
        slots[0].present(CARD)
        await until(lambda: slots[0].powered_at)
        slots[1].present(LONG)
        await work.tapped(1)
        assert work.uids == [LONG]
        assert slots[0].uids_sent == 0
        assert READER_NAMES[0] not in work.states[0][1]


@pytest.mark.parametrize("manner", [Manner.MUTE, Manner.NO_UID, Manner.SHORT, Manner.CUT])
async def test_a_card_that_can_not_be_read_is_counted_and_the_next_one_taps(
    running: Pcscd, slots: list[CardSlot], manner: Manner
) -> None:
    reader = a_reader()
    async with reading(reader) as work:
        slots[0].present(LONGEST, manner)
        await until(lambda: reader.bad_frames)
        slots[0].remove()
        await asyncio.to_thread(wait_empty, READER_NAMES[0])
        slots[0].present(CARD)
        await work.tapped(1)
        assert work.uids == [CARD]
        assert reader.bad_frames == 1


@pytest.mark.parametrize("manner", [Manner.SLOW, Manner.SHAKY])
async def test_a_card_that_is_slow_or_lost_once_taps_once(
    running: Pcscd, slots: list[CardSlot], manner: Manner
) -> None:
    async with reading(a_reader(removal_s=HANG_S)) as work:
        slots[0].present(LONG, manner)
        await work.tapped(1)
        slots[1].present(CARD)
        await work.tapped(2)
        assert work.uids == [LONG, CARD]


@pytest.mark.parametrize("cut", ["88040011", "88FFA1B2"])
async def test_the_first_part_of_a_long_uid_is_no_tap(
    running: Pcscd, slots: list[CardSlot], cut: str, caplog: pytest.LogCaptureFixture
) -> None:
    reader = a_reader()
    async with reading(reader) as work:
        slots[0].present(cut)
        await until(lambda: reader.bad_frames)
        slots[1].present(CARD)
        await work.tapped(1)
        assert work.uids == [CARD]
        assert "only the first part of a long uid" in caplog.text
        assert cut not in caplog.text


async def test_phones_with_another_uid_each_time_are_one_card(running: Pcscd, slots: list[CardSlot]) -> None:
    async with reading(a_reader(removal_s=HANG_S)) as work:
        slots[0].present("08A1B2C3")
        await work.tapped(1)
        slots[0].remove()
        await asyncio.to_thread(wait_empty, READER_NAMES[0])
        slots[0].present("08FFEEDD")
        await until(lambda: slots[0].uids_sent)
        slots[1].present(CARD)
        await work.tapped(2)
        assert [(tap.uid, tap.is_random) for tap in work.taps] == [("08A1B2C3", True), (CARD, False)]


async def test_a_uid_that_the_settings_refuse_is_counted_and_no_tap(running: Pcscd, slots: list[CardSlot]) -> None:
    def only_long(raw: bytes) -> str:
        if len(raw) < 7:
            raise ValueError("4 bytes, where 7 are expected")
        return hex_uid(raw)

    reader = PcscReader("front", to_uid=only_long, reopen_s=0.05)  # type: ignore[arg-type]
    async with reading(reader) as work:
        slots[0].present(CARD)
        await until(lambda: reader.bad_frames)
        slots[1].present(LONG)
        await work.tapped(1)
        assert work.uids == [LONG]


async def test_a_card_that_another_program_keeps_taps_once_it_is_free(
    running: Pcscd, slots: list[CardSlot], caplog: pytest.LogCaptureFixture
) -> None:
    from smartcard import scard  # noqa: PLC0415  an extra

    slots[0].present(CARD)
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
    both = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
    taken: list[int] = []

    def takes_it() -> bool:
        code, card, _ = scard.SCardConnect(context, READER_NAMES[0], scard.SCARD_SHARE_EXCLUSIVE, both)
        taken.extend([card] if code == scard.SCARD_S_SUCCESS else [])
        return bool(taken)

    await until(takes_it)
    reader = a_reader()
    async with reading(reader) as work:
        await until(lambda: "another program keeps the card" in caplog.text)
        assert work.taps == []
        scard.SCardDisconnect(taken[0], scard.SCARD_LEAVE_CARD)
        await work.tapped(1)
        assert work.uids == [CARD]
        assert reader.bad_frames == 0
    scard.SCardReleaseContext(context)


async def test_a_card_that_lay_there_through_a_killed_daemon_is_one_tap(running: Pcscd, slots: list[CardSlot]) -> None:
    async with reading(a_reader()) as work:
        slots[0].present(CARD)
        await work.tapped(1)
        running.kill()
        await work.is_now(ReaderState.MISSING)
        await asyncio.to_thread(running.start)
        await until(lambda: slots[0].uids_sent == 2)
        slots[1].present(LONG)
        await work.tapped(2)
        assert work.uids == [CARD, LONG]


async def test_a_card_put_there_while_the_daemon_was_away_is_a_tap(running: Pcscd, slots: list[CardSlot]) -> None:
    async with reading(a_reader()) as work:
        await work.is_now(ReaderState.READY)
        running.kill()
        await work.is_now(ReaderState.MISSING)
        slots[0].present(LONG)
        await asyncio.to_thread(running.start)
        await work.tapped(1)
        assert work.uids == [LONG]


async def test_a_daemon_that_is_stopped_orderly_is_said_to_be_missing_once(running: Pcscd) -> None:
    async with reading(a_reader()) as work:
        await work.is_now(ReaderState.READY)
        running.stop()
        told = await work.is_now(ReaderState.MISSING)
        await asyncio.to_thread(running.start)
        await work.is_now(ReaderState.READY)
        assert "pcscd" in told
        assert len(work.states) == 3


async def test_no_reader_of_that_name_names_those_that_are_there(running: Pcscd) -> None:
    async with reading(a_reader("*ACR122U*")) as work:
        told = await work.is_now(ReaderState.MISSING)
        assert "*ACR122U*" in told
        assert READER_NAMES[0] in told


async def test_no_reader_at_all_then_one_is_ready(daemon: Pcscd, tmp_path: Path) -> None:
    async with reading(a_reader()) as work:
        await asyncio.to_thread(lambda: daemon.start(readers=tmp_path))
        await until(lambda: "plug it in" in work.states[-1][1] if work.states else False)
        assert work.states[-1][0] is ReaderState.MISSING
        daemon.kill()
        await asyncio.to_thread(daemon.start)
        assert READER_NAMES[1] in await work.is_now(ReaderState.READY)


async def test_cancelling_a_blocked_wait_leaves_no_thread(running: Pcscd, caplog: pytest.LogCaptureFixture) -> None:
    threads = threading.active_count()
    for _ in range(10):
        async with reading(a_reader()) as work:
            await work.is_now(ReaderState.READY)
    assert threading.active_count() == threads
    assert caplog.records == []


def pcsc_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("pcsc")]


async def test_cancelling_under_a_frozen_daemon_returns_all_the_same(
    running: Pcscd, caplog: pytest.LogCaptureFixture
) -> None:
    async with reading(a_reader()) as work:
        await work.is_now(ReaderState.READY)
        running.freeze()
    if "left behind" not in caplog.text:  # between two calls to the daemon when it froze
        await until(lambda: not pcsc_threads())
    running.kill()
    await until(lambda: not pcsc_threads())


async def test_a_frozen_daemon_is_missing_and_ready_once_it_goes_on_with_its_card_the_same_tap(
    running: Pcscd, slots: list[CardSlot]
) -> None:
    slots[0].present(CARD)
    async with reading(PcscReader("front", to_uid=hex_uid, reopen_s=0.05, patience_s=0.2)) as work:
        await work.tapped(1)
        running.freeze()
        assert "systemctl restart pcscd" in await work.is_now(ReaderState.MISSING)
        running.thaw()
        await work.is_now(ReaderState.READY)
        slots[1].present(LONG)
        await work.tapped(2)
        assert work.uids == [CARD, LONG]


async def test_the_daemon_away_costs_next_to_nothing(daemon: Pcscd) -> None:
    reader = PcscReader("front", to_uid=hex_uid)
    async with reading(reader) as work:
        await work.is_now(ReaderState.MISSING)
        wall, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(3)  # no wait for anything: the stretch of time that is measured
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    print(f"\npcscd away: {cpu * 1000:.1f} ms of CPU in {wall:.1f} s, {100 * cpu / wall:.2f} % of a core")
    assert cpu < wall / 5, "a busy loop"
    assert len(work.states) == 1


async def test_the_daemon_there_and_idle_costs_next_to_nothing(running: Pcscd, slots: list[CardSlot]) -> None:
    reader = PcscReader("front", to_uid=hex_uid)
    slots[0].present(CARD)
    async with reading(reader) as work:
        await work.tapped(1)
        wall, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(3)  # as above
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    print(f"\npcscd idle, a card held: {cpu * 1000:.1f} ms of CPU in {wall:.1f} s, {100 * cpu / wall:.2f} % of a core")
    assert cpu < wall / 5, "a busy loop"


async def test_signals_reach_the_lamp_of_a_reader_with_a_card_on_it(
    daemon: Pcscd, slots: list[CardSlot], tmp_path: Path
) -> None:
    conf = readers_called("ACS ACR122U PICC Interface", tmp_path / "conf")
    await asyncio.to_thread(lambda: daemon.start(readers=conf))
    slots[0].present(CARD)
    reader = a_reader("*acr122u*", lamps=True)
    async with reading(reader) as work:
        await work.tapped(1)
        reader.indicate(Signal.ACCEPTED)
        await until(lambda: "FF0040AE0401010101" in slots[0].apdus)
        reader.indicate(Signal.REFUSED)
        await until(lambda: "FF00405D0401010201" in slots[0].apdus)
    await until(lambda: slots[0].apdus[-1] == "FF00400C0400000000")


async def test_a_signal_given_while_the_reader_was_away_is_shown_once_it_is_back(
    daemon: Pcscd, slots: list[CardSlot], tmp_path: Path
) -> None:
    conf = readers_called("ACS ACR122U PICC Interface", tmp_path / "conf")
    reader = a_reader("*acr122u*", lamps=True)
    reader.indicate(Signal.READY)
    async with reading(reader) as work:
        await work.is_now(ReaderState.MISSING)
        reader.indicate(Signal.FAULT)
        slots[0].present(CARD)
        await asyncio.to_thread(lambda: daemon.start(readers=conf))
        await work.tapped(1)
        await until(lambda: slots[0].apdus[-1:] == ("FF00400D0400000000",))


def test_without_pyscard_the_reader_is_missing_with_the_extra_to_install(tmp_path: Path) -> None:
    (tmp_path / "smartcard.py").write_text("raise ImportError('No module named smartcard')\n", "utf-8")
    program = (
        "import asyncio\n"
        "from hw.readers.pcsc_reader import PcscReader\n"
        "async def main():\n"
        "    told = asyncio.Queue()\n"
        "    reader = PcscReader('front', to_uid=str)\n"
        "    run = asyncio.create_task(reader.run(print, lambda *said: told.put_nowait(said)))\n"
        "    print(*await told.get())\n"
        "    run.cancel()\n"
        "    await asyncio.wait([run])\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=HANG_S, check=True,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )  # fmt: skip
    assert ended.stdout.startswith("missing pyscard is not installed")
    assert "extra pcsc" in ended.stdout
    assert ended.stderr == ""


def test_who_has_no_such_reader_does_not_import_pyscard() -> None:
    program = "import sys, hw.readers.pcsc_reader; print('smartcard' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=HANG_S, check=True
    )
    assert ended.stdout.strip() == "False"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
