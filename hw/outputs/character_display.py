"""HD44780 character displays, 8x1 to 20x4, behind a PCF8574 on I2C: the usual blue or green ones with a backpack.

Written from the data sheets: Hitachi HD44780U ADE-207-272, NXP PCF8574. Why not a library: decision 0014.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, Protocol

import smbus2

from agent.errors import DeviceError
from agent.ports import Charset, Display
from hw.outputs.character_display_roms import encode
from hw.outputs.newest import PanelWriter

CLOSE_S = 1.0
"""How long the last text may take at the end."""
CHECK_S = 2.0
"""One byte on the bus tells whether the display lost its power since: no text is missed for longer than this."""

_RS, _RW, _E, _LIGHT = 0x01, 0x02, 0x04, 0x08
"""The backpack's wiring: P0 to P3; P4 to P7 are D4 to D7."""

_CLEAR, _ENTRY_TO_THE_RIGHT, _DISPLAY_ON = 0x01, 0x06, 0x0C
_ONE_LINE, _TWO_LINES = 0x20, 0x28
_SET_ADDRESS: Final = 0x80
_ROMS: dict[str, Charset] = {"a00": Charset.HD44780_A00, "a02": Charset.HD44780_A02}

_POWER_ON_S = 0.045
"""The chip's own reset takes 40 ms at 2.7 V; we can't know how long it has had its power."""
_FIRST_SYNC_S = 0.0045
"""After the first "8 bits": more than 4.1 ms (figure 24)."""
_SLOW_S = 0.002
"""Clear and home take 1.52 ms. All other instructions take 37 us: the bus alone is slower than that."""


class Bus(Protocol):
    """What we use of `smbus2.SMBus`."""

    def i2c_rdwr(self, *messages: Any) -> None:  # noqa: ANN401  # smbus2 is not typed
        """Send and receive, in one go. Raises OSError."""
        ...

    def close(self) -> None:
        """Give the bus back."""
        ...


