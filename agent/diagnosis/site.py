"""What a configuration names, as much of it as can be read: `doctor` is called where the file may be broken."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.config import Config, EvseSection, MeterSection, ReaderSection, RelaySection, load, load_relays
from agent.config.kinds import name_kinds
from agent.config.reading import text_of
from agent.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Site:
    """The devices and the disk of one charge point."""

    path: Path
    fault: str = ""
    """Why the configuration can't be used; what follows is then what could be read of it."""
    config: Config | None = None
    folder: Path | None = None
    """Of the databases, where the file says it."""
    readers: tuple[ReaderSection, ...] = ()
    meters: tuple[MeterSection, ...] = ()
    evses: tuple[EvseSection, ...] = ()
    relays: tuple[tuple[str, RelaySection], ...] = ()
    """Each with what it is called here."""


def site_of(path: Path) -> Site:
    """Everything that the file names, and what is wrong with it. Raises nothing."""
    try:
        config = load(path)
    except ConfigError as error:
        return _rest_of(path, str(error))
    relays = tuple((f"relay of {evse.uid}", evse.relay) for evse in config.evse)
    folder = Path(config.storage.directory)
    return Site(path, "", config, folder, config.reader, config.meter, config.evse, relays)


def _rest_of(path: Path, fault: str) -> Site:
    try:
        raw = tomllib.loads(text_of(path, errors="replace"))
    except (tomllib.TOMLDecodeError, ConfigError):
        raw = {}
    name_kinds(raw)
    try:
        kept = load_relays(path)
    except ConfigError:
        return Site(path, fault)
    return Site(
        path,
        fault,
        None,
        kept.directory,
        tuple(_readable(raw.get("reader"), ReaderSection)),
        tuple(_readable(raw.get("meter"), MeterSection)),
        tuple(_readable(raw.get("evse"), EvseSection)),
        tuple((f"relay #{number}", relay) for number, relay in enumerate(kept.relays, 1)),
    )


def _readable(tables: object, section: object) -> Iterator[T]:
    for table in tables if isinstance(tables, list) else []:
        try:
            yield msgspec.convert(table, section)
        except msgspec.ValidationError:
            continue  # the configuration's own finding names it
