"""Where others come in: whether the agent has, or could have, the addresses that it is to listen on."""

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.config import Config
from agent.diagnosis.finding import Finding, Level, good
from agent.errors import ConfigError

_ANSWER_S = 2.0

_REMEDIES = {
    errno.EADDRINUSE: "another port, or end the program that has it: sudo ss -ltnp names it",
    errno.EADDRNOTAVAIL: "an address that one of this machine's interfaces has: ip address lists them",
    errno.EACCES: "a port from 1024 on, or AmbientCapabilities=CAP_NET_BIND_SERVICE in a drop-in of the unit",
}


@dataclass(frozen=True, slots=True)
class Door:
    """One address and port, and what of the configuration names it."""

    subject: str
    host: str
    port: int
    lost: Level
    """What it means that nobody can listen there."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def doors_of(config: Config, path: Path) -> list[Door]:
    """All that are configured, but for those that the configuration's own check finds fault with."""
    doors = []
    server = config.ocpi.server
    if server.enabled:
        doors.append(Door("ocpi.server", server.host, server.port, Level.BAD))
    if config.panel is not None:
        from agent.onlooking import place_of_panel  # noqa: PLC0415  for those who have one

        with suppress(ConfigError):
            place = place_of_panel(config.panel, path)
            doors.append(Door("panel", place.host, place.port, Level.WARNING))
    if config.monitoring is not None:
        from agent.service.monitoring import place_of  # noqa: PLC0415  as above

        with suppress(ConfigError):
            listed = place_of(config.monitoring.listen, allow_remote=config.monitoring.allow_remote)
            if listed.path is None:
                doors.append(Door("monitoring", listed.host, listed.port, Level.WARNING))
    return doors


def door_finding(door: Door, *, agent_runs: Callable[[], bool | None]) -> Finding:
    """Of a running agent whether somebody answers there, else whether it could listen. Takes two seconds at most.

    `agent_runs` gives None where that can't be told.
    """
    if door.port == 0:
        return good(door.subject, f"takes any free port of {door.host}")
    runs = agent_runs()
    return _answered(door) if runs else _listened(door, may_be_ours=runs is None)


def _answered(door: Door) -> Finding:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(door.host, door.host)  # noqa: S104  to look, not to listen
    try:
        socket.create_connection((host, door.port), _ANSWER_S).close()
    except (OSError, UnicodeError) as error:
        said = f"the agent runs, and nobody answers on {door}: {_words(error)}"
        return Finding(door.lost, door.subject, said, "its log says why: journalctl -u chargepoint-agent")
    return good(door.subject, f"somebody answers on {door}")


def _listened(door: Door, *, may_be_ours: bool) -> Finding:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(door.host, door.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()
    except (OSError, UnicodeError) as error:
        code = error.errno if isinstance(error, OSError) else None
        if code == errno.EADDRINUSE and may_be_ours:
            return good(door.subject, f"somebody has {door}: the agent, or another program")
        # The unit may have the right that whoever asks here has not.
        level = Level.WARNING if code == errno.EACCES else door.lost
        remedy = _REMEDIES.get(code or 0, "an address and a port that can be listened on")
        return Finding(level, door.subject, f"this user can't listen on {door}: {_words(error)}", remedy)
    return good(door.subject, f"{door} is free to listen on")


def _words(error: OSError | UnicodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
