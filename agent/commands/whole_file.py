"""Where an export goes: a file that is written whole or not at all, or standard output."""

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from agent.errors import ConfigError, StoreError

_PREFIX, _SUFFIX = ".tokens-", ".part"
"""Not made of the file's name, which may have all the 255 bytes that a name can have."""

Sync = Callable[[int], None]
"""Returns once what was written through a descriptor is on the disk: `os.fsync`."""


@contextmanager
def whole_file(target: Path, *, fsync: Sync = os.fsync) -> Iterator[BinaryIO]:
    """A file that takes the place of `target` once it is complete and on the disk, or leaves no trace.

    Only its owner can read it. What a killed process leaves is `.tokens-….part` beside it. Raises ConfigError for a
    `target` that is no file, StoreError for a disk that fails: `target` is as it was then.
    """
    try:
        place = _place(target)
        with _part_of(place, fsync) as out:
            yield out
    except OSError as error:
        raise StoreError(f"{target}: can't be written: {error.strerror}; it is left as it was") from error
    try:
        _make_rename_durable(place.parent, fsync)
    except OSError as error:
        uncertain = "it is complete now, but may be as it was after a power cut"
        raise StoreError(f"{target}: its folder can't be written: {error.strerror}; {uncertain}") from error


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Standard output for bytes, flushed at the end. Raises ConfigError when it is closed, StoreError."""
    if sys.stdout is None:  # Python's way of saying that descriptor 1 was not open when it started
        raise ConfigError("standard output is closed: name a file, or send it somewhere")
    out = sys.stdout.buffer
    try:
        yield out
        out.flush()
    except BrokenPipeError:  # whoever read it has enough
        raise
    except OSError as error:
        raise StoreError(f"standard output can't be written: {error.strerror}") from error


def _place(target: Path) -> Path:
    place = _followed(target)
    if place.is_dir():
        raise ConfigError(f"{target}: is a directory; name a file in it")
    if place.exists() and not place.is_file():
        raise ConfigError(f"{target}: is no file that could be replaced; - is standard output")
    if not place.parent.is_dir():
        raise ConfigError(f"{target}: {place.parent} is no directory")
    return place


_MOST_LINKS = 40
"""As many as the kernel follows."""


def _followed(target: Path) -> Path:
    """Where the file is: a link of ours, or of root's, goes on leading to it.

    One of anybody else's, in a folder that everybody may write to, would lead to any file of ours. Each is looked at
    by itself, and what is not followed here is replaced, not written through: nothing can be slipped in between.
    """
    place = target
    for _ in range(_MOST_LINKS):
        place = Path(os.path.realpath(place.parent)) / place.name
        try:
            link = place.lstat()
        except OSError:
            return place  # not there yet, or its folder is not: whoever writes says so
        if not stat.S_ISLNK(link.st_mode):
            return place
        if link.st_uid not in {0, os.geteuid()}:
            raise ConfigError(f"{target}: is a link that somebody else has made; name another file")
        place = place.parent / place.readlink()
    raise ConfigError(f"{target}: leads through links without an end; name another file")


@contextmanager
def _part_of(place: Path, fsync: Sync) -> Iterator[BinaryIO]:
    # mkstemp's mode is 0600, which the file keeps: there are card numbers in it.
    descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=place.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            fsync(descriptor)
        part.replace(place)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _make_rename_durable(folder: Path, fsync: Sync) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)
