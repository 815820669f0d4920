"""Energy meters on an RS-485 line that is not there: a pseudo-terminal, a real serial line to the driver's eyes.

    with MeterLine(directory) as line:
        meter = line.add(1, "sdm630")
        meter.draw(7400)

The frames are written here by hand, from the Modbus and the makers' documents, and know nothing of the driver's
library. Everything runs in the event loop of whoever plugs the line in.
"""

import asyncio
import struct
import time
from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Literal

from fakes.cable import Pluggable, TerminalCable
from fakes.misbehaving import Misbehaving

Model = Literal["sdm120", "sdm220", "sdm230", "sdm72", "sdm630", "b21", "b23", "b24", "em330", "em340"]

_ILLEGAL_FUNCTION = 1
_ILLEGAL_ADDRESS = 2
_BUSY = 6


class Fault(Enum):
    """How a meter, or the line before it, misbehaves."""

    SILENT = auto()
    """It does not answer."""
    WRONG_CRC = auto()
    GARBAGE = auto()
    """Bytes that are no frame, and as many as the answer has."""
    CUT = auto()
    """Its answer ends in the middle."""
    BUSY = auto()
    """Modbus exception 6."""
    REFUSES = auto()
    """Modbus exception 2."""
    WRONG_UNIT = auto()
    """The answer carries another meter's number."""
    WRONG_LENGTH = auto()
    """The answer, checksum and all, is one register too long: it is for another question."""
    NO_NUMBER = auto()
    """What the model shows instead of a number that it does not have."""
    LEAP = auto()
    """The energy register reads 1 GWh more: a garbled frame whose checksum happens to be right."""


