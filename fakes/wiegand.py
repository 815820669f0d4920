"""A card reader with a Wiegand output that is not there, on gpiozero's mock pins.

    pins = mock_pins()
    reader = WiegandOutput(pins, data0=17, data1=27)
    reader.send("04A1B2")

The frames are made here by hand, from SIA AC-01, and know nothing of the driver's decoder. Nothing waits: the edges of
a frame are all there at once and carry the times that they would have had, as from a kernel that stamps them.
"""

import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fakes.pins import WatchedFactory

_REST_S = 0.5
"""Between two frames: readers that repeat a held card take that long."""


@dataclass(frozen=True, slots=True)
class Output:
    """How a reader sends; the defaults are what data sheets show."""

    pulse_s: float = 50e-6
    interval_s: float = 1e-3
    """From the beginning of a bit to the beginning of the next."""
    jitter: float = 0.0
    """How far each interval may be off, as a part of it."""
    missing: Collection[int] = ()
    """Bits, counted from 0, whose pulse does not come."""
    flipped: Collection[int] = ()
    """Bits whose pulse comes on the other line."""
    swapped: bool = False
    """D0 and D1 are connected the wrong way round."""
    glitches: int = 0
    """Sparks between the pulses, each `glitch_s` long."""
    glitch_s: float = 3e-6


class WiegandOutput:
    """The reader and its two wires. World side: `send` and its kin, `pulse`, `lose_power`, `get_power`.

    Its lines rest high. `output` is how it sends from now on. Without power its outputs pull the lines low.
    """

    def __init__(
        self, pins: WatchedFactory, *, data0: int, data1: int, seed: int = 1, wraps_s: float | None = None
    ) -> None:
        """`wraps_s`: the time stamps begin at 0 again after so many seconds, as those of a small counter do."""
        self.output = Output()
        self._wraps_s = wraps_s
        self.powered = True
        self._pins = pins
        self._lines = (data0, data1)
        self._random = random.Random(seed)
        self._at = self._late_at = time.monotonic()
        self._rest()

    @property
    def now(self) -> float:
        """Where the time on the wires is."""
        return self._at

    def send(self, uid_hex: str) -> None:
        """A card of 3 bytes (26 bits: facility code, number) or 4 bytes (34 bits). Raises ValueError for another."""
        self.send_bits(bits_of(bytes.fromhex(uid_hex)))

    def send_bits(self, bits: Sequence[int]) -> None:
        """These bits, whatever they are; nothing without power."""
        if not self.powered:
            return
        how = self.output
        self.rest(_REST_S)
        self._go_on(bits, how)

    def send_in_two(self, uid_hex: str, first: int) -> Sequence[int]:
        """Only the first bits of a frame: the rest, to be given to `go_on`, is there already but comes late."""
        bits = bits_of(bytes.fromhex(uid_hex))
        self.rest(_REST_S)
        self._go_on(bits[:first], self.output)
        self._late_at = self._at
        return bits[first:]

    def go_on(self, bits: Sequence[int]) -> None:
        """Hand over what came late, with the times that it had."""
        self._at = self._late_at
        self._go_on(bits, self.output)

    def _go_on(self, bits: Sequence[int], how: Output) -> None:
        sparks = set(self._random.sample(range(len(bits)), min(how.glitches, len(bits))))
        for place, bit in enumerate(bits):
            begun = self._at
            if place not in how.missing:
                self.pulse(bit ^ (place in how.flipped) ^ how.swapped, how.pulse_s)
            if place in sparks:
                self._at = begun + how.interval_s / 3
                self.pulse(self._random.randrange(2), how.glitch_s)
            self._at = begun + how.interval_s * (1 + how.jitter * self._random.uniform(-1, 1))

    def pulse(self, line: int, width_s: float) -> None:
        """Draw D0 (0) or D1 (1) low for so long."""
        self.level(line, high=False)
        self._at += width_s
        self.level(line, high=True)

    def level(self, line: int, *, high: bool) -> None:
        """Let D0 (0) or D1 (1) be at a level from now on."""
        stamp = self._at % self._wraps_s if self._wraps_s else self._at
        self._pins.drive(self._lines[line], high=high, at=stamp)

    def rest(self, seconds: float) -> None:
        """Let time go by on the wires."""
        self._at = max(self._at, time.monotonic()) + seconds

    def lose_power(self) -> None:
        """Pull its plug: its outputs' protection draws the lines to its dead supply."""
        self.powered = False
        self.rest(_REST_S)
        for line in (0, 1):
            self.level(line, high=False)

    def get_power(self) -> None:
        """Give it back."""
        self.powered = True
        self._rest()

    def _rest(self) -> None:
        self.rest(_REST_S)
        for line in (0, 1):
            self.level(line, high=True)


def bits_of(data: bytes) -> list[int]:
    """The frame: the data between a bit that makes the first half even and one that makes the second half odd."""
    if len(data) not in {3, 4}:
        raise ValueError(f"{len(data)} bytes: Wiegand frames here carry 3 or 4")
    bits = [byte >> place & 1 for byte in data for place in range(7, -1, -1)]
    half = len(bits) // 2
    return [sum(bits[:half]) % 2, *bits, 1 - sum(bits[half:]) % 2]
