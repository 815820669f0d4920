"""The two clocks: what is known of a moment, in this boot and from another."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.runtime.clock import EARLIEST, Clock, system_clock

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


@pytest.mark.parametrize("wall", [NOON, NOON - timedelta(days=1), NOON + timedelta(days=1)])
@pytest.mark.parametrize("wall_known", [True, False])
def test_same_boot_counts_by_the_clock_that_only_runs_on(wall: datetime, *, wall_known: bool) -> None:
    assert CLOCK.since("this-boot", 470.0, wall, wall_known=wall_known) == 30.0


def test_moment_of_this_boot_that_seems_to_come_is_now() -> None:
    assert CLOCK.since("this-boot", 501.0, NOON, wall_known=True) == 0.0


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
