"""Which price components are active at one instant: the restrictions of a Tariff, evaluated.

Source: OCPI 2.2.1 mod_tariffs, Tariff object and TariffRestrictions.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from decimal import Decimal

from agent.core.tariff import DayOfWeek, Dimension, PriceComponent, ReservationRestriction, Restrictions, Tariff
from agent.core.tariff_usage import Activity, Moment, Span

_MIDNIGHT = time(0)
_DAYS = tuple(DayOfWeek)

_CONSUMED = {
    Activity.CHARGING: (Dimension.FLAT, Dimension.ENERGY, Dimension.TIME),
    Activity.PARKING: (Dimension.FLAT, Dimension.ENERGY, Dimension.PARKING_TIME),
    Activity.RESERVED: (Dimension.FLAT, Dimension.TIME),
    Activity.RESERVATION_EXPIRED: (Dimension.FLAT, Dimension.TIME),
}
"""What is being consumed. The chapter's "switching to Free-of-Charge" example has a TIME component in force and
calls it not active, for the vehicle is parked: a component is active only while its dimension is consumed."""

_ELEMENTS_FOR: dict[Activity, tuple[ReservationRestriction | None, ...]] = {
    Activity.CHARGING: (None,),
    Activity.PARKING: (None,),
    Activity.RESERVED: (ReservationRestriction.RESERVATION,),
    Activity.RESERVATION_EXPIRED: (ReservationRestriction.RESERVATION_EXPIRES, ReservationRestriction.RESERVATION),
}
"""In order of precedence: an expired reservation's own price goes before the price of reserving."""


@dataclass(frozen=True, slots=True)
class Active:
    """A price component in force, and the element (from 0) that brought it."""

    element: int
    component: PriceComponent


def active_components(tariff: Tariff, moment: Moment, tz: tzinfo) -> dict[Dimension, Active]:
    """Per consumed dimension the first component whose element holds; a dimension left out costs nothing.

    Each dimension is looked up for itself, so one may come from a later element than another. `tz` is the
    location's `time_zone`.
    """
    holding = [
        place
        for wanted in _ELEMENTS_FOR[moment.activity]
        for place, element in enumerate(tariff.elements)
        if element.restrictions.reservation == wanted and holds(element.restrictions, moment, tz)
    ]
    found: dict[Dimension, Active] = {}
    for dimension in _CONSUMED[moment.activity]:
        for place in holding:
            component = tariff.elements[place].component(dimension)
            if component is not None:
                found[dimension] = Active(place, component)
                break
    return found


def holds(restrictions: Restrictions, moment: Moment, tz: tzinfo) -> bool:
    """Whether all restrictions but `reservation`, which depends on what is being priced, are met at the moment.

    What is not known meets no restriction: a current that nobody measured is neither below nor above a bound.
    """
    local = moment.at.astimezone(tz)
    return (
        restrictions.is_understood
        and _on_clock(restrictions, local)
        and _on_calendar(restrictions, local)
        and _within(restrictions.min_kwh, restrictions.max_kwh, _exactly(moment.progress.energy_kwh))
        and _within(restrictions.min_current, restrictions.max_current, moment.current)
        and _within(restrictions.min_power, restrictions.max_power, moment.power)
        and (restrictions.min_duration is None or timedelta(seconds=restrictions.min_duration) <= moment.elapsed)
        and (restrictions.max_duration is None or moment.elapsed < timedelta(seconds=restrictions.max_duration))
    )


def unknowns(tariff: Tariff, moment: Moment) -> tuple[str, ...]:
    """What the tariff asks about and the moment does not know: a sentence each for the operator."""
    asked = [element.restrictions for element in tariff.elements]
    reasons = []
    if moment.current is None and any(r.min_current is not None or r.max_current is not None for r in asked):
        reasons.append("current")
    if moment.power is None and any(r.min_power is not None or r.max_power is not None for r in asked):
        reasons.append("power")
    return tuple(f"the {what} is not known: elements restricted by it were not used" for what in reasons)


def _on_clock(restrictions: Restrictions, local: datetime) -> bool:
    """From midnight where no start is given, to midnight where no end is; equal ends make the whole day."""
    start = restrictions.start_time or _MIDNIGHT
    end = restrictions.end_time or _MIDNIGHT
    now = local.time()
    if start < end:
        return start <= now < end
    return now >= start or now < end


def _on_calendar(restrictions: Restrictions, local: datetime) -> bool:
    """By the day it is: the hours after midnight of a night tariff belong to the next day."""
    today = local.date()
    return (
        (restrictions.start_date is None or restrictions.start_date <= today)
        and (restrictions.end_date is None or today < restrictions.end_date)
        and (not restrictions.day_of_week or _DAYS[today.weekday()] in restrictions.day_of_week)
    )


def _within(least: Decimal | None, limit: Decimal | None, span: Span | None) -> bool:
    if least is None and limit is None:
        return True
    return span is not None and (least is None or least <= span.lowest) and (limit is None or span.highest < limit)


def _exactly(value: Decimal) -> Span:
    return Span(value, value)
