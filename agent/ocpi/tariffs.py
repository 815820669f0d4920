"""The Tariffs module's objects as they travel. What a charge costs by them is worked out elsewhere."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final

import msgspec

from agent.ocpi.objects import PRINTABLE, CountryCode, Currency, Id, Lenient, OurObject, PartyId, Word

_Text64 = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=PRINTABLE)]

_Time = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")]
_Date = Annotated[str, msgspec.Meta(pattern=r"^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\Z")]
"""Both in the local time of the location: OCPI 2.2.1 mod_tariffs, TariffRestrictions."""

_Count = Annotated[int, msgspec.Meta(ge=0)]


class TariffType(Word):
    """OCPI 2.2.1 mod_tariffs, TariffType."""

    AD_HOC_PAYMENT = "AD_HOC_PAYMENT"
    PROFILE_CHEAP = "PROFILE_CHEAP"
    PROFILE_FAST = "PROFILE_FAST"
    PROFILE_GREEN = "PROFILE_GREEN"
    REGULAR = "REGULAR"


class TariffDimensionType(Word):
    """OCPI 2.2.1 mod_tariffs, TariffDimensionType."""

    ENERGY = "ENERGY"
    FLAT = "FLAT"
    PARKING_TIME = "PARKING_TIME"
    TIME = "TIME"


class DayOfWeek(Word):
    """OCPI 2.2.1 mod_tariffs, DayOfWeek."""

    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"


class ReservationRestrictionType(Word):
    """OCPI 2.2.1 mod_tariffs, ReservationRestrictionType."""

    RESERVATION = "RESERVATION"
    RESERVATION_EXPIRES = "RESERVATION_EXPIRES"


class EnergySourceCategory(Word):
    """OCPI 2.2.1 mod_locations, EnergySourceCategory."""

    NUCLEAR = "NUCLEAR"
    GENERAL_FOSSIL = "GENERAL_FOSSIL"
    COAL = "COAL"
    GAS = "GAS"
    GENERAL_GREEN = "GENERAL_GREEN"
    SOLAR = "SOLAR"
    WIND = "WIND"
    WATER = "WATER"


class EnvironmentalImpactCategory(Word):
    """OCPI 2.2.1 mod_locations, EnvironmentalImpactCategory."""

    NUCLEAR_WASTE = "NUCLEAR_WASTE"
    CARBON_DIOXIDE = "CARBON_DIOXIDE"


class Price(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 types, Price."""

    excl_vat: Decimal
    incl_vat: Decimal | None = None


class DisplayText(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 types, DisplayText. `language` is ISO 639-1."""

    language: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2}\Z")]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=512, pattern=PRINTABLE)]


class EnergySource(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_locations, EnergySource. `percentage` of the mix."""

    source: EnergySourceCategory
    percentage: Decimal


class EnvironmentalImpact(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_locations, EnvironmentalImpact. `amount` in g/kWh."""

    category: EnvironmentalImpactCategory
    amount: Decimal


class EnergyMix(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_locations, EnergyMix."""

    is_green_energy: bool
    energy_sources: tuple[EnergySource, ...] = ()
    environ_impact: tuple[EnvironmentalImpact, ...] = ()
    supplier_name: _Text64 | None = None
    energy_product_name: _Text64 | None = None


class PriceComponent(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_tariffs, PriceComponent.

    `price` is excluding VAT and per kWh, per hour, or once. No `vat` is not the same as a `vat` of 0.
    `step_size` counts Wh or seconds.
    """

    type: TariffDimensionType
    price: Decimal
    vat: Decimal | None = None
    step_size: _Count


class TariffRestrictions(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_tariffs, TariffRestrictions. Amperes over all phases, kW, and seconds."""

    start_time: _Time | None = None
    end_time: _Time | None = None
    start_date: _Date | None = None
    end_date: _Date | None = None
    min_kwh: Decimal | None = None
    max_kwh: Decimal | None = None
    min_current: Decimal | None = None
    max_current: Decimal | None = None
    min_power: Decimal | None = None
    max_power: Decimal | None = None
    min_duration: _Count | None = None
    max_duration: _Count | None = None
    day_of_week: tuple[DayOfWeek, ...] = ()
    reservation: ReservationRestrictionType | None = None


class TariffElement(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_tariffs, TariffElement."""

    price_components: Annotated[tuple[PriceComponent, ...], msgspec.Meta(min_length=1)]
    restrictions: TariffRestrictions | None = None


class Tariff(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_tariffs, Tariff."""

    country_code: CountryCode
    party_id: PartyId
    id: Id
    currency: Currency
    type: TariffType | None = None
    tariff_alt_text: tuple[DisplayText, ...] = ()
    tariff_alt_url: Annotated[str, msgspec.Meta(pattern=r"^https?://[\x21-\x7e]{1,247}\Z")] | None = None
    min_price: Price | None = None
    max_price: Price | None = None
    elements: Annotated[tuple[TariffElement, ...], msgspec.Meta(min_length=1)]
    start_date_time: datetime | None = None
    end_date_time: datetime | None = None
    energy_mix: EnergyMix | None = None
    last_updated: datetime


TARIFF: Final = Lenient(Tariff)
