"""A file that is written whole or not at all: what is on the disk at which moment."""

import errno
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from agent.commands.whole_file import whole_file
from agent.errors import StoreError

OLD, NEW = b"an earlier one", b"x" * 100_000


@pytest.fixture
def target(tmp_path: Path) -> Path:
    target = tmp_path / "out"
    target.write_bytes(OLD)
    return target


class Disk:
    """Remembers what was brought to the disk, and what `target` was at that moment."""

    def __init__(self, target: Path, *, fails_at: int | None = None) -> None:
        self._target = target
        self._fails_at = fails_at
        self.synced: list[tuple[str, bytes]] = []

    def fsync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        what = "folder" if path.is_dir() else f"{path.stat().st_size} bytes"
        if len(self.synced) == self._fails_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.synced.append((what, self._target.read_bytes()))


def test_file_takes_its_place_when_all_of_it_is_on_the_disk_and_then_its_name_is(target: Path) -> None:
    disk = Disk(target)
    with whole_file(target, fsync=disk.fsync) as out:
        out.write(NEW)
    assert disk.synced == [("100000 bytes", OLD), ("folder", NEW)]


def test_file_that_does_not_get_to_the_disk_takes_no_place(target: Path) -> None:
    disk = Disk(target, fails_at=0)
    with (
        pytest.raises(StoreError, match="Input/output error; it is left as it was"),
        whole_file(target, fsync=disk.fsync) as out,
    ):
        out.write(NEW)
    assert (target.read_bytes(), list(target.parent.iterdir())) == (OLD, [target])


def test_name_that_does_not_get_to_the_disk_is_an_error_though_the_file_is_there(target: Path) -> None:
    disk = Disk(target, fails_at=1)
    with (
        pytest.raises(StoreError, match="but may be as it was after a power cut"),
        whole_file(target, fsync=disk.fsync) as out,
    ):
        out.write(NEW)
    assert (target.read_bytes(), list(target.parent.iterdir())) == (NEW, [target])


def test_writer_that_gives_up_leaves_the_file_as_it_was(target: Path) -> None:
    with pytest.raises(KeyError), whole_file(target) as out:
        _give_up(out)
    assert (target.read_bytes(), list(target.parent.iterdir())) == (OLD, [target])


def _give_up(out: BinaryIO) -> None:
    out.write(NEW)
    raise KeyError
