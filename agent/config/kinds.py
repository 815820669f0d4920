"""The kinds that may go without saying: a relay is on a GPIO pin, and a display is the console."""

from collections.abc import Iterator

OF_RELAYS = "gpio"
OF_DISPLAYS = "console"


def name_kinds(raw: dict[str, object]) -> None:
    """Write the kinds that are not said into a file's tables, in place; whatever else they are is not looked at."""
    for evse in _tables(raw.get("evse")):
        for key, kind in (("relay", OF_RELAYS), ("display", OF_DISPLAYS)):
            for table in _tables(evse.get(key)):
                table.setdefault("kind", kind)


def _tables(value: object) -> Iterator[dict[str, object]]:
    for table in value if isinstance(value, list) else [value]:
        if isinstance(table, dict):
            yield table
