"""One RS-485 line with Modbus RTU on it, shared by the meters that hang on it: one question at a time.

pymodbus builds the requests and finds and checks the answers; the line is ours, read in the event loop. Why it is cut
there is in `docs/decisions/0012-modbus-library.md`. pymodbus costs 1.4 MB: import this module where a Modbus meter is
configured.
"""

import asyncio
import errno
import logging
import os
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

import serial
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from agent.errors import DeviceError
from hw.serial_port import Parity, open_port, trouble_of

Function = Literal[3, 4]

ANSWER_S = 0.5
"""How long an answer is waited for, its time on the wire apart. Meters take 10 to 200 ms, and the others on the line
must not wait long for a dead one."""

_BITS_PER_CHARACTER = 11
_SILENT_CHARACTERS = 3.5
_SILENT_S_WHEN_FAST = 0.00175
"""MODBUS over Serial Line V1.02, 2.5.1.1: the silence that ends a frame; above 19200 baud this fixed time."""
_FAST_BAUD = 19200

_READ_SIZE = 4096
_MAX_PENDING = 512
"""Twice the longest frame: what is longer and still no frame is noise, however it begins."""

_BUSY = (5, 6)
"""MODBUS Application Protocol V1.1b3, 7: acknowledge, which is "later", and server device busy."""

_REQUESTS = {3: ReadHoldingRegistersRequest, 4: ReadInputRegistersRequest}

# Each dropped byte would be a line in the log; what matters of it is said here, once, by the meter's state.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class LineError(DeviceError):
    """No answer, or none that can be trusted: asking again may help, for a spark on the line does this, too."""


class ModbusBus:
    """The line at `port`, 8 data bits. Open while a meter uses it; opened again when its adapter comes back."""

    def __init__(
        self,
        port: str,
        *,
        baudrate: int = 9600,
        parity: Parity = "none",
        stopbits: Literal[1, 2] = 1,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._port = port
        self._baudrate = baudrate
        self._parity = parity
        self._stopbits = stopbits
        self._answer_s = answer_s
        self._character_s = _BITS_PER_CHARACTER / baudrate
        self._silent_s = _SILENT_S_WHEN_FAST if baudrate > _FAST_BAUD else _SILENT_CHARACTERS * self._character_s
        self._turn = asyncio.Lock()
        self._users = 0
        self._line: serial.Serial | None = None
        self._framer = FramerRTU(_answers_with_registers())

    @property
    def port(self) -> str:
        """The name that the configuration gives the line."""
        return self._port

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the line open between questions; it is closed when nobody uses it any more."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._close()

    async def read(self, unit: int, function: Function, address: int, count: int) -> Sequence[int]:
        """What `count` registers from `address` hold. Cancelling leaves the line to the next question.

        Raises LineError when no trustworthy answer comes in time, DeviceError when the line can't be used or the meter
        refuses. Use it within `in_use` only.
        """
        async with self._turn:
            line = self._line or self._open()
            try:
                return await self._ask(line, unit, function, address, count)
            except OSError as error:
                self._close()
                raise self._unusable(error) from error

    def _open(self) -> serial.Serial:
        try:
            self._line = open_port(self._port, self._baudrate, parity=self._parity, stopbits=self._stopbits)
        except OSError as error:
            raise self._unusable(error) from error
        return self._line

    def _close(self) -> None:
        line, self._line = self._line, None
        if line is None:
            return
        with suppress(OSError, termios.error):
            line.reset_output_buffer()  # an adapter that hangs would let `close` wait half a minute for it
        with suppress(OSError):
            line.close()

    def _unusable(self, error: OSError) -> DeviceError:
        return DeviceError(trouble_of(error).told(self._port, error))

    async def _ask(self, line: serial.Serial, unit: int, function: Function, address: int, count: int) -> Sequence[int]:
        request = self._framer.buildFrame(_REQUESTS[function](dev_id=unit, address=address, count=count))
        await asyncio.sleep(self._silent_s)
        try:
            line.reset_input_buffer()  # what came unasked or too late is no answer to this
        except termios.error as error:
            raise OSError(*error.args) from error
        if os.write(line.fileno(), request) != len(request):
            raise OSError(errno.EIO, "the line takes no bytes")
        on_the_wire_s = (len(request) + 5 + 2 * count) * self._character_s
        try:
            async with asyncio.timeout(self._answer_s + on_the_wire_s):
                return await self._answer(line.fileno(), request, unit, function, count)
        except TimeoutError as error:
            raise LineError(
                f"unit {unit} on {self._port} does not answer: check its power and its wires A and B, and its number, "
                "the baudrate and the parity in the configuration"
            ) from error

    async def _answer(self, fd: int, request: bytes, unit: int, function: Function, count: int) -> Sequence[int]:
        """Wait for the answer to this question; frames that are for others or for other questions are left aside."""
        pending = b""
        while True:
            pending += await _arrival(fd)
            if request.startswith(pending):  # an adapter that hears itself, or the first bytes of an answer
                pending = b"" if pending == request else pending
                continue
            pending = pending.removeprefix(request)
            pending, answer = self._next_frame(pending, unit)
            if answer is None or answer.dev_id != unit:
                continue
            if answer.isError() and answer.function_code & 0x7F == function:
                raise self._refusal(unit, answer.exception_code)
            if answer.function_code == function and len(answer.registers) == count:
                return answer.registers

    def _next_frame(self, pending: bytes, unit: int) -> tuple[bytes, ModbusPDU | None]:
        """What is left of the bytes, and the first frame in them. Raises LineError for what can't become a frame."""
        try:
            used, frame = self._framer.handleFrame(pending, 0, 0)
        except ModbusException as error:
            raise self._garbled(unit) from error
        if frame is None and (used or len(pending) > _MAX_PENDING):
            raise self._garbled(unit)
        return pending[used:], frame

    def _garbled(self, unit: int) -> LineError:
        return LineError(
            f"unit {unit} on {self._port} can't be understood: check the baudrate and the parity in the configuration, "
            "the line's termination, and that no other meter has the same number"
        )

    def _refusal(self, unit: int, code: int) -> DeviceError:
        if code in _BUSY:
            return LineError(f"unit {unit} on {self._port} is busy (Modbus exception {code}): it should pass by itself")
        return DeviceError(
            f"unit {unit} on {self._port} refuses to show its registers (Modbus exception {code}): is it of the model "
            "that the configuration names?"
        )


def _answers_with_registers() -> DecodePDU:
    """A decoder that knows the two answers that we ask for, and refusals: bytes that begin otherwise are noise."""
    decoder = DecodePDU(is_server=False)
    decoder.pdu_table = {function: DecodePDU.pdu_table[function] for function in _REQUESTS}
    return decoder


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


async def _arrival(fd: int) -> bytes:
    """The next bytes on the line. Raises OSError when it is gone."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _wake, readable)
    try:
        await readable
    finally:
        loop.remove_reader(fd)
    try:
        chunk = os.read(fd, _READ_SIZE)
    except BlockingIOError:
        return b""
    if not chunk:
        raise OSError(errno.EIO, "the device hung up")
    return chunk
