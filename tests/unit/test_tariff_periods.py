"""Where a session is cut: OCPI 2.2.1 mod_cdrs, CDR object, ChargingPeriod."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from agent.core.tariff import DayOfWeek, PriceComponent, Restrictions, Tariff, TariffElement
from agent.core.tariff_periods import Boundary, boundaries, charging_periods, upcoming
from agent.core.tariff_usage import Activity, ChargingPeriod, Moment, Progress, Span, Usage

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
START = datetime(2019, 1, 16, 15, 0, tzinfo=UTC)
"""16:00 in Amsterdam, a Wednesday."""


def minute(count: float) -> datetime:
    return START + timedelta(minutes=count)


def tariff(*restrictions: Restrictions, dimension: str = "ENERGY") -> Tariff:
    """As many elements as restrictions, each with a price of its own, and one without a restriction."""
    elements = [
        TariffElement((PriceComponent(dimension, Decimal(place)),), restriction)
        for place, restriction in enumerate([*restrictions, Restrictions()], 1)
    ]
    return Tariff("12", "EUR", tuple(elements))


def charge(first: float, last: float, kwh: str = "0", power: tuple[int, int] | None = None) -> Usage:
    span = Span(Decimal(power[0]), Decimal(power[1])) if power else None
    return Usage(minute(first), minute(last), Activity.CHARGING, Decimal(kwh), span)


def park(first: float, last: float) -> Usage:
    return Usage(minute(first), minute(last), Activity.PARKING)


def found(at: Tariff, usage: Usage, before: str = "0") -> list[tuple[datetime, Decimal]]:
    points = boundaries(at, usage, Progress(START, Decimal(before)), AMSTERDAM)
    return [(point.at, point.energy_kwh) for point in points]


def told(periods: tuple[ChargingPeriod, ...]) -> list[tuple[float, float, Decimal]]:
    """From and to which minute, and how much energy."""
    unit = timedelta(minutes=1)
    return [((p.start - START) / unit, (p.end - START) / unit, p.energy_kwh) for p in periods]


def test_price_that_changes_with_the_hour_cuts_there_and_divides_the_energy() -> None:
    """mod_cdrs, first example of an additional ChargingPeriod: energy changes in price at 17:00."""
    at = tariff(Restrictions(end_time=time(17)))
    assert found(at, charge(0, 240, "8")) == [(minute(60), Decimal(2))]


def test_price_that_changes_with_the_energy_cuts_on_the_line_between_the_readings() -> None:
    at = tariff(Restrictions(max_kwh=Decimal(20)))
    assert found(at, charge(30, 60, "12"), before="16") == [(minute(40), Decimal(20))]


def test_price_that_changes_with_the_duration_counts_it_from_the_start_of_the_session() -> None:
    at = tariff(Restrictions(max_duration=2700))
    assert found(at, charge(30, 60, "3"), before="5") == [(minute(45), Decimal("6.5"))]


def test_interpolated_energy_has_the_four_decimals_of_ocpi() -> None:
    at = tariff(Restrictions(max_duration=600))
    assert found(at, charge(0, 30, "1")) == [(minute(10), Decimal("0.3333"))]


def test_boundary_at_a_reading_itself_cuts_nothing() -> None:
    at = tariff(Restrictions(max_duration=600), Restrictions(max_kwh=Decimal(1)))
    assert found(at, charge(0, 10, "1")) == []


def test_midnight_cuts_where_the_day_of_the_week_changes_the_price() -> None:
    at = tariff(Restrictions(day_of_week=frozenset({DayOfWeek.WEDNESDAY})))
    assert found(at, charge(0, 600, "10")) == [(minute(480), Decimal(8))]


def test_midnight_cuts_nothing_where_the_price_stays() -> None:
    at = tariff(Restrictions(day_of_week=frozenset({DayOfWeek.WEDNESDAY, DayOfWeek.THURSDAY})))
    assert found(at, charge(0, 600, "10")) == []


def test_dates_cut_at_local_midnight() -> None:
    at = tariff(Restrictions(start_date=date(2019, 1, 17), end_date=date(2019, 1, 18)))
    assert found(at, charge(0, 2400, "40")) == [(minute(480), Decimal(8)), (minute(1920), Decimal(32))]


def test_change_of_a_price_that_is_not_being_consumed_cuts_nothing() -> None:
    at = tariff(Restrictions(end_time=time(17)), dimension="PARKING_TIME")
    assert (found(at, charge(0, 120, "2")), len(found(at, park(0, 120)))) == ([], 1)


def test_unrestricted_tariff_never_cuts() -> None:
    assert found(tariff(), charge(0, 60 * 24 * 30, "100")) == []


def test_two_restrictions_together_cut_where_the_second_is_met() -> None:
    """Half of the energy by 17:00, but the price asks for 17:00 and 6 kWh."""
    at = tariff(Restrictions(start_time=time(17), min_kwh=Decimal(6)))
    assert found(at, charge(0, 120, "8")) == [(minute(90), Decimal(6))]


def test_skipped_hour_cuts_at_the_jump_and_the_price_begins_there() -> None:
    at = tariff(Restrictions(start_time=time(2, 30), end_time=time(12)))
    night = Usage(
        datetime(2019, 3, 31, 0, 0, tzinfo=UTC), datetime(2019, 3, 31, 2, 0, tzinfo=UTC), Activity.CHARGING, Decimal(2)
    )
    points = boundaries(at, night, Progress(night.start), AMSTERDAM)
    assert points == (Boundary(datetime(2019, 3, 31, 1, 0, tzinfo=UTC), Decimal(1)),)


def test_repeated_hour_begins_and_ends_the_price_twice() -> None:
    at = tariff(Restrictions(start_time=time(2, 15), end_time=time(2, 45)))
    night = Usage(
        datetime(2019, 10, 26, 23, 0, tzinfo=UTC), datetime(2019, 10, 27, 3, 0, tzinfo=UTC), Activity.CHARGING
    )
    points = boundaries(at, night, Progress(night.start), AMSTERDAM)
    assert [point.at.strftime("%H:%M") for point in points] == ["00:15", "00:45", "01:15", "01:45"]


def test_price_for_the_repeated_hour_to_its_end_is_left_when_the_clock_goes_back() -> None:
    at = tariff(Restrictions(start_time=time(2, 30), end_time=time(12)))
    night = Usage(
        datetime(2019, 10, 26, 23, 0, tzinfo=UTC), datetime(2019, 10, 27, 3, 0, tzinfo=UTC), Activity.CHARGING
    )
    points = boundaries(at, night, Progress(night.start), AMSTERDAM)
    assert [point.at.strftime("%H:%M") for point in points] == ["00:30", "01:00", "01:30"]


def test_clock_set_back_over_midnight_returns_to_the_day_before() -> None:
    """St. John's, 2010: 00:01 on Sunday became 23:01 on Saturday."""
    at = tariff(Restrictions(day_of_week=frozenset({DayOfWeek.SATURDAY})))
    night = Usage(datetime(2010, 11, 7, 2, 0, tzinfo=UTC), datetime(2010, 11, 7, 3, 0, tzinfo=UTC), Activity.CHARGING)
    points = boundaries(at, night, Progress(night.start), ZoneInfo("America/St_Johns"))
    assert [point.at.strftime("%H:%M") for point in points] == ["02:30", "02:31"]


