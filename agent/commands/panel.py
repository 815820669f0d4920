"""`panel password`: who may log in to the panel."""

import sys
import tomllib
from pathlib import Path

import click

from agent.config.reading import text_of
from agent.errors import AgentError, ConfigError
from agent.panel.passwords import LONGEST, SHORTEST, check_password, check_user, credential_for, set_password


def password(file: Path, user: str) -> None:
    """Ask for a password twice, and put the user's line into the login file. Raises ConfigError, AgentError."""
    check_user(user)
    if not sys.stdin.isatty():
        raise AgentError("panel password: asks on a terminal, where nobody else sees it: there is none")
    typed = click.prompt(f"Password for {user} ({SHORTEST} to {LONGEST} characters)", hide_input=True, err=True)
    check_password(typed)
    again = click.prompt("Once more", hide_input=True, err=True)
    if typed != again:
        raise ConfigError("panel password: the two are not the same; nothing was changed")
    was_there = set_password(file, credential_for(user, typed))
    click.echo(f"{file}: {user} {'has another password now' if was_there else 'can log in now'}")


def login_file_of(config_path: Path) -> Path:
    """What the configuration names, of which no more than that is read: without the file it may not be usable yet.

    Raises ConfigError.
    """
    try:
        raw = tomllib.loads(text_of(config_path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{config_path}: not valid TOML: {error}") from error
    panel = raw.get("panel")
    named = panel.get("login_file") if isinstance(panel, dict) else None
    if not isinstance(named, str) or not named:
        raise ConfigError(f"{config_path}: [panel] names no login_file: do so, or give --file")
    return config_path.parent / named
