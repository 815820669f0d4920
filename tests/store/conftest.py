"""Real files on a real disk, and a disk that is too small."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.store.journal import Journal
from agent.store.whitelist import Whitelist


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


def mount(*arguments: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount the file system that this test fills")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine mounts no file systems: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nobody may write; `read_only.parent / "writable"` is the same one, where everybody may."""
    writable, folder = tmp_path / "writable", tmp_path / "read_only"
    writable.mkdir()
    folder.mkdir()
    mount("--bind", str(writable), str(folder))
    mount("-o", "remount,ro,bind", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
