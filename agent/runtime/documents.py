"""What a session and its CDR say, as OCPI 2.2.1 objects: written here once, and never looked into on their way.

Why they say it so is in `docs/decisions/0011-what-a-session-and-its-cdr-say.md`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import structs

from agent.core import tariff as core
from agent.core.account import Account, Pricing, Remark, asks_for_power, settled
from agent.core.tariff_cost import Cost, cost
from agent.core.tariff_matching import active_components
from agent.core.tariff_periods import moment_in
from agent.core.tariff_usage import Activity, ChargingPeriod, hours, rounded, with_progress
from agent.model import Recorded, Source
from agent.ocpi import cdrs
from agent.ocpi.cdrs import CDR, AuthMethod, Cdr, CdrDimension, CdrDimensionType, CdrLocation, CdrToken, GivenReference
from agent.ocpi.objects import Lenient, OurObject, encode
from agent.ocpi.sessions import SESSION, Session, SessionStatus
from agent.ocpi.tariffs import Price, Tariff
from agent.ocpi.tokens import TokenType
from agent.runtime.tariff_terms import terms_of

_CREDIT: Final = "-C"
"""OCPI 2.2.1 mod_cdrs, Credit CDRs: the chapter's own suggestion."""

_LONGEST_REMARK: Final = 255

_TIME_OF: Final = {
    Activity.CHARGING: CdrDimensionType.TIME,
    Activity.PARKING: CdrDimensionType.PARKING_TIME,
    Activity.RESERVED: CdrDimensionType.RESERVATION_TIME,
    Activity.RESERVATION_EXPIRED: CdrDimensionType.RESERVATION_TIME,
}

_SENTENCES: Final = {
    Remark.NO_METER: "No energy meter: energy was not measured.",
    Remark.METER_LATE: "Energy was not measured from the start.",
    Remark.METER_SILENT: "The energy meter was silent for a while.",
    Remark.METER_WENT_BACK: "The meter went back.",
    Remark.METER_JUMPED: "A meter leap is ignored.",
    Remark.POWER_CUT: "Resumed after a power cut.",
    Remark.END_UNSEEN: "Its end was not seen: ended as last recorded.",
    Remark.CLOCK_CORRECTED: "The clock was corrected.",
    Remark.CLOCK_UNKNOWN: "Date and time are not certain.",
    Remark.STOPPED_BY_OPERATOR: "Stopped by the operator.",
    Remark.LATE_REFUSAL: "Stopped, as the eMSP refused it later.",
    Remark.FAULT: "Ended by a fault.",
    Remark.SHUTDOWN: "Ended by a shutdown.",
}
"""Short: all that one session can come to has to fit into a CDR's remark."""

_NO_TARIFF: Final = "No tariff was valid: a total_cost of 0 does not mean free of charge."
_NOT_MEASURED: Final = "What was drawn is not known: a total_cost of 0 does not mean free of charge."
_NO_PRICE: Final = "The tariff has no price for this: a total_cost of 0 does not mean free of charge."


class _Facts(OurObject, frozen=True, kw_only=True):
    """What an authorization brings into a session, and OCPI may object to."""

    cdr_token: CdrToken
    authorization_reference: GivenReference | None = None


