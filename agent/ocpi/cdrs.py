"""The CDRs module's objects as they travel: what a finished charge is billed by."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Self

import msgspec

from agent.ocpi.objects import PRINTABLE, CountryCode, Currency, Id, Id39, Lenient, OurObject, PartyId, Text255, Word
from agent.ocpi.tariffs import Price, Tariff
from agent.ocpi.tokens import TokenType

_Text45 = Annotated[str, msgspec.Meta(min_length=1, max_length=45, pattern=PRINTABLE)]
_Blob = Annotated[str, msgspec.Meta(max_length=5000)]

Given = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=PRINTABLE)]
"""A token's uid and contract. OCPI allows 36 characters; what its eMSP wrote goes back to it as it was."""

GivenReference = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=PRINTABLE)]
"""An authorization_reference, in the same way. OCPI allows 36 characters."""

_LONGEST_ID: Final = 36
"""Characters of a CDR's id that is no credit: OCPI 2.2.1 mod_cdrs, CDR object."""


class AuthMethod(Word):
    """OCPI 2.2.1 mod_cdrs, AuthMethod."""

    AUTH_REQUEST = "AUTH_REQUEST"
    COMMAND = "COMMAND"
    WHITELIST = "WHITELIST"


class CdrDimensionType(Word):
    """OCPI 2.2.1 mod_cdrs, CdrDimensionType. Energy is in kWh, time in hours."""

    CURRENT = "CURRENT"
    ENERGY = "ENERGY"
    ENERGY_EXPORT = "ENERGY_EXPORT"
    ENERGY_IMPORT = "ENERGY_IMPORT"
    MAX_CURRENT = "MAX_CURRENT"
    MIN_CURRENT = "MIN_CURRENT"
    MAX_POWER = "MAX_POWER"
    MIN_POWER = "MIN_POWER"
    PARKING_TIME = "PARKING_TIME"
    POWER = "POWER"
    RESERVATION_TIME = "RESERVATION_TIME"
    STATE_OF_CHARGE = "STATE_OF_CHARGE"
    TIME = "TIME"


SESSION_ONLY: Final = frozenset(
    {
        CdrDimensionType.CURRENT,
        CdrDimensionType.ENERGY_EXPORT,
        CdrDimensionType.ENERGY_IMPORT,
        CdrDimensionType.POWER,
        CdrDimensionType.STATE_OF_CHARGE,
    }
)
"""Dimensions that no CDR may have: OCPI 2.2.1 mod_cdrs, CdrDimensionType, column "Session only"."""


class ConnectorType(Word):
    """OCPI 2.2.1 mod_locations, ConnectorType."""

    CHADEMO = "CHADEMO"
    CHAOJI = "CHAOJI"
    DOMESTIC_A = "DOMESTIC_A"
    DOMESTIC_B = "DOMESTIC_B"
    DOMESTIC_C = "DOMESTIC_C"
    DOMESTIC_D = "DOMESTIC_D"
    DOMESTIC_E = "DOMESTIC_E"
    DOMESTIC_F = "DOMESTIC_F"
    DOMESTIC_G = "DOMESTIC_G"
    DOMESTIC_H = "DOMESTIC_H"
    DOMESTIC_I = "DOMESTIC_I"
    DOMESTIC_J = "DOMESTIC_J"
    DOMESTIC_K = "DOMESTIC_K"
    DOMESTIC_L = "DOMESTIC_L"
    DOMESTIC_M = "DOMESTIC_M"
    DOMESTIC_N = "DOMESTIC_N"
    DOMESTIC_O = "DOMESTIC_O"
    GBT_AC = "GBT_AC"
    GBT_DC = "GBT_DC"
    IEC_60309_2_SINGLE_16 = "IEC_60309_2_single_16"
    IEC_60309_2_THREE_16 = "IEC_60309_2_three_16"
    IEC_60309_2_THREE_32 = "IEC_60309_2_three_32"
    IEC_60309_2_THREE_64 = "IEC_60309_2_three_64"
    IEC_62196_T1 = "IEC_62196_T1"
    IEC_62196_T1_COMBO = "IEC_62196_T1_COMBO"
    IEC_62196_T2 = "IEC_62196_T2"
    IEC_62196_T2_COMBO = "IEC_62196_T2_COMBO"
    IEC_62196_T3A = "IEC_62196_T3A"
    IEC_62196_T3C = "IEC_62196_T3C"
    NEMA_5_20 = "NEMA_5_20"
    NEMA_6_30 = "NEMA_6_30"
    NEMA_6_50 = "NEMA_6_50"
    NEMA_10_30 = "NEMA_10_30"
    NEMA_10_50 = "NEMA_10_50"
    NEMA_14_30 = "NEMA_14_30"
    NEMA_14_50 = "NEMA_14_50"
    PANTOGRAPH_BOTTOM_UP = "PANTOGRAPH_BOTTOM_UP"
    PANTOGRAPH_TOP_DOWN = "PANTOGRAPH_TOP_DOWN"
    TESLA_R = "TESLA_R"
    TESLA_S = "TESLA_S"


class ConnectorFormat(Word):
    """OCPI 2.2.1 mod_locations, ConnectorFormat."""

    SOCKET = "SOCKET"
    CABLE = "CABLE"


