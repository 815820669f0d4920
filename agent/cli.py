"""The commands. Each reads the configuration, does one thing, and says what went wrong in one line.

Exit codes: 0 done, 1 it could not be done, 2 the configuration or the command's words are wrong.
What a command imports, it imports when it runs: `run` on a small controller pays for nothing else.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import click

from agent import __version__
from agent.commands.terminal import harmless
from agent.errors import AgentError, ConfigError

if TYPE_CHECKING:
    from agent.config import Config

P = ParamSpec("P")

DEFAULT_CONFIG = "/etc/chargepoint-agent/config.toml"

_config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    envvar="CHARGEPOINT_AGENT_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The configuration file.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def _says_what_is_wrong(command: Callable[P, None]) -> Callable[P, None]:
    """Turn an error of ours into one line on standard error and an exit code."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except AgentError as error:
            click.echo(f"chargepoint-agent: {harmless(error)}", err=True)
            sys.exit(_exit_code(error))

    return wrapped


def _exit_code(error: AgentError) -> int:
    return 2 if isinstance(error, ConfigError) else 1


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="chargepoint-agent")
def main() -> None:
    """Decide, within a hard deadline, whether an RFID card may charge here."""


@main.command()
@_config_option
@_says_what_is_wrong
def run(config_path: Path) -> None:
    """Read cards and switch relays until told to stop (SIGTERM, SIGINT)."""
    from agent.main import run_agent

    config = _load(config_path)
    _log_in_background(config.log.level)
    try:
        asyncio.run(run_agent(config, config_path))
    except AgentError as error:
        # Not printed: standard error may be what nobody reads.
        logging.getLogger("chargepoint-agent").critical("%s", harmless(error))
        sys.exit(_exit_code(error))


@main.command()
@click.option("--once", is_flag=True, help="Play the deck once and end; otherwise again and again until Ctrl-C.")
@_json_option
@_says_what_is_wrong
def demo(*, once: bool, as_json: bool) -> None:
    """Play a deck of cards against a simulated eMSP, reader and relay: the real agent, no hardware."""
    from fakes.demo import play

    with suppress(KeyboardInterrupt):  # the deck's own way to end
        asyncio.run(play(once=once, as_json=as_json))


@main.group()
def config() -> None:
    """The configuration."""


@config.command("check")
@_config_option
@_says_what_is_wrong
def config_check(config_path: Path) -> None:
    """Say whether the configuration can be used, and if not, where it is wrong."""
    from agent.config import credentials_token
    from agent.ocpi.client import tls_context

    loaded = _load(config_path)
    for peer in loaded.peer:
        credentials_token(peer, config_path)
        if peer.ca_file:
            tls_context(config_path.parent / peer.ca_file)
    parts = (("EVSE", loaded.evse), ("reader", loaded.reader), ("peer", loaded.peer))
    counted = ", ".join(f"{len(things)} {name}{'s' if len(things) != 1 else ''}" for name, things in parts)
    click.echo(f"{config_path}: good: {counted}")


@main.command()
@_config_option
@_says_what_is_wrong
def policy(config_path: Path) -> None:
    """Print this device's decision table as a document to hand to an eMSP (Markdown)."""
    from agent.config import policy_of
    from agent.core.policy_document import policy_document

    loaded = _load(config_path)
    click.echo(
        policy_document(
            policy_of(loaded.policy),
            party=f"{loaded.party.country_code}-{loaded.party.party_id}",
            location_id=loaded.location.id,
            peers=[(p.name, (f"{p.country_code}-{p.party_id}",)) for p in loaded.peer],
            version=__version__,
        )
    )


@main.group()
def tokens() -> None:
    """The whitelist on this device."""


@tokens.command("sync")
@_config_option
@click.option("--full", is_flag=True, help="Pull everything, not only what changed.")
@click.argument("peer", required=False)
@_says_what_is_wrong
def tokens_sync(config_path: Path, *, full: bool, peer: str | None) -> None:
    """Pull the tokens of PEER, or of every peer, now."""
    from agent.commands.tokens import sync

    loaded = _load(config_path)
    _log_to_stderr("warning")
    if not asyncio.run(sync(loaded, config_path, peer=peer, full=full)):
        sys.exit(1)


@tokens.command("list")
@_config_option
@click.option("--peer", help="Only tokens that this peer brought.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="At most so many.")
@_json_option
@_says_what_is_wrong
def tokens_list(config_path: Path, *, peer: str | None, limit: int, as_json: bool) -> None:
    """List tokens, and per peer how many there are and how old."""
    from agent.commands.tokens import listing

    asyncio.run(listing(_load(config_path), peer=peer, limit=limit, as_json=as_json))


@tokens.command("show")
@_config_option
@click.argument("uid")
@_json_option
@_says_what_is_wrong
def tokens_show(config_path: Path, *, uid: str, as_json: bool) -> None:
    """Show every token with this UID, as its owner wrote it."""
    from agent.commands.tokens import show

    if not asyncio.run(show(_load(config_path), uid, as_json=as_json)):
        sys.exit(1)


@tokens.command("explain")
@_config_option
@click.argument("uid")
@_says_what_is_wrong
def tokens_explain(config_path: Path, uid: str) -> None:
    """Say what would happen if this card were held to the reader now, and why."""
    from agent.commands.tokens import explain

    asyncio.run(explain(_load(config_path), uid))


@main.command()
@_config_option
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000_000), help="The newest so many.")
@click.option("--evse", help="Only this EVSE.")
@_json_option
@_says_what_is_wrong
def authorizations(config_path: Path, *, limit: int, evse: str | None, as_json: bool) -> None:
    """What was decided here, newest first, with reason, source and reference."""
    from agent.commands.authorizations import listing

    asyncio.run(listing(_load(config_path), limit=limit, evse_uid=evse, as_json=as_json))


@main.group()
def relays() -> None:
    """The relays of this charge point."""


@relays.command("open")
@_config_option
@_says_what_is_wrong
def relays_open(config_path: Path) -> None:
    """Open every relay, for when the agent was killed: some kernels keep a pin as it was.

    Needs no disk that can be written, and of the configuration nothing but the relays of [[evse]].
    """
    from agent.commands.relays import open_all

    open_all(config_path)


def _load(path: Path) -> "Config":
    from agent.config import load

    return load(path)


_LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=_LOG_FORMAT)
    _keep_uids_out()


def _log_in_background(level: str) -> None:
    """The same without ever waiting for whoever reads it; what nobody caught goes the same way."""
    from agent.commands.background_log import BackgroundLog

    logging.basicConfig(handlers=[BackgroundLog(sys.stderr.fileno())], level=level.upper(), format=_LOG_FORMAT)
    log = logging.getLogger("chargepoint-agent")
    sys.excepthook = lambda kind, error, trace: log.critical("ended by a fault", exc_info=(kind, error, trace))
    _keep_uids_out()


def _keep_uids_out() -> None:
    # httpx writes each request's URL at INFO, and an authorize URL holds the card's uid.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
