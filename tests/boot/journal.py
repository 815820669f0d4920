"""A booted machine's journal, read as systemd wrote it down."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from tests.boot.machine import Machine

Entry: TypeAlias = dict[str, Any]
"""Fields by name; all values are text, but those that are no UTF-8 or stand there twice."""

HANG_S = 60.0
_LOOK_S = 0.1


class SilentError(AssertionError):
    """What was waited for did not come; with the last that came in its place."""


class Journal:
    """What a machine's services say."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine

    def here(self) -> str:
        """The place behind the last entry: what comes later is `after` it."""
        said = self._machine.says("journalctl", "--lines=1", "--output=json")
        return str(json.loads(said)["__CURSOR"])

    def entries(self, *words: str, after: str | None = None) -> list[Entry]:
        """Those that journalctl chooses by `words`, oldest first."""
        since = (f"--after-cursor={after}",) if after else ()
        said = self._machine.says("journalctl", "--output=json", "--all", *since, *words)
        return [json.loads(line) for line in said.splitlines()]

    def wait(self, fits: Callable[[Entry], bool], *words: str, after: str | None = None) -> Entry:
        """The first entry that fits, which may be there already or still has to come. Raises SilentError.

        Asked again and again: `journalctl --follow` behind a cursor misses what comes in the first moments of a boot.
        """
        until = time.monotonic() + HANG_S
        while time.monotonic() < until:
            came = self.entries(*words, after=after)
            if (entry := next(filter(fits, came), None)) is not None:
                return entry
            time.sleep(_LOOK_S)
        said = (
            f"{entry.get('SYSLOG_IDENTIFIER')}: {entry.get('MESSAGE')}" for entry in self.entries(*words, after=after)
        )
        raise SilentError("it did not come; what came:\n" + "\n".join(list(said)[-25:]))


def message(*parts: str) -> Callable[[Entry], bool]:
    """Fits what holds each of these."""
    return lambda entry: all(part in str(entry.get("MESSAGE", "")) for part in parts)


def seconds(entry: Entry) -> float:
    """When it was written, by the clock that `time.monotonic` reads, here as there."""
    return int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6
