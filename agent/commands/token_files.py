"""`tokens import|export`: the whitelist as a file, for a site without a network. Works beside a running agent.

One OCPI 2.2.1 Token object a line (mod_tokens, Token) in UTF-8. What a token means, and what a whole list does to the
tokens that it leaves out, is the store's business.
"""

import asyncio
import codecs
import os
import stat
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
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
from agent.commands.tokens import PLAIN_EVERY_S
from agent.config import Config
from agent.config.sections import Name
from agent.core.uid import masked
from agent.errors import ConfigError, StoreError
from agent.main import storage_folder
from agent.model import Token
from agent.ocpi import failures
from agent.ocpi import tokens as wire
from agent.ocpi.envelope import UNREADABLE
from agent.peering import read_relations, registered, sync_lock
from agent.runtime.sync_lock import alone
from agent.runtime.token_sync import _LEAST_FREE, _free_bytes, _size
from agent.store.whitelist import Put, Swept, SyncKind, Whitelist

PAGE: Final = 1000
"""Tokens in one transaction of an import, and in memory at a time."""

NO_PEER: Final = "import"
"""Whose the tokens are where no peer is known."""

_CHUNK: Final = 1 << 16
"""Bytes read at once."""

_LONGEST_LINE: Final = 1 << 16
"""Bytes. A Token with all its fields has less than one thousand; a file without any line end is no list."""

_WARNINGS: Final = 20
"""Lines that are named, an import: who gives the wrong file does not want a million."""

_NOWHERE: Final = "file:"
"""Where an unfinished import would go on. For the sync that finds it, it is no address: that one starts over."""

Tell = Callable[[int, int], None]
"""Called with how far it is, in the units of the total, and with how many tokens that makes."""


async def import_tokens(config: Config, source: Path | None, *, peer: str | None, complete: bool) -> bool:
    """Take the tokens of a file into the whitelist; None is standard input. Lines that are no token are skipped.

    Without `complete` it adds and updates as if the peer had pushed each token: durable, nothing newer is touched, and
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
        descriptor = sys.stdin.fileno() if source is None else stack.enter_context(_opened(source))
        folder = storage_folder(config)
        stack.enter_context(alone(sync_lock(folder)))
        whose = peer or _only_one(await _peers(config, folder))
        whitelist = await Whitelist.open(folder / "whitelist.db", shared=True)
        await stack.enter_async_context(closed_by(whitelist.close))
        lines = _TokenLines(name, descriptor, stack.enter_context(_progress(name, _size_of(descriptor))))
        into = _Destination(whitelist, whose, folder)
        said = await (_take_over(into, lines) if complete else _add(into, lines))
    if lines.bad > _WARNINGS:
        click.echo(harmless(f"{name}: {lines.bad} lines were skipped in all"), err=True)
    if not lines.good:
        expected = "one OCPI Token object a line is expected, as tokens export writes it"
        click.echo(harmless(f"chargepoint-agent: {name}: there is no token in it; {expected}"), err=True)
        return False
    click.echo(harmless(said))
    return not (complete and lines.bad)


async def export_tokens(config: Config, target: Path | None, *, peer: str | None) -> None:
    """Write the tokens that are not withdrawn, of one peer or all, in the order of their keys; None is standard output.

    `target` becomes a whole and durable file that only its owner can read, or stays as it was. What a killed export
    leaves is `.NAME.….part` beside it. Raises ConfigError for `target` or `peer`, StoreError.
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
        name = "standard output" if target is None else str(target)
        with (
            _standard_output() if target is None else _whole_file(target) as out,
            _progress(name, sum(count.total for count in chosen.values())) as tell,
        ):
            keep_room = folder if target is not None and _same_disk(out, folder) else None
            written = await _write(whitelist, peer, out, tell, keep_room=keep_room)
    click.echo(harmless(f"exported {_counted(written, 'token')} to {name}"), err=target is None)
    if len(brought := [name for name, count in chosen.items() if count.total > count.withdrawn]) > 1:
        several = f"they are of the peers {', '.join(brought)}, and the file does not say which of whom"
        click.echo(harmless(f"{several}: --peer exports those of one"), err=True)


