"""Faults of the panel's own code, and files that are put away: what they cost, and what not."""

import asyncio
import os
from pathlib import Path

import pytest

from agent.errors import StoreError
from agent.panel.reveals import FILE, Reveals
from agent.panel.stream import Stream


class Looks:
    def __init__(self) -> None:
        self.fails = False

    async def __call__(self) -> bytes:
        if self.fails:
            raise KeyError("a record that nobody foresaw")
        return b"seen}"


async def test_look_that_fails_leaves_what_was_seen_before(caplog: pytest.LogCaptureFixture) -> None:
    looks = Looks()
    stream = Stream(looks, fresh_s=0.0)
    assert await stream.newest() == b"seen}"
    looks.fails = True
    assert await stream.newest() == b"seen}"
    assert "can't look at the charge point now" in caplog.text


async def test_first_look_that_fails_is_told_and_the_next_is_shown() -> None:
    looks = Looks()
    looks.fails = True
    stream = Stream(looks, fresh_s=0.0)
    with pytest.raises(StoreError, match="see the log"):
        await stream.newest()
    looks.fails = False
    assert await stream.newest() == b"seen}"


async def test_stream_goes_on_looking_after_a_fault() -> None:
    looks = Looks()
    looks.fails = True
    stream = Stream(looks, fresh_s=0.0, every_s=0.01, look_s=0.01)
    stream._watched.set()  # somebody watches
    running = asyncio.create_task(stream.run())
    async with asyncio.timeout(60):
        while not stream._newest:
            await asyncio.sleep(0.01)
            looks.fails = False
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


def test_file_that_was_put_away_is_named_anew_before_a_number_is_shown(tmp_path: Path) -> None:
    synced: list[bool] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").is_dir())
        os.fsync(descriptor)

    reveals = Reveals(tmp_path, fsync=fsync)
    reveals.add({"tap": 1})
    reveals.add({"tap": 2})
    (tmp_path / FILE).rename(tmp_path / "reveals.old")
    reveals.add({"tap": 3})
    assert synced == [False, True, False, False, True]
    assert (tmp_path / FILE).read_text() == '{"tap":3}\n'
