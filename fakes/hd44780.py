"""An HD44780 character display behind a PCF8574, for whoever speaks I2C: from the backpack's pins to the glass.

Written by hand from the data sheets (Hitachi HD44780U ADE-207-272, NXP PCF8574): what comes while the chip is busy is
lost, what sets RS or RW together with E is misread, and without the power-on sequence the glass stays dark.
"""

# ruff: noqa: RUF001 - look-alike characters are what a character ROM is full of

import errno
import time
from collections.abc import Iterator, MutableSequence
from typing import Any, Literal

_RS, _RW, _E, _LIGHT = 0x01, 0x02, 0x04, 0x08
_BYTE_S = 22.5e-6
"""At 400 kHz, the fastest that the expander may be run at and more: the strictest for the chip."""
_RESET_S = 0.040
_FAST_S = 41e-6
"""37 us, and 4 us more until the address counter follows a character."""
_SLOW_S = 1.52e-3

_LINE = 40
_A00_UPPER = " ｡｢｣､·ｦｧｨｩｪｫｬｭｮｯｰｱｲｳｴｵｶｷｸｹｺｻｼｽｾｿﾀﾁﾂﾃﾄﾅﾆﾇﾈﾉﾊﾋﾌﾍﾎﾏﾐﾑﾒﾓﾔﾕﾖﾗﾘﾙﾚﾛﾜﾝﾞ°αäßεµσρg√¹jˣ¢£ñöpqθ∞ΩüΣπxy千万円÷ █"
"""From A0. The chip has one glyph for beta and sharp s, and one for the ring: read as a European would."""
_A02_LOWER = "▶◀“”⏫⏬●↲↑↓→←≤≥▲▼"
_A02_UPPER = (
    "БДЖЗИЙЛПУЦЧШЩЪЫЭα♪ΓπΣσ♬τ🔔ΘΩδ∞♥ε∩"
    "‖¡¢£¤¥¦§ƒ©ª«ЮЯ®‘°±²³₧µ¶·ω¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ"
)
"""From 80."""


def glyph(code: int, rom: Literal["a00", "a02"]) -> str:
    """What the glass shows for a code, as a person would write it down."""
    if rom == "a00":
        lower = {0x5C: "¥", 0x7E: "→", 0x7F: "←"}.get(code) or (chr(code) if 0x20 <= code < 0x80 else " ")
        return _A00_UPPER[code - 0xA0] if code >= 0xA0 else lower
    if code >= 0x80:
        return _A02_UPPER[code - 0x80]
    if 0x10 <= code < 0x20:
        return _A02_LOWER[code - 0x10]
    return "⌂" if code == 0x7F else chr(code) if code >= 0x20 else " "


class _Chip:
    """The controller from its power-on: what it shows depends on nothing but its pins and the time."""

    def __init__(self, now: float) -> None:
        self.ready_at = now + _RESET_S
        self.lost = 0
        self.memory = {at: 0x20 for line in (0x00, 0x40) for at in range(line, line + _LINE)}
        self.on = False
        self.two_lines = False
        self._four_bits = False
        self._first_half: int | None = None
        self._address = 0
        self._step = 1

    def take(self, half: int, now: float, *, register: bool) -> None:
        """E has fallen on these four bits; the other four are not wired."""
        if not self._four_bits:
            self._do(half << 4, now, register=register)
        elif self._first_half is None:
            self._first_half = half
        else:
            value, self._first_half = self._first_half << 4 | half, None
            self._do(value, now, register=register)

    def _do(self, value: int, now: float, *, register: bool) -> None:
        if now < self.ready_at:
            self.lost += 1
            return
        self.ready_at = now + (_SLOW_S if not register and value < 0x04 else _FAST_S)
        if register:
            self.memory[self._address] = value
            self._move()
        else:
            self._instruct(value)

    def _instruct(self, value: int) -> None:
        """The highest bit that is set says which (table 6)."""
        if value & 0x80:
            self._address = value & 0x7F if value & 0x7F in self.memory else 0
        elif value & 0x40:
            raise AssertionError("characters of one's own are not built: the driver has no use for them")
        elif value & 0x20:
            self._four_bits = not value & 0x10
            self._first_half = None
            self.two_lines = bool(value & 0x08)
        elif value & 0x08:
            self.on = bool(value & 0x04)
        elif value & 0x04:
            self._step = 1 if value & 0x02 else -1
        elif value & 0x02:
            self._address = 0
        elif value & 0x01:
            self.memory = dict.fromkeys(self.memory, 0x20)
            self._address, self._step = 0, 1

    def _move(self) -> None:
        order = [*self.memory]
        self._address = order[(order.index(self._address) + self._step) % len(order)]


