"""When the clock on the wall may change a price: local times of day, midnights, and the changes of summer time.

Whether a price really changes then is for `tariff_periods` to see. Source: OCPI 2.2.1 mod_tariffs, TariffRestrictions.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from agent.core.tariff import Restrictions, Tariff

_MIDNIGHT = time(0)
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_LOOK = timedelta(hours=6)
"""Closer than any zone ever put two changes of its offset."""


def clock_moments(tariff: Tariff, start: datetime, end: datetime, tz: tzinfo) -> set[datetime]:
    """Every instant strictly between the two, all in UTC, at which the local clock may change what holds."""
    times = {moment for element in tariff.elements for moment in _times_of_day(element.restrictions)}
    if not times:
        return set()
    # A day more on each side: a clock set back at 00:01 returns to the day before.
    moments = {
        datetime.combine(day, moment, tz).replace(fold=fold).astimezone(UTC)
        for day in _days(start.astimezone(tz).date() - _DAY, end.astimezone(tz).date() + _DAY)
        for moment in times
        for fold in (0, 1)
    }
    return {moment for moment in moments | set(_offset_changes(start, end, tz)) if start < moment < end}


def _times_of_day(restrictions: Restrictions) -> Iterator[time]:
    if restrictions.start_time is not None or restrictions.end_time is not None:
        yield restrictions.start_time or _MIDNIGHT
        yield restrictions.end_time or _MIDNIGHT
    if restrictions.day_of_week or restrictions.start_date is not None or restrictions.end_date is not None:
        yield _MIDNIGHT


def _days(first: date, last: date) -> Iterator[date]:
    return (first + day * _DAY for day in range((last - first).days + 1))


def _offset_changes(start: datetime, end: datetime, tz: tzinfo) -> Iterator[datetime]:
    """The instants at which the local clock jumps, to the second: 03:00 may follow 02:00, skipping a start time."""
    early = start.replace(microsecond=0)
    while early < end:
        late = early + _LOOK
        if _offset(early, tz) != _offset(late, tz):
            yield _first_changed(early, late, tz)
        early = late


def _first_changed(early: datetime, late: datetime, tz: tzinfo) -> datetime:
    before = _offset(early, tz)
    while late - early > _SECOND:
        middle = early + (late - early) // 2 // _SECOND * _SECOND
        if _offset(middle, tz) == before:
            early = middle
        else:
            late = middle
    return late


def _offset(moment: datetime, tz: tzinfo) -> timedelta | None:
    return moment.astimezone(tz).utcoffset()
