"""What the agent needs from outside, one small protocol per capability. Drivers fit them without inheriting.

A driver shows the type checker that it fits with one assignment at the end of its module; the contract tests
under `tests/contract` say what the types can't.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from agent.charges import NewCdr, SessionRecord
from agent.model import (
    Answers,
    EndReason,
    Entry,
    LateAnswer,
    ListedToken,
    MeterReading,
    Question,
    Signal,
    Tap,
    Uid,
)


class ReaderState(StrEnum):
    """What an installer must know of a reader."""

    READY = "ready"
    MISSING = "missing"


class Reader(Protocol):
    """Turns cards into taps.

    A card held on the reader is one tap however often the device repeats it; a second card is a tap of its own.
    Bad frames are counted and dropped. The driver comes back by itself when its device does.
    """

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        ...

    @property
    def bad_frames(self) -> int:
        """Frames since the start that were dropped: cut, garbled, or with a wrong checksum."""
        ...

    async def run(self, on_tap: Callable[[Tap], None], on_state: Callable[[ReaderState, str], None]) -> None:
        """Read until cancelled. `on_state` gets each change once, with a sentence that says what to do.

        Raises nothing for a missing device. Cancelling closes the device.
        """
        ...


class Relay(Protocol):
    """Switches the contactor. Open is the safe state: a new driver object starts open."""

    @property
    def contact_closed(self) -> bool:
        """Whether the contact is commanded closed."""
        ...

    def close_contact(self) -> None:
        """Let current flow. Raises DeviceError when the device does not obey.

        The contact counts as open then, unless it could not be told to open again: then it counts as closed.
        """
        ...

    def open_contact(self) -> None:
        """Cut the current. Never raises for a contact that is open. Raises DeviceError when the device is gone."""
        ...

    def detach(self) -> None:
        """Open the contact and give the device back. May be called twice; afterwards nothing closes it any more."""
        ...


class RelayBoard(Protocol):
    """Watches over a relay behind a cable, which can be pulled: beside the `Relay` that switches."""

    async def run(self, on_state: Callable[[bool, str], None]) -> None:
        """Watch until cancelled; `on_state` gets whether the board is there, as in `PlugSensor.run`.

        A board that comes back is open before `on_state` hears of it. Raises nothing for a missing device.
        """
        ...


class ContactFeedback(Protocol):
    """Sees whether the contactor's main contacts are closed, by an auxiliary contact of its own."""

    async def run(self, on_contact: Callable[[bool], None], on_state: Callable[[bool, str], None]) -> None:
        """Watch until cancelled: `on_contact` gets whether they are closed; the rest as in `PlugSensor.run`."""
        ...


class PlugSensor(Protocol):
    """Sees whether a car is plugged in."""

    async def run(self, on_plug: Callable[[bool], None], on_state: Callable[[bool, str], None]) -> None:
        """Watch until cancelled: `on_plug` gets the state as it is, then each change, bounces left out.

        `on_state` gets whether the sensor works, once as it is and then each change, with a sentence that says what
        to do; before it works again `on_plug` has said how it is. Both are called in the event loop. Raises nothing
        for a missing device. Cancelling gives it back.
        """
        ...


class Meter(Protocol):
    """Reads a total energy register."""

    async def run(self, on_reading: Callable[[MeterReading], None], on_state: Callable[[bool, str], None]) -> None:
        """Read until cancelled; `on_state` and the rest are as in `PlugSensor.run`.

        A reading is handed over as soon as it is known. One that did not come whole and checked is none.
        """
        ...


class Charset(StrEnum):
    """Which characters a display can show."""

    ASCII = "ascii"
    LATIN_1 = "latin-1"
    UNICODE = "utf-8"
    HD44780_A00 = "hd44780-a00"
    """The character ROM of most HD44780 displays, Japanese: German umlauts, no French accents. No codec of Python's."""
    HD44780_A02 = "hd44780-a02"
    """Its European ROM. No codec of Python's."""


class Display(Protocol):
    """Shows text to the driver. Never blocks a tap: `show` hands over and returns."""

    @property
    def columns(self) -> int:
        """Characters a line."""
        ...

    @property
    def rows(self) -> int:
        """Lines."""
        ...

    @property
    def charset(self) -> Charset:
        """What it can show; texts are fitted to it before they come here."""
        ...

    def show(self, lines: Sequence[str]) -> None:
        """Replace what is shown by at most `rows` lines of at most `columns` characters. Returns at once, never raises.

        While the device is away or slow only the newest text is kept; it is shown once the device is back.
        """
        ...

    def close(self, wait_s: float) -> None:
        """Let the last text be shown, for at most `wait_s` seconds, and give the device back. May be called twice."""
        ...


@runtime_checkable
class Indicator(Protocol):
    """A light, a buzzer, a reader's own lamp: tells without words."""

    def indicate(self, signal: Signal) -> None:
        """Tell this from now on. Returns at once, never raises; a device that is away shows it once it is back."""
        ...


@runtime_checkable
class Pulsing(Protocol):
    """Has a loop or a thread of its own, whose standstill nobody else would notice."""

    async def pulse(self) -> None:
        """Return once that loop has turned after this call: at once where it can be woken, else when it next does.

        Never returns while it hangs: whoever asks sets a limit, and cancels. Raises nothing for a missing device.
        """
        ...


class Backend(Protocol):
    """Asks the peers about one tap."""

    async def ask(self, question: Question, until: float) -> Answers:
        """Return by loop time `until` with what was answered by then, sooner if nothing better can come.

        Never raises for a peer's failure: that is an `Outcome`. What is outstanding goes on in the background
        for a bounded time and comes out of `Answers.late`.
        """
        ...


class Whitelist(Protocol):
    """What the tap loop needs of the whitelist."""

    async def find(self, uid: Uid) -> tuple[ListedToken, ...]:
        """Every RFID token of any owner with this uid, without regard to case. Raises StoreError."""
        ...


class Journal(Protocol):
    """The durable record. A method returns once its change is on disk, or raises StoreError and changes nothing."""

    async def record(self, entry: Entry) -> int:
        """Take down a decided tap, and end the authorization that it ends, in one transaction. Returns its id."""
        ...

    async def end(self, authorization_id: int, at: datetime, because: EndReason) -> None:
        """Note that an accepted authorization is over. Ending it twice keeps the first end."""
        ...

    async def add_late(self, late: LateAnswer) -> None:
        """Add an answer that came after the decision; with `joined` its reference becomes the authorization's."""
        ...


class Sessions(Protocol):
    """The durable record of sessions. A method returns once its change is on disk, or raises StoreError."""

    async def put(self, session: SessionRecord, *, tell: bool) -> None:
        """Begin a session, or replace what was last persisted of it; with `tell` its peer is to hear of this state."""
        ...

    async def end(self, session: SessionRecord, cdr: NewCdr | None, tap: Entry | None) -> int | None:
        """End a session, its authorization, and take down the tap that brought it, in one transaction.

        The CDR is due from then on, after the session's final state. Returns the id of the tap's record. Ending it
        twice keeps the first end and its CDR, and still takes down the tap.
        """
        ...
