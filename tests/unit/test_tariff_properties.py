"""What must hold for every tariff and every session, also in the nights when the clocks change.

Energy comes at 7.2 kW, which is 0.002 kWh a second: so every whole second can be a cut without rounding.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.tariff import DayOfWeek, Dimension, Price, PriceComponent, Restrictions, Tariff, TariffElement
from agent.core.tariff_cost import Cost, cost
from agent.core.tariff_matching import active_components
from agent.core.tariff_periods import charging_periods
from agent.core.tariff_usage import Activity, Moment, Progress, Span, Usage, rounded

on_a_slow_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
PER_SECOND = Decimal("0.002")
MINUTE = timedelta(minutes=1)
SEVEN = Span(Decimal("7.2"), Decimal("7.2"))

starts = st.builds(
    lambda day, minutes: day + minutes * MINUTE,
    st.sampled_from(
        [
            datetime(2019, 3, 30, 12, tzinfo=UTC),  # clocks go forward in the night
            datetime(2019, 10, 26, 12, tzinfo=UTC),  # and back
            datetime(2019, 12, 31, 12, tzinfo=UTC),
        ]
    ),
    st.integers(0, 1440),
)
activities = st.sampled_from([Activity.CHARGING, Activity.PARKING])
sessions = st.lists(st.tuples(activities, st.integers(1, 150)), min_size=1, max_size=4)
"""Activity and minutes of each part."""
amounts = st.decimals(0, 5, places=3)
times = st.none() | st.builds(time, st.integers(0, 23), st.sampled_from([0, 30]))
steps = st.none() | st.integers(0, 240).map(lambda count: count * Decimal("0.12"))  # what a minute brings
durations = st.none() | st.integers(0, 300).map(lambda count: count * 60)
powers = st.none() | st.sampled_from([Decimal(0), Decimal(5), Decimal("7.2"), Decimal(11)])
restrictions = st.builds(
    Restrictions,
    start_time=times,
    end_time=times,
    start_date=st.none() | st.just(datetime(2019, 10, 27, tzinfo=UTC).date()),
    min_kwh=steps,
    max_kwh=steps,
    min_power=powers,
    max_power=powers,
    min_duration=durations,
    max_duration=durations,
    day_of_week=st.frozensets(st.sampled_from(DayOfWeek), max_size=5),
) | st.just(Restrictions())


def components(step_sizes: st.SearchStrategy[int]) -> st.SearchStrategy[PriceComponent]:
    vats = st.none() | st.sampled_from([Decimal(0), Decimal("5.2"), Decimal(21)])
    return st.builds(PriceComponent, st.sampled_from(Dimension), amounts, step_sizes, vats)


def tariffs(step_sizes: st.SearchStrategy[int]) -> st.SearchStrategy[Tariff]:
    elements = st.builds(
        TariffElement, st.lists(components(step_sizes), min_size=1, max_size=3).map(tuple), restrictions
    )
    return st.builds(Tariff, st.just("12"), st.just("EUR"), st.lists(elements, min_size=1, max_size=4).map(tuple))


exact_tariffs = tariffs(st.just(0))
any_tariffs = tariffs(st.sampled_from([0, 1, 60, 900, 2500]))


def usages(start: datetime, parts: Sequence[tuple[Activity, int]]) -> list[Usage]:
    told = []
    for activity, minutes in parts:
        kwh = PER_SECOND * 60 * minutes if activity is Activity.CHARGING else Decimal(0)
        told.append(Usage(start, start + minutes * MINUTE, activity, kwh))
        start = told[-1].end
    return told


def split(usage: Usage, seconds: Sequence[int]) -> list[Usage]:
    """The same usage as more frequent readings tell it."""
    length = usage.duration // timedelta(seconds=1)
    marks = sorted({0, length, *(second % length for second in seconds)})
    rate = usage.energy_kwh / length
    return [
        Usage(
            usage.start + timedelta(seconds=first),
            usage.start + timedelta(seconds=last),
            usage.activity,
            rate * (last - first),
        )
        for first, last in pairwise(marks)
    ]


def priced(tariff: Tariff, told: Sequence[Usage]) -> Cost:
    return cost(tariff, charging_periods(tariff, told, AMSTERDAM), AMSTERDAM)


def amounts_of(result: Cost) -> list[Decimal]:
    parts = [result.total, result.fixed, result.energy, result.time, result.parking]
    return [amount for part in parts if part for amount in (part.excl_vat, part.incl_vat) if amount is not None]


@on_a_slow_machine
@given(exact_tariffs, starts, sessions)
def test_cost_is_what_each_minute_costs_at_the_prices_of_that_minute(
    tariff: Tariff, start: datetime, parts: list[tuple[Activity, int]]
) -> None:
    """Every restriction here changes at a whole minute, so going through the minutes one by one needs no cutting."""
    expected, flat, energy = Fraction(0), None, Decimal(0)
    at = start
    for activity, minutes in parts:
        for _ in range(minutes):
            power = SEVEN if activity is Activity.CHARGING else Span(Decimal(0), Decimal(0))
            active = active_components(tariff, Moment(at, activity, Progress(start, energy), power), AMSTERDAM)
            drawn = PER_SECOND * 60 if activity is Activity.CHARGING else Decimal(0)
            for dimension, found in active.items():
                price = Fraction(found.component.price)
                if dimension is Dimension.FLAT:
                    flat = price if flat is None else flat
                elif dimension is Dimension.ENERGY:
                    expected += price * Fraction(drawn)
                else:
                    expected += price / 60
            at, energy = at + MINUTE, energy + drawn
    assert priced(tariff, usages(start, parts)).total.excl_vat == rounded(expected + (flat or 0))


@on_a_slow_machine
@given(any_tariffs, starts, sessions, st.lists(st.integers(0, 10_000), max_size=6))
def test_cost_does_not_depend_on_when_the_meter_was_read(
    tariff: Tariff, start: datetime, parts: list[tuple[Activity, int]], seconds: list[int]
) -> None:
    whole = usages(start, parts)
    often = [piece for usage in whole for piece in split(usage, seconds)]
    assert priced(tariff, often) == priced(tariff, whole)


@on_a_slow_machine
@given(any_tariffs, starts, sessions, st.lists(st.integers(0, 10_000), max_size=4), st.lists(st.integers(0, 10_000)))
def test_cost_does_not_depend_on_the_order_of_cutting(
    tariff: Tariff, start: datetime, parts: list[tuple[Activity, int]], first: list[int], second: list[int]
) -> None:
    periods = charging_periods(tariff, usages(start, parts), AMSTERDAM)
    again = [p for usage in usages(start, parts) for q in split(usage, first) for p in split(q, second)]
    assert cost(tariff, charging_periods(tariff, again, AMSTERDAM), AMSTERDAM) == cost(tariff, periods, AMSTERDAM)


@on_a_slow_machine
@given(any_tariffs, starts, sessions)
def test_periods_have_the_time_and_the_energy_of_the_usages(
    tariff: Tariff, start: datetime, parts: list[tuple[Activity, int]]
) -> None:
    told = usages(start, parts)
    periods = charging_periods(tariff, told, AMSTERDAM)
    assert sum(p.energy_kwh for p in periods) == sum(u.energy_kwh for u in told)
    assert [p.end for p in periods[:-1]] == [p.start for p in periods[1:]]
    assert (periods[0].start, periods[-1].end) == (told[0].start, told[-1].end)


@on_a_slow_machine
@given(st.lists(components(st.just(0)), min_size=1, max_size=4), starts, sessions, st.data())
def test_costs_of_two_halves_add_up(
    prices: list[PriceComponent], start: datetime, parts: list[tuple[Activity, int]], data: st.DataObject
) -> None:
    """Without restrictions and step sizes, to the last decimal: each half is rounded by itself. FLAT is per session."""
    tariff = Tariff("12", "EUR", (TariffElement(tuple(p for p in prices if p.type != Dimension.FLAT)),))
    told = [piece for usage in usages(start, parts) for piece in split(usage, [data.draw(st.integers(0, 10_000))])]
    middle = data.draw(st.integers(0, len(told)))
    halves = priced(tariff, told[:middle]).total.excl_vat + priced(tariff, told[middle:]).total.excl_vat
    assert abs(halves - priced(tariff, told).total.excl_vat) <= Decimal("0.0001")


@on_a_slow_machine
@given(any_tariffs, starts, sessions)
def test_cost_is_never_negative_and_vat_never_lowers_it(
    tariff: Tariff, start: datetime, parts: list[tuple[Activity, int]]
) -> None:
    result = priced(tariff, usages(start, parts))
    assert min(amounts_of(result)) >= 0
    assert result.total.incl_vat is None or result.total.incl_vat >= result.total.excl_vat


@on_a_slow_machine
@given(
    st.lists(st.tuples(amounts, steps, steps), min_size=1, max_size=4),
    st.decimals(0, 100, places=4),
    st.decimals(0, 100, places=4),
)
def test_more_energy_never_costs_less(
    priced_by_energy: list[tuple[Decimal, Decimal | None, Decimal | None]], some: Decimal, more: Decimal
) -> None:
    elements = tuple(
        TariffElement((PriceComponent(Dimension.ENERGY, price, 0),), Restrictions(min_kwh=least, max_kwh=limit))
        for price, least, limit in priced_by_energy
    )
    tariff = Tariff("12", "EUR", elements)
    start = datetime(2019, 1, 16, 12, tzinfo=UTC)
    less, greater = (
        priced(tariff, [Usage(start, start + 60 * MINUTE, Activity.CHARGING, kwh)]) for kwh in sorted((some, more))
    )
    assert less.total.excl_vat <= greater.total.excl_vat


@on_a_slow_machine
@given(st.decimals(0, 1, places=6), st.decimals(0, 500, places=6))
def test_energy_is_priced_without_any_error_but_the_last_rounding(price: Decimal, kwh: Decimal) -> None:
    start = datetime(2019, 1, 16, 12, tzinfo=UTC)
    tariff = Tariff("12", "EUR", (TariffElement((PriceComponent(Dimension.ENERGY, price, 0),)),))
    exact = Context(prec=50).multiply(price, kwh)
    result = priced(tariff, [Usage(start, start + 60 * MINUTE, Activity.CHARGING, kwh)])
    assert result.total.excl_vat == exact.quantize(Decimal("0.0001"), ROUND_HALF_UP)


@on_a_slow_machine
@given(any_tariffs, starts, sessions)
def test_step_sizes_bill_at_most_one_block_more_than_was_consumed(
    tariff: Tariff, start: datetime, parts: list[tuple[Activity, int]]
) -> None:
    for rounding in priced(tariff, usages(start, parts)).roundings:
        block = Decimal(rounding.step_size) / (1000 if rounding.what == "energy" else 3600)
        assert 0 < rounding.billed - rounding.consumed < block + Decimal("0.0001")


@on_a_slow_machine
@given(any_tariffs, starts, sessions, amounts, amounts)
def test_total_lies_between_minimum_and_maximum(
    tariff: Tariff, start: datetime, parts: list[tuple[Activity, int]], low: Decimal, span: Decimal
) -> None:
    least, most = Price(low, low * 2), Price(low + span, (low + span) * 2)
    bound = Tariff("12", "EUR", tariff.elements, min_price=least, max_price=most)
    total = priced(bound, usages(start, parts)).total
    assert least.excl_vat <= total.excl_vat <= most.excl_vat
