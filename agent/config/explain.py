"""What is wrong in a table, in the words of whoever wrote the file: which table, which key, what was expected."""

import difflib
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Literal, get_args, get_origin, get_type_hints

from msgspec import Meta

from agent.config.section import Section
from agent.config.sections import Config


def explain(message: str, raw: object = None) -> str:
    """msgspec's message with the place as a person names it, and what would have been right there.

    `raw` is the file's content: where tables are of several kinds, it tells which one was meant.
    """
    match = re.fullmatch(r"(?P<what>.*?)(?: - at `\$(?P<where>[^`]*)`)?", message, re.DOTALL)
    assert match is not None, "the pattern takes any text"
    what, steps = match["what"], re.findall(r"[^.\[\]]+", match["where"] or "")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if unknown:
        return f"{_place([*steps, unknown[1]])}: unknown key; {_known_keys(steps, unknown[1], raw)}"
    if missing:
        return f"{_place([*steps, missing[1]])}: missing; this key is required"
    if what.startswith(("Invalid enum value", "Invalid value '")):
        return f"{_place(steps)}: expected one of {', '.join(_choices_at(steps, raw))}"
    if "matching regex" in what and (expected := _in_words(steps, raw)):
        return f"{_place(steps)}: expected {expected}"
    return f"{_place(steps)}: {what[0].lower()}{what[1:]}"


def _in_words(steps: list[str], raw: object) -> str | None:
    """What a pattern asks for, where its key says so."""
    for section in _sections_at(steps[:-1], raw):
        hints = [get_type_hints(section, include_extras=True).get(steps[-1])]
        while hints:
            hint = hints.pop()
            for note in getattr(hint, "__metadata__", ()):
                if isinstance(note, Meta) and note.description:
                    return note.description
            hints += get_args(hint)
    return None


def _place(steps: list[str]) -> str:
    """`evse #2: relay.gpio`: people count tables from one, and find them by their order."""
    place = ""
    for step in steps:
        place += f" #{int(step) + 1}:" if step.isdigit() else f"{_glue(place)}{step}"
    return place.removesuffix(":") or "the file"


def _glue(place: str) -> str:
    if not place:
        return ""
    return " " if place.endswith(":") else "."


def _known_keys(steps: list[str], unknown: str, raw: object) -> str:
    fields = _fields_at(steps, raw)
    close = difflib.get_close_matches(unknown, fields, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}known here: {', '.join(fields)}"


def _fields_at(steps: list[str], raw: object) -> list[str]:
    """The keys that are known there; where tables are of several kinds and none is said, those of each."""
    return list(dict.fromkeys(field for section in _sections_at(steps, raw) for field in section.__struct_fields__))


def _choices_at(steps: list[str], raw: object) -> list[str]:
    """What a key takes, be it a Literal's or an enum's."""
    found: dict[str, None] = {}
    for section in _sections_at(steps[:-1], raw):
        hint = get_type_hints(section).get(steps[-1])
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            found |= dict.fromkeys(str(choice) for choice in hint)
        parts = [part for part in (hint, *get_args(hint)) if get_origin(part) is Literal]
        found |= dict.fromkeys(str(choice) for part in parts for choice in get_args(part))
        if section.__struct_config__.tag_field == steps[-1]:
            found[str(section.__struct_config__.tag)] = None
    return list(found)


def _sections_at(steps: list[str], raw: object) -> list[type[Section]]:
    sections: list[type[Section]] = [Config]
    for step in steps:
        raw = _inside(raw, step)
        if not step.isdigit():
            hints = (get_type_hints(section).get(step) for section in sections)
            sections = [inner for hint in hints for inner in _sections_in(hint)]
        sections = _of_the_kind(sections, raw)
    return sections


def _inside(raw: object, step: str) -> object:
    """What stands in the file at one step further; None where nothing does."""
    if isinstance(raw, list):
        return raw[int(step)] if step.isdigit() and int(step) < len(raw) else None
    return raw.get(step) if isinstance(raw, dict) else None


def _of_the_kind(sections: list[type[Section]], raw: object) -> list[type[Section]]:
    """Those of the kind that the table says it is; all of them where it says none, or one that there is not."""
    if not isinstance(raw, dict):
        return sections
    meant = [
        section
        for section in sections
        if (config := section.__struct_config__).tag_field is not None and raw.get(config.tag_field) == config.tag
    ]
    return meant or sections


def _sections_in(hint: object) -> Iterator[type[Section]]:
    """The sections that a type hint holds, however deep in tuples, options and annotations."""
    if isinstance(hint, type) and issubclass(hint, Section):
        yield hint
    for part in get_args(hint):
        yield from _sections_in(part)
