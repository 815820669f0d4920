"""A reader with a Wiegand output on two GPIO pins. The frames are in `wiegand_frames`.

A reader's outputs are open collectors or 5 V: the first pull the pins down to ground and need nothing, the second need
a level shifter, or they destroy the pins. An open wire looks like a reader at rest, so only a line that is held low,
or a pin that is gone, is seen to be missing.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Literal, NoReturn, Self

from agent.errors import DeviceError
from agent.model import Tap, Uid
from agent.ports import Reader, ReaderState
from hw.inputs.gpio_pin import InputPin
from hw.readers.presence import Presence
from hw.readers.uids import is_cut, is_random
from hw.readers.wiegand_frames import GAP_S, LENGTHS, Burst, BurstCollector, Edge, Flaw, Frame, decode

log = logging.getLogger(__name__)

REMOVAL_S = 1.0
"""Most readers send a card once, some again every half second while it is held."""

REOPEN_S = 5.0
"""A pin that can't be had needs a person; this is soon enough after one has been there."""

LOOK_S = 1.0
"""How often the lines' rest is looked at: two looks at a low line are far apart for any pulse."""

_ENDLESS_S = 1.0
"""No frame lasts so long: 34 bits at the most of 20 ms each take 0.7 s."""

_RESTLESS_S = 3.0
"""Edges without a rest for so long come from a wire, and from no card: 50 Hz from the mains has one each 10 ms."""

_WRAPPED_S = 60.0
"""No loop is held up for so long, but a small counter of ticks begins anew each 71 minutes."""

_SWAPPED_FRAMES = 3
"""A disturbed frame looks as if the lines were swapped once in four times, three in a row once in sixty-four; an
installer holds a card there that often when nothing happens."""

_RANDOM = "random"
"""All random uids of a reader go as one card: a phone takes another one each time that it is found."""


class WiegandReader:
    """A reader whose D0 is on the pin `data0` and whose D1 is on `data1`: BCM numbers, pulled up.

    `bits` is the frames' length where it is known, which makes noise less likely to pass. `to_uid` names the card by
    the 3 or 4 bytes between the parities; where it raises ValueError the card is dropped with a warning. A card
    without a frame for `removal_s` seconds counts as taken away, and taps no sooner than `debounce_s` after its last
    tap. Pins that can't be had are tried again every `reopen_s` seconds. `flag_random` says that the numbers are uids
    of ISO 14443 cards: then one that is another one each time is marked, and one that was cut is dropped.
    `sends_reversed`: the reader sends a card's last byte first, which is turned round before all else.
    """

    def __init__(
        self,
        name: str,
        *,
        data0: int,
        data1: int,
        to_uid: Callable[[bytes], Uid],
        bits: Literal[26, 34] | None = None,
        removal_s: float = REMOVAL_S,
        debounce_s: float = 0.0,
        reopen_s: float = REOPEN_S,
        flag_random: bool = False,
        sends_reversed: bool = False,
        look_s: float = LOOK_S,
    ) -> None:
        self._name = name
        self._pins = (data0, data1)
        self._to_uid = to_uid
        self._lengths = LENGTHS if bits is None else frozenset({bits})
        self._reopen_s = reopen_s
        self._look_s = look_s
        self._flag_random = flag_random
        self._sends_reversed = sends_reversed
        self._presence = Presence(removal_s, debounce_s)
        self._unnamed = Presence(removal_s, debounce_s)
        self._bad = 0
        self._swapped = 0
        self._told_cut = False

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    @property
    def bad_frames(self) -> int:
        """Since the start: bursts of edges that were no frame, and numbers that can't be a uid."""
        return self._bad

    async def run(self, on_tap: Callable[[Tap], None], on_state: Callable[[ReaderState, str], None]) -> None:
        """Read until cancelled; see `agent.ports.Reader`. While missing, `on_state` hears again only of a new cause."""
        told: tuple[ReaderState, str] | None = None

        def tell(state: ReaderState, text: str) -> None:
            nonlocal told
            if (state, text) != told:
                told = state, text
                on_state(state, text)

        while True:
            try:
                with _Lines(self._name, self._pins) as lines:
                    await self._read(lines, on_tap, tell)
            except _PinsLostError as error:
                tell(ReaderState.MISSING, str(error))
            await asyncio.sleep(self._reopen_s)

    async def _read(
        self, lines: "_Lines", on_tap: Callable[[Tap], None], tell: Callable[[ReaderState, str], None]
    ) -> NoReturn:
        """Tap until a pin is gone. Raises _PinsLostError then."""
        loop = asyncio.get_running_loop()
        await lines.settle()
        lows = lines.low
        if not lows:
            tell(ReaderState.READY, self._ready)
        while True:
            look_at = loop.time() + self._look_s
            moved = False
            while (left_s := look_at - loop.time()) > 0:
                for burst in await lines.bursts(left_s):
                    moved = True
                    if (tap := self._tap(burst)) is not None:
                        on_tap(tap)
                if lines.restless_s >= _RESTLESS_S:
                    tell(ReaderState.MISSING, self._humming)
            lows, lows_before = lines.low, lows
            if not lows and not lines.restless_s:
                tell(ReaderState.READY, self._ready)
            elif lows == lows_before and not moved:
                tell(ReaderState.MISSING, self._stuck(lows))

    def _tap(self, burst: Burst) -> Tap | None:
        match decode(burst, self._lengths):
            case Frame() as frame:
                self._swapped = 0
                return self._tap_of(frame, burst)
            case Flaw() as flaw:
                self._bad += 1
                log.debug("reader %s: dropped a frame, %d by now: %s", self._name, self._bad, flaw)
                self._count_swapped(flaw)
            case None:  # sparks
                pass
        return None

    def _tap_of(self, frame: Frame, burst: Burst) -> Tap | None:
        # By the edges' own times a card comes and goes: the loop may have been held up between two of its frames.
        seen_at = burst.edges[-1].at
        raw = frame.data[::-1] if self._sends_reversed else frame.data
        if self._flag_random and is_cut(raw):
            self._drop_cut()
            return None
        try:
            uid = self._to_uid(raw)
        except ValueError as error:
            self._bad += 1
            if self._unnamed.seen(raw.hex(), seen_at):
                log.warning("reader %s: a card does not fit the reader's uid settings: %s", self._name, error)
            return None
        random = self._flag_random and is_random(raw)
        if not self._presence.seen(_RANDOM if random else uid, seen_at):
            return None
        return Tap(uid, burst.arrived, self._name, raw, is_random=random)

    def _count_swapped(self, flaw: Flaw) -> None:
        self._swapped = self._swapped + 1 if flaw is Flaw.SWAPPED else 0
        if self._swapped == _SWAPPED_FRAMES:  # once, until a good frame or another flaw came between
            log.warning("reader %s: %s: swap D0 and D1, the wires or the pins in the configuration", self._name, flaw)

    def _drop_cut(self) -> None:
        self._bad += 1
        if not self._told_cut:
            self._told_cut = True
            log.warning(
                "reader %s gives only the first 4 bytes of longer uids: such cards are dropped; take another reader",
                self._name,
            )

    @property
    def _ready(self) -> str:
        return f"D0 on GPIO{self._pins[0]} and D1 on GPIO{self._pins[1]} are watched: hold a card to the reader"

    @property
    def _humming(self) -> str:
        where = f"D0 on GPIO{self._pins[0]} and D1 on GPIO{self._pins[1]}"
        return f"{where} never rest: is a wire off, or the ground, or does a cable with mains run beside them?"

    def _stuck(self, lows: frozenset[int]) -> str:
        names = " and ".join(f"D{line} on GPIO{self._pins[line]}" for line in sorted(lows))
        return f"{names} stays low: has the reader power, is a wire at ground, and is it a Wiegand output?"


