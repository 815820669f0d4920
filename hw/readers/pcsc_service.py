"""Watches the PC/SC readers from a thread of its own: which there are, and what is put on them and taken away.

The loop over `SCardGetStatusChange` is ours: pyscard's own monitor threads end for good when pcscd is killed.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from smartcard import scard

from hw.readers import pcsc_trouble as pcsc
from hw.readers.pcsc_card import Broken, UidRead, Unreadable, read_uid
from hw.readers.pcsc_trouble import PATIENCE_S, Trouble, is_service_lost, trouble_of, unsigned
from hw.readers.turns import Turns

log = logging.getLogger(__name__)

_PLUG_AND_PLAY = "\\\\?PnP?\\Notification"
"""The pseudo reader that changes when readers come or go."""

_RELIST_S = 5.0
"""A reader plugged in between two calls is not told by the pseudo reader of pcsc-lite 1.9: look now and then."""

_SETTLE_S = 0.1
"""The pause after an answer that brought nothing new, as of a reader on its way out: so nothing makes us spin."""

_AGAIN_S = 0.1
_TRIES = 3
"""A card at the edge of the field, or moved in quickly, fails once or twice; a broken one for ever."""

_BUSY_TRIES = 20
_BUSY_S = 1.0
"""A program that reads a card too is done in two seconds; one that keeps it is asked once a second."""

_STOP_S = 2.0
"""How long an end waits for a call in progress. A reader that hangs must not hold up the relays' opening."""

_CANCEL_S = 0.05
"""A cancel that comes just before the call it is for is lost (pcsc-lite keeps none): so again, this often."""


@dataclass(frozen=True, slots=True)
class Readers:
    """The readers that match and can be used, by name, and all that there are."""

    matching: tuple[str, ...]
    all: tuple[str, ...]
    unreachable: tuple[str, ...] = ()
    """Those that match, too, but do not answer pcscd: a loose cable, or firmware that hangs."""


@dataclass(frozen=True, slots=True)
class Away:
    """PC/SC can't be used, or no longer."""

    trouble: Trouble
    cause: str


@dataclass(frozen=True, slots=True)
class CardRead:
    """A card was put on a reader, and this is its uid."""

    reader: str
    raw: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Empty:
    """Nothing is on the reader, from now on."""

    reader: str
    at: float


