"""What a session has consumed: nothing invented, nothing lost, and time that never goes back."""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from agent.core.account import (
    Account,
    Pricing,
    Remark,
    begun,
    ended,
    from_json,
    moved,
    noted,
    read,
    resumed,
    settled,
    to_json,
    turned,
)
from agent.core.tariff import Dimension, PriceComponent, Restrictions, Tariff, TariffElement
from agent.core.tariff_usage import Activity, Span
from agent.model import EndReason

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
UNPRICED = Pricing(None, BERLIN)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def priced(*restrictions: Restrictions, start: datetime | None = None) -> Pricing:
    """One price of energy for each of the restrictions."""
    elements = tuple(
        TariffElement((PriceComponent(Dimension.ENERGY, Decimal(place)),), known)
        for place, known in enumerate(restrictions, 1)
    )
    return Pricing(Tariff("T", "EUR", elements, start_date_time=start), BERLIN)


def metered(register_wh: int = 1000) -> Account:
    return begun(NOON, register_wh, has_meter=True)


def kwh(account: Account) -> list[str]:
    return [f"{period.energy_kwh:.4f}" for period in account.periods]


def lasted(account: Account) -> list[float]:
    return [period.duration.total_seconds() for period in account.periods]


# ---- a meter that speaks


def test_the_energy_is_what_the_register_rose_by() -> None:
    account = read(read(metered(), after(10), 1010, UNPRICED), after(20), 1025, UNPRICED)
    assert (account.energy_wh, account.register_wh, account.until) == (25, 1025, after(20))
    assert (kwh(account), lasted(account)) == (["0.0250"], [20.0])


def test_nothing_drawn_is_zero_and_not_unknown() -> None:
    account = read(metered(), after(10), 1000, UNPRICED)
    assert (account.energy_wh, account.remarks) == (0, ())


def test_a_change_of_price_by_the_clock_cuts_between_two_readings() -> None:
    pricing = priced(Restrictions(end_time=time(13, 30)), Restrictions())  # 13:30 in Berlin is 12:30 UTC
    account = read(metered(), after(3600), 2000, pricing)
    assert (kwh(account), lasted(account)) == (["0.5000", "0.5000"], [1800.0, 1800.0])


def test_parking_has_a_period_of_its_own() -> None:
    account = turned(metered(), after(60), Activity.PARKING, 1100, UNPRICED)
    account = turned(account, after(90), Activity.CHARGING, 1100, UNPRICED)
    account = ended(account, after(100), 1120, UNPRICED, EndReason.SAME_CARD)
    assert [period.activity for period in account.periods] == [
        Activity.CHARGING,
        Activity.PARKING,
        Activity.CHARGING,
    ]
    assert (kwh(account), lasted(account)) == (["0.1000", "0.0000", "0.0200"], [60.0, 30.0, 10.0])


def test_a_register_that_went_back_adds_nothing_and_counts_on_from_there() -> None:
    account = read(read(metered(), after(10), 3, UNPRICED), after(20), 10, UNPRICED)
    assert (account.energy_wh, account.register_wh) == (7, 10)
    assert account.remarks == (Remark.METER_WENT_BACK,)


EXCHANGED_WH = 9_000_000
DC_W = 400_000


def test_a_register_that_leapt_adds_nothing_and_counts_on_from_there() -> None:
    account = read(read(metered(), after(60), 2000, UNPRICED), after(120), EXCHANGED_WH, UNPRICED)
    assert (account.energy_wh, account.register_wh) == (1000, EXCHANGED_WH)
    account = ended(account, after(180), EXCHANGED_WH + 500, UNPRICED, EndReason.SAME_CARD)
    assert (account.energy_wh, account.remarks) == (1500, (Remark.METER_JUMPED,))


def test_a_leap_that_the_end_brings_is_not_billed() -> None:
    account = ended(metered(), after(60), EXCHANGED_WH, UNPRICED, EndReason.SAME_CARD)
    assert (account.energy_wh, kwh(account), account.remarks) == (0, ["0.0000"], (Remark.METER_JUMPED,))