class CharacterLcd:
    """One display with its cable and its backpack.

    Driver's side: `open_bus`, in the place of `smbus2.SMBus`. World side: `plug`, `unplug`, `disturb`, `glass`.
    """

    def __init__(
        self, *, columns: int = 20, rows: int = 4, rom: Literal["a00", "a02"] = "a00", address: int = 0x27
    ) -> None:
        """The display starts plugged in, with its power just on."""
        self.columns = columns
        self.rows = rows
        self.rom: Literal["a00", "a02"] = rom
        self.address = address
        self.bus_missing: int | None = None
        """An errno with which the bus can't be opened."""
        self.bytes_taken = 0
        """By the backpack."""
        self._bus_s = 0.0
        self._pins = 0xFF
        self._chip: _Chip | None = None
        self.plug()

    def plug(self) -> None:
        """Give it power; nothing happens where it has some."""
        if self._chip is None:
            self._pins = 0xFF
            self._chip = _Chip(self._now())

    def unplug(self) -> None:
        """Pull the cable: what it showed is gone."""
        self._chip = None

    def disturb(self) -> None:
        """A contactor next door: the chip sees an edge on E that nobody sent."""
        if self._chip is not None:
            self._chip.take(0x0, self._now(), register=False)

    @property
    def lit(self) -> bool:
        """Whether the light behind the glass is on."""
        return self._chip is not None and bool(self._pins & _LIGHT)

    @property
    def lost(self) -> int:
        """Instructions and characters since power-on that came while the chip was busy."""
        return self._chip.lost if self._chip else 0

    @property
    def glass(self) -> tuple[str, ...]:
        """What a person reads, line by line in full width; blank without power or before it was switched on."""
        chip = self._chip
        lines = list[str]()
        for row in range(self.rows):
            start = 0x40 * (row % 2) + self.columns * (row // 2)
            driven = chip is not None and chip.on and (chip.two_lines or row == 0)
            codes = [chip.memory[start + at] if chip and driven else 0x20 for at in range(self.columns)]
            lines.append("".join(glyph(code, self.rom) for code in codes))
        return tuple(lines)

    def open_bus(self, number: int) -> "_Bus":
        """The bus as a program opens it. Raises OSError as `bus_missing` says."""
        if self.bus_missing is not None:
            raise OSError(self.bus_missing, "scripted", f"/dev/i2c-{number}")
        return _Bus(self)

    def latch(self, pins: int) -> None:
        """The backpack puts a byte on its pins. Raises OSError without power, as nobody acknowledges."""
        chip = self._powered()
        before, self._pins = self._pins, pins
        self._bus_s += _BYTE_S
        self.bytes_taken += 1
        rises = pins & _E and not before & _E
        if rises and (before ^ pins) & (_RS | _RW):
            chip.lost += 1  # too short a set-up time: nobody knows what the chip makes of it
        if before & _E and not pins & _E and not before & _RW:
            chip.take(before >> 4, self._now(), register=bool(before & _RS))

    def pins(self) -> int:
        """What the backpack's pins read. Raises OSError without power."""
        self._powered()
        return self._pins

    def _powered(self) -> _Chip:
        if self._chip is None:
            raise OSError(errno.EREMOTEIO, "Remote I/O error")
        return self._chip

    def _now(self) -> float:
        return time.monotonic() + self._bus_s


class _Bus:
    """What a program holds: speaks the messages of `smbus2.i2c_msg`."""

    def __init__(self, lcd: CharacterLcd) -> None:
        self._lcd = lcd
        self._open = True

    def i2c_rdwr(self, *messages: Any) -> None:  # noqa: ANN401  # ctypes structures
        """Carry out each message; nobody but the display answers."""
        assert self._open, "the bus was closed"
        for message in messages:
            if message.addr != self._lcd.address:
                raise OSError(errno.EREMOTEIO, "Remote I/O error")
            if message.flags & 0x0001:
                _fill(message.buf, self._lcd.pins(), message.len)
            else:
                _latch_all(self._lcd, iter(message))

    def close(self) -> None:
        """Give it back."""
        self._open = False


def _latch_all(lcd: CharacterLcd, pins: Iterator[int]) -> None:
    for value in pins:
        lcd.latch(value)


def _fill(buffer: MutableSequence[bytes], value: int, length: int) -> None:
    for at in range(length):
        buffer[at] = bytes([value])