class PowerType(Word):
    """OCPI 2.2.1 mod_locations, PowerType."""

    AC_1_PHASE = "AC_1_PHASE"
    AC_2_PHASE = "AC_2_PHASE"
    AC_2_PHASE_SPLIT = "AC_2_PHASE_SPLIT"
    AC_3_PHASE = "AC_3_PHASE"
    DC = "DC"


class GeoLocation(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_locations, GeoLocation. Degrees of WGS 84."""

    latitude: Annotated[str, msgspec.Meta(max_length=10, pattern=r"^-?[0-9]{1,2}\.[0-9]{5,7}\Z")]
    longitude: Annotated[str, msgspec.Meta(max_length=11, pattern=r"^-?[0-9]{1,3}\.[0-9]{5,7}\Z")]


class CdrLocation(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_cdrs, CdrLocation. `country` is ISO 3166-1 alpha-3."""

    id: Id
    name: Text255 | None = None
    address: _Text45
    city: _Text45
    postal_code: Annotated[str, msgspec.Meta(min_length=1, max_length=10, pattern=PRINTABLE)] | None = None
    state: Annotated[str, msgspec.Meta(min_length=1, max_length=20, pattern=PRINTABLE)] | None = None
    country: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
    coordinates: GeoLocation
    evse_uid: Id
    evse_id: Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]{1,48}\Z")]
    connector_id: Id
    connector_standard: ConnectorType
    connector_format: ConnectorFormat
    connector_power_type: PowerType


class CdrToken(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_cdrs, CdrToken. Country and party are the eMSP's."""

    country_code: CountryCode
    party_id: PartyId
    uid: Given
    type: TokenType
    contract_id: Given


class CdrDimension(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_cdrs, CdrDimension."""

    type: CdrDimensionType
    volume: Decimal


class ChargingPeriod(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_cdrs, ChargingPeriod. It ends where the next one begins, the last one with the session."""

    start_date_time: datetime
    dimensions: Annotated[tuple[CdrDimension, ...], msgspec.Meta(min_length=1)]
    tariff_id: Id | None = None


class SignedValue(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_cdrs, SignedValue. The blobs are the meter's, passed on as they are."""

    nature: Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]{1,32}\Z")]
    plain_data: _Blob
    signed_data: _Blob


class SignedData(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_cdrs, SignedData."""

    encoding_method: Id
    encoding_method_version: int | None = None
    public_key: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    signed_values: Annotated[tuple[SignedValue, ...], msgspec.Meta(min_length=1)]
    url: Annotated[str, msgspec.Meta(max_length=512, pattern=PRINTABLE)] | None = None


class Cdr(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_cdrs, CDR object. Energy in kWh, times in hours.

    Sealed: a CDR that was sent is never changed, only credited. Building one raises ValueError for a credit without
    the id that it credits, or the reverse; for an id of more than 36 characters on anything but a credit; and for
    dimensions that belong into sessions alone.
    """

    country_code: CountryCode
    party_id: PartyId
    id: Id39
    start_date_time: datetime
    end_date_time: datetime
    session_id: Id | None = None
    cdr_token: CdrToken
    auth_method: AuthMethod
    authorization_reference: GivenReference | None = None
    cdr_location: CdrLocation
    meter_id: Text255 | None = None
    currency: Currency
    tariffs: tuple[Tariff, ...] = ()
    charging_periods: Annotated[tuple[ChargingPeriod, ...], msgspec.Meta(min_length=1)]
    signed_data: SignedData | None = None
    total_cost: Price
    total_fixed_cost: Price | None = None
    total_energy: Decimal
    total_energy_cost: Price | None = None
    total_time: Decimal
    total_time_cost: Price | None = None
    total_parking_time: Decimal | None = None
    total_parking_cost: Price | None = None
    total_reservation_cost: Price | None = None
    remark: Text255 | None = None
    invoice_reference_id: Id39 | None = None
    credit: bool | None = None
    credit_reference_id: Id39 | None = None
    home_charging_compensation: bool | None = None
    last_updated: datetime

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.credit) != (self.credit_reference_id is not None):
            raise ValueError("credit and credit_reference_id: expected both or neither")
        if not self.credit and len(self.id) > _LONGEST_ID:
            raise ValueError(f"id: expected at most {_LONGEST_ID} characters, as this is no credit CDR")
        used = {dimension.type for period in self.charging_periods for dimension in period.dimensions}
        if used & SESSION_ONLY:
            raise ValueError(f"charging_periods: {', '.join(sorted(used & SESSION_ONLY))} may stand in sessions only")

    def credited(self, cdr_id: str, at: datetime) -> Self:
        """The credit CDR that takes this one back: OCPI 2.2.1 mod_cdrs, Credit CDRs. Only `total_cost` is negative.

        Raises ValueError for a CDR that is a credit itself.
        """
        if self.credit:
            raise ValueError(f"CDR {self.id}: expected a CDR that is no credit itself")
        cost = self.total_cost
        negative = Price(
            excl_vat=cost.excl_vat.copy_negate(),
            incl_vat=None if cost.incl_vat is None else cost.incl_vat.copy_negate(),
        )
        return msgspec.structs.replace(
            self, id=cdr_id, credit=True, credit_reference_id=self.id, total_cost=negative, last_updated=at
        )


CDR: Final = Lenient(Cdr)
