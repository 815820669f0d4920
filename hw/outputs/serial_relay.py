"""USB relay boards that take LCUS commands on a serial line: LCUS-1 to LCUS-8 and their kin, with a CH340 before them.

A command is four bytes at 9600 8N1: A0, the channel, 01 or 00, and the sum of the three. The board keeps to itself
whether it has understood. Some boards answer FF with one byte a channel, others with lines such as `CH1:OFF`, many not
at all (sellers' descriptions of the LCUS-1, -2 and -8, and drivers written for them): so nobody asks, and what a board
says is thrown away. Where it matters that the contactor follows, fit it with feedback (`hw.inputs.gpio_contact`).

What software can't do: a killed process opens nothing, for the board holds its state; a new `SerialRelay` on it opens
it. A board that is unplugged loses its 5 V, and the contact opens. One that is fed from elsewhere as well may stay
closed: nothing reaches it until it is plugged in again, so a contact that was closed then counts as closed.
"""

import asyncio
import atexit
import errno
import fcntl
import os
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import serial

from agent.errors import DeviceError
from agent.ports import Relay, RelayBoard
from hw.serial_port import Trouble, open_port, trouble_of

REOPEN_S = 1.0
"""A missing port costs one failing `open` a second, and a board that is plugged in again serves the next driver."""

DRAIN_S = 0.1
"""The last command has left after 5 ms at 9600 baud; closing a line with bytes in it may wait for half a minute."""

_TRIES, _TRY_AGAIN_S = 4, 0.001
"""A terminal takes nothing while somebody else writes to it, be it for microseconds: no reason to give the board up."""

News = tuple[bool, str]
"""Whether the board is there, and what to do."""


