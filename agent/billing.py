"""Builds what sessions are priced and written by, from the configuration and the tariff that it names.

Imported only where something is billed: what it needs is a megabyte.
"""

import logging
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from agent.config import Config, EvseSection
from agent.errors import ConfigError
from agent.ocpi.cdrs import CdrLocation, ConnectorType
from agent.ocpi.tariffs import Tariff
from agent.runtime.documents import Documents
from agent.runtime.tariff_terms import read_tariff

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
        tariff = read_tariff(text)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    _check_times(tariff, path)
    return tariff


def _check_times(tariff: Tariff, path: Path) -> None:
    start, end = tariff.start_date_time, tariff.end_date_time
    if start is not None and end is not None and end <= start:
        raise ConfigError(f"{path}: end_date_time: expected a time after start_date_time")
    now = datetime.now(UTC)
    if (start is not None and start > now) or (end is not None and end < now):
        log.warning("%s: this tariff is not valid now: what begins now is not priced", path)


def documents_of(config: Config, evse: EvseSection, tariff: Tariff | None) -> Documents | None:
    """Writes the sessions of one EVSE as OCPI has them. Raises ConfigError for what OCPI would not take."""
    return None if tariff is None else _documents(config, evse, tariff)


def _documents(config: Config, evse: EvseSection, tariff: Tariff) -> Documents:
    return Documents(
        party=(config.party.country_code, config.party.party_id),
        place=_place(config, evse),
        tariff=tariff,
        tz=ZoneInfo(config.location.time_zone),
        meter_id=evse.meter,
    )


def documents_by(config: Config, evse: EvseSection, tariff: bytes) -> Documents | str:
    """What writes the sessions of one EVSE that began with this tariff; or a sentence that says why nothing can."""
    try:
        return _documents(config, evse, read_tariff(tariff))
    except (ConfigError, ValueError) as error:
        log.error("evse=%s what began with an earlier tariff can't be billed: %s", evse.uid, error)
        return f"the tariff that it began with can't be used any more: {error}"


def _place(config: Config, evse: EvseSection) -> CdrLocation:
    location, connector = config.location, evse.connector
    if connector is not None and connector.standard not in set(ConnectorType):
        known = ", ".join(ConnectorType)
        raise ConfigError(f'evse {evse.uid}: connector.standard: "{connector.standard}" is none of OCPI\'s: {known}')
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
