"""A tenth of a day in fast motion: everything is told, counted and fed. What grows, whole days show: `make day`."""

from pathlib import Path

from tests.day.days import Pace, days

A_TENTH = Pace(days=2, day_s=8.0, share=0.05)


async def test_short_days_are_told_counted_and_fed_and_leave_no_file_open(tmp_path: Path) -> None:
    run = await days(tmp_path, A_TENTH)
    assert run.found == []
    last = run.samples[-1]
    assert last.cdrs == last.acknowledged > 0
    assert last.fed > 0
    assert run.done["delta syncs"] > 0
    assert run.done["reloads"] > 0