@dataclass(frozen=True, slots=True)
class Failed:
    """An exchange failed; with `advice` it will not be tried again soon."""

    reader: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Busy:
    """Another program keeps the card for itself."""

    reader: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The thread is over."""


Event = Readers | Away | CardRead | Empty | Failed | Busy | Ended


@dataclass(slots=True)
class _Slot:
    """One reader, as it was last seen."""

    name: str
    state: int = scard.SCARD_STATE_UNAWARE
    pending: bool = False
    """A card lies here and is still to be read, at `due`."""
    due: float = 0.0
    failures: int = 0
    refusals: int = 0

    @property
    def holds_card(self) -> bool:
        """Whether a card lies on it."""
        return bool(self.state & scard.SCARD_STATE_PRESENT)

    @property
    def is_mute(self) -> bool:
        """Whether it does not answer: put in the wrong way, or no card at all."""
        return bool(self.state & scard.SCARD_STATE_MUTE)

    @property
    def is_new(self) -> bool:
        """Whether nothing was heard of it yet."""
        return self.state == 0

    @property
    def is_away(self) -> bool:
        """Whether the reader itself is not there, or on its way out."""
        return bool(self.state & (scard.SCARD_STATE_UNKNOWN | scard.SCARD_STATE_UNAVAILABLE))

    @property
    def events(self) -> int:
        """How many cards came and went: pcsc-lite counts in the upper half, so no quick change is overlooked."""
        return self.state >> 16


class _LostError(Exception):
    """PC/SC does not answer any more: on its way up to the loop that waits for its return."""

    def __init__(self, code: int) -> None:
        super().__init__(f"0x{code:08X}")
        self.code = code


@dataclass(slots=True)
class PcscWatch:
    """Watches every reader whose name fits `pattern` (as of files, case ignored) from `start` until `stop`.

    Readers are asked one after the other: a card that answers slowly holds up the next reader's for so long.
    """

    pattern: str
    reopen_s: float
    tell: Callable[[Event], None]
    """Called in the event loop. What it raises goes to the loop, so it only hands over."""
    patience_s: float = PATIENCE_S
    """How much longer than it should a call may take before `stuck_s` tells."""
    turns: Turns = field(default_factory=Turns)
    """Of the thread, where somebody asks: it comes around every `_RELIST_S` seconds, or sooner."""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)
    _cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    _thread: threading.Thread | None = None
    _context: int | None = None
    _calling: tuple[float, float] | None = None
    """Since when PC/SC has a call of ours, and when that is to be back, in monotonic seconds."""
    _tell_anew: bool = False
    _loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin, from the event loop that is to be told."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name=f"pcsc {self.pattern}", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End a call in progress and give everything back; returns after 2 s at the latest, whatever hangs."""
        self._stopping.set()
        # In a thread of its own, for a daemon that is frozen holds up even the cancelling.
        canceller = threading.Thread(target=self._cancel, name="pcsc cancel", daemon=True)
        canceller.start()
        try:
            async with asyncio.timeout(_STOP_S):
                await self._cancelled.wait()
        except TimeoutError:
            log.warning("PC/SC holds up a call for more than %g s: it is left behind", _STOP_S)
            return
        canceller.join()  # both have nothing more to do
        if self._thread is not None:
            self._thread.join()

    def stuck_s(self) -> float | None:
        """For how many seconds PC/SC has kept a call that should be back; None while all is well.

        Once it is back the readers are told anew, whether or not they have changed. For the event loop.
        """
        calling, now = self._calling, time.monotonic()
        if calling is None or now < calling[1]:
            return None
        self._tell_anew = True
        return now - calling[0]

    @contextmanager
    def _call_of(self, limit_s: float = 0.0) -> Iterator[None]:
        """What is within asks PC/SC something that answers in `limit_s` seconds, or nearly."""
        now = time.monotonic()
        self._calling = now, now + limit_s + self.patience_s
        try:
            yield
        finally:
            self._calling = None

    def _cancel(self) -> None:
        while not self._over.is_set():
            if (context := self._context) is not None:
                scard.SCardCancel(context)
            self._over.wait(_CANCEL_S)
        self._call(self._cancelled.set)

    def _say(self, event: Event) -> None:
        if not self._stopping.is_set():
            self._call(lambda: self.tell(event))

    def _turn(self) -> None:
        """The thread has come around: nothing that it calls hangs."""
        if self.turns.is_asked:  # else nobody is woken
            self._call(self.turns.turned)

    def _call(self, function: Callable[[], None]) -> None:
        """Call in the event loop; nothing where that is over already, as after an end that would not wait for us."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                away = self._watch_until_lost()
                if away is not None:
                    self._say(away)
                self._call(self.turns.without_loop)  # a daemon that is gone is no hanging, however rarely it is tried
                self._stopping.wait(self.reopen_s)
                self._call(self.turns.turned)
        finally:
            self._over.set()
            self._turn()  # one that has failed does not hang: whoever runs it hears of it below
            self._say(Ended())

    def _watch_until_lost(self) -> Away | None:
        """Why PC/SC can't be used; None when stopped."""
        with self._call_of():
            code, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
        if code != pcsc.SUCCESS:
            return _away(code, at_start=True)
        self._context = context
        try:
            self._watch(context)
        except _LostError as lost:
            return _away(lost.code, at_start=False)
        finally:
            self._context = None
            with self._call_of():
                scard.SCardReleaseContext(context)
        return None

    def _watch(self, context: int) -> None:
        """Until stopped. Raises _LostError."""
        slots: dict[str, _Slot] = {}
        told: Readers | None = None
        known = _Slot(_PLUG_AND_PLAY)
        while not self._stopping.is_set():
            matching, every = self._list(context)
            slots = {name: slots.get(name) or _Slot(name) for name in matching}
            readers = _readers(slots, every)
            if readers != told or self._tell_anew:
                self._tell_anew = False
                told = readers
                self._say(readers)
            self._wait(context, [known, *slots.values()])
            for slot in slots.values():
                if slot.pending and slot.due <= time.monotonic():
                    self._read(context, slot)
            self._turn()

    def _list(self, context: int) -> tuple[list[str], list[str]]:
        """The readers that match, and all. Raises _LostError."""
        with self._call_of():
            code, names = scard.SCardListReaders(context, [])
        if unsigned(code) == pcsc.NO_READERS_AVAILABLE:
            names = []
        elif code != pcsc.SUCCESS:
            raise _LostError(code)
        pattern = self.pattern.casefold()
        return sorted(name for name in names if fnmatchcase(name.casefold(), pattern)), sorted(names)

    def _wait(self, context: int, slots: list[_Slot]) -> None:
        """Wait for a change of a reader, or until a card is to be tried again."""
        due = min((slot.due for slot in slots if slot.pending), default=float("inf"))
        timeout_s = max(0.0, min(_RELIST_S, due - time.monotonic()))
        asked = [(slot.name, slot.state) for slot in slots]
        with self._call_of(timeout_s):
            code, states = scard.SCardGetStatusChange(context, math.ceil(timeout_s * 1000), asked)
        if code == pcsc.SUCCESS:
            seen = [state & ~scard.SCARD_STATE_CHANGED for _, state, _ in states]
            if seen == [slot.state for slot in slots]:
                self._stopping.wait(_SETTLE_S)
            for slot, state in zip(slots, seen, strict=True):
                self._note(slot, state)
        elif unsigned(code) == pcsc.UNKNOWN_READER:
            self._stopping.wait(_SETTLE_S)  # one went since the list was made
        elif unsigned(code) not in {pcsc.TIMEOUT, pcsc.CANCELLED}:
            raise _LostError(code)

    def _note(self, slot: _Slot, state: int) -> None:
        """Take in what a reader shows now."""
        before, slot.state = _Slot(slot.name, slot.state), state
        if slot.name == _PLUG_AND_PLAY or slot.is_away:
            slot.pending = False  # of a reader on its way out nobody knows what lies on it
            return
        other = before.events != slot.events
        # Of a reader that was away nobody knows when its card was taken: it is told that there is none.
        was_unknown = before.is_new or before.is_away
        if (before.holds_card and (other or not slot.holds_card)) or (was_unknown and not slot.holds_card):
            slot.pending = False
            self._say(Empty(slot.name, time.monotonic()))
        if not slot.holds_card:
            return
        came = other or not before.holds_card
        if slot.is_mute and (came or not before.is_mute):
            slot.pending = False
            self._say(Failed(slot.name, "a card does not answer: hold it flat, one card at a time, nothing else"))
        elif came or (before.is_mute and not slot.is_mute):
            slot.pending, slot.due, slot.failures, slot.refusals = True, 0.0, 0, 0

    def _read(self, context: int, slot: _Slot) -> None:
        """Try to read the card on a reader. Raises _LostError."""
        with self._call_of():
            read = read_uid(context, slot.name)
        match read:
            case UidRead(raw, at):
                slot.pending = False
                self._say(CardRead(slot.name, raw, at))
            case Unreadable(why):
                slot.pending = False
                self._say(Failed(slot.name, why))
            case Broken(code) if is_service_lost(code):
                raise _LostError(code)
            case Broken(pcsc.SHARING_VIOLATION):
                slot.refusals += 1
                slot.due = time.monotonic() + (_AGAIN_S if slot.refusals < _BUSY_TRIES else _BUSY_S)
                if slot.refusals == _BUSY_TRIES:
                    self._say(Busy(slot.name))
            case Broken(code):
                slot.failures += 1
                slot.due = time.monotonic() + _AGAIN_S
                slot.pending = slot.failures < _TRIES
                self._say(Failed(slot.name, "" if slot.pending else _advice(code)))


def _readers(slots: Mapping[str, _Slot], every: Sequence[str]) -> Readers:
    """Which of those that match can be used: one whose cable is loose pcscd goes on listing, as unavailable."""
    away = tuple(name for name, slot in slots.items() if slot.is_away)
    return Readers(tuple(name for name in slots if name not in away), tuple(every), away)


def _advice(code: int) -> str:
    if trouble_of(code, at_start=False) is Trouble.FORBIDDEN:
        return Trouble.FORBIDDEN.value.format(cause=cause_of(code))
    return f"a card could not be read ({cause_of(code)}): hold it still and flat, one card at a time"


def _away(code: int, *, at_start: bool) -> Away:
    return Away(trouble_of(unsigned(code), at_start=at_start), cause_of(code))


def cause_of(code: int) -> str:
    """PC/SC's own words."""
    code = unsigned(code)
    native = code - (1 << 32) if scard.SCARD_E_TIMEOUT < 0 else code
    return f"{str(scard.SCardGetErrorMessage(native)).strip().rstrip('.')}, 0x{code:08X}"
