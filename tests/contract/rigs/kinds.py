"""What a driver's rig does for the contract suites: the driver on its emulator, and somebody at the other side of that.

A rig module of this folder has any of `READERS`, `DISPLAYS`, `RELAYS`, `INDICATORS`, `PLUG_SENSORS`, `METERS` and
`FEEDBACKS`: a dict from the driver's name, as the table prints it, to a `Factory`. It may have

- `unavailable() -> str | None`: what must be installed before anything of it can run here; the gate fails then;
- `kernel_lacks() -> str | None`: which device of the kernel is missing; the gate lets that pass, with the reason.

`cannot` says for each behaviour (`tests.contract.behaviours`) that the driver or its emulator can't show, why: a cell
of the table is never empty without a reason. A rig is entered with its device plugged in and nothing on it, and leaves
nothing behind: no process, no pin factory, no open device. The suites cancel a driver's `run` and call it again.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from agent.ports import ContactFeedback, Display, Indicator, Meter, PlugSensor, Reader, Relay, RelayBoard

_Rig_co = TypeVar("_Rig_co", covariant=True)

Factory = Callable[[Path], AbstractAsyncContextManager[_Rig_co]]
"""Called with an empty folder for this test."""


class Rig(Protocol):
    """A device, and whoever can take it from its driver."""

    @property
    def cannot(self) -> Mapping[str, str]:
        """Behaviour of its port (`tests.contract.behaviours`) -> why it can't be shown."""
        ...

    async def unplug(self) -> None:
        """Take the device from the driver, or let it fail: cable, daemon, wires. What lies on it stays there."""
        ...

    async def plug(self) -> None:
        """Give it back; a driver at work finds it within a moment (`reopen_s` is short here)."""
        ...


class ReaderRig(Rig, Protocol):
    """A reader, and whoever holds cards to it."""

    @property
    def reader(self) -> Reader:
        """The driver; the suite runs it. Its `to_uid` is plain upper-case hex of the raw bytes."""
        ...

    @property
    def cards(self) -> Sequence[str]:
        """At least three uids that it reads, none random, with bytes >= 0x80, of every length that it knows."""
        ...

    async def hold(self, card: str) -> None:
        """Put a card on the reader and keep it there; the device repeats it as it does.

        Where the driver drops what came before it listened (a flushed serial line), this waits until it listens.
        Of a card that is already there: go on holding it, some more repeats. Any uid that the device knows may come,
        not only one of `cards`: bytes of every value, and a random one (08...) unless `cannot` has that behaviour.
        """
        ...

    async def take_away(self, card: str) -> None:
        """Take it away: a driver at work notices, or its removal time is over, before the same card is held again."""
        ...

    async def spoil(self) -> None:
        """Send one broken frame, or hold up a mute card: exactly one that the driver must count."""
        ...


class DisplayRig(Rig, Protocol):
    """A display, and whoever stands before it."""

    @property
    def display(self) -> Display:
        """The driver."""
        ...

    def seen(self) -> tuple[str, ...]:
        """What a person reads there now, `rows` lines, each without spaces at its end."""
        ...

    async def settle(self) -> None:
        """Return once the display's writer has nothing more to do."""
        ...


@runtime_checkable
class AskedDisplayRig(Protocol):
    """A real display, read by a person: besides what a `DisplayRig` has, whose `seen` knows nothing then."""

    async def confirms(self, what: str) -> bool:
        """Whether the person says that this is so."""
        ...


class RelayRig(Rig, Protocol):
    """A relay, and somebody with a lamp behind its contact. What that does without a cable is the device's affair."""

    @property
    def relay(self) -> Relay:
        """The driver, new."""
        ...

    @property
    def board(self) -> RelayBoard | None:
        """What watches over its cable; None where there is none to pull. The suite runs it."""
        ...

    def contact_closed(self) -> bool:
        """Whether current flows."""
        ...

    def moves(self) -> int:
        """How often the contact has moved since the rig was entered."""
        ...

    def another(self) -> Relay:
        """A new driver object on the same device, as after a crash: the first is not detached, only forgotten."""
        ...


class IndicatorRig(Rig, Protocol):
    """A light or a buzzer, and whoever looks and listens."""

    @property
    def indicator(self) -> Indicator:
        """The driver."""
        ...

    def lit(self) -> str:
        """What is seen or heard this moment, in words that tell states apart; "" is dark and silent."""
        ...

    async def settle(self) -> str:
        """Return, once the driver tells what it was last given, its whole pattern in words; "" is dark and silent."""
        ...

    async def stop(self) -> None:
        """End the driver's work, as the agent does when it ends. A rig is entered with the driver at work."""
        ...


class ContactRig(Rig, Protocol):
    """A contact, and whoever moves it."""

    async def set(self, *, closed: bool) -> None:
        """Close it, or open it."""
        ...

    async def bounce(self) -> None:
        """Let it bounce and come to rest as it was."""
        ...


class PlugRig(ContactRig, Protocol):
    """A plug sensor, and whoever drives up with a car: `set(closed=True)` plugs it in."""

    @property
    def sensor(self) -> PlugSensor:
        """The driver; the suite runs it."""
        ...


class FeedbackRig(ContactRig, Protocol):
    """A contactor's auxiliary contact, and the contactor: `set(closed=True)` moves it."""

    @property
    def feedback(self) -> ContactFeedback:
        """The driver; the suite runs it."""
        ...


class MeterRig(Rig, Protocol):
    """A meter, and the car that draws through it."""

    @property
    def meter(self) -> Meter:
        """The driver; the suite runs it."""
        ...

    async def draw(self, energy_wh: int) -> None:
        """Let this much energy through."""
        ...

    async def spoil(self) -> None:
        """Let one reading come broken."""
        ...