class Documents:
    """Writes the sessions and CDRs of one EVSE. Every method raises ValueError for what OCPI does not allow."""

    def __init__(
        self,
        *,
        party: tuple[str, str],
        place: CdrLocation,
        tariff: Tariff,
        tz: tzinfo,
        meter_id: str | None = None,
    ) -> None:
        """`party` is our country and party, `tz` the location's. Raises ValueError for what can't be written."""
        encode(place)
        self.tariff = encode(tariff)
        """As JSON: what a session that begins now is priced by to its end."""
        self._country_code, self._party_id = party
        self._place = place
        self._tariff = tariff
        self._meter_id = meter_id
        self.pricing = Pricing(terms_of(tariff), tz)

    def why_none(self, recorded: Recorded) -> str | None:
        """Why nobody can be told of it, in a sentence for the operator; None when somebody can."""
        entry = recorded.entry
        owner = {"country": entry.country_code, "party": entry.party_id, "contract": entry.contract_id}
        missing = [name for name, value in owner.items() if not value]
        if missing:
            *first, last = missing
            what = f"{', '.join(first)} and {last} are" if first else f"{last} is"
            return f"the card's owner can't be billed: its {what} not known"
        try:
            encode(_Facts(cdr_token=_token(recorded), authorization_reference=_reference(recorded)))
        except ValueError as error:
            return f"what its owner gave for this card can't stand in a CDR: {error}"
        return None

    def session(
        self,
        session_id: str,
        recorded: Recorded,
        account: Account,
        *,
        ended: bool,
        changed_at: datetime,
        billed: bool = True,
    ) -> bytes:
        """OCPI 2.2.1 mod_sessions, Session. While it runs every later one is reached by a PATCH from this one.

        But for a clock that is put right: that changes what was told already. One that has ended and is not `billed`
        is INVALID, and costs nothing that could be told.
        """
        so_far = settled(account, self.pricing)
        complete = so_far.periods if ended else account.periods[:-1]
        own = Session(
            country_code=self._country_code,
            party_id=self._party_id,
            id=session_id,
            start_date_time=account.started_at,
            end_date_time=account.until if ended else None,
            kwh=_kwh(account),
            cdr_token=_token(recorded),
            auth_method=_auth_method(recorded),
            authorization_reference=_reference(recorded),
            location_id=self._place.id,
            evse_uid=self._place.evse_uid,
            connector_id=self._place.connector_id,
            meter_id=self._meter_of(account),
            currency=self._tariff.currency,
            charging_periods=self._periods(complete, account),
            total_cost=self._cost_so_far(so_far, so_far.periods if ended else account.periods) if billed else None,
            status=_ended_as(billed=billed) if ended else SessionStatus.ACTIVE,
            last_updated=changed_at,
        )
        return encode(own)

    def cdr(self, cdr_id: str, session_id: str, recorded: Recorded, account: Account, *, changed_at: datetime) -> bytes:
        """OCPI 2.2.1 mod_cdrs, CDR, of a session that has ended."""
        whole = settled(account, self.pricing)
        tariff = self.pricing.tariff_at(whole.started_at)
        costs = self._costs(whole)
        own = Cdr(
            country_code=self._country_code,
            party_id=self._party_id,
            id=cdr_id,
            start_date_time=whole.started_at,
            end_date_time=whole.until,
            session_id=session_id,
            cdr_token=_token(recorded),
            auth_method=_auth_method(recorded),
            authorization_reference=_reference(recorded),
            cdr_location=self._place,
            meter_id=self._meter_of(whole),
            currency=self._tariff.currency,
            tariffs=() if tariff is None else (self._tariff,),
            charging_periods=self._periods(whole.periods, whole),
            total_cost=_price(costs.total),
            total_fixed_cost=_price_of(costs.fixed),
            total_energy=costs.total_energy,
            total_energy_cost=None if whole.metered_from is None else _price_of(costs.energy),
            total_time=costs.total_time,
            total_time_cost=_price_of(costs.time),
            total_parking_time=costs.total_parking_time,
            total_parking_cost=_price_of(costs.parking),
            total_reservation_cost=_price_of(costs.reservation),
            remark=_remark(whole, costs, tariff),
            last_updated=changed_at,
        )
        return encode(own)

    def _costs(self, account: Account) -> Cost:
        return cost(self.pricing.cutting(account.started_at), account.periods, self.pricing.tz)

    def _cost_so_far(self, account: Account, certain: Sequence[ChargingPeriod]) -> Price | None:
        """Left out as long as it would be a 0.00 that the tariff does not mean: OCPI 2.2.1 mod_sessions, total_cost.

        What is said once stays: it depends only on periods that are `certain`, for a PATCH can't take a field away.
        """
        tariff = self.pricing.tariff_at(account.started_at)
        if tariff is None:
            return None
        says = core.is_free(tariff) or (certain and (_has_minimum(tariff) or self._is_charged(tariff, certain)))
        return _price(self._costs(account).total) if says else None

    def _is_charged(self, tariff: core.Tariff, periods: Sequence[ChargingPeriod]) -> bool:
        """Whether anything was consumed that has a price."""
        return any(
            active.component.price and _is_consumed(dimension, period)
            for period, progress in with_progress(periods)
            for dimension, active in active_components(tariff, moment_in(period, progress), self.pricing.tz).items()
        )

    def _meter_of(self, account: Account) -> str | None:
        return None if Remark.NO_METER in account.remarks else self._meter_id

    def _periods(self, periods: Iterable[ChargingPeriod], account: Account) -> tuple[cdrs.ChargingPeriod, ...]:
        tariff = self.pricing.tariff_at(account.started_at)
        return tuple(
            cdrs.ChargingPeriod(
                start_date_time=period.start,
                dimensions=tuple(_dimensions(period, account, tariff)),
                tariff_id=None if tariff is None else tariff.id,
            )
            for period in periods
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """What people want to know of a session or a CDR."""

    started_at: datetime
    ended_at: datetime | None
    kwh: Decimal
    currency: str
    excl_vat: Decimal | None
    """None: no cost is given, which is not to say that it is free."""
    incl_vat: Decimal | None
    """None: no cost is given, or no VAT applies."""
    is_credit: bool
    """Takes back the CDR that it names: `excl_vat` and `incl_vat` are negative."""


def never_billed(session: bytes, account: Account, changed_at: datetime) -> bytes:
    """A session that was told, as it is to be told now that it is over and nobody can be billed for it.

    Raises ValueError for what is no session of OCPI.
    """
    told = SESSION.decode(session)
    return encode(
        structs.replace(
            told,
            start_date_time=account.started_at,
            end_date_time=account.until,
            kwh=_kwh(account),
            # Of no use without a bill, and of another time where the clock was put right.
            charging_periods=(),
            total_cost=None,
            status=_ended_as(billed=False),
            last_updated=changed_at,
        )
    )


def credit_of(cdr: bytes, at: datetime) -> tuple[str, bytes]:
    """The id of the credit CDR that takes back `cdr`, and itself. Raises ValueError for one that is a credit."""
    original = CDR.decode(cdr)
    cdr_id = original.id + _CREDIT
    return cdr_id, encode(original.credited(cdr_id, at))


def figures_of(document: bytes) -> Figures:
    """The figures of a session or CDR that was written here. Raises ValueError for anything else."""
    said = _FIGURES.decode(document)
    kwh = said.kwh if said.total_energy is None else said.total_energy
    if kwh is None:
        raise ValueError("neither a session nor a CDR: expected kwh or total_energy")
    price = said.total_cost
    return Figures(
        said.start_date_time,
        said.end_date_time,
        kwh,
        said.currency,
        None if price is None else price.excl_vat,
        None if price is None else price.incl_vat,
        bool(said.credit),
    )


class _Said(msgspec.Struct):
    start_date_time: datetime
    currency: str
    end_date_time: datetime | None = None
    kwh: Decimal | None = None
    total_energy: Decimal | None = None
    total_cost: Price | None = None
    credit: bool | None = None


_FIGURES: Final = Lenient(_Said)


def _ended_as(*, billed: bool) -> SessionStatus:
    """OCPI 2.2.1 mod_sessions, SessionStatus: after COMPLETED comes a CDR, INVALID "will not be billed"."""
    return SessionStatus.COMPLETED if billed else SessionStatus.INVALID


def _kwh(account: Account) -> Decimal:
    return Decimal(account.energy_wh or 0).scaleb(-3)


def _token(recorded: Recorded) -> CdrToken:
    entry = recorded.entry
    return CdrToken(
        country_code=entry.country_code or "",
        party_id=entry.party_id or "",
        uid=entry.token_uid or entry.uid,
        type=TokenType.RFID,
        contract_id=entry.contract_id or "",
    )


def _reference(recorded: Recorded) -> str | None:
    """The last one given. An empty one is none."""
    return recorded.entry.authorization_reference or None


def _auth_method(recorded: Recorded) -> AuthMethod:
    """AUTH_REQUEST where a peer decided, or its reference came late: OCPI 2.2.1 mod_cdrs, "the last method"."""
    asked = recorded.entry.source is Source.REALTIME or any(late.joined for late in recorded.late)
    return AuthMethod.AUTH_REQUEST if asked else AuthMethod.WHITELIST


def _dimensions(period: ChargingPeriod, account: Account, tariff: core.Tariff | None) -> Iterable[CdrDimension]:
    yield CdrDimension(type=_TIME_OF[period.activity], volume=rounded(hours(period.duration)))
    if not _is_metered(period, account.metered_from):
        return
    yield CdrDimension(type=CdrDimensionType.ENERGY, volume=period.energy_kwh)
    power = period.power
    if tariff is not None and asks_for_power(tariff) and power is not None and power.highest.is_finite():
        yield CdrDimension(type=CdrDimensionType.MIN_POWER, volume=power.lowest)
        yield CdrDimension(type=CdrDimensionType.MAX_POWER, volume=power.highest)


def _is_metered(period: ChargingPeriod, metered_from: datetime | None) -> bool:
    """Whether the meter was read by the period's end. What was drawn in no time at all was read, too."""
    if metered_from is None:
        return False
    return period.end > metered_from or period.start == metered_from or bool(period.energy_kwh)


def _is_consumed(dimension: core.Dimension, period: ChargingPeriod) -> bool:
    match dimension:
        case core.Dimension.FLAT:
            return True
        case core.Dimension.ENERGY:
            return bool(period.energy_kwh)
        case core.Dimension.TIME | core.Dimension.PARKING_TIME:
            return bool(period.duration)


def _has_minimum(tariff: core.Tariff) -> bool:
    least = tariff.min_price
    return least is not None and (least.excl_vat > 0 or (least.incl_vat or 0) > 0)


def _remark(account: Account, costs: Cost, tariff: core.Tariff | None) -> str | None:
    """What fits, by whole sentences; what bears on the amounts first."""
    remarks = sorted(set(account.remarks), key=list(Remark).index)
    sentences = [*_why_zero(account, costs, tariff), *(_SENTENCES[remark] for remark in remarks)]
    text = ""
    for sentence in (*sentences, *(f"{remark[:1].upper()}{remark[1:]}." for remark in costs.remarks)):
        longer = f"{text} {sentence}".lstrip()
        text = longer if len(longer) <= _LONGEST_REMARK else text
    return text or None


def _why_zero(account: Account, costs: Cost, tariff: core.Tariff | None) -> Iterable[str]:
    """What else a total of 0 may be taken for, where the tariff does not say that it is free."""
    if costs.total.excl_vat:
        return
    if tariff is None:
        yield _NO_TARIFF
    elif all(part is None for part in (costs.fixed, costs.energy, costs.time, costs.parking, costs.reservation)):
        yield _NO_PRICE
    elif account.metered_from is None and costs.energy is not None and _prices_energy(tariff):
        yield _NOT_MEASURED


def _prices_energy(tariff: core.Tariff) -> bool:
    components = [element.component(core.Dimension.ENERGY) for element in tariff.elements]
    return any(component is not None and component.price for component in components)


def _price(price: core.Price) -> Price:
    return Price(excl_vat=price.excl_vat, incl_vat=price.incl_vat)


def _price_of(price: core.Price | None) -> Price | None:
    return None if price is None else _price(price)
