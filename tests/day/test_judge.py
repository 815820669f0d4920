"""The judge of the days: what it lets pass, and what it names."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.day.judge import BLOCKS_A_DAY, MEMORY_A_DAY, WAL_AT_MOST, findings, slope
from tests.day.sample import Sample

START = Sample(
    "start", 0, rss=55_000_000, pss=45_000_000, anonymous=41_000_000, blocks=240_000, objects=5000, types={}, files=60,
    threads=10, storage=0, characters=0, state_db=40_000, state_used=40_000, whitelist_db=400_000, wal=400_000,
    authorizations=0, sessions=0, cdrs=0, acknowledged=0, fed=1, hungry_s=0.0,
)  # fmt: skip
WATCHDOG_S = 30.0

Growth = Callable[[Sample, float], Sample]


def three_days(growth: Growth = lambda sample, _: sample) -> Sequence[Sample]:
    """Days with 400 records each, of which the last day's are kept; `growth` gets each look and its time in days."""
    looks = []
    for number in range(1, 13):
        day, at = (number - 1) // 4 + 1, number / 4
        records = min(400, 100 * number) if day == 1 else 400 + 100 * ((number - 1) % 4 + 1)
        sample = replace(
            START, label=f"look {number}", day=day, authorizations=records, state_db=1_300_000,
            state_used=40_000 + 1500 * records, cdrs=40 * number, acknowledged=40 * number, fed=number, hungry_s=10.0,
        )  # fmt: skip
        looks.append(growth(sample, at))
    return [START, *looks]


def test_days_that_leave_nothing_behind_are_good() -> None:
    assert findings(three_days(), watchdog_s=WATCHDOG_S) == []


def test_what_grows_on_the_first_day_alone_is_good() -> None:
    samples = three_days(lambda one, at: replace(one, blocks=one.blocks + int(min(1.0, at) * 50_000)))
    assert findings(samples, watchdog_s=WATCHDOG_S) == []


GROWTHS: Sequence[tuple[Growth, str]] = [
    (lambda one, at: replace(one, anonymous=one.anonymous + int(2 * MEMORY_A_DAY * at)), "anonymous memory"),
    (lambda one, at: replace(one, blocks=one.blocks + int(2 * BLOCKS_A_DAY * at)), "blocks of Python's allocator"),
    (lambda one, at: replace(one, objects=one.objects + int(5000 * at)), "objects grow"),
    (lambda one, at: replace(one, files=one.files + one.day), "open files have grown"),
    (lambda one, at: replace(one, threads=one.threads + one.day), "threads have grown"),
    (lambda one, at: replace(one, state_db=int(one.state_db * (1 + at))), "state.db grows in spite of its pruning"),
    (lambda one, at: replace(one, authorizations=int(400 * at), state_used=int(6e5 * at)), "records are not deleted"),
    (lambda one, at: replace(one, whitelist_db=int(4e5 * (1 + at))), "whitelist.db grows"),
    (lambda one, at: replace(one, wal=WAL_AT_MOST + 1), "write-ahead logs"),
    (lambda one, at: replace(one, state_used=20_000 * one.authorizations), "bytes a record"),
    (lambda one, at: replace(one, acknowledged=one.cdrs - 1), "CDRs were made"),
    (lambda one, at: replace(one, hungry_s=31.0), "the watchdog went without food for 31.0 s"),
    (lambda one, at: replace(one, fed=0), "never fed"),
]


@pytest.mark.parametrize(("growth", "named"), GROWTHS)
def test_what_grows_is_named(growth: Growth, named: str) -> None:
    found = findings(three_days(growth), watchdog_s=WATCHDOG_S)
    assert any(named in each for each in found), found


def test_slope_of_noise_around_a_line_is_the_line() -> None:
    samples = [
        replace(one, blocks=1000 * number + (50, -50)[number % 2]) for number, one in enumerate(three_days()[1:])
    ]
    assert slope(samples, lambda one: one.blocks) == pytest.approx(4000, rel=0.02)
