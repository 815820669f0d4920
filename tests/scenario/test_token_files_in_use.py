"""`tokens import` and `tokens export` beside an agent and each other, through pipes, and broken off."""

import asyncio
import io
import os
import pty
import signal
import subprocess
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.commands.token_files import export_tokens
from agent.model import Reason
from agent.peering import sync_lock
from agent.runtime.sync_lock import alone
from agent.store.whitelist import SyncKind
from tests.scenario.token_device import LATER, A, B, C, Device, line, written
from tests.scenario.world import HANG_S, POLL_S, command, command_process, emsp_with, until, world
from tests.store.samples import NOON, token


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "device")


@pytest.fixture
def other(tmp_path: Path) -> Device:
    return Device(tmp_path / "other")


async def test_import_while_a_synchronisation_runs_is_refused_and_changes_nothing(
    device: Device, tmp_path: Path
) -> None:
    source = written(tmp_path / "in", [line(A)])
    device.state.mkdir()
    with alone(sync_lock(device.state)):
        finished = await command("tokens", "import", "--config", device.path, source)
    assert (finished.code, finished.out) == (1, "")
    assert finished.err.startswith("chargepoint-agent: another sync is running")
    assert await device.uids() == []


async def test_card_that_is_imported_beside_a_running_agent_opens_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, {A: {"whitelist": "ALWAYS"}}) as here:
        async with asyncio.timeout(HANG_S):  # what it does at start may still be writing
            while (await _imported(tmp_path)).code:
                pass
        settled = await here.tap(B)
        assert settled.entry.reason is Reason.WHITELISTED
        finished = await command("tokens", "export", "--config", tmp_path / "config.toml", "-")
        assert (finished.code, finished.out.count("\n"), finished.err) == (
            0,
            2,
            "exported 2 tokens to standard output\n",
        )


async def _imported(folder: Path) -> Any:
    source = written(folder / "in", [line(B, whitelist="ALWAYS")])
    return await command("tokens", "import", "--config", folder / "config.toml", source)


@pytest.mark.parametrize(("signum", "leaves"), [(signal.SIGINT, False), (signal.SIGKILL, True)])
@pytest.mark.parametrize("words", [(), ("--complete",)], ids=["additions", "whole"])
async def test_import_broken_off_in_the_middle_keeps_what_it_stored_and_completes_the_next_time(
    device: Device, tmp_path: Path, signum: signal.Signals, *, leaves: bool, words: tuple[str, ...]
) -> None:
    blocked = token("00000000", valid=False, last_updated=LATER)
    await device.pulls([token("FFFFFFFF"), blocked])
    uids = [f"{number:08X}" for number in range(3000)]
    os.mkfifo(tmp_path / "pipe")
    arguments = ("tokens", "import", "--config", str(device.path), *words, str(tmp_path / "pipe"))
    async with command_process(*arguments) as process, device.whitelist() as whitelist:
        with closing(await _opened_by_reader(tmp_path / "pipe")) as pipe:
            await asyncio.to_thread(pipe.write, b"".join(line(uid) + b"\n" for uid in uids[:2500]))
            async with asyncio.timeout(HANG_S):
                while (await whitelist.count())["abc"].total < 2001:  # noqa: ASYNC110  a row in a file has no event
                    await asyncio.sleep(POLL_S)
                process.send_signal(signum)
                assert await process.wait() != 0
        progress = await whitelist.progress("abc")
        assert (progress and progress.next_url) == ("file:" if leaves and words else None)
        last = await whitelist.last_sync("abc")
        assert last is not None
        assert last.completed_at == NOON
    assert (await device.tokens())[0] == blocked
    assert await device.takes(written(tmp_path / "in", map(line, uids)), complete=bool(words))
    assert await device.uids() == [*uids, "FFFFFFFF"]


