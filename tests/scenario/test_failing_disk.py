"""A disk that is full, can't be written or has lost its mind. Real ones: small file systems in memory, real files."""

import asyncio
import io
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.model import Reason, Verdict
from agent.runtime.charge_point import Settled
from fakes.emsp import FakeEmsp, Kind, Part
from fakes.serial_line import SerialLine
from tests.scenario.world import (
    HANG_S,
    POLL_S,
    World,
    command,
    configuration,
    emsp_with,
    fill_whitelist,
    until,
    world,
)

A, B, C = "0104A1B2E3", "01FF80C3E4", "0104A1B2E5"
ALWAYS = {"whitelist": "ALWAYS"}
NEVER = {"whitelist": "NEVER"}
MOST_TAPS = 200
"""What the blocks that a database already has can take is far less."""
GARBAGE = b"\xff\xfe no database " * 2000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The agent's folder of databases on a disk of 2 MiB of its own."""
    disk = tmp_path / "state"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a disk of its own takes root: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave no block free. Returns the file that has them."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0
    return filler


async def tap_until_refused(here: World, uid: str, evse: int = 0) -> Settled:
    """Start and end one charge after another until one is refused."""
    for _ in range(MOST_TAPS):
        settled = await here.tap(uid, evse)
        if settled.entry.verdict is Verdict.REFUSED:
            return settled
        await here.taken_away(settled.tap)
    raise AssertionError(f"{MOST_TAPS} records went to a full disk")


def running_on_record(here: World) -> list[int]:
    return [record["id"] for record in here.records() if record["relay_closed"] and record["ended_at"] is None]


async def test_full_disk_refuses_every_card_with_a_text_of_its_own(tmp_path: Path, small_disk: Path) -> None:
    display = io.StringIO()
    async with world(tmp_path, {A: ALWAYS, B: ALWAYS}, display=display) as here:
        filler = fill(small_disk)
        first = await tap_until_refused(here, A)
        second = await tap_until_refused(here, B, evse=1)
        assert [s.entry.reason for s in (first, second)] == [Reason.STORAGE_FAULT, Reason.STORAGE_FAULT]
        assert display.getvalue().endswith("[DE*EXA*E2] Out of order | Please call\n")
        assert (here.is_closed(0), here.is_closed(1)) == (False, False)
        filler.unlink()


async def test_disk_with_room_again_takes_records_again_and_the_ends_that_it_missed(
    tmp_path: Path, small_disk: Path
) -> None:
    async with world(tmp_path, {A: ALWAYS, B: ALWAYS}) as here:
        filler = fill(small_disk)
        await tap_until_refused(here, A)
        filler.unlink()
        settled = await here.tap(B, evse=1)
        assert settled.entry.verdict is Verdict.ACCEPTED
        assert (here.is_closed(0), here.is_closed(1)) == (False, True)
        await until(lambda: running_on_record(here) == [settled.authorization_id])


async def test_disk_that_fills_up_while_charging_does_not_keep_the_relay_closed(
    tmp_path: Path, small_disk: Path
) -> None:
    async with world(tmp_path, {A: ALWAYS}) as here:
        first = await here.tap(A)
        fill(small_disk)
        await here.taken_away(first.tap)
        stop = await here.tap(A)
        assert stop.entry.reason is Reason.STOPPED_SAME_CARD
        assert not here.is_closed()
        (small_disk / "filler").unlink()
        await until(lambda: running_on_record(here) == [])


def configured(folder: Path, *emsps: FakeEmsp) -> Path:
    """A configuration with readers that are not plugged in."""
    config = folder / "config.toml"
    lines = [SerialLine(folder, name=f"reader-{number}") for number in (1, 2)]
    config.write_text(configuration(folder, emsps, lines))
    return config


async def run_on(folder: Path) -> tuple[int | None, str]:
    """`chargepoint-agent run`, which must not come far: exit code and what it says of it."""
    finished = await command("run", "--config", configured(folder))
    assert finished.out == ""
    return finished.code, finished.err


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


