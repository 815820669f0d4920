"""What a session costs: each period at the prices active when it began, step sizes once, limits last.

Everything is exact until the end, where each amount is rounded once to the four decimals that OCPI writes: so the cost
does not depend on how a session was cut. The total is rounded from the exact sum and may differ from the sum of the
rounded parts in its last decimal.

Source: OCPI 2.2.1 mod_cdrs, CDR object, step_size and the totals; mod_tariffs, PriceComponent, min_price, max_price.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import assert_never

from agent.core.tariff import Dimension, Price, PriceComponent, Tariff, ignored
from agent.core.tariff_matching import active_components, unknowns
from agent.core.tariff_periods import moment_in
from agent.core.tariff_usage import Activity, ChargingPeriod, hours, rounded, with_progress


class Limit(StrEnum):
    """What decided the total."""

    MIN_PRICE = "min_price"
    MAX_PRICE = "max_price"


class Billed(StrEnum):
    """The amounts that a step size rounds, each by itself."""

    ENERGY = "energy"
    CHARGING_TIME = "charging time"
    PARKING_TIME = "parking time"
    RESERVATION_TIME = "reservation time"


@dataclass(frozen=True, slots=True)
class Rounding:
    """A step size at work: what was consumed at a price, and what is billed; kWh or hours."""

    what: Billed
    step_size: int
    consumed: Decimal
    billed: Decimal


@dataclass(frozen=True, slots=True)
class Cost:
    """The costs and totals of a CDR. A part is None where no component priced it: the CDR leaves the field out."""

    total: Price
    """OCPI `total_cost`: within the tariff's limits, and so not always the sum of the parts."""
    fixed: Price | None
    """`total_fixed_cost`: the session's FLAT."""
    energy: Price | None
    time: Price | None
    parking: Price | None
    reservation: Price | None
    """`total_reservation_cost`: its FLAT and its TIME."""
    total_energy: Decimal
    """kWh, as consumed: no step size changes what the meter says."""
    total_time: Decimal
    """Hours of charging and parking; a reservation is no part of the charging session."""
    total_parking_time: Decimal
    """Hours."""
    roundings: tuple[Rounding, ...] = ()
    limit: Limit | None = None
    remarks: tuple[str, ...] = ()
    """What could not be priced as the tariff may have meant it, and why."""


@dataclass(frozen=True, slots=True)
class _Line:
    """An amount at a price."""

    what: Billed | None
    """None for a FLAT."""
    component: PriceComponent
    quantity: Fraction
    """kWh, hours, or 1."""
    reservation: bool = False


@dataclass(frozen=True, slots=True)
class _Sum:
    """A cost before rounding; `incl_vat` is None as long as no component names a VAT."""

    excl_vat: Fraction = Fraction(0)
    incl_vat: Fraction | None = None

    def price(self) -> Price:
        return Price(rounded(self.excl_vat), None if self.incl_vat is None else rounded(self.incl_vat))


def cost(tariff: Tariff, periods: Sequence[ChargingPeriod], tz: tzinfo) -> Cost:
    """Price a session's periods, in order of time; the same ones that go into its CDR, so that its owner can check it.

    Raises ValueError when a period begins before the one before it ended.
    """
    _check_order(periods)
    lines, remarks = _priced(tariff, periods, tz)
    roundings, extra = _step_sizes(lines)
    billed = [*lines, *extra]
    exact = _sum(billed)
    total, limit = _limited(tariff, exact, session=any(not period.activity.is_reservation for period in periods))
    return Cost(
        total.price(),
        fixed=_part(line for line in billed if line.what is None and not line.reservation),
        energy=_part(line for line in billed if line.what is Billed.ENERGY),
        time=_part(line for line in billed if line.what is Billed.CHARGING_TIME),
        parking=_part(line for line in billed if line.what is Billed.PARKING_TIME),
        reservation=_part(line for line in billed if line.reservation),
        total_energy=rounded(Fraction(sum((period.energy_kwh for period in periods), Decimal(0)))),
        total_time=_time(periods, {Activity.CHARGING, Activity.PARKING}),
        total_parking_time=_time(periods, {Activity.PARKING}),
        roundings=roundings,
        limit=limit,
        remarks=(*ignored(tariff), *remarks),
    )


def _check_order(periods: Sequence[ChargingPeriod]) -> None:
    for before, period in pairwise(periods):
        if period.start < before.end:
            raise ValueError(f"a period starts at {period.start}, before the last one ended at {before.end}")


