"""What one session has consumed so far: its time, its energy, its charging periods, and what must be said of them.

An account is only ever added to. Times never go back: a moment before `until` counts as `until`. Energy is what the
meter's register says and nothing else; where no meter says anything, there is none.

The periods lag behind where it is not known yet how they are to be cut: a meter that is silent counts on, and what it
shows when it comes back was drawn over all of the silence. `settled` prices what there is as far as it is known.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from agent.core.tariff import Tariff
from agent.core.tariff_periods import charging_periods
from agent.core.tariff_usage import Activity, ChargingPeriod, Span, Usage
from agent.model import EndReason


class Remark(StrEnum):
    """What whoever reads the bill must know. The values are written to the record and never renamed."""

    NO_METER = "no-meter"
    METER_LATE = "meter-late"
    """The first reading came after the start: what was drawn until then is not counted."""
    METER_SILENT = "meter-silent"
    """For a while, or to the end: what was drawn in that time is counted only if the meter came back."""
    METER_WENT_BACK = "meter-went-back"
    METER_JUMPED = "meter-jumped"
    """By more than any outlet delivers: another meter, or a fault of this one. The leap is not counted."""
    POWER_CUT = "power-cut"
    """Resumed after one; the time between is nobody's."""
    END_UNSEEN = "end-unseen"
    """Ended at what was last persisted of it."""
    CLOCK_CORRECTED = "clock-corrected"
    CLOCK_UNKNOWN = "clock-unknown"
    """Its times may be wrong, and will never be known better."""
    STOPPED_BY_OPERATOR = "stopped-by-operator"
    LATE_REFUSAL = "late-refusal"
    FAULT = "fault"
    """Ended by a fault of the charge point."""
    SHUTDOWN = "shutdown"


_ENDED_BY: Final = {
    EndReason.OPERATOR: Remark.STOPPED_BY_OPERATOR,
    EndReason.LATE_REFUSAL: Remark.LATE_REFUSAL,
    EndReason.RELAY_FAULT: Remark.FAULT,
    EndReason.PLUG_FAULT: Remark.FAULT,
    EndReason.METER_FAULT: Remark.FAULT,
    EndReason.STORAGE_FAULT: Remark.FAULT,
    EndReason.AGENT_FAULT: Remark.FAULT,
    EndReason.SHUTDOWN: Remark.SHUTDOWN,
}
"""Ends that neither the driver nor a power cut brought about."""

POWER_OVER: Final = timedelta(minutes=1)
"""How long a time power is averaged over, for a tariff that asks for it. A register counts in steps of up to 10 Wh:
from one second to the next that looks like 36 kW, over a minute it is off by 0.6 kW at most. What is shorter, as the
last seconds of a charge, has the power of what it goes on from; where it goes on from nothing, it is not known."""

MOST_W: Final = 1_000_000
"""No outlet delivers this; DC chargers have 400 kW. What a register rises by faster has not flowed here."""

_SLACK: Final = timedelta(minutes=1)
"""What is always granted beyond the time that has passed: registers step by up to 100 Wh, and a reading is handed on
some seconds after it was taken."""

_UNSURE: Final = timedelta(hours=1)
"""How old a value may be that is shown again, for that is how rarely a meter may be read; and how far off a clock with
a battery may have been across a power cut, with what had not been persisted before it."""

_ANY_POWER: Final = Span(Decimal(0), Decimal("Infinity"))
"""Of a time in which nobody measured: it lies within no upper bound, and above no lower one but 0."""

_UNPRICED: Final = Tariff("", "", ())


@dataclass(frozen=True, slots=True)
class Pricing:
    """By what a session is priced, and so where its periods are cut."""

    tariff: Tariff | None
    tz: tzinfo
    """The location's."""

    def tariff_at(self, started_at: datetime) -> Tariff | None:
        """The tariff of a session that began then; None where it was not valid yet, or not any more."""
        return self.tariff if self.tariff is not None and self.tariff.is_valid_at(started_at) else None

    def cutting(self, started_at: datetime) -> Tariff:
        """The same to cut and price by: one without elements where there is none."""
        return self.tariff_at(started_at) or _UNPRICED


