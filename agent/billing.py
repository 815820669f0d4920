"""Builds what sessions are priced and written by, from the configuration and the tariff that it names."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from agent.charges import Open
from agent.config import Config, EvseSection
from agent.core.account import Pricing
from agent.core.evse_state import Settings
from agent.errors import ConfigError
from agent.model import EndReason
from agent.ocpi.cdrs import CdrLocation
from agent.ocpi.tariffs import Tariff
from agent.runtime.clock import Clock
from agent.runtime.documents import Documents
from agent.runtime.ledger import Ledger, LedgerSettings
from agent.runtime.tariff_terms import read_tariff
from agent.storage import Stores

log = logging.getLogger(__name__)


def tariff_of(config: Config, config_path: Path) -> Tariff | None:
    """The operator's tariff; None where nothing is billed. Raises ConfigError."""
    if config.billing is None:
        return None
    path = config_path.parent / config.billing.tariff_file
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{config_path}: billing: tariff_file: can't be read: {error}") from error
    try:
        return read_tariff(text)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def documents_of(config: Config, evse: EvseSection, tariff: Tariff | None) -> Documents | None:
    """Writes the sessions of one EVSE as OCPI has them. Raises ConfigError for what OCPI would not take."""
    if tariff is None:
        return None
    return Documents(
        party=(config.party.country_code, config.party.party_id),
        place=_place(config, evse),
        tariff=tariff,
        tz=ZoneInfo(config.location.time_zone),
    )


def pricing_of(config: Config) -> Pricing:
    """By what a session is accounted that nobody is billed for."""
    return Pricing(None, ZoneInfo(config.location.time_zone))


def _place(config: Config, evse: EvseSection) -> CdrLocation:
    location, connector = config.location, evse.connector
    fields = {
        "id": location.id,
        "name": location.name,
        "address": location.address,
        "city": location.city,
        "postal_code": location.postal_code,
        "state": location.state,
        "country": location.country,
        "coordinates": {"latitude": location.latitude, "longitude": location.longitude},
        "evse_uid": evse.uid,
        "evse_id": evse.id,
        "connector_id": connector.id if connector else None,
        "connector_standard": connector.standard if connector else None,
        "connector_format": connector.format if connector else None,
        "connector_power_type": connector.power_type if connector else None,
    }
    try:
        return msgspec.convert(fields, CdrLocation)
    except msgspec.ValidationError as error:
        raise ConfigError(f"evse {evse.uid}: what its CDRs would say of the place is not OCPI: {error}") from error


def evse_settings(config: Config, section: EvseSection) -> Settings:
    """How an EVSE is fitted, and how its charges begin, pause and end."""
    session = config.session
    return Settings(
        has_plug_sensor=section.plug is not None,
        has_meter=section.meter is not None,
        connection_timeout_s=session.connection_timeout_s,
        stop_after_s=config.policy.stop_after_s,
        suspended_below_w=session.suspended_below_w,
        suspended_after_s=session.suspended_after_s,
        resume_within_s=session.resume_within_s,
        late_refusal=config.policy.late_refusal,
    )


def ledger_of(
    config: Config, section: EvseSection, tariff: Tariff | None, stores: Stores, clock: Clock
) -> Callable[[Callable[[int], None]], Ledger]:
    """Keeps the books of one EVSE. Raises ConfigError for what no CDR can say."""
    documents, session = documents_of(config, section, tariff), config.session
    settings = LedgerSettings(
        has_meter=section.meter is not None,
        persist_energy_wh=session.persist_energy_wh,
        persist_every_s=session.persist_every_s,
    )
    if config.billing is not None:
        settings = replace(
            settings,
            report_energy_wh=config.billing.report_energy_wh,
            report_every_s=config.billing.report_every_s,
        )
    return lambda on_unrecorded: Ledger(
        section.uid,
        journal=stores.journal,
        sessions=stores.sessions,
        documents=documents,
        pricing=pricing_of(config),
        clock=clock,
        settings=settings,
        on_unrecorded=on_unrecorded,
    )


async def left_open(config: Config, stores: Stores, clock: Clock) -> dict[str, Open]:
    """By EVSE, what the last start left open there; what nobody can take up is ended on record. Raises StoreError."""
    found: dict[str, Open] = {}
    known = {section.uid for section in config.evse}
    for left in await stores.sessions.open():
        evse_uid = left.authorization.entry.evse_uid
        before = found.get(evse_uid)
        if evse_uid not in known:
            await _end_left(left, stores, config, clock, f"EVSE {evse_uid} is no longer configured")
        elif before is None:
            found[evse_uid] = left
        else:
            # The one with a session, which had closed the relay; of two without, the newer.
            keep, drop = (before, left) if before.session is not None and left.session is None else (left, before)
            found[evse_uid] = keep
            await _end_left(drop, stores, config, clock, "another one was running at the same EVSE")
    if found:
        log.warning("%d authorization(s) were running when the agent last ended", len(found))
    return found


async def _end_left(left: Open, stores: Stores, config: Config, clock: Clock, why: str) -> None:
    if left.session is None:
        await stores.journal.end(left.authorization.id, clock.now(), EndReason.RESTART)
        return
    ledger = Ledger(
        left.session.evse_uid,
        journal=stores.journal,
        sessions=stores.sessions,
        documents=None,
        pricing=pricing_of(config),
        clock=clock,
        settings=LedgerSettings(),
        why_not_billed=why,
    )
    ledger.found(left)
    ledger.end(None, left.session.register_wh, EndReason.RESTART)
    await ledger.settled()
