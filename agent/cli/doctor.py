"""`doctor`: what is wrong here, and what helps."""

import sys
from pathlib import Path

import click

from agent.cli.options import config_option, json_option, log_to_stderr, says_what_is_wrong


@click.command()
@config_option
@click.option("--offline", is_flag=True, help="Ask no peer.")
@json_option
@says_what_is_wrong
def doctor(config_path: Path, *, offline: bool, as_json: bool) -> None:
    """Go through all that the agent needs, one line each, with what helps. Changes nothing, and moves no relay.

    Best as the agent's own user, for it is this user's rights that are looked at. Ends with 1 if the agent could not
    do its job, with 2 if its configuration can't be used.
    """
    from agent.commands.doctor import doctor as go_through

    log_to_stderr("error")
    sys.exit(go_through(config_path, offline=offline, as_json=as_json))
