"""Energy meters that speak Modbus RTU, see `docs/meters.md`."""

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal

from agent.errors import DeviceError
from agent.model import MeterReading
from agent.ports import Meter
from hw.inputs.modbus_bus import LineError, ModbusBus
from hw.inputs.modbus_registers import Register, RegisterMap, number_in

log = logging.getLogger(__name__)

TRIES = 3
"""A contactor that switches beside the line costs one answer; a meter that misses three in a row is not there."""

MOST_W = 1_000_000
"""No outlet delivers this. A CRC lets one in 65,536 garbled frames pass: what outruns this is asked for again."""

MOST_WH = 10**12
"""No register shows more: nine digits of kWh are the most there are, and a database keeps no number of twenty."""

_WH_PER_WS = 1 / 3600
_STEP_WH = 100
"""The coarsest step of a register in the table: it may come at any moment."""


class ModbusMeter:
    """The meter with the number `unit` (1 to 247) on a line, read every `interval_s` seconds.

    A first value, one that went back and one that jumped are believed only when the meter says them twice.
    """

    def __init__(self, name: str, bus: ModbusBus, unit: int, registers: RegisterMap, *, interval_s: float) -> None:
        self._name = name
        self._bus = bus
        self._unit = unit
        self._registers = registers
        self._interval_s = interval_s

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    async def run(self, on_reading: Callable[[MeterReading], None], on_state: Callable[[bool, str], None]) -> None:
        """Read until cancelled; see `agent.ports.Meter`. While it is missing, each new cause is told once."""
        loop = asyncio.get_running_loop()
        told: set[str] | None = None
        last: MeterReading | None = None
        with self._bus.in_use():
            while True:
                due = loop.time() + self._interval_s
                try:
                    last = await self._read(last)
                except DeviceError as error:
                    told = told or set()
                    if str(error) not in told:
                        told.add(str(error))
                        on_state(False, str(error))  # noqa: FBT003  # the port's signature
                else:
                    on_reading(last)
                    if told is None or told:
                        told = set()
                        on_state(True, f"unit {self._unit} on {self._bus.port} answers")  # noqa: FBT003
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def _read(self, last: MeterReading | None) -> MeterReading:
        """One reading that can be believed. Raises DeviceError."""
        reading = await self._patiently()
        if _follows(last, reading):
            return reading
        log.debug("meter %s: %d Wh is new to us: asking again", self._name, reading.energy_wh)
        again = await self._patiently()
        if not _follows(reading, again):
            raise LineError(
                f"unit {self._unit} on {self._bus.port} contradicts itself: check the line's termination, and "
                "that no other meter has the same number"
            )
        return again

    async def _patiently(self) -> MeterReading:
        for _ in range(TRIES - 1):
            try:
                return await self._once()
            except LineError as fault:
                log.debug("meter %s: %s", self._name, fault)
        return await self._once()

    async def _once(self) -> MeterReading:
        energy_wh = await self._number(self._registers.energy)
        at = asyncio.get_running_loop().time()
        power_w = await self._number(self._registers.power)
        if not 0 <= energy_wh <= MOST_WH:
            raise self._nonsense(f"an energy of {energy_wh:.6g} Wh")
        if abs(power_w) > MOST_W:
            raise self._nonsense(f"a power of {power_w:.6g} W")
        return MeterReading(at=at, energy_wh=round(energy_wh), power_w=float(power_w))

    async def _number(self, register: Register) -> Decimal:
        words = await self._bus.read(self._unit, self._registers.function, register.address, register.count)
        try:
            return number_in(words, register)
        except ValueError as error:
            raise self._nonsense(f"register {register.address:#06x} holds {error}") from error

    def _nonsense(self, what: str) -> LineError:
        return LineError(  # for a frame that was garbled, and passed its checksum, shows some as well
            f"unit {self._unit} on {self._bus.port} shows nothing that can be billed ({what}): is it of the model "
            f"{self._registers.model} that the configuration names?"
        )


def _follows(earlier: MeterReading | None, later: MeterReading) -> bool:
    """Whether an outlet can have consumed what lies between two readings."""
    if earlier is None:
        return False
    most_wh = MOST_W * (later.at - earlier.at) * _WH_PER_WS + _STEP_WH
    return 0 <= later.energy_wh - earlier.energy_wh <= most_wh


_fits: type[Meter] = ModbusMeter
