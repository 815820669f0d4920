"""`tokens import|export`: the whitelist as a file, for a site without a network. Works beside a running agent.

One OCPI 2.2.1 Token object a line (mod_tokens, Token) in UTF-8. What a token means, and what a whole list does to the
tokens that it leaves out, is the store's business.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from agent.commands import closed_by
from agent.commands.terminal import harmless
from agent.commands.token_lines import PAGE, WARNINGS, Tell, TokenLines, opened, size_of
from agent.commands.tokens import PLAIN_EVERY_S
from agent.commands.whole_file import standard_output, whole_file
from agent.config import Config
from agent.config.section import Name
from agent.errors import ConfigError, StoreError
from agent.model import Token
from agent.peering import read_relations, registered, sync_lock
from agent.runtime.room import check_room
from agent.runtime.sync_lock import alone
from agent.storage import storage_folder
from agent.store.whitelist import Put, Swept, SyncKind, Whitelist

NO_PEER: Final = "import"
"""Whose the tokens are where no peer is known."""

_NOWHERE: Final = "file:"
"""Where an unfinished import would go on. For the sync that finds it, it is no address: that one starts over."""

_LONG_AGO: Final = datetime.fromtimestamp(0, UTC)
"""From when on a delta sync asks where a list does not tell how old it is: it brings too much, and misses nothing."""


async def import_tokens(config: Config, source: Path | None, *, peer: str | None, complete: bool) -> bool:
    """Take the tokens of a file into the whitelist; None is standard input. Lines that are no token are skipped.

    Nothing newer is touched. Without `complete` it adds and updates as if the peer had pushed each token: durable, and
    a sync with the peer that was interrupted can go on. With it the file is the peer's whole list, which does what a
    full sync does, in place of one that was interrupted. Cancelled or killed, it keeps what it stored and does nothing
    else; to import again is always good.

    False when no token could be used, and when a list that was to be whole has a line that is none: nothing is
    withdrawn then. Raises ConfigError for `source` or `peer`, BusyError while a sync runs, StoreError.
    """
    name = "standard input" if source is None else str(source)
    if peer is not None:
        _check_name(peer)
    async with AsyncExitStack() as stack:
        descriptor = stack.enter_context(opened(source))
        folder = storage_folder(config)
        whose = peer or _only_one(await _peers(config, folder))
        lines = TokenLines(name, descriptor, stack.enter_context(_progress(name, size_of(descriptor))))
        await lines.begin()  # who types, or fetches a list first, takes his time: nobody need wait for that
        stack.enter_context(alone(sync_lock(folder)))
        whitelist = await Whitelist.open(folder / "whitelist.db", shared=True)
        await stack.enter_async_context(closed_by(whitelist.close))
        into = _Destination(whitelist, whose, folder)
        said = await (_take_over(into, lines) if complete else _add(into, lines))
    if lines.bad > WARNINGS:
        click.echo(harmless(f"{name}: {lines.bad} lines were skipped in all"), err=True)
    if not lines.good:
        expected = "one OCPI Token object a line is expected, as tokens export writes it"
        click.echo(harmless(f"chargepoint-agent: {name}: there is no token in it; {expected}"), err=True)
        return False
    click.echo(harmless(said))
    return not (complete and lines.bad)


async def export_tokens(config: Config, target: Path | None, *, peer: str | None) -> None:
    """Write the tokens that are not withdrawn, of one peer or all, in the order of their keys; None is standard output.

    `target` becomes a whole and durable file that only its owner can read, or stays as it was. Standard error says
    when a peer's list has not been here as a whole yet. Raises ConfigError for `target` or `peer`, StoreError.
    """
    folder = Path(config.storage.directory)
    if not (folder / "whitelist.db").exists():
        raise StoreError(f"{folder / 'whitelist.db'}: not there yet, so there is nothing to export")
    whitelist = await Whitelist.open(folder / "whitelist.db", shared=True)
    async with closed_by(whitelist.close):
        counts = await whitelist.count()
        known = {*counts, *await _peers(config, folder)}
        if peer is not None and peer not in known:
            raise ConfigError(f"no peer is named {peer}; there are: {', '.join(sorted(known)) or 'none'}")
        chosen = {name: count for name, count in counts.items() if peer in {None, name}}
        partial = await _partial(whitelist, chosen)
        name = "standard output" if target is None else str(target)
        with (
            standard_output() if target is None else whole_file(target) as out,
            _progress(name, sum(count.total for count in chosen.values())) as tell,
        ):
            keep_room = folder if target is not None and _same_disk(out, folder) else None
            written = await _write(whitelist, peer, out, tell, keep_room=keep_room)
    click.echo(harmless(f"exported {_counted(written, 'token')} to {name}"), err=target is None)
    for unfinished in partial:
        few = f"the first full synchronisation with peer {unfinished} is not finished, so its list is not whole here"
        click.echo(harmless(f"{few}: finish it with tokens sync, then export again"), err=True)
    if len(brought := [name for name, count in chosen.items() if count.total > count.withdrawn]) > 1:
        several = f"they are of the peers {', '.join(brought)}, and the file does not say which of whom"
        click.echo(harmless(f"{several}: --peer exports those of one"), err=True)


async def _partial(whitelist: Whitelist, peers: Iterable[str]) -> list[str]:
    """The peers of which only the beginning of the list has come yet."""
    states = await whitelist.sync_states()
    never = [peer for peer in peers if peer not in states or states[peer].last_full_at is None]
    return [peer for peer in never if await whitelist.progress(peer) is not None]


# ---- import


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where an import puts tokens, and in whose name."""

    whitelist: Whitelist
    peer: str
    folder: Path


