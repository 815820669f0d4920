"""The configuration, with every file that it names."""

import io
from pathlib import Path

from agent.config import Config, ModbusMeterSection, credentials_token
from agent.diagnosis.finding import Finding, bad, good
from agent.diagnosis.site import Site
from agent.errors import ConfigError


def configuration_finding(site: Site) -> Finding:
    """Whether the agent could start with it."""
    fault = site.fault
    if site.config is not None:
        try:
            check_files(site.config, site.path)
        except ConfigError as error:
            fault = str(error)
    if fault:
        return bad("configuration", fault, "docs/configuration.toml says what each key takes")
    return good("configuration", f"{site.path} can be used")


def check_files(config: Config, path: Path) -> None:
    """What `load` leaves to whoever needs it: secrets, certificates, the tariff, meters. Raises ConfigError."""
    from agent.billing import documents_of, tariff_of  # noqa: PLC0415  a quarter of a second of libraries
    from agent.devices.displays import display_of  # noqa: PLC0415  as above
    from agent.devices.inputs import registers_of  # noqa: PLC0415  as above
    from agent.devices.readers import reader_of  # noqa: PLC0415  as above
    from agent.ocpi.client import tls_context  # noqa: PLC0415  as above

    for peer in config.peer:
        credentials_token(peer, path)
        if peer.ca_file:
            tls_context(path.parent / peer.ca_file)
    tariff = tariff_of(config, path)
    for evse in config.evse:
        documents_of(config, evse, tariff)
        display_of(evse, io.StringIO())
    for reader in config.reader:
        reader_of(reader)
    for meter in config.meter:
        if isinstance(meter, ModbusMeterSection):
            registers_of(meter)
    if config.monitoring is not None:
        from agent.service.monitoring import place_of  # noqa: PLC0415  as above

        try:
            place_of(config.monitoring.listen, allow_remote=config.monitoring.allow_remote)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
    server = config.ocpi.server
    if server.enabled and server.tls_certificate:
        from agent.ocpi.server.serve import tls_of  # noqa: PLC0415  as above

        tls_of(path.parent / server.tls_certificate, path.parent / server.tls_key if server.tls_key else None)
