"""The line to a PN532: asks it one command at a time. The fd is read and written in the event loop, never blocking."""

import asyncio
import errno
import logging
import os
from math import ceil

from hw.readers.pn532_frames import ACK, NACK, TO_CHIP, TO_HOST, FrameParser, Sign, information

log = logging.getLogger(__name__)

_READ_SIZE = 4096
"""What the kernel's line discipline holds; what is left wakes us again at once."""

_WAKE_S = 0.003
"""The chip's oscillator takes up to 2 ms to start after the first 55 (PN532 data sheet, 8.3.5 and 12): what comes
before is lost, so zeros are sent, which begin nothing."""

_REPEATS = 2
"""How often a broken answer is asked for again: a line that breaks three in a row won't bring the fourth."""


class NoAnswerError(Exception):
    """The chip did not answer a command in time, or says that it does not understand it; the port itself is there."""


class PortLostError(Exception):
    """The port is gone; the cause says how."""

    def __init__(self, cause: OSError) -> None:
        # Not an OSError itself: one that whoever gets the taps raises must not be taken for it.
        super().__init__(str(cause))
        self.cause = cause


class Link:
    """An open port, to be used within `with`. `parser` counts what comes broken."""

    def __init__(self, fd: int, parser: FrameParser, *, baudrate: int, answer_s: float) -> None:
        """`answer_s`: how long an answer may take, its ACK included, before the chip counts as silent."""
        self._fd = fd
        self._parser = parser
        self._wake = b"\x55\x55" + bytes(ceil(baudrate / 10 * _WAKE_S))
        self._answer_s = answer_s
        self._arrivals: asyncio.Queue[tuple[float, bytes] | OSError] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._gone: OSError | None = None
        self._listening = False

    def open(self) -> None:
        """Listen to the line from now on."""
        self._loop.add_reader(self._fd, self._hear)

    def close(self) -> None:
        """Listen no more; the fd stays open."""
        self._loop.remove_reader(self._fd)

    async def ask(self, command: bytes, *, wake: bool = False) -> tuple[float, bytes]:
        """The answer without TFI, and the loop time at which its last byte had come.

        With `wake` the chip is woken first. Raises NoAnswerError or PortLostError. A chip that does not answer in time
        is told to give up; a cancelled command's answer is nobody's.
        """
        self._listen()
        try:
            self._write((self._wake if wake else b"") + information(bytes([TO_CHIP]) + command))
            async with asyncio.timeout(self._answer_s):
                return await self._answer(command[0] + 1)
        except TimeoutError as error:
            self._give_up()
            raise NoAnswerError(f"no answer within {self._answer_s:g} s") from error
        finally:
            self._listening = False

    def _listen(self) -> None:
        """Begin with nothing in hand: an answer to an earlier command is none to this one."""
        self._parser.reset()
        while not self._arrivals.empty():
            self._arrivals.get_nowait()
        if self._gone is not None:
            raise PortLostError(self._gone)
        self._listening = True

    async def _answer(self, code: int) -> tuple[float, bytes]:
        acknowledged = False
        repeats = 0
        while True:
            arrival = await self._arrivals.get()
            if isinstance(arrival, OSError):
                raise PortLostError(arrival)
            at, chunk = arrival
            bad_before = self._parser.bad
            for frame in self._parser.push(chunk):
                if frame is Sign.ACK:
                    acknowledged = True
                elif frame is Sign.ERROR:
                    raise NoAnswerError("it does not understand the command")
                elif acknowledged and isinstance(frame, bytes) and frame[:2] == bytes([TO_HOST, code]):
                    return at, frame[1:]
            if acknowledged and self._parser.bad != bad_before and repeats < _REPEATS:
                repeats += 1
                self._write(NACK)

    def _write(self, data: bytes) -> None:
        """Hand it to the kernel. Raises NoAnswerError where that has no room: nobody takes what is sent."""
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            written = 0
        except OSError as error:
            raise PortLostError(error) from error
        if written != len(data):
            raise NoAnswerError("the port takes no more bytes")

    def _give_up(self) -> None:
        try:
            self._write(ACK)
        except (NoAnswerError, PortLostError) as error:
            log.debug("a silent PN532 can't be told to give up: %s", error)  # the next command meets the same

    def _hear(self) -> None:
        """Take what has come, with the time first: the driver's deadline counts from here, not from after the parsing.

        Only hands over, so that an error of whoever gets the taps ends `run` instead of vanishing in the loop.
        """
        at = self._loop.time()
        try:
            chunk = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        if not chunk:
            self._lose(OSError(errno.EIO, "the device hung up"))
        elif self._listening:  # what nobody asked for is not kept
            self._arrivals.put_nowait((at, chunk))

    def _lose(self, error: OSError) -> None:
        self.close()  # a dead line stays readable for ever
        self._gone = error
        self._arrivals.put_nowait(error)
