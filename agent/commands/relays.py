"""`relays open`: for when all else is broken. A wrong key elsewhere, a read-only disk, one dead pin: never mind."""

from pathlib import Path

import click

from agent.commands.terminal import harmless
from agent.config import load, load_relays
from agent.devices.relays import open_relays
from agent.errors import ConfigError, DeviceError


def open_all(config_path: Path) -> None:
    """Open every relay that the file names, and print how many there are.

    Raises DeviceError that names each one which could not be opened, when all were tried; ConfigError when the file
    names none; BusyError while an agent is running.
    """
    found = load_relays(config_path)
    try:
        load(config_path)
    except ConfigError as error:
        click.echo(f"chargepoint-agent: {harmless(error)}; only the relays are read from it", err=True)
    faults = [*found.faults, *open_relays(found.relays, found.directory)]
    if faults:
        raise DeviceError("; ".join(faults))
    click.echo(f"{len(found.relays)} relay(s) open")
