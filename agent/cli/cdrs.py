"""`cdrs …`: what was billed."""

import asyncio
from pathlib import Path

import click

from agent.cli.options import config_option, json_option, load, says_what_is_wrong


@click.group()
def cdrs() -> None:
    """What was billed: the charge detail records, and what became of each."""


_cdr_argument = click.argument("cdr", metavar="ID")


@cdrs.command("list")
@config_option
@click.option("--pending", is_flag=True, help="Only those that are still to be sent.")
@click.option("--parked", is_flag=True, help="Only those that their peer rejected; with --pending, both kinds.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000_000), help="The newest so many.")
@json_option
@says_what_is_wrong
def cdrs_list(config_path: Path, *, pending: bool, parked: bool, limit: int, as_json: bool) -> None:
    """List the CDRs, newest first."""
    from agent.commands.cdrs import listing

    asyncio.run(listing(load(config_path), limit=limit, pending=pending, parked=parked, as_json=as_json))


@cdrs.command("show")
@config_option
@_cdr_argument
@json_option
@says_what_is_wrong
def cdrs_show(config_path: Path, *, cdr: str, as_json: bool) -> None:
    """Show the CDR called ID as its peer gets it.

    ID is its number, its id, or the beginning of that.
    """
    from agent.commands.cdrs import show

    asyncio.run(show(load(config_path), cdr, as_json=as_json))


@cdrs.command("resend")
@config_option
@_cdr_argument
@says_what_is_wrong
def cdrs_resend(config_path: Path, *, cdr: str) -> None:
    """Send the CDR called ID again, unchanged.

    For one that its peer rejected, or has lost.
    """
    from agent.commands.cdrs import resend

    asyncio.run(resend(load(config_path), cdr))


@cdrs.command("credit")
@config_option
@_cdr_argument
@says_what_is_wrong
def cdrs_credit(config_path: Path, *, cdr: str) -> None:
    """Take the CDR called ID back by a credit CDR.

    That one is sent after it. On a terminal this asks first.
    """
    from agent.commands.cdrs import credit

    asyncio.run(credit(load(config_path), cdr))
