"""What a charge needs of the configuration: inputs that are there, and all that a bill must name."""

from pathlib import Path
from zoneinfo import ZoneInfo

from agent.config.checks import unique
from agent.config.sections import Config, EvseSection
from agent.errors import ConfigError


def check_inputs(config: Config, path: Path) -> None:
    """Meters are there and serve one EVSE, and a reader's EVSEs can be told apart. Raises ConfigError."""
    unique([meter.name for meter in config.meter], path, "meter", "name")
    known = {meter.name for meter in config.meter}
    used = [evse.meter for evse in config.evse if evse.meter is not None]
    for number, evse in enumerate(config.evse, 1):
        if evse.meter is not None and evse.meter not in known:
            names = ", ".join(sorted(known)) or "none"
            raise ConfigError(
                f'{path}: evse #{number}: meter: no [[meter]] is named "{evse.meter}"; there are: {names}'
            )
    unique(used, path, "evse", "meter", "one meter measures one EVSE")
    unused = sorted(known - set(used))
    if unused:
        raise ConfigError(f'{path}: meter: name: no [[evse]] names "{unused[0]}" as its meter: it would do nothing')
    _check_readers(config, path)
    _zone(config.location.time_zone, path)


def check_billing(config: Config, path: Path) -> None:
    """All that a CDR must name is there where there is a tariff to bill by. Raises ConfigError."""
    if config.billing is None:
        return
    where = f"{path}: location"
    for key in ("address", "city", "country", "latitude", "longitude"):
        if getattr(config.location, key) is None:
            raise ConfigError(f"{where}: {key}: missing; every CDR has to name it (OCPI 2.2.1 mod_cdrs, CdrLocation)")
    for peer in config.peer:
        if peer.tokens_url is not None and peer.cdrs_url is None:
            need = "with tokens_url nobody can look up where it takes CDRs"
            raise ConfigError(f'{path}: peer "{peer.name}": cdrs_url: missing; {need}')
    for key, most in (("latitude", 90), ("longitude", 180)):
        if abs(float(getattr(config.location, key))) > most:
            raise ConfigError(f"{where}: {key}: expected -{most} to {most} degrees")
    for number, evse in enumerate(config.evse, 1):
        _check_named(f"{path}: evse #{number}", evse)


def _check_named(where: str, evse: EvseSection) -> None:
    if evse.id is None:
        raise ConfigError(f"{where}: id: missing; every CDR names the EVSE's id, as DE*EXA*E1 (eMI3)")
    if evse.connector is None:
        raise ConfigError(f"{where}: connector: missing; every CDR names its standard, format and power_type")


def _check_readers(config: Config, path: Path) -> None:
    """Behind one reader the plug tells which EVSE a card is for."""
    for number, evse in enumerate(config.evse, 1):
        shared = [
            name for name in evse.readers if any(name in other.readers for other in config.evse if other is not evse)
        ]
        if shared and evse.plug is None:
            where = f"{path}: evse #{number}: plug: missing"
            raise ConfigError(
                f'{where}; reader "{shared[0]}" serves other EVSEs, too, and only a plug tells them apart'
            )


def _zone(name: str, path: Path) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        expected = "expected a name like Europe/Berlin (on a system without any: apt-get install tzdata)"
        raise ConfigError(f'{path}: location: time_zone: "{name}" is not known here: {expected}') from error