def test_a_leap_after_a_power_cut_is_not_billed() -> None:
    account = from_json(to_json(resumed(read(metered(), after(60), 2000, UNPRICED), after(180))))
    account = read(account, after(181), EXCHANGED_WH, UNPRICED)
    account = ended(account, after(240), EXCHANGED_WH + 500, UNPRICED, EndReason.SAME_CARD)
    assert (account.energy_wh, account.remarks) == (1500, (Remark.POWER_CUT, Remark.METER_JUMPED))


def test_a_leap_after_a_night_of_the_same_value_is_not_billed() -> None:
    account = turned(metered(), after(60), Activity.PARKING, 1000, UNPRICED)
    account = read(account, after(36_000), 1000, UNPRICED)
    assert read(account, after(36_005), EXCHANGED_WH, UNPRICED).energy_wh == 0


@pytest.mark.parametrize("seconds", [1, 5, 60, 3600, 86_400])
def test_what_the_fastest_charger_delivers_between_two_readings_is_billed(seconds: int) -> None:
    drawn_wh = DC_W * seconds // 3600
    account = read(metered(), after(seconds), 1000 + drawn_wh, UNPRICED)
    assert (account.energy_wh, account.remarks) == (drawn_wh, ())


def test_what_the_fastest_charger_delivers_in_a_silence_is_billed() -> None:
    account = read(read(metered(), after(60), None, UNPRICED), after(7200), 1000 + 2 * DC_W, UNPRICED)
    assert (account.energy_wh, account.remarks) == (2 * DC_W, (Remark.METER_SILENT,))


def test_what_flowed_before_a_power_cut_is_billed_though_the_clock_stood_still_in_it() -> None:
    account = resumed(read(metered(), after(60), 2000, UNPRICED), after(30))
    assert read(account, after(31), 2000 + DC_W, UNPRICED).energy_wh == 1000 + DC_W


def test_a_value_shown_again_may_be_old_and_cuts_nothing_off_the_next() -> None:
    account = turned(metered(), after(3599), Activity.PARKING, 1000, UNPRICED)
    assert read(account, after(3600), 1000 + DC_W, UNPRICED).energy_wh == DC_W


@pytest.mark.parametrize("by", [timedelta(days=20_000), timedelta(days=-20_000)])
def test_a_clock_put_right_neither_lets_a_leap_pass_nor_cuts_what_flowed(by: timedelta) -> None:
    start = NOON if by < timedelta(0) else NOON - by
    account = moved(read(begun(start, 1000, has_meter=True), start, 1000, UNPRICED), by, UNPRICED)
    later = start + by + timedelta(hours=1)
    assert read(account, later, 1000 + DC_W, UNPRICED).energy_wh == DC_W
    assert read(account, later, EXCHANGED_WH, UNPRICED).energy_wh == 0


def test_a_moment_before_the_last_counts_as_the_last() -> None:
    account = read(read(metered(), after(60), 1010, UNPRICED), after(30), 1020, UNPRICED)
    assert (account.until, account.energy_wh) == (after(60), 20)
    done = ended(account, after(10), 1021, UNPRICED, EndReason.UNPLUGGED)
    assert (done.until, kwh(done)) == (after(60), ["0.0210"])


# ---- a meter that does not


def test_without_a_meter_time_goes_on_and_energy_is_unknown() -> None:
    account = begun(NOON, None, has_meter=False)
    account = turned(account, after(60), Activity.CHARGING, None, UNPRICED)
    account = ended(account, after(120), None, UNPRICED, EndReason.SAME_CARD)
    assert (account.energy_wh, lasted(account), account.remarks) == (None, [120.0], (Remark.NO_METER,))


def test_a_first_reading_after_the_start_counts_from_there() -> None:
    account = read(begun(NOON, None, has_meter=True), after(60), 5000, UNPRICED)
    assert (account.energy_wh, account.metered_from, account.remarks) == (0, after(60), (Remark.METER_LATE,))
    assert read(account, after(90), 5010, UNPRICED).energy_wh == 10


