"""Whether anything grows without bound, by the looks at the end of each quarter of each day.

The first day is not judged: caches fill, modules are imported that nobody needed before, malloc takes its arenas.
Memory is judged by the slope of a straight line through the looks of the later days. malloc gives memory back in pages
that happen to be wholly free, so that one look may be some hundred kilobytes off either way: of eight looks over two
days the slope then is off by about a quarter of a megabyte a day. What Python's allocator has given out has no such
noise, and counts every list, string and object that somebody has kept.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from tests.day.sample import Sample

MEMORY_A_DAY: Final = 1_000_000
"""Bytes. 500 MB to spare would last for more than a year; a leak of a kilobyte a tap is 400,000 and shows in the
blocks before."""
BLOCKS_A_DAY: Final = 2_500
"""Of Python's allocator: about three a record of the day. A dictionary entry that is kept for each tap is that much."""
OBJECTS_A_DAY: Final = 1_000
BYTES_A_RECORD: Final = (500, 12_000)
"""Of `state.db`, for each authorization with all that it became: session, account, CDR, and their indexes."""
WAL_AT_MOST: Final = 16_000_000
"""SQLite starts over at 4 MB (1,000 pages) as soon as nobody reads; two databases, and as much again for who did."""
STATE_AGAIN: Final = 1.15
"""How much more `state.db` may take than after the first pruning: free pages are used again, and days differ."""


def findings(samples: Sequence[Sample], *, watchdog_s: float) -> list[str]:
    """What has grown, and what else is wrong; nothing, it is hoped. `samples` are all of one life, in their order."""
    return [
        *_handles(samples),
        *_memory(samples),
        *_databases(samples),
        *_books(samples[-1]),
        *_watchdog(samples[-1], watchdog_s),
    ]


def slope(samples: Sequence[Sample], value: Callable[[Sample], int]) -> float:
    """By how much a value grows a day, by least squares; the looks are evenly spread over the days."""
    count = len(samples)
    per_day = count / len({sample.day for sample in samples})
    mean_at, mean = (count - 1) / 2, sum(map(value, samples)) / count
    up = sum((at - mean_at) * (value(sample) - mean) for at, sample in enumerate(samples))
    return up / sum((at - mean_at) ** 2 for at in range(count)) * per_day


def later(samples: Sequence[Sample]) -> list[Sample]:
    """The looks of all days but the first."""
    return [sample for sample in samples if sample.day > 1]


def bytes_a_record(sample: Sample, empty: Sample) -> float:
    """What `state.db` holds for each authorization that is in it."""
    return (sample.state_used - empty.state_used) / max(1, sample.authorizations)


def day_ends(samples: Sequence[Sample]) -> list[Sample]:
    """The last look of each day."""
    return [
        one for one, after in zip(samples, [*samples[1:], None], strict=True) if after is None or after.day > one.day
    ]


def _handles(samples: Sequence[Sample]) -> Iterator[str]:
    """None more at the quietest look of the last day than at the busiest of the second, when all is warm."""
    days = [[one for one in samples if one.day == day] for day in sorted({one.day for one in samples} - {0})]
    if len(days) < 3:
        return
    for name, value in (("open files", _files), ("threads", _threads)):
        before, now = max(map(value, days[1])), min(map(value, days[-1]))
        if now > before:
            yield f"{name} have grown: at most {before} on the second day, at least {now} on the last"


def _files(sample: Sample) -> int:
    return sample.files


def _threads(sample: Sample) -> int:
    return sample.threads


def _memory(samples: Sequence[Sample]) -> Iterator[str]:
    judged = later(samples)
    if len({sample.day for sample in judged}) < 2:
        return
    for name, value, most in (
        ("anonymous memory (bytes)", lambda one: one.anonymous, MEMORY_A_DAY),
        ("blocks of Python's allocator", lambda one: one.blocks, BLOCKS_A_DAY),
        ("objects", lambda one: one.objects, OBJECTS_A_DAY),
    ):
        grown = slope(judged, value)
        if grown > most:
            yield f"{name} grow by {grown:,.0f} a day, more than {most:,}"


def _databases(samples: Sequence[Sample]) -> Iterator[str]:
    empty, ends = samples[0], day_ends(samples)[1:]
    low, high = BYTES_A_RECORD
    for sample in ends:
        each = bytes_a_record(sample, empty)
        if not low <= each <= high:
            yield f"{sample.label}: state.db holds {each:,.0f} bytes a record, expected {low:,} to {high:,}"
    if any(sample.wal > WAL_AT_MOST for sample in samples):
        yield f"the write-ahead logs take {max(sample.wal for sample in samples):,} bytes, more than {WAL_AT_MOST:,}"
    # Deleted is at the beginning of each day what was over before the day that has just ended.
    full = [sample for sample in ends if sample.day >= 2]
    for before, after in pairwise(full):
        if after.state_db > before.state_db * STATE_AGAIN:
            yield f"state.db grows in spite of its pruning: {before.state_db:,} -> {after.state_db:,} bytes"
        if after.authorizations > before.authorizations * STATE_AGAIN:
            yield f"records are not deleted: {before.authorizations:,} -> {after.authorizations:,}"
        if after.whitelist_db > before.whitelist_db * STATE_AGAIN:
            yield f"whitelist.db grows: {before.whitelist_db:,} -> {after.whitelist_db:,} bytes"


def _books(last: Sample) -> Iterator[str]:
    if last.acknowledged != last.cdrs:
        yield f"{last.cdrs} CDRs were made, and {last.acknowledged} are at the eMSPs"


def _watchdog(last: Sample, watchdog_s: float) -> Iterator[str]:
    if last.hungry_s > watchdog_s:
        yield f"the watchdog went without food for {last.hungry_s:.1f} s: systemd would have restarted the agent"
    if last.fed == 0:
        yield "the watchdog was never fed"