def test_time_of_day_before_midnight_is_found_from_after_it_when_the_clock_goes_back() -> None:
    """St. John's, 2010: begun in the first minute of Sunday; 23:15 of Saturday is still to come."""
    at = tariff(Restrictions(start_time=time(23, 15), end_time=time(0)))
    night = Usage(datetime(2010, 11, 7, 2, 30, tzinfo=UTC), datetime(2010, 11, 7, 3, 0, tzinfo=UTC), Activity.CHARGING)
    points = boundaries(at, night, Progress(night.start), ZoneInfo("America/St_Johns"))
    assert [point.at.strftime("%H:%M") for point in points] == ["02:45"]


def test_readings_at_the_same_prices_become_one_period() -> None:
    periods = charging_periods(tariff(), [charge(0, 5, "1"), charge(5, 10, "2"), charge(10, 15)], AMSTERDAM)
    assert told(periods) == [(0, 15, Decimal(3))]


def test_readings_are_cut_and_joined_at_the_change_of_price() -> None:
    at = tariff(Restrictions(max_duration=450))
    periods = charging_periods(at, [charge(0, 5, "1"), charge(5, 10, "2"), charge(10, 15, "4")], AMSTERDAM)
    assert told(periods) == [(0, 7.5, Decimal(2)), (7.5, 15, Decimal(5))]


def test_parking_begins_a_period_of_its_own() -> None:
    periods = charging_periods(tariff(), [charge(0, 5, "1"), park(5, 10), park(10, 15)], AMSTERDAM)
    assert told(periods) == [(0, 5, Decimal(1)), (5, 15, Decimal(0))]


def test_gap_between_readings_stays_a_gap() -> None:
    """A power cut: what nobody metered belongs to no period."""
    periods = charging_periods(tariff(), [charge(0, 5, "1"), charge(30, 35, "1")], AMSTERDAM)
    assert told(periods) == [(0, 5, Decimal(1)), (30, 35, Decimal(1))]


def test_reading_with_more_power_begins_the_period_with_the_other_price() -> None:
    at = tariff(Restrictions(max_power=Decimal(16)))
    usages = [charge(0, 5, "1", (6, 8)), charge(5, 10, "1", (10, 15)), charge(10, 15, "4", (40, 48))]
    periods = charging_periods(at, usages, AMSTERDAM)
    assert (told(periods), periods[0].power_kw) == (
        [(0, 10, Decimal(2)), (10, 15, Decimal(4))],
        Span(Decimal(6), Decimal(15)),
    )