def test_a_first_reading_at_the_start_is_not_late() -> None:
    account = read(begun(NOON, None, has_meter=True), NOON, 5000, UNPRICED)
    assert (account.energy_wh, account.remarks) == (0, ())


def test_a_meter_that_comes_where_none_was_is_believed() -> None:
    account = read(begun(NOON, None, has_meter=False), after(60), 5000, UNPRICED)
    assert account.remarks == (Remark.METER_LATE,)


def test_what_a_silent_meter_counted_was_drawn_over_all_of_the_silence() -> None:
    pricing = priced(Restrictions(end_time=time(13, 30)), Restrictions())
    account = read(metered(), NOON, None, pricing)
    account = read(account, after(2000), None, pricing)
    account = turned(account, after(3500), Activity.CHARGING, None, pricing)
    assert (account.until, account.periods) == (after(3500), ())
    account = read(account, after(3600), 2000, pricing)
    assert (kwh(account), account.remarks) == (["0.5000", "0.5000"], (Remark.METER_SILENT,))


def test_a_meter_that_stays_silent_costs_its_energy_and_no_time() -> None:
    account = read(read(metered(), after(60), 1010, UNPRICED), after(70), None, UNPRICED)
    account = ended(account, after(100), 1010, UNPRICED, EndReason.SAME_CARD)
    assert (account.energy_wh, sum(lasted(account))) == (10, 100.0)


def test_a_register_known_from_before_the_silence_does_not_end_it() -> None:
    account = read(read(metered(), after(60), None, UNPRICED), after(120), 1000, UNPRICED)
    assert account.is_silent
    assert not read(account, after(180), 1001, UNPRICED).is_silent


def test_a_meter_that_was_never_read_is_said_to_be_silent() -> None:
    account = ended(begun(NOON, None, has_meter=True), after(5), None, UNPRICED, EndReason.SAME_CARD)
    assert (account.energy_wh, account.remarks) == (None, (Remark.METER_SILENT,))


# ---- power


def test_power_is_taken_over_a_minute_where_a_price_depends_on_it() -> None:
    pricing = priced(Restrictions(max_power=Decimal(11)), Restrictions())
    account = read(metered(), after(1), 1010, pricing)  # 36 kW, were it not for the steps of the register
    assert account.periods == ()
    account = read(account, after(60), 1100, pricing)
    assert [(period.energy_kwh, period.power.highest) for period in account.periods if period.power] == [
        (Decimal("0.1"), Decimal(6))
    ]


def bounded(kw: str) -> Pricing:
    """One price from so many kW on, another below."""
    return priced(Restrictions(min_power=Decimal(kw)), Restrictions())


