"""The side of systemd that a service of Type=notify speaks to: a real datagram socket, and a note of what came."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self


class NotifySocket:
    """`environment` is what the service gets; see sd_notify(3). Times are seconds of the event loop."""

    def __init__(self, path: Path, *, watchdog_s: float) -> None:
        self.watchdog_s = watchdog_s
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}
        self.statuses: list[str] = []
        """What `systemctl status` would have shown, one after another."""
        self.readies = 0
        self.reloads = 0
        self.fed = 0
        self.longest_s = 0.0
        """The longest that the watchdog was left without food."""
        self._fed_at: float | None = None
        self._news = asyncio.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)  # noqa: FBT003  as socket has it

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Take what comes while within."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._read)
        try:
            yield self
        finally:
            loop.remove_reader(self._socket)
            self._socket.close()

    async def ready(self, times: int = 1) -> None:
        """Return once READY has come so many times: at the start, and after each reload."""
        while self.readies < times:
            self._news.clear()
            await self._news.wait()

    def hungry_s(self) -> float:
        """The longest time without food so far, that since the last included."""
        since_s = 0.0 if self._fed_at is None else asyncio.get_running_loop().time() - self._fed_at
        return max(self.longest_s, since_s)

    def _read(self) -> None:
        for line in self._socket.recv(65_536).decode().splitlines():
            self._take(*line.split("=", 1))
        self._news.set()

    def _take(self, name: str, value: str = "") -> None:
        match name:
            case "READY":
                self.readies += 1
            case "RELOADING":
                self.reloads += 1
            case "STATUS":
                self.statuses.append(value)
            case "WATCHDOG":
                self.fed += 1
                self.longest_s = self.hungry_s()
                self._fed_at = asyncio.get_running_loop().time()
