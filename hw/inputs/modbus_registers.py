"""Which registers of which meter hold its energy and its power: a table, and how their words become numbers.

Addresses are as they go over the wire, counted from 0. The sources are in `docs/meters.md`. A meter that is not here is
one entry more, when its maker's document has been read; nothing else knows about models.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Literal


class NumberKind(Enum):
    """How a number lies in its registers: the highest word first, but for the kinds that say so."""

    FLOAT32 = ("f", 2, False)
    INT32 = ("i", 2, False)
    INT32_LOW_FIRST = ("i", 2, True)
    UINT64 = ("Q", 4, False)

    def __init__(self, code: str, words: int, low_first: bool) -> None:  # noqa: FBT001  # the tuples above
        self.code = code
        self.words = words
        self.low_first = low_first


@dataclass(frozen=True, slots=True)
class Register:
    """A number in a meter."""

    address: int
    kind: NumberKind
    scale: Decimal
    """Wh or W of one."""
    count: int
    """How many registers are asked for: those of the number, and others behind it that are left aside."""

    def __post_init__(self) -> None:
        if self.count < self.kind.words:
            raise ValueError(f"{self.count} registers at {self.address:#06x} hold no {self.kind.name}")


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """Where a model keeps its total imported energy and its active power.

    The two are asked for in different lengths. A Modbus RTU answer doesn't say which question it is for: of the same
    length, a late power would pass for an energy.
    """

    model: str
    function: Literal[3, 4]
    """3 reads holding registers, 4 input registers."""
    energy: Register
    power: Register

    def __post_init__(self) -> None:
        if self.energy.count == self.power.count:
            raise ValueError(f"{self.model}: energy and power must be asked for in different lengths")


def number_in(words: Sequence[int], register: Register) -> Decimal:
    """The number in Wh or W, exactly as the meter gave it. Raises ValueError when these are no number of its kind.

    So do the patterns by which meters say that they have none: a NaN, and what lies at the end of an integer's range.
    """
    kind = register.kind
    own = words[: kind.words]
    if len(own) != kind.words:
        raise ValueError(f"{len(words)} registers where {register.count} were asked for")
    raw = struct.pack(f">{kind.words}H", *(reversed(own) if kind.low_first else own))
    (value,) = struct.unpack(f">{kind.code}", raw)
    if not math.isfinite(value) or raw.startswith(_ABSENT):
        raise ValueError(f"no number: {raw.hex(' ')}")
    return Decimal(value) * register.scale


_ABSENT = (b"\x7f\xff", b"\xff" * 8)
"""ABB: "undefined", the largest value of an integer. Carlo Gavazzi: "overflow", 7FFF in the highest word."""

_KILO = Decimal(1000)
_ONE = Decimal(1)


def _eastron(model: str, *, power: int) -> RegisterMap:
    """Floats in kWh and W; behind the imported energy at 0x48 comes the exported one."""
    return RegisterMap(
        model,
        4,
        energy=Register(0x0048, NumberKind.FLOAT32, _KILO, 4),
        power=Register(power, NumberKind.FLOAT32, _ONE, 2),
    )


def _abb(model: str) -> RegisterMap:
    return RegisterMap(
        model,
        3,
        energy=Register(0x5000, NumberKind.UINT64, Decimal(10), 4),
        power=Register(0x5B14, NumberKind.INT32, Decimal("0.01"), 2),
    )


def _carlo_gavazzi(model: str) -> RegisterMap:
    """Tenths of kWh and W; behind the imported energy at 0x34 comes the reactive one."""
    return RegisterMap(
        model,
        4,
        energy=Register(0x0034, NumberKind.INT32_LOW_FIRST, Decimal(100), 4),
        power=Register(0x0028, NumberKind.INT32_LOW_FIRST, Decimal("0.1"), 2),
    )


REGISTER_MAPS: Mapping[str, RegisterMap] = MappingProxyType(
    {
        entry.model: entry
        for entry in (
            _eastron("sdm120", power=0x000C),
            _eastron("sdm220", power=0x000C),
            _eastron("sdm230", power=0x000C),
            _eastron("sdm72", power=0x0034),
            _eastron("sdm630", power=0x0034),
            _abb("b21"),
            _abb("b23"),
            _abb("b24"),
            _carlo_gavazzi("em330"),
            _carlo_gavazzi("em340"),
        )
    }
)
"""By the name that the configuration gives the model."""
