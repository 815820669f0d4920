"""The commands. Each reads the configuration, does one thing, and says what went wrong in one line.

Exit codes: 0 done, 1 it could not be done, 2 the configuration or the command's words are wrong.
What a command imports, it imports when it runs: `run` on a small controller pays for nothing else.
"""

import asyncio
import faulthandler
import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import click

from agent import __version__
from agent.cli.cdrs import cdrs
from agent.cli.doctor import doctor
from agent.cli.options import (
    config_option,
    exit_code,
    json_option,
    load,
    log_in_background,
    says_what_is_wrong,
)
from agent.cli.panel import panel
from agent.cli.peers import peers
from agent.cli.readers import readers
from agent.cli.sessions import sessions
from agent.cli.support import support
from agent.cli.tokens import tokens
from agent.commands.terminal import harmless
from agent.errors import AgentError, BusyError

RETRY_S = 8.0
"""How long systemd is kept from another start after one that failed: what a person has to mend, a configuration or a
disk, must not fill the journal and the processor until then. With the start itself this is within ten seconds."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="chargepoint-agent")
def main() -> None:
    """Decide, within a hard deadline, whether an RFID card may charge here."""


@main.command()
@config_option
@says_what_is_wrong
def run(config_path: Path) -> None:
    """Read cards and switch relays until told to stop (SIGTERM, SIGINT). SIGHUP reads the configuration anew."""
    from agent.main import run_agent

    faulthandler.enable()  # what systemd's watchdog ends says first where each thread stands
    log_in_background("info")
    try:
        config = load(config_path)
        logging.getLogger().setLevel(config.log.level.upper())
        asyncio.run(run_agent(config, config_path))
    except AgentError as error:
        # Not printed: standard error may be what nobody reads.
        logging.getLogger("chargepoint-agent").critical("%s", harmless(error))
        _tell_systemd(error)
        sys.exit(exit_code(error))


def _tell_systemd(error: AgentError) -> None:
    """Say in `systemctl status` why it does not start; and don't fill the journal with what a person has to mend."""
    from agent.service.notify import Notifier

    notifier = Notifier.of(os.environ)
    if notifier.is_heard:
        notifier.status(f"can't start: {error}")
        if not isinstance(error, BusyError):  # who is busy may have ended in a second
            time.sleep(RETRY_S)


@main.command()
@click.option("--once", is_flag=True, help="Play all of it once and end; otherwise until Ctrl-C.")
@click.option(
    "--panel/--no-panel", "with_panel", default=None, help="Open a page to play in as well; without --once it is open."
)
@json_option
@says_what_is_wrong
def demo(*, once: bool, as_json: bool, with_panel: bool | None) -> None:
    """Play a deck of cards, and a charge through a power cut, against fakes: the real agent, no hardware.

    On the page, whose address is printed first, cards are held to a charge point, cars plugged in, the power pulled
    and the network broken by hand. It stays open until Ctrl-C; without a page all is played again and again.
    """
    from fakes.demo import play

    with suppress(KeyboardInterrupt, asyncio.CancelledError):  # the demo's own ways to end
        asyncio.run(play(once=once, as_json=as_json, panel=with_panel))


@main.group()
def config() -> None:
    """The configuration."""


@config.command("check")
@config_option
@says_what_is_wrong
def config_check(config_path: Path) -> None:
    """Say whether the configuration can be used, and if not, where it is wrong."""
    from agent.diagnosis.configuration import check_files, unseen_tokens

    loaded = load(config_path)
    check_files(loaded, config_path)
    parts = (("EVSE", loaded.evse), ("reader", loaded.reader), ("peer", loaded.peer))
    counted = ", ".join(f"{len(things)} {name}{'s' if len(things) != 1 else ''}" for name, things in parts)
    unseen = unseen_tokens(loaded)
    click.echo(f"{config_path}: good: {counted}{f'; not looked at: {unseen}' if unseen else ''}")


@main.command()
@config_option
@says_what_is_wrong
def policy(config_path: Path) -> None:
    """Print this device's decision table as a document to hand to an eMSP (Markdown)."""
    from agent.config import policy_of, slowdown_of
    from agent.core.policy_document import policy_document
    from agent.peering import parties

    loaded = load(config_path)
    click.echo(
        policy_document(
            policy_of(loaded.policy),
            party=f"{loaded.party.country_code}-{loaded.party.party_id}",
            location_id=loaded.location.id,
            peers=asyncio.run(parties(loaded)),
            version=__version__,
            slowdown=slowdown_of(loaded.slowdown),
            refuses_random_uids=any(reader.random_uids == "refuse" for reader in loaded.reader),
        )
    )


@main.command()
@config_option
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000_000), help="The newest so many.")
@click.option("--evse", help="Only this EVSE.")
@json_option
@says_what_is_wrong
def authorizations(config_path: Path, *, limit: int, evse: str | None, as_json: bool) -> None:
    """What was decided here, newest first, with reason, source, reference, and the session that followed."""
    from agent.commands.authorizations import listing

    asyncio.run(listing(load(config_path), limit=limit, evse_uid=evse, as_json=as_json))


@main.group()
def relays() -> None:
    """The relays of this charge point."""


@relays.command("open")
@config_option
@says_what_is_wrong
def relays_open(config_path: Path) -> None:
    """Open every relay, for when the agent was killed: some kernels keep a pin as it was.

    Needs no disk that can be written, and of the configuration nothing but the relays of [[evse]].
    """
    from agent.commands.relays import open_all

    open_all(config_path)


main.add_command(tokens)
main.add_command(peers)
main.add_command(sessions)
main.add_command(cdrs)
main.add_command(readers)
main.add_command(doctor)
main.add_command(support)
main.add_command(panel)
