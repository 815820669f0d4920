"""The relays of a file that may be broken elsewhere: opening them is never to fail for a comma."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.config.kinds import OF_RELAYS
from agent.config.output_sections import RelaySection
from agent.config.reading import text_of
from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RelaysFound:
    """The relays of a file that may be broken elsewhere."""

    relays: tuple[RelaySection, ...]
    faults: tuple[str, ...]
    """One sentence for each relay that is there and can't be read: a guess at its level might close it."""
    directory: Path | None
    """Of the databases, where the file says it."""


def load_relays(path: Path) -> RelaysFound:
    """Read the relays, and of the rest no more than where the databases are; it may hold any mistake.

    Raises ConfigError for a file that can't be read, and for one that is no TOML and in which no relay can be found.
    """
    text = text_of(path, errors="replace")
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found, directory = list(_relay_lines(text)), _directory_line(text)
        if not found:
            raise ConfigError(
                f"{path}: no [[evse]] with a relay is there, and it is not valid TOML: {error}"
            ) from error
    else:
        evses = raw.get("evse")
        tables = evses if isinstance(evses, list) else [evses] if isinstance(evses, dict) else []
        found = [evse.get("relay") if isinstance(evse, dict) else None for evse in tables]
        storage = raw.get("storage")
        directory = storage.get("directory") if isinstance(storage, dict) else None
    relays, faults = [], []
    for number, table in enumerate(found, 1):
        try:
            relays.append(msgspec.convert(_way_to(table), RelaySection))
        except msgspec.ValidationError as error:
            faults.append(f"{path}: relay #{number} can't be read, and was not opened: {error}")
    return RelaysFound(tuple(relays), tuple(faults), path.parent / directory if isinstance(directory, str) else None)


_NOT_NEEDED = ("feedback", "interlock", "min_off_s")
"""What says how a relay is watched and when it may close: a mistake there must not keep it from being opened."""


def _way_to(table: object) -> object:
    """What of a relay's table says where it is, and its kind."""
    if not isinstance(table, dict):
        return table
    return {"kind": OF_RELAYS} | {key: value for key, value in table.items() if key not in _NOT_NEEDED}


_HEADER = re.compile(r"^[ \t]*(?=\[)", re.MULTILINE)
_RELAY_TABLE = re.compile(r"\[\s*evse\s*\.\s*relay\s*\]")
_RELAY_LINE = re.compile(r"^[ \t]*relay[ \t]*=.*$", re.MULTILINE)
_RELAY_DOTTED = re.compile(r"^[ \t]*relay[ \t]*\..*$", re.MULTILINE)
_DIRECTORY_LINE = re.compile(r"^[ \t]*directory[ \t]*=.*$", re.MULTILINE)


def _relay_lines(text: str) -> Iterator[object]:
    """The relays of a text that is no TOML, table by table; None for one that can't be read by itself either."""
    for part in _HEADER.split(text):
        if _RELAY_TABLE.match(part):
            # Whole: without a misspelt `active_high` the pin would be driven to the wrong level.
            yield _value(part, "evse", "relay")
            continue
        for line in _RELAY_LINE.findall(part):
            yield _value(line, "relay")
        if dotted := _RELAY_DOTTED.findall(part):
            yield _value("\n".join(dotted), "relay")


def _directory_line(text: str) -> object:
    lines = _DIRECTORY_LINE.findall(text)
    return _value(lines[0], "directory") if len(lines) == 1 else None


def _value(text: str, *keys: str) -> object:
    """What stands at the keys of a piece of TOML, or None."""
    try:
        value: object = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