def _priced(tariff: Tariff, periods: Sequence[ChargingPeriod], tz: tzinfo) -> tuple[list[_Line], tuple[str, ...]]:
    lines: list[_Line] = []
    remarks: dict[str, None] = {}
    started: set[bool] = set()
    for period, progress in with_progress(periods):
        moment = moment_in(period, progress)
        reservation = period.activity.is_reservation
        remarks.update(dict.fromkeys(unknowns(tariff, moment)))
        for dimension, active in active_components(tariff, moment, tz).items():
            what, quantity = _consumed(period, dimension)
            if what is None:
                if reservation in started:
                    continue  # a start fee is paid for a session, not for each of its periods
                started.add(reservation)
            lines.append(_Line(what, active.component, quantity, reservation))
    return lines, tuple(remarks)


def _consumed(period: ChargingPeriod, dimension: Dimension) -> tuple[Billed | None, Fraction]:
    match dimension:
        case Dimension.FLAT:
            return None, Fraction(1)
        case Dimension.ENERGY:
            return Billed.ENERGY, Fraction(period.energy_kwh)
        case Dimension.PARKING_TIME:
            return Billed.PARKING_TIME, hours(period.duration)
        case Dimension.TIME if period.activity.is_reservation:
            return Billed.RESERVATION_TIME, hours(period.duration)
        case Dimension.TIME:
            return Billed.CHARGING_TIME, hours(period.duration)
        case never:
            assert_never(never)


def _step_sizes(lines: Sequence[_Line]) -> tuple[tuple[Rounding, ...], list[_Line]]:
    """What blocks add: once for energy, and once for whichever time was priced last; at the last one's price."""
    roundings, extra = [], []
    for kinds in ({Billed.ENERGY}, set(Billed) - {Billed.ENERGY}):
        last = next((line for line in reversed(lines) if line.what in kinds and line.quantity), None)
        if last is None or last.what is None or last.component.step_size <= 0:
            continue
        consumed = sum((line.quantity for line in lines if line.what is last.what), Fraction(0))
        step = Fraction(last.component.step_size, 1000 if last.what is Billed.ENERGY else 3600)
        billed = ceil(consumed / step) * step
        if billed != consumed:
            roundings.append(Rounding(last.what, last.component.step_size, rounded(consumed), rounded(billed)))
            extra.append(_Line(last.what, last.component, billed - consumed, last.reservation))
    return tuple(roundings), extra


def _sum(lines: Iterable[_Line]) -> _Sum:
    """Parts without VAT enter the amount including VAT as they are: nothing is added to them."""
    excl = incl = Fraction(0)
    taxed = False
    for line in lines:
        amount = Fraction(line.component.price) * line.quantity
        excl += amount
        incl += amount * (1 + Fraction(line.component.vat or 0) / 100)
        taxed = taxed or line.component.vat is not None
    return _Sum(excl, incl if taxed else None)


def _part(lines: Iterable[_Line]) -> Price | None:
    kept = list(lines)
    return _sum(kept).price() if kept else None


def _limited(tariff: Tariff, exact: _Sum, *, session: bool) -> tuple[_Sum, Limit | None]:
    """Within `min_price`, which a reservation alone does not owe, and then `max_price`: the driver's limit is last."""
    total, limit = exact, None
    if session and tariff.min_price is not None:
        raised = _Sum(max(total.excl_vat, Fraction(tariff.min_price.excl_vat)), _incl(total, tariff.min_price, max))
        total, limit = raised, Limit.MIN_PRICE if raised != total else None
    if tariff.max_price is not None:
        lowered = _Sum(min(total.excl_vat, Fraction(tariff.max_price.excl_vat)), _incl(total, tariff.max_price, min))
        total, limit = lowered, Limit.MAX_PRICE if lowered != total else limit
    return total, limit


def _incl(total: _Sum, bound: Price, choose: Callable[[Fraction, Fraction], Fraction]) -> Fraction | None:
    """The amount including VAT within its own bound, for each of the two has to keep to its own.

    Without one, the bound on the net amount takes the VAT along in proportion; of nothing no proportion can be told.
    """
    if bound.incl_vat is not None:
        before = total.excl_vat if total.incl_vat is None else total.incl_vat
        after = choose(before, Fraction(bound.incl_vat))
        return total.incl_vat if after == before else after
    net = choose(total.excl_vat, Fraction(bound.excl_vat))
    if total.incl_vat is None or net == total.excl_vat:
        return total.incl_vat
    return total.incl_vat * net / total.excl_vat if total.excl_vat else None


def _time(periods: Sequence[ChargingPeriod], activities: set[Activity]) -> Decimal:
    return rounded(hours(sum((p.duration for p in periods if p.activity in activities), timedelta())))
