"""Wiegand frames of 26 and 34 bits, from the edges of the lines D0 and D1. Pure: the times come in as values.

Both lines rest high. A low pulse on D0 is a 0, one on D1 a 1; they never overlap (SIA AC-01, 26-bit Wiegand reader
interface). The first bit makes the first half of the frame even, the last bit makes the second half odd:

    26 bits   even parity, 8 bits of facility code, 16 bits of card number, odd parity
    34 bits   even parity, 32 bits of card number, odd parity

Two parity bits let one in four random frames of the right length pass. So the timing must be right too: the width of
every pulse, the distance between two, their evenness, and a rest before and behind. What remains: something on the
line that sends evenly spaced, well-shaped pulses, 26 or 34 of them, and isn't a reader; and two bits that change in
one half, which needs two pulses to come on the wrong line.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import median

GAP_S = 0.025
"""A frame is over after this long without an edge: bits come at most 20 ms apart (SIA AC-01, pulse interval)."""

LENGTHS = frozenset({26, 34})

_SPARK_S = 10e-6
"""Shorter than half of the shortest pulse that SIA AC-01 allows, 20 us: no pulse at all."""

_LONGEST_PULSE_S = 250e-6
"""SIA AC-01 says 100 us, readers on the market take 200; the rest is for the latency of the time stamps."""

_SHORTEST_INTERVAL_S = 150e-6
_LONGEST_INTERVAL_S = 22e-3
"""From fall to fall: 200 us to 20 ms in SIA AC-01, and some for the time stamps."""

_HASTE, _DELAY = 0.5, 3.0
"""What an interval may be, as a part of the frame's median: a reader has a clock, and noise has none."""

MAX_EDGES = 4 * max(LENGTHS)
"""Two edges a bit, and as many again in sparks; what goes on for longer is noise, and is not kept."""

MAX_BURSTS = 32
"""More cards than anybody holds to a reader while the loop is stuck."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One line went high, or low."""

    line: int
    """0 for D0, 1 for D1."""
    at: float
    """Seconds, of any clock."""
    high: bool


class Flaw(StrEnum):
    """Why a burst of edges is no frame; for the log."""

    ENDLESS = "edges without an end"
    LINE = "a line was low before it fell, or an edge is missing"
    PULSE = "a pulse is too long"
    OVERLAP = "pulses on both lines at once"
    RHYTHM = "the pulses don't come evenly"
    COUNT = "wrong number of bits"
    PARITY = "wrong parity"
    SWAPPED = "both parities are wrong, as when D0 and D1 are swapped"
    NOT_ALONE = "no rest before it"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame with right parities."""

    bits: int
    """26 or 34."""
    data: bytes
    """Without the parities: 3 or 4 bytes."""

    @property
    def facility(self) -> int:
        """The facility code, of a frame of 26 bits; of 34 bits the upper half, which some systems take for one."""
        return int.from_bytes(self.data[: len(self.data) - 2], "big")

    @property
    def number(self) -> int:
        """The card number behind the facility code."""
        return int.from_bytes(self.data[-2:], "big")


@dataclass(slots=True)
class Burst:
    """Edges with a rest behind them."""

    edges: list[Edge]
    alone: bool
    """Whether there was a rest before them too."""
    arrived: float
    """When the last of them was handed over, in the time of whoever did."""
    ended: bool = True
    """Whether there was a rest behind them, before somebody lost patience."""


class BurstCollector:
    """Parts edges into bursts, by their own times: when they are handed over does not matter.

    The first edge of all may be in the middle of a frame, unless `rested` was said before it.

    Keeps at most `MAX_BURSTS` bursts, the newest, and of each no more edges than show that it is none of a frame's.
    """

    def __init__(self) -> None:
        self._bursts: deque[Burst] = deque(maxlen=MAX_BURSTS)
        self._last: float | None = None
        self._began = 0.0
        self._rested = False

    @property
    def lasting_s(self) -> float:
        """How long the newest burst has lasted, by its edges; 0 where none is under way."""
        return self._last - self._began if self._bursts and self._last is not None else 0.0

    def rested(self) -> None:
        """The lines were watched for `GAP_S`: where no edge has come so far, they were at rest."""
        self._rested = True

    def edge(self, edge: Edge, arrived: float) -> None:
        """Take an edge, in about the order of the times."""
        rested = self._rested if self._last is None else edge.at - self._last >= GAP_S
        self._last = edge.at if self._last is None else max(self._last, edge.at)
        if rested or not self._bursts:
            self._bursts.append(Burst([], rested, arrived))
            self._began = edge.at
        burst = self._bursts[-1]
        burst.arrived = arrived
        if len(burst.edges) <= MAX_EDGES:
            burst.edges.append(edge)

    def take(self, *, ended: bool = True) -> list[Burst]:
        """All bursts so far, once the lines rest, or where they don't `ended`. An edge too soon after is not alone."""
        taken = list(self._bursts)
        if taken:
            taken[-1].ended = ended
        self._bursts.clear()
        return taken


