"""`panel …`: who may log in to the page that `[panel]` serves."""

from pathlib import Path

import click

from agent.cli.options import config_option, says_what_is_wrong


@click.group()
def panel() -> None:
    """The page that [panel] serves."""


@panel.command("password")
@config_option
@click.option(
    "--file", type=click.Path(path_type=Path, dir_okay=False), help="The login file; default: login_file of [panel]."
)
@click.argument("user")
@says_what_is_wrong
def panel_password(config_path: Path, *, file: Path | None, user: str) -> None:
    """Ask for a password twice, and let USER log in to the panel with it. A running agent takes it up at once."""
    from agent.commands.panel import login_file_of, password

    password(file or login_file_of(config_path), user)
