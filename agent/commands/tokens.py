"""`tokens sync|list|show|explain`: the whitelist, pulled, looked at and explained. Works beside a running agent."""

import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agent.commands import closed_by, say_if_cut
from agent.commands.terminal import harmless, json_text
from agent.config import Config, policy_of
from agent.core.decide import is_fresh, plan, settle
from agent.core.uid import canonical
from agent.errors import ConfigError, PeerError, StoreError
from agent.model import Answer, Decision, ListedToken, Outcome, Uid
from agent.peering import PeerTerms, client_of, configured, read_relations, registered, sync_of
from agent.runtime.token_sync import OnProgress, SyncReport
from agent.storage import storage_folder
from agent.store.whitelist import SyncKind, SyncProgress, Whitelist

OUTCOMES_EXPLAINED = (Outcome.ALLOWED, Outcome.BLOCKED, Outcome.UNKNOWN, Outcome.TIMEOUT)
"""One for each column of the decision table: allows, refuses, does not know it, does not answer."""

PLAIN_EVERY_S = 5.0
"""Where there is no terminal: often enough to see that it lives, rarely enough for a log."""


async def sync(config: Config, config_path: Path, *, peer: str | None, full: bool) -> bool:
    """Pull from one peer or all, one after another, with progress. False when one of them failed."""
    folder = storage_folder(config)
    peers = [*configured(config, config_path), *registered(await read_relations(folder), config)]
    names = ", ".join(terms.name for terms in peers)
    if not peers:
        raise ConfigError(f"{config_path}: no peer is configured or registered, so there is nobody to pull tokens from")
    if peer is not None and peer not in {terms.name for terms in peers}:
        raise ConfigError(f"{config_path}: no peer is configured or registered as {peer}; there are: {names}")
    whitelist = await Whitelist.open(folder / "whitelist.db", shared=True)
    async with closed_by(whitelist.close):
        done = [
            await _sync_one(terms, config, whitelist, folder, full=full)
            for terms in peers
            if peer in {None, terms.name}
        ]
    return all(done)


async def _sync_one(terms: PeerTerms, config: Config, whitelist: Whitelist, folder: Path, *, full: bool) -> bool:
    client = client_of(terms, config)
    async with closed_by(client.aclose):
        with _progress(terms.name) as tell:
            try:
                report = await sync_of(terms, client, config, whitelist, folder).run_once(
                    SyncKind.FULL if full else None, on_progress=tell
                )
            except PeerError as error:
                click.echo(f"chargepoint-agent: {harmless(error)}", err=True)
                return False
    click.echo(harmless(_in_words(report)))
    return True


