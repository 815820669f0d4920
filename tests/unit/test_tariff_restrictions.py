"""When a tariff element holds, at every edge, and which one then prices: OCPI 2.2.1 mod_tariffs, TariffRestrictions."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from agent.core.tariff import (
    DayOfWeek,
    Dimension,
    Price,
    PriceComponent,
    Restrictions,
    Tariff,
    TariffElement,
    ignored,
    is_free,
)
from agent.core.tariff_matching import active_components, holds, unknowns
from agent.core.tariff_usage import Activity, Moment, Progress, Span

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
WEDNESDAY = date(2019, 1, 16)

NIGHT = Restrictions(start_time=time(22), end_time=time(6))
DAY = Restrictions(start_time=time(9), end_time=time(18))
FRIDAY_NIGHT = Restrictions(start_time=time(22), end_time=time(6), day_of_week=frozenset({DayOfWeek.FRIDAY}))


def at(local: str) -> Moment:
    """A charge that has just begun at that time in Amsterdam."""
    moment = datetime.fromisoformat(local).replace(tzinfo=AMSTERDAM).astimezone(UTC)
    return Moment(moment, Activity.CHARGING, Progress(moment))


def after(seconds: float, kwh: str = "0") -> Moment:
    start = datetime(2019, 1, 16, 12, tzinfo=UTC)
    return Moment(start + timedelta(seconds=seconds), Activity.CHARGING, Progress(start, Decimal(kwh)))


def drawing(lowest: str, highest: str) -> Moment:
    span = Span(Decimal(lowest), Decimal(highest))
    start = datetime(2019, 1, 16, 12, tzinfo=UTC)
    return Moment(start, Activity.CHARGING, Progress(start), power=span, current=span)


@pytest.mark.parametrize(
    ("restrictions", "moment", "expected"),
    [
        (Restrictions(), at("2019-01-16T03:00"), True),
        # start_time is included, end_time is not
        (DAY, at("2019-01-16T08:59:59.999999"), False),
        (DAY, at("2019-01-16T09:00"), True),
        (DAY, at("2019-01-16T17:59:59.999999"), True),
        (DAY, at("2019-01-16T18:00"), False),
        # across midnight
        (NIGHT, at("2019-01-16T21:59:59"), False),
        (NIGHT, at("2019-01-16T22:00"), True),
        (NIGHT, at("2019-01-17T00:00"), True),
        (NIGHT, at("2019-01-17T05:59:59"), True),
        (NIGHT, at("2019-01-17T06:00"), False),
        # to the end of the day, and open on one side
        (Restrictions(start_time=time(20), end_time=time(0)), at("2019-01-16T23:59:59"), True),
        (Restrictions(start_time=time(20), end_time=time(0)), at("2019-01-17T00:00"), False),
        (Restrictions(start_time=time(20)), at("2019-01-16T23:59:59"), True),
        (Restrictions(start_time=time(20)), at("2019-01-17T00:00"), False),
        (Restrictions(end_time=time(4)), at("2019-01-16T00:00"), True),
        (Restrictions(end_time=time(4)), at("2019-01-16T04:00"), False),
        (Restrictions(end_time=time(0)), at("2019-01-16T23:59"), True),
        (Restrictions(start_time=time(0)), at("2019-01-16T00:00"), True),
        (Restrictions(start_time=time(0), end_time=time(0)), at("2019-01-16T12:00"), True),
        (Restrictions(start_time=time(8), end_time=time(8)), at("2019-01-16T07:59"), True),
        # dates: from the first day, up to but without the last; at local midnight
        (Restrictions(start_date=WEDNESDAY), at("2019-01-15T23:59:59"), False),
        (Restrictions(start_date=WEDNESDAY), at("2019-01-16T00:00"), True),
        (Restrictions(end_date=WEDNESDAY), at("2019-01-15T23:59:59"), True),
        (Restrictions(end_date=WEDNESDAY), at("2019-01-16T00:00"), False),
        # dates and times: on each day anew
        (Restrictions(start_date=WEDNESDAY, start_time=time(10), end_time=time(11)), at("2019-01-18T12:00"), False),
        (Restrictions(start_date=WEDNESDAY, start_time=time(10), end_time=time(11)), at("2019-01-18T10:30"), True),
        # days of the week, of the day that it is
        (FRIDAY_NIGHT, at("2019-01-18T23:00"), True),
        (FRIDAY_NIGHT, at("2019-01-18T05:00"), True),
        (FRIDAY_NIGHT, at("2019-01-19T05:00"), False),
        (FRIDAY_NIGHT, at("2019-01-17T23:00"), False),
        (Restrictions(day_of_week=frozenset(DayOfWeek)), at("2019-01-20T12:00"), True),
        (Restrictions(day_of_week=frozenset({DayOfWeek.SUNDAY})), at("2019-01-20T00:30"), True),  # Saturday in UTC
        # duration of the session: the lower bound is included
        (Restrictions(min_duration=1800), after(1799.999999), False),
        (Restrictions(min_duration=1800), after(1800), True),
        (Restrictions(max_duration=1800), after(1799.999999), True),
        (Restrictions(max_duration=1800), after(1800), False),
        (Restrictions(min_duration=0), after(0), True),
        (Restrictions(max_duration=0), after(0), False),
        # energy of the session
        (Restrictions(min_kwh=Decimal(20)), after(0, "19.9999"), False),
        (Restrictions(min_kwh=Decimal(20)), after(0, "20"), True),
        (Restrictions(max_kwh=Decimal(20)), after(0, "19.9999"), True),
        (Restrictions(max_kwh=Decimal(20)), after(0, "20"), False),
        # power and current: all of the period on one side of the bound
        (Restrictions(min_power=Decimal(16)), drawing("16", "20"), True),
        (Restrictions(min_power=Decimal(16)), drawing("15.9", "20"), False),
        (Restrictions(max_power=Decimal(16)), drawing("4", "15.9"), True),
        (Restrictions(max_power=Decimal(16)), drawing("4", "16"), False),
        (Restrictions(min_current=Decimal(32)), drawing("32", "40"), True),
        (Restrictions(min_current=Decimal(32)), drawing("31.9", "40"), False),
        (Restrictions(max_current=Decimal(32)), drawing("0", "31.9"), True),
        (Restrictions(max_current=Decimal(32)), drawing("0", "32"), False),
        # what is not known meets nothing, on either side
        (Restrictions(min_current=Decimal(32)), after(0), False),
        (Restrictions(max_current=Decimal(32)), after(0), False),
        (Restrictions(min_power=Decimal(0)), after(0), False),
        # several: all must hold
        (Restrictions(min_duration=60, max_kwh=Decimal(5)), after(60, "4"), True),
        (Restrictions(min_duration=60, max_kwh=Decimal(5)), after(60, "5"), False),
        (Restrictions(min_duration=60, max_kwh=Decimal(5)), after(59, "4"), False),
        # what a newer version brought holds never
        (Restrictions(unknown=("min_soc",)), after(0), False),
        (Restrictions(reservation="RESERVATION_CANCELLED"), after(0), False),
        (Restrictions(day_of_week=frozenset({"HOLIDAY"})), after(0), False),
        (Restrictions(day_of_week=frozenset({"HOLIDAY", DayOfWeek.WEDNESDAY})), after(0), True),
    ],
)
def test_restriction_holds_exactly_within_its_bounds(
    restrictions: Restrictions, moment: Moment, *, expected: bool
) -> None:
    assert holds(restrictions, moment, AMSTERDAM) is expected


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        ("2019-03-31T00:59:59", False),  # 01:59:59; the next second is 03:00
        ("2019-03-31T01:00:00", True),
        ("2019-10-27T00:15:00", False),  # 02:15, summer time
        ("2019-10-27T00:30:00", True),
        ("2019-10-27T01:15:00", False),  # 02:15 again, winter time
        ("2019-10-27T01:30:00", True),
    ],
)
def test_time_of_day_is_what_the_clock_on_the_wall_shows(utc: str, *, expected: bool) -> None:
    moment = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    from_half_past_two = Restrictions(start_time=time(2, 30))
    assert holds(from_half_past_two, Moment(moment, Activity.CHARGING, Progress(moment)), AMSTERDAM) is expected


def component(dimension: str, price: str = "1") -> PriceComponent:
    return PriceComponent(dimension, Decimal(price))


def tariff(*elements: TariffElement) -> Tariff:
    return Tariff("12", "EUR", elements)


def prices(at_hand: Tariff, moment: Moment) -> dict[str, str]:
    return {d.value: str(a.component.price) for d, a in active_components(at_hand, moment, AMSTERDAM).items()}


def test_first_element_that_holds_prices_a_dimension() -> None:
    short = TariffElement((component("ENERGY", "1"),), Restrictions(max_duration=60))
    both = tariff(short, TariffElement((component("ENERGY", "2"),)), TariffElement((component("ENERGY", "3"),)))
    assert [prices(both, after(s)) for s in (0, 60)] == [{"ENERGY": "1"}, {"ENERGY": "2"}]


def test_each_dimension_is_looked_up_for_itself() -> None:
    short = TariffElement((component("ENERGY", "1"),), Restrictions(max_duration=60))
    rest = TariffElement((component("TIME", "2"), component("ENERGY", "3"), component("FLAT", "4")))
    assert prices(tariff(short, rest), after(0)) == {"FLAT": "4", "ENERGY": "1", "TIME": "2"}


def test_element_without_restrictions_shadows_those_behind_it() -> None:
    shadowed = TariffElement((component("ENERGY", "2"),), Restrictions(max_duration=60))
    assert prices(tariff(TariffElement((component("ENERGY", "1"),)), shadowed), after(0)) == {"ENERGY": "1"}


def test_dimension_without_an_element_that_holds_is_left_out() -> None:
    late = TariffElement((component("ENERGY"), component("TIME")), Restrictions(min_duration=60))
    assert prices(tariff(late), after(59)) == {}


@pytest.mark.parametrize(
    ("activity", "expected"),
    [
        (Activity.CHARGING, {"FLAT": "1", "ENERGY": "1", "TIME": "1"}),
        (Activity.PARKING, {"FLAT": "1", "ENERGY": "1", "PARKING_TIME": "1"}),
        (Activity.RESERVED, {}),
        (Activity.RESERVATION_EXPIRED, {}),
    ],
)
def test_only_what_is_being_consumed_is_active(activity: Activity, expected: dict[str, str]) -> None:
    everything = tariff(TariffElement(tuple(component(d) for d in Dimension)))
    start = datetime(2019, 1, 16, 12, tzinfo=UTC)
    assert prices(everything, Moment(start, activity, Progress(start))) == expected


def test_reservation_element_prices_no_charge() -> None:
    reserving = TariffElement((component("TIME"),), Restrictions(reservation="RESERVATION"))
    assert prices(tariff(reserving), after(0)) == {}


def test_unmeasured_current_is_reported_where_the_tariff_asks_for_it() -> None:
    asking = tariff(TariffElement((component("TIME"),), Restrictions(max_current=Decimal(32))))
    assert unknowns(asking, after(0)) == ("the current is not known: elements restricted by it were not used",)


def test_unmeasured_current_is_no_matter_where_the_tariff_does_not_ask() -> None:
    assert unknowns(tariff(TariffElement((component("TIME"),))), after(0)) == ()


def test_what_is_not_known_is_listed_with_its_place_and_reason() -> None:
    odd = tariff(
        TariffElement((component("CARBON"), component("ENERGY"))),
        TariffElement((component("ENERGY"),), Restrictions(unknown=("min_soc",))),
        TariffElement((component("ENERGY"),), Restrictions(reservation="CANCELLED")),
        TariffElement((component("ENERGY"),), Restrictions(day_of_week=frozenset({"HOLIDAY"}))),
    )
    assert ignored(odd) == (
        "element 1: a price of CARBON is not known to this version and is not charged",
        "element 2 is never used: its restriction min_soc is not known to this version",
        "element 3 is never used: reservation CANCELLED is not known to this version",
        "element 4: day_of_week HOLIDAY is not known and matches no day",
    )


def test_unknown_dimension_leaves_the_others_priced() -> None:
    odd = tariff(TariffElement((component("CARBON", "7"), component("ENERGY", "1"))))
    assert prices(odd, after(0)) == {"ENERGY": "1"}


FREE = TariffElement((component("FLAT", "0.00"),))
NO_VAT = Decimal(0)


@pytest.mark.parametrize(
    ("at_hand", "expected"),
    [
        (tariff(FREE), True),
        (tariff(TariffElement((component("ENERGY", "0"), component("TIME", "0")))), True),
        (tariff(FREE, TariffElement((component("ENERGY", "0"),), DAY)), True),
        (tariff(FREE, TariffElement((component("ENERGY", "0.01"),), DAY)), False),
        (tariff(TariffElement((component("FLAT", "0"),), DAY)), False),
        (tariff(TariffElement((component("CARBON", "0"),))), False),
        (tariff(FREE, TariffElement((component("CARBON", "1"),))), False),
        (tariff(TariffElement(())), False),
        (tariff(), False),
        (Tariff("12", "EUR", (FREE,), min_price=Price(Decimal("0.50"))), False),
        (Tariff("12", "EUR", (FREE,), min_price=Price(NO_VAT, NO_VAT)), True),
    ],
)
def test_tariff_is_free_only_when_it_says_so(at_hand: Tariff, *, expected: bool) -> None:
    assert is_free(at_hand) is expected


def test_tariff_is_valid_from_its_start_to_its_end() -> None:
    first, last = datetime(2019, 1, 1, tzinfo=UTC), datetime(2019, 6, 30, 23, 59, 59, tzinfo=UTC)
    second = timedelta(seconds=1)
    at_hand = Tariff("16", "EUR", (FREE,), start_date_time=first, end_date_time=last)
    assert [at_hand.is_valid_at(m) for m in (first - second, first, last, last + second)] == [False, True, True, False]


def test_tariff_without_dates_is_always_valid() -> None:
    assert tariff(FREE).is_valid_at(datetime(1970, 1, 1, tzinfo=UTC))
