"""What the commands have in common: options, the configuration, the log, and errors as one line."""

import logging
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import click

from agent.commands.terminal import harmless
from agent.errors import AgentError, ConfigError

if TYPE_CHECKING:
    from agent.config import Config

P = ParamSpec("P")

DEFAULT_CONFIG = "/etc/chargepoint-agent/chargepoint-agent.toml"

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    envvar="CHARGEPOINT_AGENT_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def says_what_is_wrong(command: Callable[P, None]) -> Callable[P, None]:
    """Turn an error of ours into one line on standard error and an exit code."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except AgentError as error:
            click.echo(f"chargepoint-agent: {harmless(error)}", err=True)
            sys.exit(exit_code(error))

    return wrapped


def exit_code(error: AgentError) -> int:
    """2 for what the person at the keyboard has to change, 1 for what could not be done."""
    return 2 if isinstance(error, ConfigError) else 1


def load(path: Path) -> "Config":
    """The whole configuration. Raises ConfigError."""
    from agent.config import load

    return load(path)


_LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def log_to_stderr(level: str) -> None:
    """For a command that a person waits for."""
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=_LOG_FORMAT)
    _keep_uids_out()


def log_in_background(level: str) -> None:
    """The same without ever waiting for whoever reads it; what nobody caught goes the same way."""
    from agent.commands.background_log import log_of

    handlers = [log_of(sys.stderr.fileno(), os.environ)]
    logging.basicConfig(handlers=handlers, level=level.upper(), format=_LOG_FORMAT)
    log = logging.getLogger("chargepoint-agent")
    sys.excepthook = lambda kind, error, trace: log.critical("ended by a fault", exc_info=(kind, error, trace))
    _keep_uids_out()


def _keep_uids_out() -> None:
    # httpx writes each request's URL at INFO, and an authorize URL holds the card's uid.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