def test_power_that_was_not_measured_is_the_average() -> None:
    (period,) = charging_periods(tariff(), [charge(0, 30, "11")], AMSTERDAM)
    assert period.power_kw == Span(Decimal(22), Decimal(22))


def test_periods_that_stand_are_not_touched_by_what_follows() -> None:
    at = tariff(Restrictions(max_kwh=Decimal(3)))
    first = charging_periods(at, [charge(0, 60, "2")], AMSTERDAM)
    periods = charging_periods(at, [park(60, 90), charge(90, 120, "2")], AMSTERDAM, after=first)
    assert told(periods) == [(0, 60, Decimal(2)), (60, 90, Decimal(0)), (90, 105, Decimal(1)), (105, 120, Decimal(1))]


def test_usages_one_by_one_give_the_same_periods_as_all_at_once() -> None:
    at = tariff(Restrictions(max_kwh=Decimal(3)), Restrictions(max_duration=4000))
    usages = [charge(0, 60, "2"), park(60, 90), charge(90, 120, "2")]
    one_by_one: tuple[ChargingPeriod, ...] = ()
    for usage in usages:
        one_by_one = charging_periods(at, [usage], AMSTERDAM, after=one_by_one)
    assert one_by_one == charging_periods(at, usages, AMSTERDAM)


def test_duration_of_the_session_does_not_count_the_reservation() -> None:
    at = tariff(Restrictions(max_duration=600))
    reserved = Usage(START, minute(30), Activity.RESERVED)
    assert told(charging_periods(at, [reserved, charge(30, 60, "3")], AMSTERDAM)) == [
        (0, 30, Decimal(0)),
        (30, 40, Decimal(1)),
        (40, 60, Decimal(2)),
    ]


def test_reading_finer_than_ocpi_writes_keeps_its_digits() -> None:
    at = tariff(Restrictions(max_duration=60))
    periods = charging_periods(at, [charge(0, 1.5, "0.00009")], AMSTERDAM)
    assert sum(period.energy_kwh for period in periods) == Decimal("0.00009")


def test_energy_that_came_in_no_time_is_cut_at_its_threshold() -> None:
    """The meter ran on while the agent was away, and only the end of it is known."""
    at = tariff(Restrictions(max_kwh=Decimal(1)))
    assert told(charging_periods(at, [charge(5, 5, "3")], AMSTERDAM)) == [(5, 5, Decimal(1)), (5, 5, Decimal(2))]


def test_usage_before_the_end_of_the_last_is_refused() -> None:
    with pytest.raises(ValueError, match="before the last one ended"):
        charging_periods(tariff(), [charge(0, 10), charge(9, 20)], AMSTERDAM)


def test_next_change_by_the_clock_is_known_in_advance() -> None:
    at = tariff(Restrictions(end_time=time(17)), Restrictions(end_time=time(19)))
    now = Moment(START, Activity.CHARGING, Progress(START))
    assert upcoming(at, now, minute(600), AMSTERDAM).at == minute(60)


def test_next_change_by_duration_is_known_in_advance() -> None:
    now = Moment(minute(5), Activity.CHARGING, Progress(START))
    assert upcoming(tariff(Restrictions(max_duration=600)), now, minute(600), AMSTERDAM).at == minute(10)


def test_next_change_by_energy_is_the_next_threshold_of_the_session() -> None:
    at = tariff(Restrictions(max_kwh=Decimal(5)), Restrictions(max_kwh=Decimal(10)))
    now = Moment(START, Activity.CHARGING, Progress(START, Decimal(6)))
    assert upcoming(at, now, minute(600), AMSTERDAM).energy_kwh == Decimal(10)


def test_nothing_is_coming_in_a_tariff_without_restrictions() -> None:
    coming = upcoming(tariff(), Moment(START, Activity.CHARGING, Progress(START)), minute(600), AMSTERDAM)
    assert (coming.at, coming.energy_kwh) == (None, None)


@pytest.mark.parametrize(
    ("start", "end", "activity", "kwh", "message"),
    [
        (START, START - timedelta(seconds=1), Activity.CHARGING, "0", "before it starts"),
        (START, START, Activity.CHARGING, "-0.001", "only energy drawn"),
        (START, START, Activity.CHARGING, "NaN", "only energy drawn"),
        (START, START, Activity.RESERVED, "1", "it can use none"),
        (START.astimezone(AMSTERDAM), START, Activity.CHARGING, "0", "not in UTC"),
        (START, START.replace(tzinfo=None), Activity.CHARGING, "0", "not in UTC"),
    ],
)
def test_usage_that_no_meter_can_have_seen_is_refused(
    start: datetime, end: datetime, activity: Activity, kwh: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Usage(start, end, activity, Decimal(kwh))
