"""What a light shows and a buzzer sounds for each signal: a table, and how a signal follows another. Pure.

Whoever can't tell red from green tells them by rhythm, for no two are alike: steady is ready, an even blinking asks,
long lights with short gaps wait or charge, short flashes rest, a hurried blinking is "no". A signal that is an event (a
verdict) is played once to its end before what stands there takes over, however soon that comes; a new event takes
over at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agent.model import Signal


class Colour(StrEnum):
    """What three lamps give that are only on or off."""

    DARK = "dark"
    RED = "red"
    GREEN = "green"
    BLUE = "blue"
    YELLOW = "yellow"
    CYAN = "cyan"
    MAGENTA = "magenta"
    WHITE = "white"

    @property
    def rgb(self) -> tuple[bool, bool, bool]:
        """Which of red, green and blue are on."""
        return (
            self in (Colour.RED, Colour.YELLOW, Colour.MAGENTA, Colour.WHITE),
            self in (Colour.GREEN, Colour.YELLOW, Colour.CYAN, Colour.WHITE),
            self in (Colour.BLUE, Colour.CYAN, Colour.MAGENTA, Colour.WHITE),
        )


State = Colour | bool
"""A colour of a light, or whether a buzzer sounds."""


@dataclass(frozen=True, slots=True)
class Step:
    """One state of the device, and for how many seconds."""

    state: State
    for_s: float


@dataclass(frozen=True, slots=True)
class Pattern:
    """Steps that are played once or for ever; `rests` is what stays when they are over."""

    rests: State
    steps: tuple[Step, ...] = ()
    repeats: bool = False

    def __str__(self) -> str:
        """In words that tell patterns apart: `red 0.1 dark 0.1 ... red`."""
        played = " ".join(f"{_word(step.state)} {step.for_s:g}" for step in self.steps)
        return f"{played} again and again" if self.repeats else f"{played} {_word(self.rests)}".strip()


def _word(state: State) -> str:  # a state of a device
    if isinstance(state, Colour):
        return "" if state is Colour.DARK else state.value
    return "sounds" if state else ""


def _blink(colour: Colour, *times_s: float) -> Pattern:
    """On and off in turn, again and again."""
    steps = (Step(colour if turn % 2 == 0 else Colour.DARK, time_s) for turn, time_s in enumerate(times_s))
    return Pattern(colour, tuple(steps), repeats=True)


def _beeps(*lengths_s: float, pause_s: float = 0.1) -> Pattern:
    return Pattern(
        rests=False,
        steps=tuple(Step(state, s) for length_s in lengths_s for state, s in ((True, length_s), (False, pause_s))),
    )


_SILENCE = Pattern(rests=False)

EVENTS = frozenset({Signal.READING, Signal.ACCEPTED, Signal.REFUSED})
"""They happen; the others stand for as long as they are so."""

# An event begins dark: whoever holds a second card to the reader sees that it is another verdict.
LIGHT: Mapping[Signal, Pattern] = {
    Signal.READY: Pattern(Colour.GREEN),
    Signal.READING: Pattern(Colour.WHITE, (Step(Colour.DARK, 0.05), Step(Colour.WHITE, 0.2))),
    Signal.ASKING: _blink(Colour.WHITE, 0.5, 0.5),
    Signal.ACCEPTED: Pattern(Colour.GREEN, (Step(Colour.DARK, 0.1), Step(Colour.GREEN, 1.5))),
    Signal.REFUSED: Pattern(Colour.RED, (Step(Colour.DARK, 0.12), Step(Colour.RED, 0.12)) * 8),
    Signal.PLUG_IN: _blink(Colour.GREEN, 1.0, 0.3),
    Signal.CHARGING: _blink(Colour.BLUE, 3.0, 0.8),
    Signal.PAUSED: _blink(Colour.BLUE, 0.4, 2.6),
    Signal.DONE: _blink(Colour.GREEN, 0.15, 0.15, 0.15, 0.15, 0.15, 2.0),
    Signal.FAULT: _blink(Colour.RED, 0.2, 0.2, 0.2, 1.4),
}

SOUND: Mapping[Signal, Pattern] = {
    Signal.READY: _SILENCE,
    Signal.READING: _beeps(0.05),
    Signal.ASKING: _SILENCE,
    Signal.ACCEPTED: _beeps(0.1, 0.3),
    Signal.REFUSED: _beeps(0.12, 0.12, 0.12, 0.12),
    Signal.PLUG_IN: _SILENCE,
    Signal.CHARGING: _SILENCE,
    Signal.PAUSED: _SILENCE,
    Signal.DONE: _SILENCE,
    # Once: a fault at night must not beep until the morning.
    Signal.FAULT: _beeps(1.0),
}


@dataclass(frozen=True, slots=True)
class Playing:
    """What is played, and the signal that comes after it."""

    signal: Signal | None = None
    over: bool = True
    """Whether it was played to its end, once."""
    next: Signal | None = None


def told(now: Playing, signal: Signal) -> tuple[Playing, bool]:
    """What to play when a signal comes, and whether that begins now: what is under way may have to end first."""
    if now.signal in EVENTS and not now.over and signal not in EVENTS:
        return Playing(now.signal, over=False, next=signal), False
    if signal is now.signal and signal not in EVENTS:
        return now, False
    return Playing(signal, over=False), True


def ended(now: Playing) -> Playing:
    """What to play when the steps are over: the one that waits, or what stays."""
    return Playing(now.next, over=False) if now.next is not None else Playing(now.signal)