async def _add(into: _Destination, lines: TokenLines) -> str:
    came = dict.fromkeys(Put, 0)
    while tokens := await lines.page():
        check_room(into.folder, "no more tokens are taken in")
        # All at once: what comes together is committed together.
        for put in await asyncio.gather(*[into.whitelist.put(token, into.peer) for token in tokens]):
            came[put] += 1
    new, stale = came[Put.CREATED], came[Put.STALE]
    older = f", {stale} left alone, for newer ones are here" if stale else ""
    return (
        f"imported {_counted(lines.good - stale, 'token')} ({new} new){older}, {lines.bad} skipped, as additions to the"
        f" list of peer {into.peer}: nothing is withdrawn, and the list counts as no fresher than before"
    )


async def _take_over(into: _Destination, lines: TokenLines) -> str:
    whitelist, peer, now = into.whitelist, into.peer, datetime.now(UTC)
    before = await _total(whitelist)
    swept = None
    progress = await whitelist.start(peer, SyncKind.FULL, _NOWHERE, reference=now, started_at=now)
    # Nothing is left to forget when it is complete.
    async with closed_by(lambda: whitelist.abandon(peer)):
        while tokens := await lines.page():
            check_room(into.folder, "no more tokens are taken in")
            # A file may be an old one: were it to win over what is newer, and then break off, no delta sync would ever
            # bring back a card's block that came in between.
            progress = await whitelist.store_page(progress, tokens, next_url=_NOWHERE, newest_wins=True)
        if lines.good and not lines.bad:
            # Nobody knows when the list was made, only that it was no earlier than the newest change in it: that is
            # from when on the next delta sync must ask.
            made = replace(progress, reference=min(lines.newest or _LONG_AGO, now))
            swept = await whitelist.complete(made, completed_at=datetime.now(UTC))
    new = await _total(whitelist) - before
    return (
        f"imported {_counted(lines.good, 'token')} ({new} new), {lines.bad} skipped, as the whole list of peer {peer}:"
        f" {_in_words(swept)}"
    )


def _in_words(swept: Swept | None) -> str:
    if swept is None:
        return (
            "with lines skipped it is not whole, so nothing is withdrawn and the list counts as no fresher than before;"
            " mend the file and import it again"
        )
    missed = f"; {swept.missed} missed for the first time, withdrawn unless the next whole list has them"
    return f"it counts as fresh from now on; {swept.withdrawn} withdrawn{missed if swept.missed else ''}"


async def _total(whitelist: Whitelist) -> int:
    return sum(count.total for count in (await whitelist.count()).values())


def _check_name(peer: str) -> None:
    try:
        msgspec.convert(peer, Name)
    except msgspec.ValidationError:
        allowed = "expected letters and digits, with . _ - from the second character on, 64 at most"
        raise ConfigError(f"--peer {peer}: {allowed}") from None


async def _peers(config: Config, folder: Path) -> list[str]:
    relations = await read_relations(folder)
    return [*(section.name for section in config.peer), *(terms.name for terms in registered(relations, config))]


def _only_one(peers: Sequence[str]) -> str:
    """Whose list a file is that nobody names: a wrong guess would take the tokens away from the right one."""
    if len(peers) > 1:
        raise ConfigError(f"whose tokens are these? --peer NAME says it; there are: {', '.join(peers)}")
    return peers[0] if peers else NO_PEER


# ---- export


async def _write(whitelist: Whitelist, peer: str | None, out: BinaryIO, tell: Tell, *, keep_room: Path | None) -> int:
    after, seen, written = None, 0, 0
    while rows := await whitelist.list_tokens(peer=peer, after=after, limit=PAGE):
        if keep_room is not None:
            check_room(keep_room, "the export is given up")
        kept = [row.token for row in rows if not row.withdrawn]
        out.write(b"".join(map(_as_line, kept)))
        after, seen, written = rows[-1], seen + len(rows), written + len(kept)
        tell(seen, written)
    return written


def _same_disk(out: BinaryIO, folder: Path) -> bool:
    return os.fstat(out.fileno()).st_dev == folder.stat().st_dev


def _as_line(token: Token) -> bytes:
    """A Token object with only what is set, and nothing of it lost."""
    fields = _set(msgspec.to_builtins(token))
    if "energy_contract" in fields:
        fields["energy_contract"] = _set(fields["energy_contract"])
    if "." in fields["last_updated"]:
        # Up to a tenth of a millisecond this fits into the 25 characters of OCPI 2.2.1 types, DateTime.
        fields["last_updated"] = fields["last_updated"].removesuffix("Z").rstrip("0") + "Z"
    return msgspec.json.encode(fields) + b"\n"


def _set(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


# ---- both


@contextmanager
def _progress(name: str, total: int | None) -> Iterator[Tell]:
    """A bar with rate and remaining time on a terminal, a line now and then elsewhere."""
    name = harmless(name)
    if not sys.stderr.isatty():
        yield _plain_lines(name, total)
        return
    rate = TextColumn("{task.fields[rate]} tokens/s")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), rate)
    began = time.monotonic()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, rate="-")

        def tell(done: int, tokens: int) -> None:
            bar.update(task, completed=done, rate=f"{tokens / max(time.monotonic() - began, 1e-3):.0f}")

        yield tell


def _plain_lines(name: str, total: int | None) -> Tell:
    next_at = time.monotonic() + PLAIN_EVERY_S

    def tell(done: int, tokens: int) -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + PLAIN_EVERY_S
            of = f", {100 * done / total:.0f} %" if total else ""
            click.echo(f"{name}: {_counted(tokens, 'token')}{of}", err=True)

    return tell


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