class SerialRelayLine:
    """The line to one board, which nobody else may have open meanwhile; its channels share it.

    It opens the port when somebody commands a channel or watches; each time that it does, all its channels are opened
    before anything else. Nothing here waits, but for the last command when the last channel is given back.
    """

    def __init__(self, port: str, *, baudrate: int = 9600, reopen_s: float = REOPEN_S) -> None:
        """Does not open the port yet."""
        self.port = port
        self._baudrate = baudrate
        self._reopen_s = reopen_s
        self._serial: serial.Serial | None = None
        self._trouble: Trouble | None = None
        self._advice = f"{port} is not open yet"
        self._channels: dict[int, SerialRelay] = {}
        self._watchers: set[asyncio.Queue[News]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that watches the open port."""

    def add(self, channel: int, relay: "SerialRelay") -> None:
        """Let a channel be switched. Raises DeviceError for one that is taken or that no board has."""
        if not 1 <= channel <= 8:
            raise DeviceError(f"relay {channel} on {self.port} can't be used: these boards have channels 1 to 8")
        if channel in self._channels:
            raise DeviceError(f"relay {channel} on {self.port} can't be used: give every relay a channel of its own")
        self._channels[channel] = relay

    def remove(self, channel: int) -> None:
        """Give the channel back, and with the last one the port."""
        self._channels.pop(channel, None)
        if not self._channels and self._serial is not None:
            self._close(drained=_drained(self._serial))

    def command(self, channel: int, *, closed: bool) -> None:
        """Hand one command to the kernel, whole. Raises DeviceError when the board is not there."""
        if self._serial is None:
            self._open()
        if self._serial is None:
            raise DeviceError(self._advice)
        try:
            self._write(self._serial, channel, closed=closed)
        except OSError as error:
            self._lose(error)
            raise DeviceError(self._advice) from error

    @property
    def is_open(self) -> bool:
        """Whether the port is open: the board was there a moment ago."""
        return self._serial is not None

    @contextmanager
    def watched(self) -> Iterator[asyncio.Queue[News]]:
        """While within, the running loop watches the port and opens it again; the news come out of the queue."""
        news: asyncio.Queue[News] = asyncio.Queue()
        self._watchers.add(news)
        try:
            if self._serial is None:
                self._open()
            elif len(self._watchers) == 1:
                self._watch(self._serial)
            news = _only(news, (self._serial is not None, self._advice))
            self._seek()
            yield news
        finally:
            self._watchers.discard(news)
            if not self._watchers:
                self._seek_no_more()

    # ---- the port

    def _open(self) -> None:
        """Open it, and every contact; where either fails it stays closed, and `_advice` says why."""
        try:
            line = open_port(self.port, self._baudrate)
        except OSError as error:
            self._say(error)
            return
        try:
            for channel in self._channels:
                self._write(line, channel, closed=False)
        except OSError as error:
            _discard(line)
            self._say(error)
            return
        for relay in self._channels.values():
            relay.is_open_now()
        self._serial, self._trouble = line, None
        self._advice = f"{self.port} is open; whether the board obeys can't be seen from here"
        if self._watchers:
            self._watch(line)
        self._tell(works=True)

    @staticmethod
    def _write(line: serial.Serial, channel: int, *, closed: bool) -> None:
        frame = bytes((0xA0, channel, closed, 0xA0 + channel + closed))
        for _ in range(_TRIES):
            try:
                sent = os.write(line.fileno(), frame)
            except BlockingIOError:
                time.sleep(_TRY_AGAIN_S)
            else:
                break
        else:
            sent = os.write(line.fileno(), frame)
        # A part of a command is none, and garbles the next: only a new start is clean then.
        if sent != len(frame):
            raise OSError(errno.EIO, "it takes no more commands")

    def _lose(self, error: OSError) -> None:
        self._close()
        self._say(error)
        self._seek()

    def _close(self, *, drained: bool = False) -> None:
        line, self._serial = self._serial, None
        if line is None:
            return
        self._unwatch(line)
        if drained:
            line.close()
        else:
            _discard(line)

    def _say(self, error: OSError) -> None:
        trouble = trouble_of(error)
        self._advice = trouble.told(self.port, error)
        if trouble is not self._trouble:
            self._trouble = trouble
            self._tell(works=False)

    # ---- who watches

    def _tell(self, *, works: bool) -> None:
        for news in self._watchers:
            news.put_nowait((works, self._advice))

    def _seek(self) -> None:
        """Try again after a while, as long as somebody watches."""
        if self._watchers and self._serial is None and self._again is None:
            self._again = asyncio.get_running_loop().call_later(self._reopen_s, self._seek_now)

    def _seek_now(self) -> None:
        self._again = None
        if self._serial is None:
            self._open()
        self._seek()

    def _seek_no_more(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._serial is not None:
            self._unwatch(self._serial)

    def _watch(self, line: serial.Serial) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(line.fileno(), self._listen)

    def _unwatch(self, line: serial.Serial) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():  # the interpreter may be ending
            loop.remove_reader(line.fileno())

    def _listen(self) -> None:
        """Throw away what the board says; a line that has hung up is readable, too."""
        if self._serial is None:
            return
        try:
            if os.read(self._serial.fileno(), 4096):
                return
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        self._lose(OSError(errno.EIO, os.strerror(errno.EIO)))


class SerialRelay:
    """One channel of a board. Commands it open at once, and when the interpreter ends without `detach`.

    Raises DeviceError for a channel that can't be. A board that is not there yet is no error here: its contact may be
    closed, so `open_contact` raises until it has been told to open, which `run` does when it comes.
    """

    def __init__(self, port: str | SerialRelayLine, *, channel: int, baudrate: int = 9600) -> None:
        """`port` is a line where several channels share one board."""
        self._line = port if isinstance(port, SerialRelayLine) else SerialRelayLine(port, baudrate=baudrate)
        self._channel = channel
        self._name = f"relay {channel} on {self._line.port}"
        self._attached = True
        self._closed = False
        self._known_open = False
        self._line.add(channel, self)
        with suppress(DeviceError):  # it is found later, or told on by whoever opens it
            self._line.command(channel, closed=False)
            self._known_open = True
        atexit.register(self.detach)

    @property
    def contact_closed(self) -> bool:
        """Whether the contact was commanded closed, and nothing has opened it since, as far as anybody knows."""
        return self._closed

    def close_contact(self) -> None:
        """Let current flow. Raises DeviceError when the command did not go out whole; nothing was closed then."""
        if not self._attached:
            raise DeviceError(f"{self._name} was given back: nothing closes it any more; start the agent again")
        self._command(closed=True)
        self._closed, self._known_open = True, False

    def open_contact(self) -> None:
        """Cut the current; see `agent.ports.Relay`. After a DeviceError the contact may still be closed."""
        if not self._attached:
            return
        try:
            self._command(closed=False)
        except DeviceError:
            if not self._known_open:
                raise
        else:
            self.is_open_now()

    def detach(self) -> None:
        """Open the contact and give the line back. Raises DeviceError when nobody knows whether it opened."""
        if not self._attached:
            return
        atexit.unregister(self.detach)
        try:
            self.open_contact()
        finally:
            self._attached = self._closed = False
            self._line.remove(self._channel)

    async def run(self, on_state: Callable[[bool, str], None]) -> None:
        """Watch over the port until cancelled; see `agent.ports.RelayBoard`."""
        with self._line.watched() as news:
            while True:
                works, advice = await news.get()
                on_state(works, f"{self._name}: {advice}")

    def is_open_now(self) -> None:
        """The line has told the contact to open."""
        self._closed, self._known_open = False, True

    def _command(self, *, closed: bool) -> None:
        try:
            self._line.command(self._channel, closed=closed)
        except DeviceError as error:
            verb = "close" if closed else "open"
            raise DeviceError(f"{self._name} does not {verb}: {error}") from error


def _drained(line: serial.Serial) -> bool:
    """Wait a moment for what was commanded to leave; whether it has."""
    until = time.monotonic() + DRAIN_S
    try:
        while _unsent(line.fileno()):
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
    except OSError:
        return False
    return True


def _unsent(fd: int) -> int:
    [count] = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, struct.pack("i", 0)))
    return int(count)


def _discard(line: serial.Serial) -> None:
    """Close it without waiting for what it has not sent."""
    with suppress(termios.error, OSError):
        termios.tcflush(line.fileno(), termios.TCOFLUSH)
    line.close()


def _only(news: asyncio.Queue[News], now: News) -> asyncio.Queue[News]:
    """Leave nothing but how it is now."""
    while not news.empty():
        news.get_nowait()
    news.put_nowait(now)
    return news


_fits: tuple[type[Relay], type[RelayBoard]] = (SerialRelay, SerialRelay)
"""One object is both."""