class _PinsLostError(Exception):
    """A pin can't be used, or not any more: the text says what to do."""

    # Not a DeviceError itself: one that whoever gets the taps raises must not be taken for it.


class _Lines:
    """Both pins, ours within `with`, and the bursts that come over them."""

    def __init__(self, name: str, pins: tuple[int, int]) -> None:
        self._collector = BurstCollector()
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()
        self._pins = [
            InputPin(f"reader {name}, D{line}", pin, pull="up", on_edge=partial(self._edge, line))
            for line, pin in enumerate(pins)
        ]
        self._open = ExitStack()
        self._arrived = 0.0
        self._ticks: float | None = None
        self._at = 0.0
        self.restless_s = 0.0
        """For how long edges have come without a rest, where that is longer than any frame."""

    def __enter__(self) -> Self:
        """Raises _PinsLostError where there is no way to a pin."""
        with ExitStack() as opening:
            try:
                for pin in self._pins:
                    opening.enter_context(pin)
            except DeviceError as error:
                raise _PinsLostError(str(error)) from error
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def low(self) -> frozenset[int]:
        """Which lines are low now. Raises _PinsLostError when a pin is gone."""
        try:
            return frozenset(line for line, pin in enumerate(self._pins) if not pin.high)
        except DeviceError as error:
            raise _PinsLostError(str(error)) from error

    async def settle(self) -> None:
        """Look whether the lines rest: else what comes first is the end of a frame, and may pass for a shorter one."""
        await asyncio.sleep(GAP_S)
        self._collector.rested()

    async def bursts(self, within_s: float) -> list[Burst]:
        """What has come, once the lines rest again; nothing when nothing began within so many seconds.

        What goes on for longer than any frame is not waited for: it is a burst that has not ended.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._moved.wait()
        except TimeoutError:
            if self._rest_s <= 0:
                self.restless_s = 0.0
            return []
        # One timer a rest, not one an edge. Edges that came while the loop was stuck are handed over before it fires.
        while (rest_s := self._rest_s) > 0 and self._collector.lasting_s < _ENDLESS_S:  # noqa: ASYNC110  # no event
            await asyncio.sleep(rest_s)
        ended = rest_s <= 0
        self.restless_s = 0.0 if ended else self.restless_s + self._collector.lasting_s
        self._moved.clear()
        return self._collector.take(ended=ended)

    @property
    def _rest_s(self) -> float:
        """How much longer no edge may come until the lines count as resting."""
        return self._arrived + GAP_S - self._loop.time()

    def _edge(self, line: int, ticks: float, high: bool) -> None:  # noqa: FBT001  # as InputPin calls it
        # From edge to edge, so that a tick clock may wrap around; from loop time on, which goes on when pins come back.
        now = self._loop.time()
        if self._ticks is None:
            self._at = now
        else:
            self._at += _unwrapped(self._pins[line].seconds_between(self._ticks, ticks), now - self._arrived)
        self._ticks = ticks
        self._arrived = now
        self._collector.edge(Edge(line, self._at, high), self._arrived)
        self._moved.set()


def _unwrapped(gap_s: float, waited_s: float) -> float:
    """The time between two edges by their ticks, or by their arrivals where the tick clock has turned between them."""
    return gap_s if waited_s - gap_s < _WRAPPED_S else waited_s


_fits: type[Reader] = WiegandReader
