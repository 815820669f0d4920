"""`peers …`: whom this agent has agreed credentials with."""

import asyncio
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import click

from agent.cli.options import config_option, json_option, load, log_to_stderr, says_what_is_wrong
from agent.errors import ConfigError


@click.group()
def peers() -> None:
    """Whom this agent has agreed credentials with: eMSPs, hubs, the operator's own backend."""


_ca_option = click.option(
    "--ca-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    help="Trust this peer's certificate only if these authorities (PEM) signed it. Stays where it is.",
)


def _peer_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    from agent.config.section import NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, name):
        raise click.BadParameter("expected letters, digits, dots, hyphens and underscores, at most 64")
    return name


_name_argument = click.argument("name", callback=_peer_name)


@peers.command("list")
@config_option
@json_option
@says_what_is_wrong
def peers_list(config_path: Path, *, as_json: bool) -> None:
    """List every peer, and how to go on where an exchange was cut off."""
    from agent.commands.peers import listing

    asyncio.run(listing(load(config_path), config_path, as_json=as_json))


@peers.command("register")
@config_option
@click.option("--versions-url", required=True, help="Where the peer's OCPI versions are.")
@click.option(
    "--token-a",
    envvar="CHARGEPOINT_AGENT_TOKEN_A",
    show_envvar=True,
    help="The token that the peer's operator gave you. Others on this machine may read it here: better the file, "
    "the environment, or the prompt that comes without them.",
)
@click.option("--token-a-file", type=click.File(encoding="utf-8"), help="A file that holds it; `-` for standard input.")
@_ca_option
@_name_argument
@says_what_is_wrong
def peers_register(
    config_path: Path,
    *,
    versions_url: str,
    token_a: str | None,
    token_a_file: TextIO | None,
    ca_file: Path | None,
    name: str,
) -> None:
    """Register with a peer, which is called NAME here. It calls this agent back before it answers."""
    from agent.commands.peers import register

    loaded = load(config_path)
    if token_a is not None and token_a_file is not None:
        raise ConfigError("expected one of --token-a (or CHARGEPOINT_AGENT_TOKEN_A) and --token-a-file")
    token = token_a if token_a_file is None else token_a_file.read(1024)
    if token is None and not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask for token A: --token-a-file FILE, or CHARGEPOINT_AGENT_TOKEN_A")
    if token is None:
        token = click.prompt("Token A", hide_input=True, err=True)
    log_to_stderr("warning")
    asyncio.run(register(loaded, config_path, name, versions_url, token.strip(), ca_file=ca_file))


@peers.command("invite")
@config_option
@click.option("--days", default=7.0, show_default=True, type=click.FloatRange(0.01, 365), help="How long it is valid.")
@_ca_option
@_name_argument
@says_what_is_wrong
def peers_invite(config_path: Path, *, days: float, ca_file: Path | None, name: str) -> None:
    """Print a token A and our versions URL, for the peer NAME to register with us, once."""
    from agent.commands.peers import invite

    asyncio.run(invite(load(config_path), name, expires=timedelta(days=days), ca_file=ca_file))


@peers.command("rotate")
@config_option
@_name_argument
@says_what_is_wrong
def peers_rotate(config_path: Path, *, name: str) -> None:
    """Exchange new tokens with NAME. Until it has used its new one, the old one is accepted, too."""
    from agent.commands.peers import rotate

    loaded = load(config_path)
    log_to_stderr("warning")
    asyncio.run(rotate(loaded, config_path, name))


@peers.command("unregister")
@config_option
@click.option("--force", is_flag=True, help="Also when the peer can't be told.")
@_name_argument
@says_what_is_wrong
def peers_unregister(config_path: Path, *, force: bool, name: str) -> None:
    """End the relation with NAME: no token of either side works any more, and its cards are no longer accepted."""
    from agent.commands.peers import unregister

    loaded = load(config_path)
    log_to_stderr("warning")
    asyncio.run(unregister(loaded, name, force=force))


@peers.command("check")
@config_option
@_name_argument
@says_what_is_wrong
def peers_check(config_path: Path, *, name: str) -> None:
    """Go through what NAME must offer; say what deviates, and which setting helps. Changes nothing there."""
    from agent.commands.peers import check

    loaded = load(config_path)
    log_to_stderr("warning")
    if not asyncio.run(check(loaded, config_path, name)):
        sys.exit(1)
