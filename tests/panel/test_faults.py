"""Faults of the panel's own code, and files that are put away: what they cost, and what not."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from agent.errors import StoreError
from agent.panel.reveals import FILE, Reveals
from agent.panel.stream import SAID_AGAIN_S, Stream


class Looks:
    def __init__(self) -> None:
        self.fault: Exception | None = None

    async def __call__(self) -> bytes:
        if self.fault is not None:
            raise self.fault
        return b'"at":"then"}'


FAULT = "what the charge point does cannot be shown now: its log says why"


def told(state: bytes) -> object:
    return json.loads(b"{" + state)


async def test_look_that_fails_leaves_what_was_seen_before_and_says_that_it_is_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks = Looks()
    stream = Stream(looks, fresh_s=0.0)
    assert told(await stream.newest()) == {"at": "then"}
    looks.fault = KeyError("a record that nobody foresaw")
    assert told(await stream.newest()) == {"at": "then", "fault": FAULT}
    assert told(await stream.newest()) == {"at": "then", "fault": FAULT}
    assert "can't look at the charge point now" in caplog.text
    looks.fault = None
    assert told(await stream.newest()) == {"at": "then"}


@pytest.mark.parametrize("fault", [KeyError("a record that nobody foresaw"), StoreError("the disk is gone")])
async def test_first_look_that_fails_is_told_and_the_next_is_shown(fault: Exception) -> None:
    looks = Looks()
    looks.fault = fault
    stream = Stream(looks, fresh_s=0.0)
    assert told(await stream.newest()) == {"fault": FAULT}
    looks.fault = None
    assert told(await stream.newest()) == {"at": "then"}


async def test_same_fault_is_logged_once_a_minute_and_another_one_at_once(caplog: pytest.LogCaptureFixture) -> None:
    looks = Looks()
    stream = Stream(looks, fresh_s=0.0)
    for number in range(100):
        looks.fault = KeyError(f"record {number}")
        await stream.newest()
    assert len(caplog.records) == 1
    looks.fault = ValueError("another one")
    await stream.newest()
    looks.fault = KeyError("the one before")
    await stream.newest()
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError, ValueError]
    stream._faults = {fault: at - SAID_AGAIN_S for fault, at in stream._faults.items()}  # a minute goes by
    await stream.newest()
    assert len(caplog.records) == 3


async def test_stream_goes_on_looking_after_a_fault() -> None:
    looks = Looks()
    looks.fault = KeyError("a record that nobody foresaw")
    stream = Stream(looks, fresh_s=0.0, every_s=0.01, look_s=0.01)
    stream._watched.set()  # somebody watches
    running = asyncio.create_task(stream.run())
    async with asyncio.timeout(60):
        while b"then" not in stream._newest:
            await asyncio.sleep(0.01)
            looks.fault = None
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
    assert synced == [False, True] * 3
    assert (tmp_path / FILE).read_text() == '{"tap":3}\n'
