"""Where a session must be cut: a new ChargingPeriod begins whenever another price component becomes active.

Times of day and durations are known in advance; the instant at which an amount of energy was reached is found on the
straight line between two meter readings. Power and current are one per usage: a reading that shows a change ends it.

Source: OCPI 2.2.1 mod_cdrs, CDR object, ChargingPeriod.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from agent.core.tariff import Tariff
from agent.core.tariff_clock import clock_moments
from agent.core.tariff_matching import active_components
from agent.core.tariff_usage import ChargingPeriod, Course, Moment, Progress, Span, Usage, rounded

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where one period ends and the next begins."""

    at: datetime
    energy_kwh: Decimal
    """Consumed in the session until then: the threshold itself, or interpolated to the 0.1 Wh that OCPI writes."""


@dataclass(frozen=True, slots=True)
class Upcoming:
    """What will next change a price, as far as it is known now; None where nothing of the kind will."""

    at: datetime | None
    """Read the meter then, so that nothing need be interpolated."""
    energy_kwh: Decimal | None
    """Of the session; read the meter more often towards it."""


def charging_periods(
    tariff: Tariff, usages: Iterable[Usage], tz: tzinfo, *, after: Sequence[ChargingPeriod] = ()
) -> tuple[ChargingPeriod, ...]:
    """The session's periods: `after`, as they stand, and the usages that followed, cut at every boundary.

    Neighbours in which the same components are active become one. The amounts add up to exactly those of the usages;
    more readings on the same straight line change no price, but for the 0.1 Wh to which OCPI writes a cut. Raises
    ValueError when a usage begins before the one before it ended.
    """
    periods, course = list(after), Course()
    began = [course.add(period) for period in periods]
    for usage in usages:
        if periods and usage.start < periods[-1].end:
            raise ValueError(f"a usage starts at {usage.start}, before the last one ended at {periods[-1].end}")
        for period in cut(tariff, usage, course.until(usage), tz):
            progress = course.add(period)
            if periods and _continues(tariff, (periods[-1], began[-1]), (period, progress), tz):
                periods[-1] = _joined(periods[-1], period)
            else:
                periods.append(period)
                began.append(progress)
    return tuple(periods)


def cut(tariff: Tariff, usage: Usage, progress: Progress, tz: tzinfo) -> tuple[ChargingPeriod, ...]:
    """The usage in pieces with one set of active components each; in one piece if nothing changes."""
    ends = [
        Boundary(usage.start, progress.energy_kwh),
        *boundaries(tariff, usage, progress, tz),
        Boundary(usage.end, progress.energy_kwh + usage.energy_kwh),
    ]
    return tuple(
        ChargingPeriod(
            first.at, last.at, usage.activity, last.energy_kwh - first.energy_kwh, usage.power, usage.current
        )
        for first, last in pairwise(ends)
    )


def boundaries(tariff: Tariff, usage: Usage, progress: Progress, tz: tzinfo) -> tuple[Boundary, ...]:
    """Where, between two readings, another price component becomes active or one ceases to be; in order."""
    active = active_components(tariff, moment_in(usage, progress), tz)
    found = []
    for point in _candidates(tariff, usage, progress, tz):
        now = active_components(tariff, moment_in(usage, progress, point), tz)
        if now != active:
            found.append(point)
        active = now
    return tuple(found)


def upcoming(tariff: Tariff, now: Moment, until: datetime, tz: tzinfo) -> Upcoming:
    """What will next change a price if all but time, or all but energy, stays as it is. Ask again after each change."""
    active = active_components(tariff, now, tz)
    started = now.progress.started_at
    times = clock_moments(tariff, now.at, until, tz) | _durations(tariff, started, now.at, until)
    later = (replace(now, at=at) for at in sorted(times))
    fuller = (
        replace(now, progress=Progress(started, kwh)) for kwh in _thresholds(tariff) if kwh > now.progress.energy_kwh
    )
    return Upcoming(
        next((moment.at for moment in later if active_components(tariff, moment, tz) != active), None),
        next((m.progress.energy_kwh for m in fuller if active_components(tariff, m, tz) != active), None),
    )


def moment_in(usage: Usage, progress: Progress, point: Boundary | None = None) -> Moment:
    """The usage at its start, or at a point in it."""
    at, energy = (usage.start, progress.energy_kwh) if point is None else (point.at, point.energy_kwh)
    return Moment(at, usage.activity, Progress(progress.started_at, energy), usage.power, usage.current)


def _candidates(tariff: Tariff, usage: Usage, progress: Progress, tz: tzinfo) -> Iterator[Boundary]:
    """Every point inside the usage where a restriction might begin or cease to hold, in order of time and energy."""
    start, total = usage.start, progress.energy_kwh + usage.energy_kwh
    times = clock_moments(tariff, usage.start, usage.end, tz) | _durations(
        tariff, progress.started_at, usage.start, usage.end
    )
    way = {Fraction((at - start) // _MICROSECOND, usage.duration // _MICROSECOND): at for at in times}
    reached = {
        Fraction(kwh - progress.energy_kwh) / Fraction(usage.energy_kwh): kwh
        for kwh in _thresholds(tariff)
        if progress.energy_kwh < kwh < total
    }
    energy = progress.energy_kwh
    for part in sorted({*way, *reached}):
        at = way.get(part) or start + round(part * (usage.duration // _MICROSECOND)) * _MICROSECOND
        drawn = reached.get(part)
        if drawn is None:
            drawn = rounded(Fraction(progress.energy_kwh) + part * Fraction(usage.energy_kwh))
        energy = min(max(energy, drawn), total)  # rounding may overstep a finer reading, but must not go back
        yield Boundary(at, energy)


def _durations(tariff: Tariff, started_at: datetime, start: datetime, end: datetime) -> set[datetime]:
    bounds = {
        seconds
        for element in tariff.elements
        for seconds in (element.restrictions.min_duration, element.restrictions.max_duration)
        if seconds is not None
    }
    moments = (started_at + timedelta(seconds=seconds) for seconds in bounds)
    return {moment for moment in moments if start < moment < end}


def _thresholds(tariff: Tariff) -> list[Decimal]:
    bounds = {
        kwh
        for element in tariff.elements
        for kwh in (element.restrictions.min_kwh, element.restrictions.max_kwh)
        if kwh is not None
    }
    return sorted(bounds)


def _continues(
    tariff: Tariff, last: tuple[ChargingPeriod, Progress], coming: tuple[ChargingPeriod, Progress], tz: tzinfo
) -> bool:
    """Whether the second is more of the first; each with how far the session had come when it began."""
    return (
        last[0].end == coming[0].start
        and last[0].activity is coming[0].activity
        and active_components(tariff, moment_in(*last), tz) == active_components(tariff, moment_in(*coming), tz)
    )


def _joined(first: ChargingPeriod, second: ChargingPeriod) -> ChargingPeriod:
    """As one. The spans grow to cover both, and so still lie in every span of the tariff in which both lay."""
    return ChargingPeriod(
        first.start,
        second.end,
        first.activity,
        first.energy_kwh + second.energy_kwh,
        _covering(first.power_kw, second.power_kw),
        _covering(first.current_a, second.current_a),
    )


def _covering(first: Span | None, second: Span | None) -> Span | None:
    if first is None or second is None:
        return None
    return Span(min(first.lowest, second.lowest), max(first.highest, second.highest))
