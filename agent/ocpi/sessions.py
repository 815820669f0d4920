"""The Sessions module's objects as they travel: a charge while it runs, whole or as what has changed of it."""

from datetime import datetime
from decimal import Decimal
from typing import Final

from agent.ocpi.cdrs import AuthMethod, CdrToken, ChargingPeriod, GivenReference
from agent.ocpi.objects import CountryCode, Currency, Id, Lenient, OurObject, PartyId, Text255, Word
from agent.ocpi.tariffs import Price


class SessionStatus(Word):
    """OCPI 2.2.1 mod_sessions, SessionStatus."""

    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    INVALID = "INVALID"
    PENDING = "PENDING"
    RESERVATION = "RESERVATION"


class Session(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_sessions, Session object."""

    country_code: CountryCode
    party_id: PartyId
    id: Id
    start_date_time: datetime
    end_date_time: datetime | None = None
    kwh: Decimal
    cdr_token: CdrToken
    auth_method: AuthMethod
    authorization_reference: GivenReference | None = None
    location_id: Id
    evse_uid: Id
    connector_id: Id
    meter_id: Text255 | None = None
    currency: Currency
    charging_periods: tuple[ChargingPeriod, ...] = ()
    total_cost: Price | None = None
    status: SessionStatus
    last_updated: datetime


class SessionPatch(OurObject, frozen=True, kw_only=True):
    """OCPI 2.2.1 mod_sessions, PATCH: what has changed of a session, and when. None is unchanged.

    `charging_periods` are added to those that the receiver has. So a PATCH with periods, unlike one without, must not
    be sent a second time.
    """

    start_date_time: datetime | None = None
    end_date_time: datetime | None = None
    kwh: Decimal | None = None
    cdr_token: CdrToken | None = None
    auth_method: AuthMethod | None = None
    authorization_reference: GivenReference | None = None
    location_id: Id | None = None
    evse_uid: Id | None = None
    connector_id: Id | None = None
    meter_id: Text255 | None = None
    currency: Currency | None = None
    charging_periods: tuple[ChargingPeriod, ...] = ()
    total_cost: Price | None = None
    status: SessionStatus | None = None
    last_updated: datetime

    @property
    def may_be_repeated(self) -> bool:
        """Whether the receiver ends up with the same session when this reaches it twice."""
        return not self.charging_periods


SESSION: Final = Lenient(Session)

_REPLACED: Final = tuple(
    name for name in SessionPatch.__struct_fields__ if name not in {"charging_periods", "last_updated"}
)


def change(known: Session, now: Session) -> SessionPatch | None:
    """What a receiver that has `known` must be told for it to have `now`; None where only a PUT of the whole can.

    That is so where a field is gone, or a charging period is no longer as it was: a PATCH only adds periods.
    Raises ValueError for two different sessions.
    """
    if (known.country_code, known.party_id, known.id) != (now.country_code, now.party_id, now.id):
        raise ValueError(f"session {now.id}: expected an earlier state of it, not session {known.id}")
    fields = {name: getattr(now, name) for name in _REPLACED if getattr(now, name) != getattr(known, name)}
    kept = len(known.charging_periods)
    if None in fields.values() or now.charging_periods[:kept] != known.charging_periods:
        return None
    return SessionPatch(**fields, charging_periods=now.charging_periods[kept:], last_updated=now.last_updated)
