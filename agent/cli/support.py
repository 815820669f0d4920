"""`support`: a file for whoever is to help."""

from pathlib import Path

import click

from agent.cli.options import config_option, log_to_stderr, says_what_is_wrong


@click.command()
@config_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write it; otherwise chargepoint-agent-support-DATE.tar.gz in the current directory.",
)
@click.option("--offline", is_flag=True, help="Ask no peer.")
@says_what_is_wrong
def support(config_path: Path, output: Path | None, *, offline: bool) -> None:
    """Collect what somebody needs to help: configuration, doctor, devices, databases' sizes, records, journal.

    Credentials and card numbers are taken out, but have a look before you send it. Changes nothing, and moves no relay.
    """
    from agent.commands.support import bundle

    log_to_stderr("error")
    click.echo(bundle(config_path, output, offline=offline))