@contextmanager
def _progress(peer: str) -> Iterator[OnProgress]:
    """A bar with rate and remaining time on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _plain_lines(peer)
        return
    rate = TextColumn("{task.fields[rate]} tokens/s")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(peer, total=None, rate="-")
        first: tuple[int, float] | None = None

        def tell(progress: SyncProgress, total: int | None) -> None:
            nonlocal first
            done, now = progress.tokens + progress.skipped, time.monotonic()
            first = first or (done, now)  # what an interrupted run had stored is no work of this one
            rate = f"{(done - first[0]) / (now - first[1]):.0f}" if now > first[1] else "-"
            bar.update(task, completed=done, total=total, rate=rate)

        yield tell


def _plain_lines(peer: str) -> OnProgress:
    next_at = time.monotonic() + PLAIN_EVERY_S

    def tell(progress: SyncProgress, total: int | None) -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + PLAIN_EVERY_S
            of = f" of {total}" if total is not None else ""
            click.echo(f"peer {peer}: {progress.tokens}{of} tokens, {progress.pages} pages", err=True)

    return tell


def _in_words(report: SyncReport) -> str:
    went_on = ", went on where it was interrupted" if report.resumed else ""
    missed = f", {report.missed} missed for the first time" if report.missed else ""
    doubt = f"; nothing was withdrawn, for {harmless(report.doubt)}" if report.doubt else ""
    return (
        f"peer {report.peer}: {report.kind} synchronisation complete: {report.tokens} tokens on {report.pages} pages, "
        f"{report.skipped} skipped, {report.withdrawn} withdrawn{missed}{went_on}{doubt}"
    )


async def listing(config: Config, *, peer: str | None, limit: int, as_json: bool) -> None:
    """Print tokens by key, and without `as_json` how many there are of each peer and how old its list is."""
    async with _existing(config) as whitelist:
        counts = await whitelist.count()
        relations = await read_relations(Path(config.storage.directory))
        known = {*counts, *(p.name for p in config.peer), *(terms.name for terms in registered(relations, config))}
        if peer is not None and peer not in known:
            raise ConfigError(f"no peer is named {peer}; there are: {', '.join(sorted(known)) or 'none'}")
        rows = await whitelist.list_tokens(peer=peer, limit=limit)
        say_if_cut(len(rows), limit)
        if as_json:
            for row in rows:
                click.echo(json_text(_as_object(row)))
            return
        for row in rows:
            click.echo(_line(row))
        states = await whitelist.sync_states()
    for name, count in counts.items():
        if peer in {None, name}:
            state = states.get(name)
            when = f"complete at {state.completed_at:%Y-%m-%d %H:%M:%S}Z" if state else "never complete"
            numbers = f"{count.total} tokens, {count.valid} valid, {count.withdrawn} withdrawn"
            click.echo(f"peer {name}: {numbers}; synchronisation {when}")
    if not counts:
        click.echo("the whitelist is empty: chargepoint-agent tokens sync")


async def show(config: Config, uid: str, *, as_json: bool) -> bool:
    """Print every token with this uid. False when there is none."""
    async with _existing(config) as whitelist:
        rows = await whitelist.find(_card(uid))
    for row in rows:
        click.echo(json_text(_as_object(row), indent=None if as_json else 2))
    if not rows:
        click.echo("no list names this card", err=True)
    return bool(rows)


async def explain(config: Config, uid: str) -> None:
    """Print what the agent would do with this card now, by running the very rules that it decides by."""
    policy, now = policy_of(config.policy), datetime.now(UTC)
    async with _existing(config) as whitelist:
        rows = await whitelist.find(_card(uid))
    for row in rows:
        click.echo(f"listed:  {_line(row)} {'(fresh list)' if is_fresh(row, policy, now) else '(stale list)'}")
    if not rows:
        click.echo("listed:  by nobody")
    step = plan(rows, policy, now)
    if isinstance(step, Decision):
        click.echo(harmless(f"at once: {step.verdict}, {step.reason}: {step.detail}"))
        return
    relations = await read_relations(Path(config.storage.directory))
    everybody = [*(p.name for p in config.peer), *(terms.name for terms in registered(relations, config))]
    names = step.peers or everybody
    absent = [Answer(name, Outcome.NO_PEER) for name in names if name not in everybody]
    if len(absent) == len(names):
        decision = settle(step, absent)
        nobody = f"{', '.join(names)}: no peer of this name is here" if names else "there is no peer"
        click.echo(harmless(f"asked:   nobody, for {nobody}: {decision.verdict}, {decision.reason}, {decision.source}"))
        return
    asked = ", ".join(name for name in names if name in everybody)
    click.echo(f"asked:   {asked}, for at most {policy.deadline_s - policy.reserve_s:g} s")
    for outcome in OUTCOMES_EXPLAINED:
        answers = [*absent, *(Answer(name, outcome) for name in names if name in everybody)]
        decision = settle(step, answers)
        click.echo(f"  {_IN_WORDS[outcome]:<28} {decision.verdict} ({decision.reason}, {decision.source})")


_IN_WORDS = {
    Outcome.ALLOWED: "the peer allows:",
    Outcome.BLOCKED: "the peer refuses:",
    Outcome.UNKNOWN: "the peer does not know it:",
    Outcome.TIMEOUT: "no answer:",
}


def _card(uid: str) -> Uid:
    try:
        return canonical(uid)
    except ValueError as error:
        raise ConfigError(f"UID: {error}") from error


@asynccontextmanager
async def _existing(config: Config) -> AsyncIterator[Whitelist]:
    path = Path(config.storage.directory) / "whitelist.db"
    if not path.exists():
        raise StoreError(f"{path}: not there yet; run chargepoint-agent tokens sync, or start the agent")
    whitelist = await Whitelist.open(path, shared=True)
    async with closed_by(whitelist.close):
        yield whitelist


def _line(row: ListedToken) -> str:
    state = "withdrawn" if row.withdrawn else "valid" if row.token.valid else "not valid"
    token = row.token
    said = f"{token.uid} {token.owner} {token.whitelist} {state}, contract {token.contract_id}, from {row.peer}"
    return harmless(said)


def _as_object(row: ListedToken) -> dict[str, object]:
    """The token as OCPI names its fields, only those that are set, and where it came from."""
    token = {key: value for key, value in asdict(row.token).items() if value is not None}
    token["last_updated"] = row.token.last_updated.isoformat()
    synced_at = row.synced_at.isoformat() if row.synced_at else None
    return {**token, "peer": row.peer, "withdrawn": row.withdrawn, "synced_at": synced_at}
