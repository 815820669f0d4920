"""What a session consumed, between two meter readings or two changes of price.

Only what pricing needs: OCPI's CdrDimensions are written from these elsewhere. All times are in UTC.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

_Used = TypeVar("_Used", bound="Usage")
_HOUR = timedelta(hours=1)
DECIMALS = 4
"""OCPI 2.2.1 types, number: "use 4 decimals"."""


class Activity(StrEnum):
    """What the EVSE is being used for; it decides which time is running."""

    CHARGING = "charging"
    """TIME runs: energy flows, or the vehicle asks for it and gets none."""
    PARKING = "parking"
    """PARKING_TIME runs: connected, and the vehicle asks for no power."""
    RESERVED = "reserved"
    """TIME of a reservation that led to a charge, or still may."""
    RESERVATION_EXPIRED = "reservation-expired"
    """TIME of a reservation that nobody came for."""

    @property
    def is_reservation(self) -> bool:
        """Whether the session proper has not begun."""
        return self in (Activity.RESERVED, Activity.RESERVATION_EXPIRED)


@dataclass(frozen=True, slots=True)
class Span:
    """The lowest and the highest of a quantity over some time."""

    lowest: Decimal
    highest: Decimal


NOTHING = Span(Decimal(0), Decimal(0))


@dataclass(frozen=True, slots=True)
class Usage:
    """What was consumed between two moments. Raises ValueError for what no meter can have seen."""

    start: datetime
    end: datetime
    activity: Activity
    energy_kwh: Decimal = Decimal(0)
    """In this time alone, not since the start of the session."""
    power_kw: Span | None = None
    """As measured; None takes the average that energy and time give."""
    current_a: Span | None = None
    """Sum over all phases. None is unknown, unless nothing was being charged: then it is 0."""

    def __post_init__(self) -> None:
        if self.start.tzinfo is not UTC or self.end.tzinfo is not UTC:
            # Times of one local zone compare by the clock on the wall, which repeats an hour each autumn.
            raise ValueError(f"a usage from {self.start} to {self.end} is not in UTC: convert it first")
        if self.end < self.start:
            raise ValueError(f"a usage ends at {self.end}, before it starts at {self.start}: correct the clock first")
        if not self.energy_kwh.is_finite() or self.energy_kwh < 0:
            raise ValueError(f"a usage of {self.energy_kwh} kWh from {self.start}: only energy drawn can be priced")
        if self.energy_kwh and self.activity.is_reservation:
            raise ValueError(f"a reservation from {self.start} used {self.energy_kwh} kWh: it can use none")

    @property
    def duration(self) -> timedelta:
        """How long it took."""
        return self.end - self.start

    @property
    def power(self) -> Span | None:
        """Measured power in kW, else the average; None where neither time nor measurement tells."""
        if self.power_kw is not None or not (self.duration or self.energy_kwh):
            return self.power_kw or NOTHING
        if not self.duration:
            return None
        average = rounded(Fraction(self.energy_kwh) / hours(self.duration))
        return Span(average, average)

    @property
    def current(self) -> Span | None:
        """Measured current in A over all phases; nothing flows into a vehicle that is not charging."""
        return NOTHING if self.current_a is None and self.activity is not Activity.CHARGING else self.current_a


@dataclass(frozen=True, slots=True)
class ChargingPeriod(Usage):
    """A usage in which no other price component became active: OCPI 2.2.1 mod_cdrs, ChargingPeriod.

    `tariff_periods.charging_periods` makes them; only these can be priced.
    """


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a session had come when a usage began."""

    started_at: datetime
    """Start of the session; of the reservation while that lasts."""
    energy_kwh: Decimal = Decimal(0)
    """Consumed since then."""


@dataclass(frozen=True, slots=True)
class Moment:
    """All that a restriction may ask about, at one instant."""

    at: datetime
    activity: Activity
    progress: Progress
    """With the energy consumed until this instant."""
    power: Span | None = None
    current: Span | None = None

    @property
    def elapsed(self) -> timedelta:
        """How long the session, or the reservation, has lasted."""
        return self.at - self.progress.started_at


class Course:
    """How far a session has come, carried along from usage to usage: of those there may be thousands.

    Duration and energy of the session count from its own start: a reservation before it has its own.
    """

    def __init__(self) -> None:
        self._progress: dict[bool, Progress] = {}

    def until(self, coming: Usage) -> Progress:
        """As seen by the usage that comes next."""
        return self._progress.get(coming.activity.is_reservation) or Progress(coming.start)

    def add(self, usage: Usage) -> Progress:
        """The usage that came next; returns how far the session had come when it began."""
        before = self.until(usage)
        energy_kwh = before.energy_kwh + usage.energy_kwh
        self._progress[usage.activity.is_reservation] = Progress(before.started_at, energy_kwh)
        return before


def with_progress(usages: Iterable[_Used]) -> Iterator[tuple[_Used, Progress]]:
    """The usages of a session in their order, and how far it had come when each began."""
    course = Course()
    for usage in usages:
        yield usage, course.add(usage)


def hours(duration: timedelta) -> Fraction:
    """Exactly, where a Decimal would have to round a third of an hour."""
    return Fraction(duration // timedelta(microseconds=1), _HOUR // timedelta(microseconds=1))


def rounded(exact: Fraction) -> Decimal:
    """To four decimals, half away from zero: as OCPI writes numbers, and as the chapter's own figures are rounded."""
    scaled = abs(exact) * 10**DECIMALS
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(whole if exact >= 0 else -whole).scaleb(-DECIMALS)
