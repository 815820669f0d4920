"""`chargepoint-agent panel password`, by somebody at a terminal."""

import asyncio
import os
import pty
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.panel.passwords import read_logins, set_password
from tests.panel.panels import PASSWORD, quick

HANG_S = 30.0
"""Against hangs alone."""
MAIN = "from agent.cli.panel import panel; panel()"


class Terminal:
    """A terminal, and somebody who types each answer once he is asked: what comes sooner is dropped there."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        self.name = os.ttyname(self.slave)
        self._seen = b""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._master, self._read)

    async def answer(self, prompt: str, answer: str) -> None:
        """Return once it was asked and answered."""
        while prompt.encode() not in self._seen:
            await self._more.wait()
            self._more.clear()
        self._seen = b""
        os.write(self._master, f"{answer}\n".encode())

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self.slave)
        os.close(self._master)

    def _read(self) -> None:
        self._seen += os.read(self._master, 1024)
        self._more.set()


async def typed(answers: Sequence[str], *words: str | Path) -> tuple[int | None, str, str]:
    """Exit code, output and errors, for somebody who types these when he is asked."""
    terminal = Terminal()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MAIN, *map(str, words)),
        stdin=terminal.slave,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # Its terminal is this one: a password is asked for there, and nowhere else.
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(terminal.name, os.O_RDWR)),
    )
    try:
        async with asyncio.timeout(HANG_S):
            for prompt, answer in zip(("Password for", "Once more"), answers, strict=False):
                await terminal.answer(prompt, answer)
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        terminal.close()
    return process.returncode, out.decode(), err.decode()


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


async def test_a_password_that_was_typed_twice_is_put_into_the_file(tmp_path: Path) -> None:
    file = tmp_path / "logins"
    code, out, err = await typed([PASSWORD, PASSWORD], "password", "anna", "--file", file)
    assert (code, out) == (0, f"{file}: anna can log in now\n")
    assert PASSWORD not in out + err
    assert read_logins(file)["anna"].matches(PASSWORD)
    assert mode_of(file) == 0o600


async def test_a_password_is_replaced_in_the_file_that_the_configuration_names(tmp_path: Path) -> None:
    config, file = tmp_path / "config.toml", tmp_path / "logins"
    config.write_text('[panel]\nlogin_file = "logins"\n')
    set_password(file, quick("anna", "the one before"))
    code, out, _ = await typed([PASSWORD, PASSWORD], "password", "anna", "--config", config)
    assert (code, out) == (0, f"{file}: anna has another password now\n")
    assert read_logins(file)["anna"].matches(PASSWORD)


async def test_two_that_differ_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "logins"
    code, out, err = await typed([PASSWORD, "another one"], "password", "anna", "--file", file)
    assert (code, out) == (2, "")
    assert "not the same" in err
    assert left_in(tmp_path) == []


async def test_a_short_one_is_told_at_once_and_changes_nothing(tmp_path: Path) -> None:
    code, _, err = await typed(["short"], "password", "anna", "--file", tmp_path / "logins")
    assert code == 2
    assert "10 to 256 characters" in err
    assert left_in(tmp_path) == []


async def test_a_name_that_would_spoil_the_file_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    code, _, err = await typed([], "password", "an:na", "--file", tmp_path / "logins")
    assert code == 2
    assert "a user's name has" in err


async def test_a_configuration_without_a_login_file_is_said_to_be_so(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[panel]\n")
    code, _, err = await typed([], "password", "anna", "--config", config)
    assert code == 2
    assert "names no login_file" in err


async def test_without_a_terminal_nothing_is_asked(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MAIN, "password", "anna", "--file", str(tmp_path / "logins")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(HANG_S):
        _, err = await process.communicate()
    assert process.returncode == 1
    assert b"terminal" in err
    assert left_in(tmp_path) == []