@dataclass(frozen=True, slots=True)
class Account:
    """One session, accounted up to `until`. All times are in UTC."""

    started_at: datetime
    until: datetime
    activity: Activity
    """From `until` on."""
    register_wh: int | None
    """What the meter showed last."""
    energy_wh: int | None
    """Drawn so far; None: no meter has said anything."""
    periods: tuple[ChargingPeriod, ...]
    """Up to `since`. All but the last stay as they are, unless the clock is put right."""
    remarks: tuple[Remark, ...]
    since: datetime
    """From here to `until` no period has been cut yet."""
    unsettled_wh: int = 0
    """Drawn since then."""
    uncut: tuple[Usage, ...] = ()
    """What came before a power cut, and is to be cut with what comes after it."""
    metered_from: datetime | None = None
    """When the first reading came: before it a period has no energy, which is not to say that it has none drawn."""
    is_silent: bool = False
    """Nothing has been heard of the meter since it was lost."""
    is_resumed: bool = False
    """Nothing has been heard of it since a power cut: what it shows next flowed for the most part before that."""
    counted_from: datetime | None = None
    """Since when, at the earliest, what the meter shows next may have flowed; None: it has not been read."""


def begun(at: datetime, register_wh: int | None, *, has_meter: bool) -> Account:
    """A session that becomes active now. `register_wh` None: the meter has not been read yet, or there is none."""
    remarks = () if has_meter or register_wh is not None else (Remark.NO_METER,)
    if register_wh is None:
        return Account(at, at, Activity.CHARGING, None, None, (), remarks, since=at)
    return Account(
        at, at, Activity.CHARGING, register_wh, 0, (), remarks, since=at, metered_from=at, counted_from=at
    )  # fmt: skip


def read(account: Account, at: datetime, register_wh: int | None, pricing: Pricing) -> Account:
    """Add what the meter shows. None: from here on it is silent, and only time goes on."""
    if register_wh is None:
        heard = account if account.is_silent else settled(account, pricing)
        silent = replace(_through(heard, at), is_silent=heard.register_wh is not None)
        if Remark.NO_METER not in account.remarks:
            silent = noted(silent, Remark.METER_SILENT)
        return _if_due(silent, pricing)
    return _if_due(_counted(_through(account, at), register_wh, pricing), pricing)


def turned(account: Account, at: datetime, activity: Activity, register_wh: int | None, pricing: Pricing) -> Account:
    """The session's time is spent on `activity` from here; on the same as before, time just goes on.

    `register_wh` None is no reading, and says nothing about the meter.
    """
    passed = _through(account, at)
    if register_wh is not None:
        passed = _counted(passed, register_wh, pricing)
    elif activity is account.activity:
        return _if_due(passed, pricing) if passed.register_wh is None else passed
    return replace(settled(passed, pricing), activity=activity)


def resumed(account: Account, at: datetime) -> Account:
    """The session goes on after a power cut, charging. The time between is nobody's; the register counts on."""
    stretch = _stretch(account)
    now = max(at, account.until)
    return replace(
        noted(account, Remark.POWER_CUT),
        until=now,
        since=now,
        activity=Activity.CHARGING,
        uncut=(*account.uncut, *stretch),
        unsettled_wh=0,
        is_resumed=True,
        counted_from=min(_counted_from(account), now - _UNSURE),
    )


def moved(account: Account, by: timedelta, pricing: Pricing) -> Account:
    """The clock was wrong by so much: everything shifts, and the periods are cut anew where the prices now change."""
    if not by:
        return account
    started_at = account.started_at + by
    told = [replace(period, start=period.start + by, end=period.end + by) for period in account.periods]
    return replace(
        noted(account, Remark.CLOCK_CORRECTED),
        started_at=started_at,
        until=account.until + by,
        since=account.since + by,
        periods=charging_periods(pricing.cutting(started_at), told, pricing.tz),
        uncut=tuple(replace(usage, start=usage.start + by, end=usage.end + by) for usage in account.uncut),
        metered_from=None if account.metered_from is None else account.metered_from + by,
        counted_from=None if account.counted_from is None else account.counted_from + by,
    )


def ended(
    account: Account, at: datetime | None, register_wh: int | None, pricing: Pricing, because: EndReason
) -> Account:
    """The session is over, with one period at least. `at` None: nobody saw when; it ends at `until`, as last read."""
    if at is None:
        last = noted(account, Remark.END_UNSEEN)
    else:
        last = _through(account, at)
        last = last if register_wh is None else _counted(last, register_wh, pricing)
    if last.energy_wh is None and Remark.NO_METER not in last.remarks:
        last = noted(last, Remark.METER_SILENT)
    last = settled(last, pricing)
    if not last.periods:
        nothing = Usage(last.started_at, last.started_at, last.activity)
        last = replace(last, periods=charging_periods(pricing.cutting(last.started_at), [nothing], pricing.tz))
    return noted(last, _ENDED_BY[because]) if because in _ENDED_BY else last


def settled(account: Account, pricing: Pricing) -> Account:
    """The same with its periods cut up to `until`, as far as it is known what was drawn when."""
    usages = (*account.uncut, *_stretch(account))
    tariff = pricing.cutting(account.started_at)
    if asks_for_power(tariff):
        usages = tuple(_with_power(usages, account.periods))
    periods = charging_periods(tariff, usages, pricing.tz, after=account.periods)
    return replace(account, periods=periods, since=account.until, uncut=(), unsettled_wh=0)


