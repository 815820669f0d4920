"""Readers that send frames or lines over a serial line: RDM6300, ID-12LA and kin, on a UART or a USB adapter.

The line is read in the event loop: its device is opened without blocking and watched for bytes. pyserial sets it up.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Protocol

import serial

from agent.model import Tap, Uid
from agent.ports import Reader, ReaderState
from hw.readers.arrivals import Arrivals, Heard
from hw.readers.frames import FrameKind, FrameParser
from hw.readers.line_clock import LineClock
from hw.readers.line_frames import Digits, LineFormat, LineParser
from hw.readers.taps import Taps
from hw.serial_port import Trouble, open_port, trouble_of

log = logging.getLogger(__name__)

REMOVAL_S = 1.0
"""An RDM6300 repeats a held card every 50 to 65 ms but misses many turns at the edge of its range. Nobody takes a card
away and holds it there again within a second without meaning one tap."""

REOPEN_S = 1.0
"""A missing port costs one failing `open` a second, and a replugged one is back before a driver has tried twice."""


SETTLE_S = 0.05
"""A port of a broken adapter opens and hangs up at once, again and again: it is not there before it has stayed."""


class Parser(Protocol):
    """Finds cards in a stream of bytes."""

    @property
    def bad(self) -> int:
        """What began and broke, since the start."""
        ...

    @property
    def pause_s(self) -> float | None:
        """How many seconds of silence mean that nothing is under way; None where the stream itself says it."""
        ...

    def push(self, chunk: bytes) -> list[bytes]:
        """Take what came; give the bytes of each card that it completed."""
        ...

    def pause(self) -> float | None:
        """Take note that the line was silent for `pause_s`. Returns after how much more silence to do so again."""
        ...

    def reset(self) -> None:
        """Drop what is half: nothing from before joins anything from after."""
        ...


class SerialReader:
    """A reader on a serial port, 8N1, which nobody else may have open meanwhile.

    A missing port is tried again every `reopen_s` seconds. `to_uid`, `removal_s`, `debounce_s`, `flag_random`
    and `sends_reversed` are as in `Taps`.
    """

    def __init__(
        self,
        name: str,
        port: str,
        *,
        kind: FrameKind | Parser,
        to_uid: Callable[[bytes], Uid],
        baudrate: int = 9600,
        removal_s: float = REMOVAL_S,
        debounce_s: float = 0.0,
        reopen_s: float = REOPEN_S,
        flag_random: bool = False,
        sends_reversed: bool = False,
    ) -> None:
        self._name = name
        self._port = port
        self._baudrate = baudrate
        self._reopen_s = reopen_s
        self._parser: Parser = FrameParser(kind) if isinstance(kind, FrameKind) else kind
        self._clock = LineClock(removal_s)
        self._taps = Taps(
            name, to_uid, removal_s, debounce_s, flag_random=flag_random, sends_reversed=sends_reversed
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    @property
    def bad_frames(self) -> int:
        """Frames or lines since the start that were cut, garbled, of another form or of a card that has no uid."""
        return self._parser.bad + self._taps.dropped

    async def run(self, on_tap: Callable[[Tap], None], on_state: Callable[[ReaderState, str], None]) -> None:
        """Read until cancelled; see `agent.ports.Reader`. While missing, `on_state` hears again only of a new cause."""
        told: Trouble | None = None

        def ready() -> None:
            nonlocal told
            told = None
            on_state(ReaderState.READY, f"{self._port} is open: hold a card to the reader")

        while True:
            line = self._open()
            if isinstance(line, serial.Serial):
                with line:
                    error = await self._read_until_gone(line.fileno(), on_tap, ready)
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

    async def _read_until_gone(self, fd: int, on_tap: Callable[[Tap], None], ready: Callable[[], None]) -> OSError:
        """Tap until the port vanishes; why it did."""
        self._parser.reset()
        with Arrivals(fd, self._clock) as arrivals:
            pause_s = self._parser.pause_s
            # Silence tells that the reader was not in the middle of something when its line was opened.
            if await arrivals.silence(pause_s or SETTLE_S) and pause_s is not None:
                self._parser.pause()
            if arrivals.ended is not None:
                return arrivals.ended
            ready()
            patience_s = pause_s
            while not isinstance(arrival := await arrivals.next_within(patience_s), OSError):
                if arrival is None:
                    patience_s = self._parser.pause()  # in the end None: an idle line wakes nobody
                    continue
                patience_s = pause_s
                for tap in self._found(arrival):
                    on_tap(tap)
            return arrival

    def _found(self, heard: Heard) -> Iterator[Tap]:
        bad_before = self._parser.bad
        cards = self._parser.push(heard.chunk)
        log.debug("reader %s: %d bytes", self._name, len(heard.chunk))
        if self._parser.bad != bad_before:
            log.debug("reader %s: dropped a bad frame, %d by now", self._name, self._parser.bad)
        for raw in cards:
            tap = self._taps.tap(raw, heard.at, heard.line_at)
            if tap is not None:
                yield tap


def line_reader(
    name: str,
    port: str,
    *,
    pattern: str,
    digits: Digits,
    to_uid: Callable[[bytes], Uid],
    baudrate: int = 9600,
    number_bytes: int | None = None,
    removal_s: float = REMOVAL_S,
    debounce_s: float = 0.0,
    reopen_s: float = REOPEN_S,
    flag_random: bool = False,
    sends_reversed: bool = False,
) -> SerialReader:
    """A reader that sends a line of text for a card: see `LineFormat`. Raises ValueError for a pattern of no use."""
    return SerialReader(
        name,
        port,
        kind=LineParser(LineFormat(pattern, digits, number_bytes=number_bytes)),
        to_uid=to_uid,
        baudrate=baudrate,
        removal_s=removal_s,
        debounce_s=debounce_s,
        reopen_s=reopen_s,
        flag_random=flag_random,
        sends_reversed=sends_reversed,
    )


_fits: type[Reader] = SerialReader
