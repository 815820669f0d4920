"""`readers`: what is plugged in, and what each card gives."""

import asyncio
from contextlib import suppress
from pathlib import Path

import click

from agent.cli.options import json_option, load, log_to_stderr, says_what_is_wrong
from agent.errors import ConfigError

_KINDS = ("rdm6300", "id12la", "line", "pn532", "keyboard", "pcsc")


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="With --watch: the readers of this configuration, with their settings.",
)
@click.option("--watch", is_flag=True, help="Show each card that is held to a reader, until Ctrl-C.")
@click.option("--once", is_flag=True, help="With --watch: end after the first card.")
@click.option("--kind", type=click.Choice(_KINDS), help="With --watch: a reader of this kind, with --port.")
@click.option("--port", help="Where it is: a serial port; for a keyboard its device, for pcsc a pattern of names.")
@click.option("--probe", is_flag=True, help="Ask I2C buses at which addresses a display answers; reads a byte there.")
@json_option
@says_what_is_wrong
def readers(
    config_path: Path | None,
    *,
    watch: bool,
    once: bool,
    kind: str | None,
    port: str | None,
    probe: bool,
    as_json: bool,
) -> None:
    """List what is plugged in, with the lines of the configuration that would use it; or watch what cards give.

    Without --config and --kind all PC/SC readers are watched. Only while no agent runs: it has the devices.
    """
    if not watch and (config_path or once or kind or port):
        raise ConfigError("--config, --once, --kind and --port go with --watch")
    if (kind is None) != (port is None):
        raise ConfigError("--kind and --port go together")
    if kind and config_path:
        raise ConfigError("expected one of --config and --kind")
    from agent.commands.readers import found_readers, listing, named_reader
    from agent.commands.readers import watch as watch_readers

    if not watch:
        listing(probe=probe, as_json=as_json)
        return
    if config_path:
        sections = list(load(config_path).reader)
    else:
        sections = [named_reader(kind, port)] if kind and port else found_readers()
    log_to_stderr("warning")
    with suppress(KeyboardInterrupt):  # the way to end it
        asyncio.run(watch_readers(sections, once=once, as_json=as_json))