def noted(account: Account, remark: Remark) -> Account:
    """The same with a remark, which is made once only."""
    return account if remark in account.remarks else replace(account, remarks=(*account.remarks, remark))


def asks_for_power(tariff: Tariff) -> bool:
    """Whether a price depends on how fast energy flows."""
    restrictions = [element.restrictions for element in tariff.elements]
    return any(known.min_power is not None or known.max_power is not None for known in restrictions)


def to_json(account: Account) -> bytes:
    """All of it, exactly; the same account gives the same bytes."""
    return _WRITTEN.encode(account)


def from_json(text: bytes) -> Account:
    """What `to_json` wrote. Raises ValueError for anything else."""
    try:
        return _ACCOUNT.decode(text)
    except ValueError as error:
        raise ValueError(f"no account of a session: {error}") from error


def _through(account: Account, at: datetime) -> Account:
    return replace(account, until=max(at, account.until))


def _counted(account: Account, register_wh: int, pricing: Pricing) -> Account:
    """With what flowed up to `until`, which is when the meter showed this."""
    if account.register_wh is None:
        return _first_counted(settled(account, pricing), register_wh)
    drawn = register_wh - account.register_wh
    if account.is_silent and not drawn:
        return account  # nothing new: it may be what was known before the silence
    is_the_same = not drawn
    if drawn < 0:
        # Exchanged or reset. What it counted since is not known: it may have begun anywhere.
        account, drawn = noted(account, Remark.METER_WENT_BACK), 0
    elif drawn > _most_wh(account):
        account, drawn = noted(account, Remark.METER_JUMPED), 0
    counted = replace(
        account,
        register_wh=register_wh,
        energy_wh=(account.energy_wh or 0) + drawn,
        is_silent=False,
        is_resumed=False,
        counted_from=max(_counted_from(account), account.until - _UNSURE) if is_the_same else account.until,
    )
    if account.is_resumed and drawn:
        # Over the moments since then it would look like a power that never flowed.
        drawn_kwh = Decimal(drawn).scaleb(-3)
        back = Usage(account.since, account.until, account.activity, drawn_kwh, _ANY_POWER)
        return replace(counted, uncut=(*account.uncut, back), since=account.until)
    return replace(counted, unsettled_wh=account.unsettled_wh + drawn)


def _most_wh(account: Account) -> float:
    """What an outlet can have delivered from the last count up to `until`, generously."""
    return (account.until - _counted_from(account) + _SLACK) / timedelta(hours=1) * MOST_W


def _counted_from(account: Account) -> datetime:
    return account.counted_from or account.started_at


def _first_counted(account: Account, register_wh: int) -> Account:
    late = noted(account, Remark.METER_LATE) if account.until > account.started_at else account
    remarks = tuple(remark for remark in late.remarks if remark is not Remark.NO_METER)
    return replace(
        late,
        register_wh=register_wh,
        energy_wh=0,
        metered_from=account.until,
        is_silent=False,
        remarks=remarks,
        counted_from=account.until,
    )


def _if_due(account: Account, pricing: Pricing) -> Account:
    """Settled, unless that has to wait: for a meter to come back, or for a power that means something."""
    if account.is_silent or account.since == account.until:
        return account
    is_short = account.until - account.since < POWER_OVER
    if is_short and account.register_wh is not None and asks_for_power(pricing.cutting(account.started_at)):
        return account
    return settled(account, pricing)


def _with_power(usages: Iterable[Usage], before: Sequence[ChargingPeriod]) -> Iterator[Usage]:
    """The same; one that is too short for its energy to be a power has that of what it goes on from, if of anything."""
    last: Usage | None = before[-1] if before else None
    for usage in usages:
        known = usage
        if usage.power_kw is None and usage.duration < POWER_OVER:
            goes_on = last is not None and last.end == usage.start and last.activity is usage.activity
            known = replace(usage, power_kw=(last.power if last is not None and goes_on else None) or _ANY_POWER)
        yield known
        last = known


def _stretch(account: Account) -> tuple[Usage, ...]:
    """What is to be cut: from `since` to `until`; nothing where that is nothing."""
    if account.since == account.until and not account.unsettled_wh:
        return ()
    is_measured = account.register_wh is not None and not account.is_silent
    energy_kwh = Decimal(account.unsettled_wh).scaleb(-3)
    power_kw = None if is_measured else _ANY_POWER
    return (Usage(account.since, account.until, account.activity, energy_kwh, power_kw),)


_WRITTEN: Final = msgspec.json.Encoder()
_ACCOUNT: Final = msgspec.json.Decoder(Account)
