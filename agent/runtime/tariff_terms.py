"""The operator's own tariff: read from its file without mercy, and put into the words by which it is worked out.

A peer's object is read leniently; this one is the operator's, and what is misspelt in it would price nothing.
"""

import re
from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from typing import Final

import msgspec

from agent.core import tariff as core
from agent.ocpi.objects import Word, encode
from agent.ocpi.tariffs import (
    DayOfWeek,
    EnergySourceCategory,
    EnvironmentalImpactCategory,
    Price,
    PriceComponent,
    ReservationRestrictionType,
    Tariff,
    TariffDimensionType,
    TariffElement,
    TariffRestrictions,
    TariffType,
)

_AT: Final = " - at `$"
"""Between what msgspec has against a document, and where."""

_WORDS: Final[dict[str, type[Word]]] = {
    "type": TariffType,
    "elements.price_components.type": TariffDimensionType,
    "elements.restrictions.day_of_week": DayOfWeek,
    "elements.restrictions.reservation": ReservationRestrictionType,
    "energy_mix.energy_sources.source": EnergySourceCategory,
    "energy_mix.environ_impact.category": EnvironmentalImpactCategory,
}
"""What msgspec doesn't say: the words that a field may have."""

_DECIMALS: Final = 4
"""OCPI 2.2.1 types, number."""


def read_tariff(text: bytes) -> Tariff:
    """An OCPI 2.2.1 Tariff object, as JSON. Raises ValueError, naming the field and what is expected there."""
    try:
        raw = msgspec.json.decode(text)
        tariff = msgspec.json.decode(text, type=Tariff)
    except ValueError as error:
        raise ValueError(_told(error)) from None
    wrong = next(_wrong(raw, tariff, ""), None)
    if wrong is not None:
        raise ValueError(wrong)
    terms_of(tariff)
    encode(tariff)
    return tariff


def terms_of(tariff: Tariff) -> core.Tariff:
    """The same prices, to be worked out. Raises ValueError, naming the field, for a date that is in no calendar."""
    return core.Tariff(
        tariff.id,
        tariff.currency,
        tuple(_element(element, f"elements[{place}]") for place, element in enumerate(tariff.elements)),
        None if tariff.type is None else tariff.type.value,
        _price(tariff.min_price),
        _price(tariff.max_price),
        tariff.start_date_time,
        tariff.end_date_time,
    )


def _told(error: ValueError) -> str:
    what, _, path = str(error).partition(_AT)
    where = path.strip("`").removeprefix(".")
    words = _WORDS.get(re.sub(r"\[[^]]*\]", "", where)) if "enum" in what else None
    expected = f"; expected one of {', '.join(word.value for word in words)}" if words else ""
    return f"{where or 'the tariff'}: {what[:1].lower()}{what[1:]}{expected}"


def _wrong(raw: object, read: object, where: str) -> Iterator[str]:
    """What was written and does not count."""
    match raw, read:
        case dict(), msgspec.Struct():
            for key, value in raw.items():
                below = f"{where}.{key}" if where else key
                if key not in read.__struct_fields__:
                    known = ", ".join(read.__struct_fields__)
                    yield f"{below}: not a field of OCPI 2.2.1 {type(read).__name__}; expected one of {known}"
                else:
                    yield from _wrong(value, getattr(read, key), below)
        case list(), tuple():
            for place, (value, inside) in enumerate(zip(raw, read, strict=True)):
                yield from _wrong(value, inside, f"{where}[{place}]")
        case _, Decimal() if -int(read.as_tuple().exponent) > _DECIMALS:
            yield f"{where}: expected at most {_DECIMALS} decimals, not {read}"
        case _:
            pass


def _element(element: TariffElement, where: str) -> core.TariffElement:
    components = tuple(_component(component) for component in element.price_components)
    if element.restrictions is None:
        return core.TariffElement(components)
    return core.TariffElement(components, _restrictions(element.restrictions, f"{where}.restrictions"))


def _component(component: PriceComponent) -> core.PriceComponent:
    return core.PriceComponent(component.type.value, component.price, component.step_size, component.vat)


def _restrictions(known: TariffRestrictions, where: str) -> core.Restrictions:
    return core.Restrictions(
        _time(known.start_time),
        _time(known.end_time),
        _date(known.start_date, f"{where}.start_date"),
        _date(known.end_date, f"{where}.end_date"),
        known.min_kwh,
        known.max_kwh,
        known.min_current,
        known.max_current,
        known.min_power,
        known.max_power,
        known.min_duration,
        known.max_duration,
        frozenset(day.value for day in known.day_of_week),
        None if known.reservation is None else known.reservation.value,
    )


def _time(text: str | None) -> time | None:
    return None if text is None else time.fromisoformat(text)


def _date(text: str | None, where: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{where}: expected a date of the calendar, not {text}: {error}") from None


def _price(price: Price | None) -> core.Price | None:
    return None if price is None else core.Price(price.excl_vat, price.incl_vat)
