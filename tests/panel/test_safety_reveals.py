"""Who has seen a card's number is on the disk before it is shown, whatever the disk does."""

import errno
import json
import os
from pathlib import Path

import pytest

from agent.errors import StoreError
from agent.panel.reveals import FILE, Reveals

LINE: dict[str, object] = {"at": "2027-06-01T12:00:00.000Z", "user": "anna", "tap": 12}


class Disk:
    """Notes what is made durable; breaks when the test says so."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.durable: list[str] = []
        self.is_broken = False

    def fsync(self, descriptor: int) -> None:
        if self.is_broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        is_file = os.path.samestat(os.fstat(descriptor), self.file.stat())
        self.durable.append(self.file.read_text() if is_file else "folder")


def test_a_line_is_durable_when_it_is_taken_down_and_the_file_has_its_name(tmp_path: Path) -> None:
    disk = Disk(tmp_path / FILE)
    reveals = Reveals(tmp_path, fsync=disk.fsync)
    reveals.add(LINE)
    reveals.add({"user": "bert\n"})
    first, folder, both, again = disk.durable
    assert json.loads(first) == LINE
    assert (folder, again) == ("folder", "folder")
    assert [json.loads(line) for line in both.splitlines()] == [LINE, {"user": "bert\n"}]
    assert disk.file.stat().st_mode & 0o777 == 0o600


def test_a_new_file_in_the_old_ones_place_has_its_name_on_the_disk_too(tmp_path: Path) -> None:
    disk = Disk(tmp_path / FILE)
    reveals = Reveals(tmp_path, fsync=disk.fsync)
    reveals.add(LINE)
    disk.file.unlink()  # a new one may well get the old one's inode
    disk.durable.clear()
    reveals.add(LINE)
    assert disk.durable[1:] == ["folder"]


def test_a_disk_that_fails_is_said(tmp_path: Path) -> None:
    disk = Disk(tmp_path / FILE)
    disk.is_broken = True
    with pytest.raises(StoreError, match="no card's number is shown"):
        Reveals(tmp_path, fsync=disk.fsync).add(LINE)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=FILE):
        Reveals(tmp_path / "nowhere").add(LINE)


def test_a_line_that_a_power_cut_broke_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_text('{"at":"2027')
    Reveals(tmp_path).add(LINE)
    broken, whole = file.read_text().splitlines()
    assert (broken, json.loads(whole)) == ('{"at":"2027', LINE)


def test_a_link_in_the_files_place_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("somebody's")
    (tmp_path / FILE).symlink_to(elsewhere)
    with pytest.raises(StoreError):
        Reveals(tmp_path).add(LINE)
    assert elsewhere.read_text() == "somebody's"
