"""`tokens …`: the whitelist on this device."""

import asyncio
import sys
from pathlib import Path

import click

from agent.cli.options import config_option, json_option, load, log_to_stderr, says_what_is_wrong


@click.group()
def tokens() -> None:
    """The whitelist on this device."""


@tokens.command("sync")
@config_option
@click.option("--full", is_flag=True, help="Pull everything, not only what changed.")
@click.argument("peer", required=False)
@says_what_is_wrong
def tokens_sync(config_path: Path, *, full: bool, peer: str | None) -> None:
    """Pull the tokens of PEER, or of every peer, now."""
    from agent.commands.tokens import sync

    loaded = load(config_path)
    log_to_stderr("warning")
    if not asyncio.run(sync(loaded, config_path, peer=peer, full=full)):
        sys.exit(1)


@tokens.command("list")
@config_option
@click.option("--peer", help="Only tokens that this peer brought.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="At most so many.")
@json_option
@says_what_is_wrong
def tokens_list(config_path: Path, *, peer: str | None, limit: int, as_json: bool) -> None:
    """List tokens, and per peer how many there are and how old."""
    from agent.commands.tokens import listing

    asyncio.run(listing(load(config_path), peer=peer, limit=limit, as_json=as_json))


@tokens.command("show")
@config_option
@click.argument("uid")
@json_option
@says_what_is_wrong
def tokens_show(config_path: Path, *, uid: str, as_json: bool) -> None:
    """Show every token with this UID, as its owner wrote it."""
    from agent.commands.tokens import show

    if not asyncio.run(show(load(config_path), uid, as_json=as_json)):
        sys.exit(1)


@tokens.command("explain")
@config_option
@click.argument("uid")
@says_what_is_wrong
def tokens_explain(config_path: Path, uid: str) -> None:
    """Say what would happen if this card were held to the reader now, and why."""
    from agent.commands.tokens import explain

    asyncio.run(explain(load(config_path), uid))


@tokens.command("import")
@config_option
@click.option("--peer", help="Whose list it is; default: the only peer, or `import` where there is none.")
@click.option("--complete", is_flag=True, help="The file is the whole list: what it lacks twice in a row is withdrawn.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@says_what_is_wrong
def tokens_import(config_path: Path, *, peer: str | None, complete: bool, file: Path) -> None:
    """Take tokens over from FILE, or from standard input for `-`: JSON lines, one OCPI Token each."""
    from agent.commands.token_files import import_tokens

    source = None if str(file) == "-" else file
    if not asyncio.run(import_tokens(load(config_path), source, peer=peer, complete=complete)):
        sys.exit(1)


@tokens.command("export")
@config_option
@click.option("--peer", help="Only tokens that this peer brought.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@says_what_is_wrong
def tokens_export(config_path: Path, *, peer: str | None, file: Path) -> None:
    """Write the tokens to FILE, or to standard output for `-`, in the form that `tokens import` reads."""
    from agent.commands.token_files import export_tokens

    asyncio.run(export_tokens(load(config_path), None if str(file) == "-" else file, peer=peer))
