"""`sessions …`: what was charged here and what runs."""

import asyncio
import sys
from pathlib import Path

import click
from click.core import ParameterSource

from agent.cli.options import config_option, json_option, load, says_what_is_wrong


@click.group(invoke_without_command=True)
@config_option
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000_000), help="The newest so many.")
@click.option("--evse", help="Only this EVSE.")
@click.option("--running", is_flag=True, help="Only those that have not ended.")
@json_option
@click.pass_context
@says_what_is_wrong
def sessions(
    context: click.Context, config_path: Path, *, limit: int, evse: str | None, running: bool, as_json: bool
) -> None:
    """What was charged here, newest first: energy, cost, whether its owner knows, and its CDR."""
    if context.invoked_subcommand is not None:
        _check_no_option_before(context, context.invoked_subcommand)
        return
    from agent.commands.sessions import listing

    asyncio.run(listing(load(config_path), limit=limit, evse_uid=evse, running=running, as_json=as_json))


@sessions.command("show")
@config_option
@click.argument("session", metavar="ID")
@json_option
@says_what_is_wrong
def sessions_show(config_path: Path, *, session: str, as_json: bool) -> None:
    """Show everything on record of the session ID.

    ID is its number, its session_id, or the beginning of that.
    """
    from agent.commands.sessions import show

    asyncio.run(show(load(config_path), session, as_json=as_json))


@sessions.command("stop")
@config_option
@click.argument("evse")
@json_option
@says_what_is_wrong
def sessions_stop(config_path: Path, *, evse: str, as_json: bool) -> None:
    """Have the running agent end what runs at EVSE."""
    from agent.commands.session_stop import stop

    if not asyncio.run(stop(load(config_path), evse, as_json=as_json)):
        sys.exit(1)


def _check_no_option_before(context: click.Context, subcommand: str) -> None:
    """An option of the list would be without effect there, and another `--config` than the one given be used."""
    for parameter in context.command.params:
        if parameter.name and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} belongs after the word {subcommand}", context)
