"""Tells systemd how the service stands, as sd_notify(3) has it, and never waits for it. Nothing without systemd."""

import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Self

log = logging.getLogger(__name__)


class Notifier:
    """Speaks to the socket that systemd gave this process.

    Each method says whether systemd has taken it; without a socket that is always so, for nobody waits for it.
    """

    def __init__(self, address: str | None, *, watchdog_s: float | None = None) -> None:
        """`address` is a path, or an abstract name behind an `@`; None tells nobody.

        `watchdog_s` is how long systemd waits for a sign of life; None where it does not watch.
        """
        self._address = "\0" + address[1:] if address is not None and address.startswith("@") else address
        self.watchdog_s = watchdog_s

    @classmethod
    def of(cls, environment: Mapping[str, str], *, pid: int | None = None) -> Self:
        """As systemd set the process's environment up: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
        address = environment.get("NOTIFY_SOCKET") or None
        if address is not None and address[0] not in "/@":
            log.warning("systemd is not told how the agent stands: NOTIFY_SOCKET is no Unix socket: %s", address)
            address = None
        return cls(address, watchdog_s=_watchdog_s(environment, os.getpid() if pid is None else pid))

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return self._address is not None

    def ready(self) -> bool:
        """The start, or a reload, is over."""
        return self._send("READY=1")

    def status(self, text: str) -> bool:
        """How it stands, for people; one line."""
        return self._send("STATUS=" + " ".join(text.split()))

    def alive(self) -> bool:
        """Everything turns."""
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        """The configuration is read anew; `ready` says that this is over.

        systemd 253 and later want the time with it for Type=notify-reload; earlier ones pass over it.
        """
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> bool:
        """The end has begun: from now on the unit's TimeoutStopSec= counts."""
        return self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        if self._address is None:
            return True
        try:
            # One a message, as libsystemd does: nothing is held open, and a manager that was restarted hears it, too.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)  # noqa: FBT003  as socket has it
                line.sendto(message.encode("utf-8", "replace"), self._address)
        except (OSError, ValueError) as error:
            log.debug("systemd was not told %s: %s", message.partition("=")[0], error)
            return False
        return True


def _watchdog_s(environment: Mapping[str, str], pid: int) -> float | None:
    """None where systemd does not watch this process: sd_watchdog_enabled(3)."""
    limit, watched = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not limit.isdecimal() or int(limit) == 0 or (watched and watched != str(pid)):
        return None
    return int(limit) / 1e6
