"""What a charge costs, as the operator wrote it down: the OCPI Tariff with its elements, prices and restrictions.

Here are the values, what they say about themselves (free, valid, not understood), and nothing that needs a session:
`tariff_usage` has what was consumed, `tariff_matching` what is active when, `tariff_periods` where a session must be
cut, `tariff_cost` the sum. Names are OCPI 2.2.1's (mod_tariffs); amounts are `Decimal`, in the tariff's currency.
Owner, texts and energy mix of a Tariff price nothing and stay on the wire.

The readings of the text behind all this are in `docs/decisions/0010-what-the-tariff-chapters-leave-open.md`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum


class Dimension(StrEnum):
    """What a component prices: OCPI 2.2.1 mod_tariffs, TariffDimensionType."""

    ENERGY = "ENERGY"
    """Per kWh; `step_size` in Wh."""
    FLAT = "FLAT"
    """Once; `step_size` means nothing."""
    PARKING_TIME = "PARKING_TIME"
    """Per hour in which the vehicle asks for no power; `step_size` in seconds."""
    TIME = "TIME"
    """Per hour of charging, or of a reservation; `step_size` in seconds."""


class DayOfWeek(StrEnum):
    """OCPI 2.2.1 mod_tariffs, DayOfWeek; in the order of `datetime.weekday`."""

    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"


class ReservationRestriction(StrEnum):
    """OCPI 2.2.1 mod_tariffs, ReservationRestrictionType."""

    RESERVATION = "RESERVATION"
    RESERVATION_EXPIRES = "RESERVATION_EXPIRES"


@dataclass(frozen=True, slots=True)
class Price:
    """OCPI 2.2.1 types, Price. `incl_vat` is None where no VAT applies, or none can be told."""

    excl_vat: Decimal
    incl_vat: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PriceComponent:
    """How one dimension is priced: OCPI 2.2.1 mod_tariffs, PriceComponent."""

    type: str
    """A `Dimension`; any other value is kept as it came and prices nothing."""
    price: Decimal
    """Per unit of the dimension, excluding VAT."""
    step_size: int = 1
    """Billed in blocks of so many units of the dimension's step; 0 and less round nothing."""
    vat: Decimal | None = None
    """Percent. None says that no VAT applies, which is not the same as 0 percent."""


@dataclass(frozen=True, slots=True)
class Restrictions:
    """When an element holds: all that is set must. OCPI 2.2.1 mod_tariffs, TariffRestrictions.

    Lower bounds are inclusive, upper ones exclusive. Times of day and dates are the location's local ones.
    """

    start_time: time | None = None
    end_time: time | None = None
    start_date: date | None = None
    end_date: date | None = None
    min_kwh: Decimal | None = None
    max_kwh: Decimal | None = None
    min_current: Decimal | None = None
    max_current: Decimal | None = None
    min_power: Decimal | None = None
    max_power: Decimal | None = None
    min_duration: int | None = None
    max_duration: int | None = None
    day_of_week: frozenset[str] = frozenset()
    """`DayOfWeek`s; empty restricts nothing, for the field has the cardinality `*`."""
    reservation: str | None = None
    """A `ReservationRestriction`; any other value is kept, and its element never holds."""
    unknown: tuple[str, ...] = ()
    """Names of restrictions that a newer OCPI brought: an element that has one never holds."""

    @property
    def is_understood(self) -> bool:
        """Whether it can be told when they hold."""
        return not self.unknown and (self.reservation is None or self.reservation in set(ReservationRestriction))


UNRESTRICTED = Restrictions()


@dataclass(frozen=True, slots=True)
class TariffElement:
    """Price components under the same restrictions: OCPI 2.2.1 mod_tariffs, TariffElement."""

    price_components: tuple[PriceComponent, ...]
    restrictions: Restrictions = UNRESTRICTED

    def component(self, dimension: Dimension) -> PriceComponent | None:
        """The element's price of a dimension; the first, should it have several."""
        return next((component for component in self.price_components if component.type == dimension), None)


@dataclass(frozen=True, slots=True)
class Tariff:
    """The prices of a charge point: OCPI 2.2.1 mod_tariffs, Tariff."""

    id: str
    currency: str
    elements: tuple[TariffElement, ...]
    """In order: of those that hold, the first that has a dimension prices it."""
    type: str | None = None
    """OCPI's TariffType; None suits every session."""
    min_price: Price | None = None
    max_price: Price | None = None
    start_date_time: datetime | None = None
    end_date_time: datetime | None = None

    def is_valid_at(self, moment: datetime) -> bool:
        """Whether a session that starts then may use it: to the end of the last moment named.

        Once started, a session keeps its tariff, for that is the one the driver agreed to (mod_tariffs, Tariff, notes).
        """
        started = self.start_date_time is None or self.start_date_time <= moment
        return started and (self.end_date_time is None or moment <= self.end_date_time)


def is_free(tariff: Tariff) -> bool:
    """Whether the tariff itself says that every session costs nothing.

    It must say so without a restriction, for every dimension that it names, and without a minimum price. That a
    session happened to meet no component makes no tariff free. OCPI 2.2.1 mod_tariffs, Tariff: "Free of Charge".
    """
    prices = [component.price for element in tariff.elements for component in element.price_components]
    said = any(
        element.restrictions == UNRESTRICTED and any(element.component(dimension) for dimension in Dimension)
        for element in tariff.elements
    )
    return said and not any(prices) and not (tariff.min_price and _is_positive(tariff.min_price))


def ignored(tariff: Tariff) -> tuple[str, ...]:
    """What of the tariff prices nothing because it is not understood, and why: a sentence each for the operator."""
    return tuple(
        reason
        for place, element in enumerate(tariff.elements, 1)
        for reason in _ignored_in(f"element {place}", element)
    )


def _ignored_in(where: str, element: TariffElement) -> Iterator[str]:
    known = element.restrictions
    for name in known.unknown:
        yield f"{where} is never used: its restriction {name} is not known to this version"
    if known.reservation is not None and known.reservation not in set(ReservationRestriction):
        yield f"{where} is never used: reservation {known.reservation} is not known to this version"
    for day in sorted(known.day_of_week - set(DayOfWeek)):
        yield f"{where}: day_of_week {day} is not known and matches no day"
    for component in element.price_components:
        if component.type not in set(Dimension):
            yield f"{where}: a price of {component.type} is not known to this version and is not charged"


def _is_positive(price: Price) -> bool:
    return price.excl_vat > 0 or (price.incl_vat or 0) > 0
