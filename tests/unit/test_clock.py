"""The two clocks: what is known of a moment, in this boot and from another."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.runtime.clock import AHEAD_S, EARLIEST, LOOK_EVERY_S, LOOKS, Clock, system_clock, watch
from agent.runtime.clock_source import AGREES_S, ClockSource, is_synchronised
from tests.scenario.virtual_time import in_virtual_time

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
CLOCK = Clock(lambda: NOON, lambda: 500.0, "this-boot")


def at(clock: Clock, wall: datetime) -> Clock:
    return replace(clock, now=lambda: wall)


def test_moment_of_this_boot_is_as_long_before_now_as_it_was() -> None:
    assert CLOCK.at(440.0) == NOON - timedelta(minutes=1)


def test_clock_is_known_from_when_this_program_was_written() -> None:
    assert at(CLOCK, EARLIEST).is_known
    assert not at(CLOCK, EARLIEST - timedelta(microseconds=1)).is_known
    assert not at(CLOCK, datetime(1970, 1, 1, tzinfo=UTC)).is_known


def test_clock_that_nobody_has_told_the_time_is_not_known_whatever_it_shows() -> None:
    assert not replace(CLOCK, is_trusted=lambda: False).is_known


@pytest.mark.parametrize("wall", [NOON, NOON - timedelta(days=1), NOON + timedelta(days=1)])
@pytest.mark.parametrize("wall_known", [True, False])
def test_same_boot_counts_by_the_clock_that_only_runs_on(wall: datetime, *, wall_known: bool) -> None:
    assert CLOCK.since("this-boot", 470.0, wall, wall_known=wall_known) == 30.0


def test_moment_of_this_boot_that_seems_to_come_is_now() -> None:
    assert CLOCK.since("this-boot", 501.0, NOON, wall_known=True) == 0.0


def test_moment_of_this_boot_that_is_well_ahead_is_nobody_knows_how_long_ago() -> None:
    assert CLOCK.since("this-boot", 500.0 + AHEAD_S + 1.0, NOON, wall_known=True) is None


def test_another_boot_is_nobody_knows_how_long_ago_while_nobody_has_told_our_clock_the_time() -> None:
    untold = replace(CLOCK, is_trusted=lambda: False)
    assert untold.since("another", 470.0, NOON - timedelta(seconds=20), wall_known=True) is None
    assert untold.since("this-boot", 470.0, NOON, wall_known=True) == 30.0


def test_another_boot_counts_by_the_wall_clock() -> None:
    assert CLOCK.since("another", 9000.0, NOON - timedelta(hours=1), wall_known=True) == 3600.0


def test_another_boot_whose_clock_was_not_set_is_nobody_knows_how_long_ago() -> None:
    assert CLOCK.since("another", 470.0, NOON - timedelta(hours=1), wall_known=False) is None


def test_another_boot_is_nobody_knows_how_long_ago_while_our_clock_is_not_set() -> None:
    unset = at(CLOCK, datetime(1970, 1, 1, tzinfo=UTC))
    assert unset.since("another", 470.0, datetime(1969, 12, 31, tzinfo=UTC), wall_known=True) is None


def test_another_boot_that_seems_to_come_is_nobody_knows_how_long_ago() -> None:
    assert CLOCK.since("another", 470.0, NOON + timedelta(seconds=1), wall_known=True) is None


def test_boot_without_a_name_is_never_the_same_one() -> None:
    nameless = replace(CLOCK, boot_id="")
    assert nameless.since("", 470.0, NOON - timedelta(hours=1), wall_known=True) == 3600.0


async def test_this_machines_clock_is_in_utc_and_agrees_with_itself() -> None:
    clock = system_clock()
    assert clock.now().tzinfo is UTC
    assert clock.since(clock.boot_id, clock.monotonic() - 5.0, clock.now(), wall_known=True) == pytest.approx(
        5.0, abs=5
    )


async def test_this_machines_clock_is_known_where_the_configuration_says_so() -> None:
    assert system_clock(trusted=True).is_known


# ---- who has told it the time


def battery_clock(root: Path, *, off_s: float, has_set: bool) -> None:
    """The kernel shows a battery-backed clock that is off by so much."""
    folder = root / "sys/class/rtc/rtc0"
    folder.mkdir(parents=True)
    (folder / "since_epoch").write_text(f"{int(NOON.timestamp() + off_s)}\n")
    (folder / "hctosys").write_text(f"{int(has_set)}\n")


def source(root: Path, *, kernel: Callable[[], bool] = lambda: False) -> ClockSource:
    return ClockSource(root, kernel=kernel, now=NOON.timestamp)


def test_machine_with_neither_network_nor_battery_does_not_know_the_time(tmp_path: Path) -> None:
    assert not source(tmp_path)()


def test_timesyncd_has_told_the_time(tmp_path: Path) -> None:
    synchronised = tmp_path / "run/systemd/timesync/synchronized"
    synchronised.parent.mkdir(parents=True)
    asked = source(tmp_path)
    assert not asked()
    synchronised.touch()
    assert asked()


def test_kernel_that_is_synchronised_has_told_the_time_for_good(tmp_path: Path) -> None:
    answers = iter([False, True])
    asked = source(tmp_path, kernel=lambda: next(answers))
    assert [asked(), asked(), asked()] == [False, True, True]


@pytest.mark.parametrize(
    ("off_s", "has_set", "tells"),
    [
        (0, True, True),
        (7200, True, True),  # local time
        (-56 * 365 * 86_400, True, False),  # without its battery it starts in 1970
        (AGREES_S, False, True),  # a script has set the time by it
        (AGREES_S + 2, False, False),  # nobody has
    ],
)
def test_battery_clock_tells_the_time_where_it_was_taken_from_it(
    tmp_path: Path, off_s: float, *, has_set: bool, tells: bool
) -> None:
    battery_clock(tmp_path, off_s=off_s, has_set=has_set)
    assert source(tmp_path)() is tells


def test_battery_clock_that_can_not_be_read_tells_nothing(tmp_path: Path) -> None:
    battery_clock(tmp_path, off_s=0, has_set=True)
    (tmp_path / "sys/class/rtc/rtc0/since_epoch").write_text("")
    assert not source(tmp_path)()


def test_this_kernel_says_whether_it_is_synchronised() -> None:
    assert is_synchronised() in (True, False)


# ---- who reads the log


def test_clock_that_nobody_sets_is_told_once_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    said = log_of_a_clock_set_after(10 * LOOKS * LOOK_EVERY_S, caplog)
    assert [level for level, _ in said] == ["INFO", "WARNING", "INFO"]
    assert "[clock]" in said[1][1]


def test_clock_that_is_set_soon_alarms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    said = log_of_a_clock_set_after(LOOKS * LOOK_EVERY_S / 2, caplog)
    assert [level for level, _ in said] == ["INFO", "INFO"]


def test_clock_that_is_set_is_not_spoken_of(caplog: pytest.LogCaptureFixture) -> None:
    assert log_of_a_clock_set_after(0.0, caplog) == []


def log_of_a_clock_set_after(seconds: float, caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What is said until it is known, by level."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        is_set_at = loop.time() + seconds
        await watch(Clock(lambda: NOON, loop.time, "boot", lambda: loop.time() >= is_set_at))
        assert loop.time() <= is_set_at + LOOK_EVERY_S

    with caplog.at_level(logging.INFO, "agent.runtime.clock"):
        in_virtual_time(story)
    return [(each.levelname, each.getMessage()) for each in caplog.records]
