"""Which relays the running agent has, written down in memory: the file may name others by the time that it is killed.

`relays open`, which systemd calls after the agent's end, opens these as well as those of the configuration. Once all
are open they are forgotten. Only where systemd gives the service a directory of its own in memory (RUNTIME_DIRECTORY).
"""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.config import RelaySection

log = logging.getLogger(__name__)

_NAME = "relays.json"


def note(relays: Sequence[RelaySection], environment: Mapping[str, str] = os.environ) -> None:
    """Write them down, whole or not at all. That it can't be done hinders nothing."""
    path = _path(environment)
    if path is None:
        return
    part = path.with_name(f"{_NAME}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(list(relays)))
        part.replace(path)
    except OSError as error:
        log.warning("%s: can't be written, so a killed agent's relays are those of the configuration: %s", path, error)


def forget(environment: Mapping[str, str] = os.environ) -> None:
    """All of them are open: what a pin or a port is next, nobody knows."""
    path = _path(environment)
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def noted(environment: Mapping[str, str] = os.environ) -> list[RelaySection]:
    """What the last agent had; nothing where nobody has written it down, or what is there can't be read."""
    path = _path(environment)
    if path is None:
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[RelaySection])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("%s: can't be read, so only the relays of the configuration are opened: %s", path, error)
        return []


def _path(environment: Mapping[str, str]) -> Path | None:
    folder = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(folder) / _NAME if folder else None
