"""What the examples of the chapters leave open: each test is one reading of the decision record on tariffs."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import overload
from zoneinfo import ZoneInfo

import pytest

from agent.core.tariff import Dimension, Price, PriceComponent, Restrictions, Tariff, TariffElement
from agent.core.tariff_cost import Billed, Cost, Limit, Rounding, cost
from agent.core.tariff_periods import charging_periods
from agent.core.tariff_usage import Activity, ChargingPeriod, Span, Usage

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
START = datetime(2019, 1, 16, 15, 0, tzinfo=UTC)
"""16:00 in Amsterdam."""
CHARGING, PARKING, RESERVED = Activity.CHARGING, Activity.PARKING, Activity.RESERVED
FIRST_HOUR = Restrictions(max_duration=3600)


def component(dimension: str, price: str, step_size: int = 0, vat: str | None = None) -> PriceComponent:
    return PriceComponent(dimension, Decimal(price), step_size, None if vat is None else Decimal(vat))


def element(*components: PriceComponent, when: Restrictions | None = None) -> TariffElement:
    return TariffElement(components, when or Restrictions())


def tariff(*elements: TariffElement, min_price: Price | None = None, max_price: Price | None = None) -> Tariff:
    return Tariff("12", "EUR", elements, min_price=min_price, max_price=max_price)


def price(excl_vat: str, incl_vat: str | None = None) -> Price:
    return Price(Decimal(excl_vat), None if incl_vat is None else Decimal(incl_vat))


def priced(at: Tariff, *parts: tuple[Activity, int, str], current: Span | None = None) -> Cost:
    """A session of parts, each so many minutes with so much energy."""
    now, usages = START, list[Usage]()
    for activity, minutes, kwh in parts:
        usages.append(Usage(now, now + timedelta(minutes=minutes), activity, Decimal(kwh), current_a=current))
        now = usages[-1].end
    return cost(at, charging_periods(at, usages, AMSTERDAM), AMSTERDAM)


# FLAT


def test_flat_of_several_elements_is_charged_once_at_the_first_price() -> None:
    at = tariff(element(component("FLAT", "1"), when=FIRST_HOUR), element(component("FLAT", "3")))
    assert priced(at, (CHARGING, 120, "5")).total == price("1")


def test_flat_that_becomes_active_late_is_charged_then() -> None:
    at = tariff(element(component("FLAT", "30"), when=Restrictions(min_duration=3600)))
    assert [priced(at, (CHARGING, m, "5")).total for m in (60, 61)] == [price("0"), price("30")]


def test_flat_that_begins_while_parked_is_a_fixed_cost() -> None:
    at = tariff(element(component("FLAT", "2"), component("PARKING_TIME", "6")))
    result = priced(at, (PARKING, 10, "0"))
    assert (result.fixed, result.parking) == (price("2"), price("1"))


# Dimensions without a component


def test_session_that_meets_no_component_costs_nothing_and_names_no_part() -> None:
    at = tariff(element(component("ENERGY", "1"), when=Restrictions(start_time=time(3), end_time=time(4))))
    result = priced(at, (CHARGING, 60, "5"), (PARKING, 60, "0"))
    assert result.total == price("0")
    assert (result.fixed, result.energy, result.time, result.parking, result.reservation) == (None,) * 5


def test_amounts_are_reported_also_where_they_cost_nothing() -> None:
    result = priced(
        tariff(element(component("FLAT", "1"))), (RESERVED, 20, "0"), (CHARGING, 90, "5.5"), (PARKING, 30, "0")
    )
    assert (result.total_energy, result.total_time, result.total_parking_time) == (
        Decimal("5.5"),
        Decimal(2),
        Decimal("0.5"),
    )


def test_energy_drawn_while_parked_is_billed() -> None:
    assert priced(tariff(element(component("ENERGY", "1"))), (PARKING, 60, "0.2")).energy == price("0.2")


def test_no_periods_cost_nothing() -> None:
    at = tariff(element(component("FLAT", "1")), min_price=price("5"))
    assert cost(at, (), AMSTERDAM).total == price("0")


# step_size


@pytest.mark.parametrize(("step_size", "expected"), [(0, "0.1152"), (-5, "0.1152"), (1, "0.116"), (100, "0.2")])
def test_step_of_zero_or_less_rounds_nothing(step_size: int, expected: str) -> None:
    assert priced(tariff(element(component("ENERGY", "1", step_size))), (CHARGING, 9, "0.1152")).total == price(
        expected
    )


def test_unpriced_time_is_no_part_of_what_is_rounded() -> None:
    """An hour without a price and 10 minutes with one: 15 minutes are billed, not the 5 that fill up 75."""
    at = tariff(element(component("TIME", "4", 900), when=Restrictions(min_duration=3600)))
    assert priced(at, (CHARGING, 70, "0")).total == price("1")


def test_time_at_a_price_of_zero_is_part_of_what_is_rounded() -> None:
    at = tariff(element(component("TIME", "0", 900), when=FIRST_HOUR), element(component("TIME", "4", 900)))
    assert priced(at, (CHARGING, 70, "0")).total == price("1")  # 60 + 15: here it fills up 75


def test_charging_that_resumes_after_parking_is_rounded_and_the_parking_is_not() -> None:
    at = tariff(element(component("TIME", "6", 600), component("PARKING_TIME", "12", 600)))
    result = priced(at, (CHARGING, 11, "1"), (PARKING, 3, "0"), (CHARGING, 2, "1"))
    assert (result.time, result.parking) == (price("2"), price("0.6"))


def test_reserved_time_is_not_rounded_when_charging_time_is_billed_after_it() -> None:
    at = tariff(
        element(component("TIME", "6", 600), when=Restrictions(reservation="RESERVATION")),
        element(component("TIME", "12", 600)),
    )
    result = priced(at, (RESERVED, 7, "0"), (CHARGING, 12, "1"))
    assert (result.reservation, result.time) == (price("0.7"), price("4"))


def test_price_that_became_active_without_consumption_does_not_bring_its_step() -> None:
    at = tariff(element(component("ENERGY", "1", 500), when=FIRST_HOUR), element(component("ENERGY", "1", 10000)))
    assert priced(at, (CHARGING, 60, "1.2"), (PARKING, 60, "0")).total == price("1.5")


def test_rounding_says_what_it_did() -> None:
    at = tariff(element(component("ENERGY", "1", 500), component("PARKING_TIME", "1", 900)))
    assert priced(at, (CHARGING, 60, "1.2"), (PARKING, 20, "0")).roundings == (
        Rounding(Billed.ENERGY, 500, Decimal("1.2"), Decimal("1.5")),
        Rounding(Billed.PARKING_TIME, 900, Decimal("0.3333"), Decimal("0.5")),
    )


# VAT


def test_no_vat_anywhere_leaves_no_amount_including_vat() -> None:
    assert priced(tariff(element(component("ENERGY", "1"))), (CHARGING, 60, "5")).total == price("5")


def test_vat_of_zero_percent_is_a_vat() -> None:
    assert priced(tariff(element(component("ENERGY", "1", vat="0"))), (CHARGING, 60, "5")).total == price("5", "5")


def test_part_without_vat_enters_the_total_as_it_is() -> None:
    at = tariff(element(component("FLAT", "1"), component("ENERGY", "1", vat="20")))
    result = priced(at, (CHARGING, 60, "5"))
    assert (result.fixed, result.total) == (price("1"), price("6", "7"))


# min_price and max_price


TAXED = element(component("ENERGY", "1", vat="20"))
UNTAXED = element(component("ENERGY", "1"))


@pytest.mark.parametrize(
    ("at", "kwh", "expected"),
    [
        # each bound has its own net and gross, and each is kept to
        (tariff(TAXED, max_price=price("10", "11")), "9.5", price("9.5", "11")),
        (tariff(TAXED, max_price=price("10", "13")), "10.5", price("10", "12.6")),
        (tariff(TAXED, min_price=price("10", "11")), "9.5", price("10", "11.4")),
        (tariff(TAXED, min_price=price("10", "13")), "10.5", price("10.5", "13")),
        # without a gross bound the VAT follows in proportion
        (tariff(TAXED, max_price=price("10")), "20", price("10", "12")),
        (tariff(TAXED, min_price=price("10")), "5", price("10", "12")),
        (tariff(TAXED, max_price=price("10")), "5", price("5", "6")),
        # of nothing no proportion can be told
        (tariff(TAXED, min_price=price("10")), "0", price("10")),
        (tariff(TAXED, min_price=price("10", "12")), "0", price("10", "12")),
        # no VAT applies, yet the bound names one
        (tariff(UNTAXED, min_price=price("10", "12")), "5", price("10", "12")),
        (tariff(UNTAXED, max_price=price("10", "12")), "5", price("5")),
        # bounds that contradict each other: the driver's comes last
        (tariff(TAXED, min_price=price("10", "12"), max_price=price("5", "6")), "7", price("5", "6")),
    ],
)
def test_total_keeps_to_the_bounds_of_the_tariff(at: Tariff, kwh: str, expected: Price) -> None:
    assert priced(at, (CHARGING, 60, kwh)).total == expected


def test_parts_stay_as_they_were_when_the_total_is_limited() -> None:
    result = priced(tariff(TAXED, max_price=price("10", "12")), (CHARGING, 60, "20"))
    assert (result.energy, result.total, result.limit) == (price("20", "24"), price("10", "12"), Limit.MAX_PRICE)


def test_minimum_price_below_the_maximum_is_named_as_the_limit() -> None:
    result = priced(tariff(TAXED, min_price=price("10", "12"), max_price=price("20", "24")), (CHARGING, 60, "5"))
    assert (result.total, result.limit) == (price("10", "12"), Limit.MIN_PRICE)


def test_reservation_alone_does_not_owe_the_minimum_price_of_a_session() -> None:
    reserving = element(component("FLAT", "1"), when=Restrictions(reservation="RESERVATION"))
    assert priced(tariff(reserving, min_price=price("5")), (RESERVED, 30, "0")).total == price("1")


# Rounding


@pytest.mark.parametrize(
    ("unit_price", "expected"), [("0.00005", "0.0001"), ("0.000049999", "0"), ("-0.00005", "-0.0001")]
)
def test_half_of_the_last_decimal_is_rounded_away_from_zero(unit_price: str, expected: str) -> None:
    assert priced(tariff(element(component("ENERGY", unit_price))), (CHARGING, 60, "1")).total == price(expected)


def test_thirds_of_an_hour_add_up_exactly() -> None:
    assert priced(tariff(element(component("TIME", "1"))), *[(CHARGING, 20, "0")] * 3).total == price("1")


def test_total_is_rounded_from_the_exact_sum_and_not_from_rounded_parts() -> None:
    at = tariff(element(component("TIME", "0.00004"), component("ENERGY", "0.00004")))
    result = priced(at, (CHARGING, 60, "1"))
    assert (result.time, result.energy, result.total) == (price("0"), price("0"), price("0.0001"))


# What can't be priced


def test_unknown_dimension_costs_nothing_and_is_remarked() -> None:
    at = tariff(element(component("CARBON", "7"), component("ENERGY", "1")))
    result = priced(at, (CHARGING, 60, "5"))
    assert (result.total, result.remarks) == (
        price("5"),
        ("element 1: a price of CARBON is not known to this version and is not charged",),
    )


def test_unmeasured_current_uses_the_element_without_that_restriction_and_is_remarked_once() -> None:
    at = tariff(
        element(component("ENERGY", "1"), when=Restrictions(max_current=Decimal(32))), element(component("ENERGY", "2"))
    )
    result = priced(at, (CHARGING, 60, "5"), (PARKING, 60, "0"), (CHARGING, 60, "5"))
    assert (result.total, len(result.remarks)) == (price("20"), 1)


def test_measured_current_leaves_no_remark() -> None:
    at = tariff(element(component("ENERGY", "1"), when=Restrictions(max_current=Decimal(32))))
    result = priced(at, (CHARGING, 60, "5"), current=Span(Decimal(16), Decimal(16)))
    assert (result.total, result.remarks) == (price("5"), ())


def test_parked_vehicle_draws_no_current() -> None:
    at = tariff(element(component("PARKING_TIME", "1"), when=Restrictions(max_current=Decimal(1))))
    assert priced(at, (PARKING, 60, "0")).total == price("1")


def test_periods_out_of_order_are_refused() -> None:
    hour = timedelta(hours=1)
    periods = [ChargingPeriod(START + hour, START + 2 * hour, CHARGING), ChargingPeriod(START, START + hour, CHARGING)]
    with pytest.raises(ValueError, match="before the last one ended"):
        cost(tariff(element(component(Dimension.TIME, "1"))), periods, AMSTERDAM)


# A session of thousands of periods: a car that goes round a bound of power for days.


class Counted(Sequence[ChargingPeriod]):
    """Periods that count how many of them were handed out."""

    def __init__(self, periods: Sequence[ChargingPeriod]) -> None:
        self._periods = periods
        self.handed_out = 0

    def __len__(self) -> int:
        return len(self._periods)

    def __iter__(self) -> Iterator[ChargingPeriod]:
        for period in self._periods:
            self.handed_out += 1
            yield period

    @overload
    def __getitem__(self, place: int) -> ChargingPeriod: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ChargingPeriod]: ...
    def __getitem__(self, place: int | slice) -> ChargingPeriod | Sequence[ChargingPeriod]:
        self.handed_out += 1 if isinstance(place, int) else len(range(*place.indices(len(self._periods))))
        return self._periods[place]


def test_each_period_of_a_long_session_is_looked_at_a_few_times_only() -> None:
    usages = [
        ChargingPeriod(START + timedelta(minutes=n), START + timedelta(minutes=n + 1), CHARGING, Decimal("0.1"))
        for n in range(300)
    ]
    periods = Counted(usages)
    assert cost(tariff(element(component("ENERGY", "1"))), periods, AMSTERDAM).total == price("30")
    assert periods.handed_out <= 20 * len(usages)
