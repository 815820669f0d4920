"""The configuration, with every file that it names."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.config import Config, ModbusMeterSection, credentials_token, is_out_of_reach
from agent.diagnosis.finding import Finding, bad, good, warning
from agent.diagnosis.rights import AGENT_USER, user_name
from agent.diagnosis.site import Site
from agent.errors import ConfigError


def configuration_finding(site: Site) -> Finding:
    """Whether the agent could start with it."""
    if site.fault:
        return bad("configuration", site.fault, _of_a_file(site.path) or _KEYS)
    if site.config is not None:
        try:
            check_files(site.config, site.path)
        except ConfigError as error:
            return bad("configuration", str(error), _FILE if isinstance(error.__cause__, OSError) else _KEYS)
        if unseen := unseen_tokens(site.config):
            return warning("configuration", f"{site.path} can be used, as far as can be seen here: {unseen}", _START)
    return good("configuration", f"{site.path} can be used")


def unseen_tokens(config: Config) -> str:
    """Which credentials tokens can't be looked at here, as a sentence; empty where all can."""
    names = ", ".join(peer.name for peer in config.peer if is_out_of_reach(peer))
    return f"systemd gives the token of {names} to the running service alone" if names else ""


_START = "systemctl start chargepoint-agent, then once more"
_KEYS = "docs/configuration.toml says what each key takes (installed: in /usr/share/doc/chargepoint-agent)"
_FILE = f"correct its name, or give it to the agent's user: sudo chown {AGENT_USER}: and the file"


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What devices say of their settings names no file."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _of_a_file(path: Path) -> str:
    """What helps where the configuration itself can't be read; empty where it can."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except PermissionError:
        if user_name() != AGENT_USER:
            return f"give the command as the agent's user: sudo -u {AGENT_USER} chargepoint-agent doctor"
        return f"sudo chgrp {AGENT_USER} {path} && sudo chmod g+r {path}"
    except OSError:
        return "--config names the file, or CHARGEPOINT_AGENT_CONFIG"
    return ""


def check_files(config: Config, path: Path) -> None:
    """What `load` leaves to whoever needs it: secrets, certificates, the tariff, meters. Raises ConfigError."""
    from agent.billing import documents_of, tariff_of  # noqa: PLC0415  a quarter of a second of libraries
    from agent.devices.displays import display_of  # noqa: PLC0415  as above
    from agent.devices.inputs import registers_of  # noqa: PLC0415  as above
    from agent.devices.readers import reader_of  # noqa: PLC0415  as above
    from agent.ocpi.client import tls_context  # noqa: PLC0415  as above

    for peer in config.peer:
        if not is_out_of_reach(peer):
            credentials_token(peer, path)
        if peer.ca_file:
            tls_context(path.parent / peer.ca_file)
    tariff = tariff_of(config, path)
    for evse in config.evse:
        documents_of(config, evse, tariff)
        with _named(path):
            display_of(evse, io.StringIO())
    for reader in config.reader:
        with _named(path):
            reader_of(reader)
    for meter in config.meter:
        if isinstance(meter, ModbusMeterSection):
            with _named(path):
                registers_of(meter)
    _check_doors(config, path)


def _check_doors(config: Config, path: Path) -> None:
    """Where others come in: addresses, and the files that these need. Raises ConfigError."""
    if config.monitoring is not None:
        from agent.service.monitoring import place_of  # noqa: PLC0415  as above

        with _named(path):
            place_of(config.monitoring.listen, allow_remote=config.monitoring.allow_remote)
    if config.panel is not None:
        from agent.onlooking import place_of_panel  # noqa: PLC0415  as above

        with _named(path):
            place = place_of_panel(config.panel, path)
            if place.login_file is not None:
                from agent.panel.passwords import read_logins  # noqa: PLC0415  as above

                if not read_logins(place.login_file):
                    make = "chargepoint-agent panel password USER"
                    raise ConfigError(f"panel.login_file: {place.login_file}: nobody is in it: {make}")
            if place.tls_certificate is not None:
                from agent.ocpi.server.serve import tls_of  # noqa: PLC0415  as above

                tls_of(place.tls_certificate, place.tls_key, "panel")
    server = config.ocpi.server
    if server.enabled and server.tls_certificate:
        from agent.ocpi.server.serve import tls_of  # noqa: PLC0415  as above

        key = path.parent / server.tls_key if server.tls_key else None
        tls_of(path.parent / server.tls_certificate, key, "ocpi.server")
