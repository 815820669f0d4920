"""Which keys differ between two configurations, named as a person finds them in the file."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


def changed_keys(before: msgspec.Struct, after: msgspec.Struct) -> list[str]:
    """`policy.deadline_s`, `evse E1: relay.gpio`, `reader door` for one that came or went; in the file's order.

    Nothing of what they are set to: a credentials token may be among it.
    """
    return list(dict.fromkeys(_differences(before, after, "")))


def _differences(before: Any, after: Any, key: str) -> Iterator[str]:  # noqa: ANN401  whatever a file can hold
    if before == after:
        return
    if isinstance(before, msgspec.Struct) and type(before) is type(after):
        for name in before.__struct_fields__:
            inner = f"{key}{'' if not key or key.endswith(' ') else '.'}{name}"
            yield from _differences(getattr(before, name), getattr(after, name), inner)
    elif _is_list_of_tables(before) and _is_list_of_tables(after):
        yield from _of_lists(_by_name(before), _by_name(after), key)
    else:
        yield key


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, msgspec.Struct) for each in value)


def _by_name(tables: tuple[Any, ...]) -> dict[str, Any]:
    return {str(getattr(table, "uid", None) or getattr(table, "name", "")): table for table in tables}


def _of_lists(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        if name in before and name in after and type(before[name]) is type(after[name]):
            yield from _differences(before[name], after[name], f"{key} {name}: ")
        elif before.get(name) != after.get(name):
            yield f"{key} {name}"
    if list(before) != list(after) and set(before) == set(after):
        yield f"the order of [[{key}]]"