async def test_full_disk_at_start_is_named_and_nothing_is_started(tmp_path: Path, small_disk: Path) -> None:
    fill(small_disk)
    code, said = await run_on(tmp_path)
    assert code == 1
    assert f"chargepoint-agent: {small_disk}/state.db: can't " in said
    assert "free space" in said
    assert "ready" not in said


async def test_read_only_disk_is_named_and_nothing_is_started(tmp_path: Path, small_disk: Path) -> None:
    make_read_only(small_disk)
    code, said = await run_on(tmp_path)
    assert code == 1
    assert f"chargepoint-agent: {small_disk}/" in said
    assert "Read-only file system" in said
    assert said.count("\n") == 1


async def test_read_only_disk_with_databases_is_named_and_nothing_is_started(tmp_path: Path, small_disk: Path) -> None:
    async with emsp_with({A: ALWAYS}) as emsp:
        await fill_whitelist(configured(tmp_path, emsp))
    make_read_only(small_disk)
    code, said = await run_on(tmp_path)
    assert code == 1
    assert f"chargepoint-agent: {small_disk}/" in said
    assert "ead-only file system" in said


async def test_damaged_whitelist_at_start_is_set_aside_and_pulled_again(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "whitelist.db").write_bytes(GARBAGE)
    async with world(tmp_path, {A: ALWAYS}) as here:
        settled = await here.tap(A)
        assert settled.entry.reason is Reason.WHITELISTED
        [aside] = here.folder.glob("whitelist.db.corrupt-*")
        assert aside.read_bytes() == GARBAGE


async def test_damaged_records_at_start_stop_the_agent_and_are_left_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.db").write_bytes(GARBAGE)
    code, said = await run_on(tmp_path)
    assert code == 1
    assert f"chargepoint-agent: {tmp_path}/state/state.db: can't open: " in said
    assert (tmp_path / "state" / "state.db").read_bytes() == GARBAGE


def damage(database: Path) -> None:
    """Overwrite all that it holds, as a worn card does, and leave the files where they are."""
    for part, kept in ((database, 4096), (database.with_name(f"{database.name}-wal"), 32)):
        length = part.stat().st_size
        with part.open("r+b") as file:
            file.seek(kept)
            file.write(b"\xa5" * max(0, length - kept))


async def synced_again(here: World) -> None:
    """Wait until a list has been pulled into a new file."""
    async with asyncio.timeout(HANG_S):
        while await here.agent.stores.whitelist.last_sync("abc") is None:  # noqa: ASYNC110  a row in a file has no event
            await asyncio.sleep(POLL_S)


async def damaged_world(here: World, caplog: pytest.LogCaptureFixture) -> int:
    """Damage the whitelist once nobody writes it any more. Returns how often the list was asked for by then."""
    await until(lambda: "sync of tokens complete" in caplog.text)
    damage(here.folder / "whitelist.db")
    return sum(request.part is Part.LIST for request in here.emsp.requests)


async def test_whitelist_that_is_damaged_while_running_does_not_keep_drivers_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent")
    async with world(tmp_path, {A: ALWAYS}) as here:
        await damaged_world(here, caplog)
        settled = await here.tap(A)
        assert (settled.entry.verdict, settled.entry.source) == (Verdict.ACCEPTED, "realtime")
        assert here.is_closed()


async def test_whitelist_that_is_damaged_while_running_is_pulled_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent")
    async with world(tmp_path, {A: ALWAYS, B: ALWAYS, C: NEVER}) as here:
        lists = await damaged_world(here, caplog)
        await here.tap(C)
        await here.emsp.arrived(lists + 1, Part.LIST)
        await synced_again(here)
        settled = await here.tap(B, evse=1)
        assert settled.entry.reason is Reason.WHITELISTED
        assert len(list(here.folder.glob("whitelist.db.corrupt-*"))) >= 1


async def test_damaged_whitelist_and_a_peer_that_is_down_refuse_in_good_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent")
    async with world(tmp_path, {A: ALWAYS}) as here:
        await damaged_world(here, caplog)
        here.emsp.set_weather(Kind.DOWN)
        settled = await here.tap(A)
        assert (settled.entry.verdict, settled.entry.reason) == (Verdict.REFUSED, Reason.UNREACHABLE)
        assert here.switched == []