class EnergyMeter(Misbehaving[Fault]):
    """One meter. World side: `draw`, `set_energy`, `misbehave`, `behave`.

    Its register follows the power that is drawn, and never goes back by itself. `delay_s` is how long it thinks, and
    `portion` how many bytes it sends at a time.
    """

    def __init__(self, unit: int, model: Model, now: Callable[[], float]) -> None:
        super().__init__()
        self.unit = unit
        self.model = model
        self.delay_s = 0.0
        self.portion = 256
        self.power_w = 0.0
        self.questions = 0
        self._now = now
        self._energy_wh = 0.0
        self._since = now()

    @property
    def energy_wh(self) -> float:
        """Its total register, exactly."""
        return self._energy_wh + self.power_w * (self._now() - self._since) / 3600

    def draw(self, power_w: float) -> None:
        """Draw this power from now on."""
        self._energy_wh, self._since = self.energy_wh, self._now()
        self.power_w = power_w

    def set_energy(self, energy_wh: float) -> None:
        """Turn the register, as nobody can from outside: another meter was put in."""
        self._energy_wh, self._since = energy_wh, self._now()

    def answer(self, function: int, address: int, count: int) -> bytes:
        """The bytes that go out for a question to this meter; none where it stays silent."""
        self.questions += 1
        fault = self._take_fault()
        if fault is Fault.SILENT:
            return b""
        if fault is Fault.WRONG_LENGTH:
            count += 1
        whole = self._frame(self._body(function, address, count, fault), fault)
        match fault:
            case Fault.WRONG_CRC:
                return whole[:-1] + bytes([whole[-1] ^ 0x80])
            case Fault.GARBAGE:
                return bytes((0xFF - byte) ^ 0x5A for byte in whole)
            case Fault.CUT:
                return whole[: len(whole) // 2]
            case _:
                return whole

    def _frame(self, body: bytes, fault: Fault | None) -> bytes:
        unit = self.unit + 1 if fault is Fault.WRONG_UNIT else self.unit
        return _with_crc(bytes([unit]) + body)

    def _body(self, function: int, address: int, count: int, fault: Fault | None) -> bytes:
        if fault is Fault.BUSY:
            return bytes([function | 0x80, _BUSY])
        if function not in _FUNCTIONS[self.model]:
            return bytes([function | 0x80, _ILLEGAL_FUNCTION])
        image = self._image(fault)
        words = [image.get(address + offset) for offset in range(count)]
        known = [word for word in words if word is not None]
        if fault is Fault.REFUSES or (len(known) != count and fault is not Fault.WRONG_LENGTH):
            return bytes([function | 0x80, _ILLEGAL_ADDRESS])
        data = b"".join(word or b"\x00\x00" for word in words)
        return bytes([function, len(data)]) + data

    def _image(self, fault: Fault | None) -> Mapping[int, bytes]:
        """The registers, two bytes each, by their address."""
        energy_wh = self.energy_wh + (1e9 if fault is Fault.LEAP else 0)
        fields = _LAYOUTS[self.model](energy_wh, self.power_w)
        if fault is Fault.NO_NUMBER:
            fields = {address: _NO_NUMBER[self.model][len(data)] for address, data in fields.items()}
        return {
            address + place // 2: data[place : place + 2]
            for address, data in fields.items()
            for place in range(0, len(data), 2)
        }


class MeterLine(Pluggable):
    """The line with its adapter. `path` is there while it is plugged in; it must be plugged in within an event loop.

    `echoes` makes it an adapter that hears itself, so many bytes at a time; `noise` is put before
    each answer.
    """

    def __init__(self, directory: Path, *, name: str = "meter-line", now: Callable[[], float] = time.monotonic) -> None:
        self.path = directory / name
        self.echoes = 0
        self.noise = b""
        self.requests: list[bytes] = []
        """What drivers have sent, whole frames; the newest thousand."""
        self._now = now
        self._meters: dict[int, EnergyMeter] = {}
        self._cable = TerminalCable(self.path, self._hear)
        self._pending = b""
        self._asked = asyncio.Event()

    def add(self, unit: int, model: Model) -> EnergyMeter:
        """Hang a meter on the line. Raises ValueError where one with this number is."""
        if unit in self._meters:
            raise ValueError(f"there is a meter {unit} already: two would talk at once")
        meter = self._meters[unit] = EnergyMeter(unit, model, self._now)
        return meter

    def plug(self) -> None:
        """Plug the adapter in; nothing happens where it is."""
        if not self._cable.is_plugged:
            self._pending = b""
            self._cable.plug()

    def unplug(self) -> None:
        """Pull the adapter out: the path is gone, and who has the line open gets an error."""
        if self._cable.is_plugged:
            self._cable.unplug()

    def send(self, data: bytes) -> int:
        """Put bytes on the line, whoever may listen; how many of them found room. Never blocks."""
        return self._cable.send(data)

    async def asked(self) -> bytes:
        """Wait for the next question; its bytes."""
        self._asked.clear()
        await self._asked.wait()
        return self.requests[-1]

    def _hear(self, data: bytes) -> None:
        self._pending += data
        while len(self._pending) >= 8:
            request, self._pending = self._pending[:8], self._pending[8:]
            self._note(request)
            if self.echoes:
                self._speak(request, self.echoes, then=partial(self._pass_on, request))
            else:
                self._pass_on(request)

    def _note(self, request: bytes) -> None:
        self.requests = [*self.requests[-999:], request]
        self._asked.set()

    def _pass_on(self, request: bytes) -> None:
        """Let the meter with this number answer. A question with a wrong checksum is none."""
        if _with_crc(request[:-2]) != request or request[0] not in self._meters:
            return
        meter = self._meters[request[0]]
        function, address, count = struct.unpack(">BHH", request[1:6])
        data = meter.answer(function, address, count)
        if not data:
            return
        asyncio.get_running_loop().call_later(meter.delay_s, self._speak, self.noise + data, meter.portion)

    def _speak(self, data: bytes, portion: int, then: Callable[[], None] = lambda: None) -> None:
        self.send(data[:portion])
        if rest := data[portion:]:
            asyncio.get_running_loop().call_soon(self._speak, rest, portion, then)
        else:
            then()


def _with_crc(frame: bytes) -> bytes:
    """MODBUS over Serial Line V1.02, 6.2.2: polynomial A001 from FFFF, the low byte first."""
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return frame + struct.pack("<H", crc)


def _low_first(number: float) -> bytes:
    high_first = struct.pack(">i", int(number))
    return high_first[2:] + high_first[:2]


def _eastron(power_at: int) -> Callable[[float, float], dict[int, bytes]]:
    return lambda energy_wh, power_w: {
        power_at: struct.pack(">f", power_w),
        0x0048: struct.pack(">f", energy_wh / 1000),
        0x004A: struct.pack(">f", 0.0),
    }


def _abb(energy_wh: float, power_w: float) -> dict[int, bytes]:
    return {0x5000: struct.pack(">Q", int(energy_wh / 10)), 0x5B14: struct.pack(">i", int(power_w * 100))}


def _carlo_gavazzi(energy_wh: float, power_w: float) -> dict[int, bytes]:
    return {0x0028: _low_first(power_w * 10), 0x0034: _low_first(energy_wh / 100), 0x0036: _low_first(0)}


_ONE_PHASE = _eastron(0x000C)
_THREE_PHASES = _eastron(0x0034)
_LAYOUTS: Mapping[Model, Callable[[float, float], dict[int, bytes]]] = {
    "sdm120": _ONE_PHASE,
    "sdm220": _ONE_PHASE,
    "sdm230": _ONE_PHASE,
    "sdm72": _THREE_PHASES,
    "sdm630": _THREE_PHASES,
    "b21": _abb,
    "b23": _abb,
    "b24": _abb,
    "em330": _carlo_gavazzi,
    "em340": _carlo_gavazzi,
}
_FUNCTIONS: Mapping[Model, tuple[int, ...]] = {
    model: (3,) if model.startswith("b") else (3, 4) if model.startswith("em") else (4,) for model in _LAYOUTS
}
_NAN = {4: b"\x7f\xc0\x00\x00"}
_ALL_ONES = {4: b"\x7f\xff\xff\xff", 8: b"\xff" * 8}
_OVERFLOW = {4: b"\xff\xff\x7f\xff"}
_NO_NUMBER: Mapping[Model, Mapping[int, bytes]] = {
    model: _ALL_ONES if model.startswith("b") else _OVERFLOW if model.startswith("em") else _NAN for model in _LAYOUTS
}
