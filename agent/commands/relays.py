"""`relays open`: for when all else is broken. A wrong key elsewhere, a read-only disk, one dead pin: never mind."""

from pathlib import Path

import click

from agent.commands.terminal import harmless
from agent.config import load, load_relays
from agent.devices.relays import open_relays
from agent.devices.relays_in_use import forget, noted
from agent.errors import ConfigError, DeviceError


def open_all(config_path: Path) -> None:
    """Open every relay that the file names, or that the last agent had, and print how many there are.

    Raises DeviceError that names each one which could not be opened, when all were tried; ConfigError for a file that
    can't be read, or in which none can be found; BusyError while an agent is running.
    """
    left = noted()
    try:
        found = load_relays(config_path)
    except ConfigError:
        for fault in open_relays(left, None):
            click.echo(f"chargepoint-agent: {harmless(fault)}", err=True)
        raise
    try:
        load(config_path)
    except ConfigError as error:
        click.echo(f"chargepoint-agent: {harmless(error)}; only the relays are read from it", err=True)
    # What the file says comes last: of a pin whose level was set right, it has the last word.
    relays = [*(each for each in left if each not in found.relays), *found.relays]
    faults = [*found.faults, *open_relays(relays, found.directory)]
    if faults:
        raise DeviceError("; ".join(faults))
    forget()
    click.echo(f"{len(relays)} relay(s) open" if relays else "no relay is configured")