def decode(burst: Burst, lengths: frozenset[int] = LENGTHS) -> Frame | Flaw | None:
    """The frame that a burst is, or why it is none; None for nothing but sparks, which nobody sent."""
    pulses = _pulses(burst)
    if isinstance(pulses, Flaw):
        return pulses
    if not pulses:
        return None
    if (flaw := _timing_flaw(pulses)) is not None:
        return flaw
    if len(pulses) not in lengths:
        return Flaw.COUNT
    return _frame([pulse.line for pulse in pulses])


@dataclass(frozen=True, slots=True)
class _Pulse:
    line: int
    fell: float
    rose: float


def _pulses(burst: Burst) -> list[_Pulse] | Flaw:
    """The pulses without the sparks, in the order of their beginnings."""
    if len(burst.edges) > MAX_EDGES or not burst.ended:
        return Flaw.ENDLESS
    if not burst.alone:
        return Flaw.NOT_ALONE
    fell: list[float | None] = [None, None]
    pulses = []
    for edge in sorted(burst.edges, key=lambda edge: edge.at):
        begun = fell[edge.line]
        if edge.high is (begun is None):
            return Flaw.LINE
        fell[edge.line] = None if edge.high else edge.at
        if begun is not None and edge.at - begun >= _SPARK_S:
            pulses.append(_Pulse(edge.line, begun, edge.at))
    return Flaw.LINE if fell != [None, None] else sorted(pulses, key=lambda pulse: pulse.fell)


def _timing_flaw(pulses: Sequence[_Pulse]) -> Flaw | None:
    if any(pulse.rose - pulse.fell > _LONGEST_PULSE_S for pulse in pulses):
        return Flaw.PULSE
    if any(later.fell < earlier.rose for earlier, later in pairwise(pulses)):
        return Flaw.OVERLAP
    intervals = [later.fell - earlier.fell for earlier, later in pairwise(pulses)]
    if not intervals:
        return None
    usual = median(intervals)
    shortest = max(_SHORTEST_INTERVAL_S, usual * _HASTE)
    longest = min(_LONGEST_INTERVAL_S, usual * _DELAY)
    return None if all(shortest <= interval <= longest for interval in intervals) else Flaw.RHYTHM


def _frame(bits: Sequence[int]) -> Frame | Flaw:
    half = len(bits) // 2
    even, odd = sum(bits[:half]) % 2 == 0, sum(bits[half:]) % 2 == 1
    if even and odd:
        number = int("".join(map(str, bits[1:-1])), 2)
        return Frame(len(bits), number.to_bytes((len(bits) - 2) // 8, "big"))
    # The halves have 13 or 17 bits: turned round, a right half is a wrong one, and the other way about.
    return Flaw.PARITY if even or odd else Flaw.SWAPPED