# ---- import


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where an import puts tokens, and in whose name."""

    whitelist: Whitelist
    peer: str
    folder: Path


async def _add(into: _Destination, lines: "_TokenLines") -> str:
    came = dict.fromkeys(Put, 0)
    while tokens := await lines.page():
        _check_room(into.folder, "no more tokens are taken in")
        # All at once: what comes together is committed together.
        for put in await asyncio.gather(*[into.whitelist.put(token, into.peer) for token in tokens]):
            came[put] += 1
    new, stale = came[Put.CREATED], came[Put.STALE]
    older = f", {stale} left alone, for newer ones are here" if stale else ""
    return (
        f"imported {_counted(lines.good - stale, 'token')} ({new} new){older}, {lines.bad} skipped, as additions to the"
        f" list of peer {into.peer}: nothing is withdrawn, and the list counts as no fresher than before"
    )


async def _take_over(into: _Destination, lines: "_TokenLines") -> str:
    whitelist, peer, now = into.whitelist, into.peer, datetime.now(UTC)
    before = await _total(whitelist)
    swept = None
    progress = await whitelist.start(peer, SyncKind.FULL, _NOWHERE, reference=now, started_at=now)
    # Nothing is left to forget when it is complete.
    async with closed_by(lambda: whitelist.abandon(peer)):
        while tokens := await lines.page():
            _check_room(into.folder, "no more tokens are taken in")
            progress = await whitelist.store_page(progress, tokens, next_url=_NOWHERE)
        if lines.newest is not None and not lines.bad:
            # Nobody knows when the list was made, only that it was no earlier than the newest change in it: that is
            # from when on the next delta sync must ask.
            made = replace(progress, reference=min(lines.newest, now))
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


class _TokenLines:
    """The tokens of a file, page by page. What is none is named on standard error, counted and left out."""

    def __init__(self, name: str, descriptor: int, tell: Tell) -> None:
        self.good = 0
        self.bad = 0
        self.newest: datetime | None = None
        """The latest `last_updated`."""
        self._name = name
        self._descriptor = descriptor
        self._tell = tell
        self._number = 0
        self._position = 0
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._ended = False

    async def page(self) -> list[Token]:
        """The next tokens, at most PAGE of them; none at the end. Raises StoreError for a disk that fails."""
        tokens: list[wire.Token] = []
        while len(tokens) < PAGE and (line := await self._line()) is not None:
            if line and (token := self._token(line)):
                tokens.append(token)
        self.good += len(tokens)
        self.newest = max((token.last_updated for token in tokens), default=self.newest)
        return wire.to_model(tokens)

    async def _line(self) -> bytes | None:
        while not self._lines:
            if self._ended:
                return None
            await self._read()
        line = self._lines.popleft()
        self._number += 1
        return (line.removeprefix(codecs.BOM_UTF8) if self._number == 1 else line).strip()

    async def _read(self) -> None:
        await _readable(self._descriptor)
        try:
            chunk = os.read(self._descriptor, _CHUNK)
        except OSError as error:
            raise StoreError(f"{self._name}: can't be read any further: {error.strerror}") from error
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._lines.extend(lines)
        self._rest = rest[: _LONGEST_LINE + 1]  # enough to see that it is too long
        if not chunk:
            self._ended = True
            self._lines.append(self._rest)
        self._position += len(chunk)
        self._tell(self._position, self.good)

    def _token(self, line: bytes) -> wire.Token | None:
        if len(line) > _LONGEST_LINE:
            self._skip(f"it has more than {_LONGEST_LINE} bytes")
            return None
        try:
            tokens, unreadable = wire.decode_list(b"[%b]" % line)
        except UNREADABLE as error:
            self._skip(str(error))
            return None
        if len(tokens) + len(unreadable) > 1:
            self._skip("there is more than one object in it")
        elif unreadable:
            self._skip(unreadable[0].reason, unreadable[0].key.uid)
        else:
            return tokens[0]
        return None

    def _skip(self, reason: str, uid: str = "") -> None:
        self.bad += 1
        if self.bad <= _WARNINGS:
            card = f" (uid {masked(uid)})" if uid else ""
            without_uid = failures.harmless(reason, [uid] if uid else [])
            click.echo(harmless(f"{self._name}: line {self._number} skipped{card}: {without_uid}"), err=True)
        elif self.bad == _WARNINGS + 1:
            click.echo(harmless(f"{self._name}: more lines are skipped, which are only counted"), err=True)


@contextmanager
def _opened(source: Path) -> Iterator[int]:
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{source}: can't be read: {error.strerror}") from error
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise ConfigError(f"{source}: is a directory; name the file in it")
        yield descriptor
    finally:
        os.close(descriptor)


def _size_of(descriptor: int) -> int | None:
    found = os.fstat(descriptor)
    return found.st_size if stat.S_ISREG(found.st_mode) else None


async def _readable(descriptor: int) -> None:
    """Wait for a pipe or a terminal without being deaf to Ctrl-C meanwhile."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # epoll's answer for a file on a disk, which keeps nobody waiting
        await asyncio.sleep(0)
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


# ---- export


async def _write(whitelist: Whitelist, peer: str | None, out: BinaryIO, tell: Tell, *, keep_room: Path | None) -> int:
    after, seen, written = None, 0, 0
    while rows := await whitelist.list_tokens(peer=peer, after=after, limit=PAGE):
        if keep_room is not None:
            _check_room(keep_room, "the export is given up")
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


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    out = sys.stdout.buffer
    try:
        yield out
        out.flush()
    except BrokenPipeError:  # whoever read it has enough
        raise
    except OSError as error:
        raise StoreError(f"standard output can't be written: {error.strerror}") from error


@contextmanager
def _whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `target` once it is complete and on the disk, or leaves no trace."""
    place = Path(os.path.realpath(target))  # a link goes on leading to the file
    if place.is_dir():
        raise ConfigError(f"{target}: is a directory; name a file in it")
    if place.exists() and not place.is_file():
        raise ConfigError(f"{target}: is no file that could be replaced; - is standard output")
    if not place.parent.is_dir():
        raise ConfigError(f"{target}: {place.parent} is no directory")
    try:
        with _part_of(place) as out:
            yield out
    except OSError as error:
        raise StoreError(f"{target}: can't be written: {error.strerror}; it is left as it was") from error


@contextmanager
def _part_of(place: Path) -> Iterator[BinaryIO]:
    # mkstemp's mode is 0600, which the file keeps: there are card numbers in it.
    descriptor, name = tempfile.mkstemp(prefix=f".{place.name[:200]}.", suffix=".part", dir=place.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(descriptor)
        part.replace(place)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# ---- both


def _check_room(folder: Path, given_up: str) -> None:
    try:
        free, kept = _free_bytes(folder), min(_LEAST_FREE, _size(folder) // 10)
    except OSError as error:
        raise StoreError(f"{folder}: can't tell how much room there is: {error.strerror}") from error
    if free < kept:
        room = f"{free >> 20} MiB are free on the disk of {folder}, and {kept >> 20} are kept for the records"
        raise StoreError(f"{given_up}: {room}; make room and try again")


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
