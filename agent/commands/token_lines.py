"""The lines of a file or pipe as tokens: one OCPI 2.2.1 Token object each (mod_tokens, Token), in UTF-8.

Where the tokens go is somebody else's business. However long the file and its lines are, no more than a page is in
memory.
"""

import asyncio
import codecs
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from agent.commands.terminal import harmless
from agent.core.uid import masked
from agent.errors import ConfigError, StoreError
from agent.model import Token
from agent.ocpi import failures
from agent.ocpi import tokens as wire
from agent.ocpi.envelope import UNREADABLE
from agent.store.token_rows import FUTURE_US

PAGE: Final = 1000
"""Tokens that are read at a time."""

WARNINGS: Final = 20
"""Lines that are named, an import: who gives the wrong file does not want a million."""

_CHUNK: Final = 1 << 16
"""Bytes read at once."""

_LONGEST_LINE: Final = 1 << 16
"""Bytes. A Token with all its fields has less than one thousand; a file without any line end is no list."""

_AHEAD: Final = timedelta(microseconds=FUTURE_US)
"""What claims to be of a later time than that says nothing about when the list was made."""

Tell = Callable[[int, int], None]
"""Called with how far it is, in the units of the total, and with how many tokens that makes."""


class TokenLines:
    """The tokens of a file, page by page. What is none is named on standard error, counted and left out."""

    def __init__(self, name: str, descriptor: int, tell: Tell) -> None:
        self.good = 0
        self.bad = 0
        self.newest: datetime | None = None
        """The latest `last_updated` so far that is not of the future."""
        self._name = name
        self._descriptor = descriptor
        self._tell = tell
        self._number = 0
        self._position = 0
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._ended = False
        self._ahead: list[Token] | None = None

    async def begin(self) -> None:
        """Read the first page ahead, however long it takes to come: `page` has it at once. Raises as `page` does."""
        self._ahead = await self._next_page()

    async def page(self) -> list[Token]:
        """The next tokens, at most PAGE of them; none at the end. Raises StoreError for a disk that fails."""
        page, self._ahead = self._ahead, None
        return await self._next_page() if page is None else page

    async def _next_page(self) -> list[Token]:
        tokens: list[wire.Token] = []
        while len(tokens) < PAGE and (line := await self._line()) is not None:
            if line and (token := self._token(line)):
                tokens.append(token)
        self.good += len(tokens)
        latest = datetime.now(UTC) + _AHEAD
        times = [token.last_updated for token in tokens if token.last_updated <= latest]
        self.newest = max([*times, self.newest] if self.newest else times, default=None)
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
        if self.bad <= WARNINGS:
            card = f" (uid {masked(uid)})" if uid else ""
            without_uid = failures.harmless(reason, [uid] if uid else [])
            click.echo(harmless(f"{self._name}: line {self._number} skipped{card}: {without_uid}"), err=True)
        elif self.bad == WARNINGS + 1:
            click.echo(harmless(f"{self._name}: more lines are skipped, which are only counted"), err=True)


@contextmanager
def opened(source: Path | None) -> Iterator[int]:
    """A descriptor to read `source` with; None is standard input. Raises ConfigError for what can't be read."""
    if source is not None:
        with _opened(source) as descriptor:
            yield descriptor
    elif sys.stdin is None:  # Python's way of saying that descriptor 0 was not open when it started
        raise ConfigError("standard input is closed: name a file, or send it one")
    else:
        yield sys.stdin.fileno()


@contextmanager
def _opened(source: Path) -> Iterator[int]:
    try:
        # Without O_NONBLOCK a pipe that nobody writes to yet would stop the event loop, and Ctrl-C with it.
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"{source}: can't be read: {error.strerror}") from error
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise ConfigError(f"{source}: is a directory; name the file in it")
        os.set_blocking(descriptor, True)
        yield descriptor
    finally:
        os.close(descriptor)


def size_of(descriptor: int) -> int | None:
    """The bytes of a file; None for a pipe or a terminal, of which nobody knows."""
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