class CharacterDisplay:
    """Shows text on an HD44780; one that is away is said in the log and shows the newest text once it is back."""

    def __init__(
        self,
        label: str,
        *,
        bus: int,
        address: int,
        columns: int,
        rows: int,
        rom: Literal["a00", "a02"],
        backlight: bool = True,
        retry_s: float = 1.0,
        check_s: float = CHECK_S,
        open_bus: Callable[[int], Bus] = smbus2.SMBus,
    ) -> None:
        """`address` is 0x20 to 0x27 for a PCF8574, 0x38 to 0x3F for a PCF8574A. Raises ValueError for an odd shape."""
        if rows not in (1, 2, 4) or not 1 <= columns * rows <= 80 or (rows > 1 and columns > 40 // (rows // 2)):
            raise ValueError(f"no HD44780 has {rows} rows of {columns}: it holds 80 characters in 1, 2 or 4 rows")
        self._columns = columns
        self._rows = rows
        self._charset = _ROMS[rom]
        panel = _Lcd(bus, address, columns, rows, self._charset, backlight=backlight, open_bus=open_bus)
        self._writer = PanelWriter(label, panel, retry_s=retry_s, check_s=check_s)

    @property
    def columns(self) -> int:
        """Characters a line."""
        return self._columns

    @property
    def rows(self) -> int:
        """Lines."""
        return self._rows

    @property
    def charset(self) -> Charset:
        """The ROM that it has."""
        return self._charset

    def show(self, lines: Sequence[str]) -> None:
        """As `agent.ports.Display.show`."""
        self._writer.show([line[: self._columns] for line in lines[: self._rows]])

    def settle(self, wait_s: float) -> bool:
        """Wait until the newest text is shown; whether it was within `wait_s` seconds."""
        return self._writer.settle(wait_s)

    def close(self, wait_s: float = CLOSE_S) -> None:
        """As `agent.ports.Display.close`; the last text stays on the glass."""
        self._writer.close(wait_s)


class _Lcd:
    """The chip behind its backpack."""

    def __init__(
        self,
        bus: int,
        address: int,
        columns: int,
        rows: int,
        rom: Charset,
        *,
        backlight: bool,
        open_bus: Callable[[int], Bus],
    ) -> None:
        self._number = bus
        self._address = address
        self._columns = columns
        self._rows = rows
        self._rom = rom
        self._light = _LIGHT if backlight else 0
        self._open_bus = open_bus
        self._bus: Bus | None = None

    def open(self) -> None:
        try:
            self._bus = self._open_bus(self._number)
        except OSError as error:
            raise DeviceError(self._no_bus(error)) from error
        self._start()

    def write(self, lines: Sequence[str]) -> None:
        if self._lost_power():
            self._start()
        # A contactor next door can make the chip miss half a character, and from then on it would read all halves
        # wrongly. So each text begins by finding the halves again: 4 ms, too short for the eye and the crystals.
        self._synchronise(_SLOW_S)
        for row in range(self._rows):
            line = lines[row] if row < len(lines) else ""
            self._command(_SET_ADDRESS | self._start_of(row))
            # A line a message: whoever else is on the bus waits no longer than 11 ms at 100 kHz.
            self._send([*self._bytes(encode(line.ljust(self._columns), self._rom), _RS), self._light])

    def check(self) -> None:
        if self._lost_power():
            raise DeviceError(f"{self._name} had lost its power: check its supply if this comes again")

    def close(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _start(self) -> None:
        self._send([self._light])
        time.sleep(_POWER_ON_S)
        self._synchronise(_FIRST_SYNC_S)
        self._command(_CLEAR)
        time.sleep(_SLOW_S)

    def _lost_power(self) -> bool:
        """We leave RS, RW and E low; a PCF8574 that lost its power comes back with all its pins high."""
        return bool(self._read() & (_RS | _RW | _E))

    @property
    def _name(self) -> str:
        return f"the display at I2C bus {self._number}, address 0x{self._address:02X}"

    def _start_of(self, row: int) -> int:
        """Rows 3 and 4 go on where 1 and 2 end."""
        return 0x40 * (row % 2) + self._columns * (row // 2)

    def _synchronise(self, first_s: float) -> None:
        """To four bits, whatever the chip waited for: figure 24."""
        for wait_s in (first_s, _SLOW_S):
            self._send([*self._half(0x30), self._light])
            time.sleep(wait_s)
        self._send([*self._half(0x30), *self._half(0x20), self._light])
        self._command(_TWO_LINES if self._rows > 1 else _ONE_LINE)
        self._command(_ENTRY_TO_THE_RIGHT)
        self._command(_DISPLAY_ON)

    def _command(self, instruction: int) -> None:
        self._send([*self._bytes(bytes([instruction]), 0), self._light])

    def _bytes(self, values: bytes, register: int) -> Iterator[int]:
        for value in values:
            yield from self._half(value & 0xF0, register)
            yield from self._half(value << 4 & 0xF0, register)

    def _half(self, half: int, register: int = 0) -> tuple[int, int, int]:
        """Four bits: the chip takes them when E falls, and wants RS and RW to be there before it rises."""
        pins = half | register | self._light
        return pins, pins | _E, pins

    def _send(self, pins: Sequence[int]) -> None:
        self._transfer(smbus2.i2c_msg.write(self._address, pins))

    def _read(self) -> int:
        message = smbus2.i2c_msg.read(self._address, 1)
        self._transfer(message)
        return int(next(iter(message)))

    def _transfer(self, message: Any) -> None:  # noqa: ANN401  # smbus2 is not typed
        assert self._bus is not None
        try:
            self._bus.i2c_rdwr(message)
        except OSError as error:
            raise DeviceError(
                f"{self._name} does not answer ({_cause(error)}): check its cable and supply, and the address, which"
                f" `i2cdetect -y {self._number}` shows"
            ) from error

    def _no_bus(self, error: OSError) -> str:
        device = f"/dev/i2c-{self._number}"
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"{device} may not be opened ({_cause(error)}): add the agent's user to the group i2c"
        return (
            f"{device} can't be opened ({_cause(error)}): switch I2C on (dtparam=i2c_arm=on in config.txt), and check"
            " the bus's number"
        )


def _cause(error: OSError) -> str:
    code = error.errno
    return f"{os.strerror(code)}, {errno.errorcode.get(code, code)}" if code else str(error)


_fits: type[Display] = CharacterDisplay