async def test_import_that_waits_for_its_first_line_keeps_nobody_waiting(device: Device, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    importing = asyncio.create_task(device.takes(tmp_path / "pipe"))
    with closing(await _opened_by_reader(tmp_path / "pipe")) as pipe:
        with alone(sync_lock(device.state)):
            assert not importing.done()
        pipe.write(line(A))
    async with asyncio.timeout(HANG_S):
        assert await importing
    assert await device.uids() == [A]


async def test_import_from_a_pipe_that_nobody_writes_to_can_be_broken_off(device: Device, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    async with command_process("tokens", "import", "--config", device.path, tmp_path / "pipe") as process:
        await until(lambda: _has_open(process.pid, tmp_path / "pipe"))
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(HANG_S):
            assert await process.wait() != 0
    assert await device.uids() == []


def _has_open(pid: int, file: Path) -> bool:
    with suppress(OSError):  # it may be closing one
        return any(entry.readlink() == file for entry in Path(f"/proc/{pid}/fd").iterdir())
    return False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("import - <&-", b"chargepoint-agent: standard input is closed: name a file, or send it one\n"),
        ("export - >&-", b"chargepoint-agent: standard output is closed: name a file, or send it somewhere\n"),
    ],
)
async def test_closed_standard_stream_is_named(device: Device, tmp_path: Path, words: str, said: bytes) -> None:
    await device.takes(written(tmp_path / "in", [line(A)]))
    noun, rest = words.split(" ", 1)
    program = f'"{sys.executable}" -c "from agent.cli import main; main()" tokens {noun} --config {device.path} {rest}'
    async with asyncio.timeout(HANG_S):
        shell = await asyncio.create_subprocess_shell(program, stderr=subprocess.PIPE)
        _, err = await shell.communicate()
    assert err == said
    assert shell.returncode not in {0, None}
    assert await device.uids() == [A]


async def _opened_by_reader(pipe: Path) -> io.FileIO:
    """The end to write to, once somebody reads."""
    async with asyncio.timeout(HANG_S):
        while True:
            with suppress(OSError):  # ENXIO: nobody has it open
                descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                os.set_blocking(descriptor, True)
                return io.FileIO(descriptor, "w")
            await asyncio.sleep(POLL_S)


async def test_export_broken_off_in_the_middle_leaves_no_trace(device: Device, tmp_path: Path) -> None:
    await device.pulls([token(f"{number:08X}") for number in range(3000)])
    target = tmp_path / "out" / "tokens"
    target.parent.mkdir()
    task = asyncio.create_task(export_tokens(device.config, target, peer=None))
    await until(lambda: task.done() or any(target.parent.iterdir()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(target.parent.iterdir()) == []


async def test_synchronisation_that_finds_a_killed_import_starts_over(tmp_path: Path) -> None:
    async with emsp_with({A: {}, B: {}}) as emsp:
        device = Device(tmp_path / "device", emsps=[emsp])
        async with device.whitelist() as whitelist:
            now = datetime.now(UTC)
            progress = await whitelist.start("abc", SyncKind.FULL, "file:", reference=now, started_at=now)
            await whitelist.store_page(progress, [token(C)], next_url="file:")
        finished = await command("tokens", "sync", "--config", device.path)
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.startswith(
        "peer abc: full synchronisation complete: 2 tokens on 1 pages, 0 skipped, 0 withdrawn"
    )
    assert sorted(await device.uids()) == [A, C, B]


async def test_pipeline_carries_the_tokens_from_one_device_to_the_other(
    device: Device, other: Device, tmp_path: Path
) -> None:
    await device.takes(written(tmp_path / "in", [line(A), line(B)]))
    program = f'"{sys.executable}" -c "from agent.cli import main; main()" tokens'
    pipeline = f"{program} export --config {device.path} - | {program} import --config {other.path} -"
    async with asyncio.timeout(HANG_S):
        shell = await asyncio.create_subprocess_shell(pipeline, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = await shell.communicate()
    assert out.startswith(b"imported 2 tokens (2 new), 0 skipped")
    assert err == b"exported 2 tokens to standard output\n"
    assert await other.tokens() == await device.tokens()


async def test_import_on_a_terminal_shows_how_far_it_is(device: Device, tmp_path: Path) -> None:
    source = written(tmp_path / "in", [line(f"{number:08X}") for number in range(3000)])
    terminal, slave = pty.openpty()
    arguments = ("tokens", "import", "--config", device.path, source)
    async with command_process(*arguments, output=slave) as process:
        os.close(slave)
        shown = await asyncio.to_thread(_read_all, terminal)
        async with asyncio.timeout(HANG_S):
            assert await process.wait() == 0
    assert "100%" in shown
    assert "tokens/s" in shown


def _read_all(terminal: int) -> str:
    parts = []
    with suppress(OSError):  # how Linux says that the last writer has closed a terminal
        while part := os.read(terminal, 4096):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode()
