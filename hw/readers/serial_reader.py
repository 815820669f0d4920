"""Readers that send frames over a serial line: RDM6300, ID-12LA, ID-20LA, on a UART or a USB adapter.

The line is read in the event loop: its device is opened without blocking and watched for bytes. pyserial sets it up.
"""

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Iterator

import serial

from agent.model import Tap, Uid
from agent.ports import Reader, ReaderState
from hw.readers.frames import FrameKind, FrameParser
from hw.readers.presence import Presence
from hw.serial_port import Trouble, open_port, trouble_of

log = logging.getLogger(__name__)

REMOVAL_S = 1.0
"""An RDM6300 repeats a held card every 50 to 65 ms but misses many turns at the edge of its range. Nobody takes a card
away and holds it there again within a second without meaning one tap."""

REOPEN_S = 1.0
"""A missing port costs one failing `open` a second, and a replugged one is back before a driver has tried twice."""

_READ_SIZE = 4096
"""What the kernel's line discipline holds; what is left wakes us again at once."""


class SerialReader:
    """A reader on a serial port, 8N1, which nobody else may have open meanwhile.

    `to_uid` names the card by the data bytes of its frame; where it raises ValueError the card is dropped with a
    warning. A missing port is tried again every `reopen_s` seconds; a card without a frame for `removal_s` seconds
    counts as taken away.
    """

    def __init__(
        self,
        name: str,
        port: str,
        *,
        kind: FrameKind,
        to_uid: Callable[[bytes], Uid],
        baudrate: int = 9600,
        removal_s: float = REMOVAL_S,
        reopen_s: float = REOPEN_S,
    ) -> None:
        self._name = name
        self._port = port
        self._to_uid = to_uid
        self._baudrate = baudrate
        self._reopen_s = reopen_s
        self._parser = FrameParser(kind)
        self._presence = Presence(removal_s)

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    @property
    def bad_frames(self) -> int:
        """Frames since the start that were cut, garbled or had a wrong checksum."""
        return self._parser.bad

    async def run(self, on_tap: Callable[[Tap], None], on_state: Callable[[ReaderState, str], None]) -> None:
        """Read until cancelled; see `agent.ports.Reader`. While missing, `on_state` hears again only of a new cause."""
        told: Trouble | None = None
        while True:
            line = self._open()
            if isinstance(line, serial.Serial):
                with line:
                    told = None
                    on_state(ReaderState.READY, f"{self._port} is open: hold a card to the reader")
                    error = await self._read_until_gone(line.fileno(), on_tap)
            else:
                error = line
            trouble = trouble_of(error)
            if trouble is not told:
                told = trouble
                on_state(ReaderState.MISSING, trouble.told(self._port, error))
            await asyncio.sleep(self._reopen_s)

    def _open(self) -> serial.Serial | OSError:
        """The open line, or why there is none."""
        # Closing never waits for output to drain, for we never write.
        try:
            return open_port(self._port, self._baudrate)
        except OSError as error:
            return error

    async def _read_until_gone(self, fd: int, on_tap: Callable[[Tap], None]) -> OSError:
        """Tap until the port vanishes; why it did."""
        self._parser.reset()
        arrivals: asyncio.Queue[tuple[float, bytes] | OSError] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.add_reader(fd, _take, loop, fd, arrivals)
        try:
            while not isinstance(arrival := await arrivals.get(), OSError):
                for tap in self._taps(*arrival):
                    on_tap(tap)
            return arrival
        finally:
            loop.remove_reader(fd)

    def _taps(self, at: float, chunk: bytes) -> Iterator[Tap]:
        bad_before = self._parser.bad
        frames = self._parser.push(chunk)
        log.debug("reader %s: %d bytes", self._name, len(chunk))
        if self._parser.bad != bad_before:
            log.debug("reader %s: dropped a bad frame, %d by now", self._name, self._parser.bad)
        for data in frames:
            try:
                uid = self._to_uid(data)
            except ValueError as error:
                log.warning("reader %s: a card does not fit the reader's uid settings: %s", self._name, error)
                continue
            if self._presence.seen(uid, at):
                yield Tap(uid=uid, at=at, reader=self._name)


def _take(loop: asyncio.AbstractEventLoop, fd: int, arrivals: asyncio.Queue[tuple[float, bytes] | OSError]) -> None:
    """Take what has come, with the time first: the driver's deadline counts from here, not from after the parsing.

    Only hands over, so that an error of whoever gets the taps ends `run` instead of vanishing in the loop's handler.
    """
    at = loop.time()
    try:
        chunk = os.read(fd, _READ_SIZE)
    except BlockingIOError:
        return
    except OSError as error:
        loop.remove_reader(fd)  # a dead line stays readable for ever
        arrivals.put_nowait(error)
        return
    if chunk:
        arrivals.put_nowait((at, chunk))
    else:
        loop.remove_reader(fd)
        arrivals.put_nowait(OSError(errno.EIO, "the device hung up"))


_fits: type[Reader] = SerialReader