@pytest.mark.parametrize("end_s", [*range(180, 200), 239, 301, 1021])
def test_the_last_seconds_of_a_charge_have_the_power_of_what_they_go_on_from(end_s: int) -> None:
    account, pricing = metered(0), bounded("22")
    for second in range(1, end_s + 1):
        account = read(account, after(second), second * 11_000 // 36_000 * 10, pricing)
    account = ended(account, after(end_s), account.register_wh, pricing, EndReason.SAME_CARD)
    assert [period.power is not None and period.power.highest < 22 for period in account.periods] == [True]


def test_a_charge_of_a_few_seconds_has_no_power() -> None:
    account = ended(metered(), after(1), 1010, bounded("22"), EndReason.SAME_CARD)
    assert [period.power for period in account.periods] == [Span(Decimal(0), Decimal("Infinity"))]
    assert kwh(account) == ["0.0100"]


def test_seconds_of_another_activity_do_not_go_on() -> None:
    pricing = bounded("22")
    account = turned(read(metered(), after(60), 1500, pricing), after(60), Activity.PARKING, 1500, pricing)
    account = turned(account, after(62), Activity.CHARGING, 1510, pricing)
    assert [(one.activity, one.power) for one in account.periods] == [
        (Activity.CHARGING, Span(Decimal(30), Decimal(30))),
        (Activity.PARKING, Span(Decimal(0), Decimal("Infinity"))),
    ]


def test_what_was_drawn_before_a_silence_stays_before_it() -> None:
    pricing = priced(Restrictions(max_power=Decimal(11)), Restrictions())
    account = read(read(metered(), after(30), 1050, pricing), after(30), None, pricing)
    assert (kwh(account), lasted(account)) == (["0.0500"], [30.0])


def test_what_waits_for_its_minute_is_counted_once_across_a_power_cut() -> None:
    pricing = priced(Restrictions(max_power=Decimal(11)), Restrictions())
    account = resumed(read(metered(), after(30), 1050, pricing), after(600))
    account = ended(account, after(660), 1150, pricing, EndReason.SAME_CARD)
    assert (kwh(account), account.energy_wh) == (["0.0500", "0.1000"], 150)


def test_a_time_in_which_nobody_measured_meets_no_bound_of_power() -> None:
    pricing = priced(Restrictions(max_power=Decimal(11)), Restrictions(min_power=Decimal(11)), Restrictions())
    account = ended(begun(NOON, None, has_meter=False), after(90), None, pricing, EndReason.SAME_CARD)
    power = account.periods[0].power
    assert power is not None
    assert (power.lowest, power.highest) == (Decimal(0), Decimal("Infinity"))


# ---- power cuts


def test_the_time_of_a_power_cut_is_nobodys_and_the_register_counts_on() -> None:
    account = resumed(read(metered(), after(60), 1100, UNPRICED), after(3600))
    account = ended(account, after(3660), 1250, UNPRICED, EndReason.SAME_CARD)
    assert (account.energy_wh, lasted(account)) == (250, [60.0, 60.0])
    assert account.remarks == (Remark.POWER_CUT,)


def test_what_flowed_before_a_power_cut_and_shows_after_it_has_no_power() -> None:
    pricing = priced(Restrictions(max_power=Decimal(11)), Restrictions(min_power=Decimal(11)), Restrictions())
    account = resumed(read(metered(), after(60), 1100, pricing), after(600))
    account = read(account, after(601), 1190, pricing)  # 90 Wh in a second would be 324 kW
    account = ended(account, after(661), 1290, pricing, EndReason.SAME_CARD)
    assert (kwh(account), lasted(account)) == (["0.1000", "0.0900", "0.1000"], [60.0, 1.0, 60.0])
    power = account.periods[1].power
    assert power is not None
    assert (power.lowest, power.highest) == (Decimal(0), Decimal("Infinity"))


def test_what_was_parked_before_a_power_cut_charges_after_it() -> None:
    account = turned(metered(), after(60), Activity.PARKING, 1100, UNPRICED)
    assert resumed(account, after(3600)).activity is Activity.CHARGING


def test_what_was_not_cut_before_a_power_cut_is_not_lost_by_it() -> None:
    account = read(metered(), after(60), None, UNPRICED)
    account = turned(account, after(120), Activity.CHARGING, None, UNPRICED)
    account = from_json(to_json(resumed(account, after(3600))))
    account = ended(account, after(3700), 1100, UNPRICED, EndReason.SAME_CARD)
    assert (sum(lasted(account)), account.energy_wh, kwh(account)[-1]) == (220.0, 100, "0.1000")


def test_a_session_resumed_by_a_clock_that_lags_loses_no_time() -> None:
    account = resumed(read(metered(), after(60), 1100, UNPRICED), after(30))
    assert account.until == after(60)


def test_an_end_that_nobody_saw_is_at_what_was_known_last() -> None:
    account = ended(read(metered(), after(60), 1100, UNPRICED), None, 9999, UNPRICED, EndReason.OFF_TOO_LONG)
    assert (account.until, account.energy_wh, account.remarks) == (after(60), 100, (Remark.END_UNSEEN,))


# ---- ends


def test_a_session_that_took_no_time_has_one_period() -> None:
    account = ended(metered(), NOON, 1000, UNPRICED, EndReason.SAME_CARD)
    assert (kwh(account), lasted(account)) == (["0.0000"], [0.0])


@pytest.mark.parametrize(
    ("because", "remarks"),
    [
        (EndReason.SAME_CARD, ()),
        (EndReason.UNPLUGGED, ()),
        (EndReason.OPERATOR, (Remark.STOPPED_BY_OPERATOR,)),
        (EndReason.LATE_REFUSAL, (Remark.LATE_REFUSAL,)),
        (EndReason.RELAY_FAULT, (Remark.FAULT,)),
        (EndReason.SHUTDOWN, (Remark.SHUTDOWN,)),
    ],
)
def test_an_end_that_the_driver_did_not_bring_about_is_remarked(
    because: EndReason, remarks: tuple[Remark, ...]
) -> None:
    assert ended(metered(), after(5), 1000, UNPRICED, because).remarks == remarks


def test_a_remark_is_made_once() -> None:
    account = noted(noted(metered(), Remark.CLOCK_UNKNOWN), Remark.CLOCK_UNKNOWN)
    assert account.remarks == (Remark.CLOCK_UNKNOWN,)


# ---- the clock


def test_a_clock_put_right_moves_everything_and_cuts_by_the_true_time() -> None:
    pricing = priced(Restrictions(end_time=time(13, 30)), Restrictions())
    wrong = datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    account = read(begun(wrong, 1000, has_meter=True), wrong + timedelta(hours=1), 2000, pricing)
    assert len(account.periods) == 1
    account = moved(account, NOON - wrong, pricing)
    assert (account.started_at, account.until, account.metered_from) == (NOON, after(3600), NOON)
    assert (kwh(account), lasted(account)) == (["0.5000", "0.5000"], [1800.0, 1800.0])
    assert account.remarks == (Remark.CLOCK_CORRECTED,)


def test_a_clock_put_right_moves_what_was_not_cut_yet() -> None:
    account = read(metered(), after(60), None, UNPRICED)
    account = resumed(turned(account, after(120), Activity.CHARGING, None, UNPRICED), after(200))
    account = moved(account, timedelta(hours=-1), UNPRICED)
    account = ended(account, after(-3300), 1010, UNPRICED, EndReason.SAME_CARD)
    assert (account.started_at, account.periods[-1].end, sum(lasted(account))) == (after(-3600), after(-3300), 220.0)


def test_a_clock_that_was_right_changes_nothing() -> None:
    assert moved(metered(), timedelta(0), UNPRICED) == metered()


def test_a_tariff_that_was_not_valid_at_the_start_prices_nothing() -> None:
    pricing = priced(Restrictions(), start=after(60))
    assert pricing.tariff_at(NOON) is None
    assert pricing.tariff_at(after(60)) is pricing.tariff
    assert len(settled(read(metered(), after(120), 1010, pricing), pricing).periods) == 1


# ---- on disk


def test_an_account_comes_back_from_disk_as_it_was() -> None:
    pricing = priced(Restrictions(end_time=time(13, 30), max_power=Decimal(11)), Restrictions())
    start = NOON + timedelta(microseconds=123456)
    account = read(begun(start, 1000, has_meter=True), after(7200), 2003, pricing)
    account = read(resumed(read(account, after(7300), None, pricing), after(8000)), after(8001), 2004, pricing)
    again = from_json(to_json(account))
    assert again == account
    assert to_json(again) == to_json(account)
    assert all(period.start.tzinfo is UTC for period in again.periods)


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b"\xff", to_json(metered())[:-1], to_json(metered()).replace(b"charging", b"flying")]
)
def test_what_is_no_account_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="no account of a session"):
        from_json(text)


def test_an_account_of_a_common_charge_is_small() -> None:
    account = turned(metered(), after(7200), Activity.PARKING, 15_000, UNPRICED)
    assert len(to_json(read(account, after(9000), 15_000, UNPRICED))) < 1000
