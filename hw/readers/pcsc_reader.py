"""Readers that PC/SC knows: ACR122U, ACR1252U and kin, one or several by the pattern of their names.

Here PC/SC's events become taps; the thread that waits for them is `hw.readers.pcsc_service`. That needs pyscard, an
extra of this package, and is imported when the reader runs: who has no such reader pays nothing for it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from agent.errors import DeviceError
from agent.model import Signal, Tap, Uid
from agent.ports import Indicator, Pulsing, Reader, ReaderState
from hw.readers.pcsc_held import HeldCards
from hw.readers.pcsc_trouble import PATIENCE_S, Trouble
from hw.readers.turns import Turns
from hw.readers.uids import is_cut, is_random

if TYPE_CHECKING:
    from hw.readers.pcsc_lamps import PcscLamps
    from hw.readers.pcsc_service import CardRead, Event, PcscWatch

log = logging.getLogger(__name__)

REMOVAL_S = 1.0
"""A card at the edge of the field comes and goes; nobody means two taps by taking it away for less than a second."""

REOPEN_S = 1.0
"""One failing call a second while pcscd is away, and a reader that is back before a driver has tried twice."""

_ANY_RANDOM = b"random"
"""A phone names another uid each time that the field finds it anew: all of them are one card here."""


class PcscReader:
    """Every PC/SC reader whose name fits `pattern` (as of files, case ignored; `*` is all), as one reader.

    `to_uid` names the card by its raw bytes; where it raises ValueError the card is dropped with a warning. A card is
    one tap until it was away for `removal_s` seconds, and taps at most once in `debounce_s`. It stays the same tap
    through the death and return of pcscd and of the reader's cable; a card newly put there meanwhile is a tap. While
    pcscd is away it is asked for every `reopen_s` seconds. `flag_random` marks uids that are other ones each time.
    `lamps`: show signals by the reader's own lamp and buzzer, where its maker's manual says how. A pcscd that keeps a
    call for `patience_s` seconds longer than it should is one that is away.
    """

    def __init__(
        self,
        name: str,
        pattern: str = "*",
        *,
        to_uid: Callable[[bytes], Uid],
        removal_s: float = REMOVAL_S,
        debounce_s: float = 0.0,
        reopen_s: float = REOPEN_S,
        flag_random: bool = True,
        lamps: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._name = name
        self._pattern = pattern
        self._to_uid = to_uid
        self._reopen_s = reopen_s
        self._flag_random = flag_random
        self._has_lamps = lamps
        self._patience_s = patience_s
        self._lamps: PcscLamps | None = None
        self._signal: Signal | None = None
        self._held = HeldCards(removal_s, debounce_s)
        self._turns = Turns()
        self._readers: frozenset[str] = frozenset()
        self._told: object = None
        self._bad_frames = 0
        self._advised: set[str] = set()

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    @property
    def bad_frames(self) -> int:
        """Exchanges since the start that failed: a mute card, one taken away too soon, an answer that is no uid."""
        return self._bad_frames

    def indicate(self, signal: Signal) -> None:
        """Show this on the reader's own lamp; see `agent.ports.Indicator`. Nothing without `lamps`."""
        self._signal = signal
        if self._lamps is not None:
            self._lamps.show(signal)

    async def pulse(self) -> None:
        """Return when the thread that asks PC/SC has come around, within 5 s; see `agent.ports.Pulsing`."""
        await self._turns.next()

    async def run(self, on_tap: Callable[[Tap], None], on_state: Callable[[ReaderState, str], None]) -> None:
        """Read until cancelled; see `agent.ports.Reader`. Without pyscard it says so, and waits to be cancelled.

        Raises DeviceError when the thread that reads has failed, whose trace is in the log.
        """
        self._told = None
        try:
            # An extra, and half a second of a small machine's time.
            from hw.readers.pcsc_service import Ended, PcscWatch  # noqa: PLC0415
        except ImportError as error:
            on_state(ReaderState.MISSING, Trouble.NO_LIBRARY.value.format(cause=error))
            self._turns.without_loop()
            await asyncio.Event().wait()
            return
        events: asyncio.Queue[Event] = asyncio.Queue()
        watch = PcscWatch(self._pattern, self._reopen_s, events.put_nowait, self._patience_s, self._turns)
        watch.start()
        try:
            self._start_lamps()
            while not isinstance(event := await self._next(events, watch, on_state), Ended):
                self._take(event, on_tap, on_state)
            raise DeviceError(f"reader {self._name}: its thread has failed, see the trace above: restart the agent")
        finally:
            self._stop_lamps()
            await watch.stop()
            self._lose_all_but(frozenset())

    async def _next(
        self, events: "asyncio.Queue[Event]", watch: "PcscWatch", on_state: Callable[[ReaderState, str], None]
    ) -> "Event":
        """What the thread says next. Where it says nothing because a call never returns, that is told meanwhile."""
        while True:
            try:
                async with asyncio.timeout(self._patience_s):
                    return await events.get()
            except TimeoutError:
                if (stuck_s := watch.stuck_s()) is not None:
                    # What lies on the readers is not lost: once the call is back it says what came and went.
                    text = Trouble.STUCK.value.format(cause=f"for {stuck_s:.0f} s by now")
                    self._tell(on_state, ReaderState.MISSING, text, cause=Trouble.STUCK)

    def _take(
        self, event: "Event", on_tap: Callable[[Tap], None], on_state: Callable[[ReaderState, str], None]
    ) -> None:
        from hw.readers import pcsc_service as pcsc  # noqa: PLC0415  loaded by `run`

        match event:
            case pcsc.CardRead(reader):
                if self._lamps is not None:
                    self._lamps.card_came(reader)
                if (tap := self._tap_of(event)) is not None:
                    on_tap(tap)
            case pcsc.Empty(reader, at):
                self._held.taken(reader, at)
            case pcsc.Failed(reader, advice):
                self._count_bad(f"{reader}: {advice}" if advice else "")
            case pcsc.Busy(reader):
                self._advise(f"{reader}: another program keeps the card for itself: stop that program")
            case pcsc.Readers(matching, every, unreachable):
                self._lose_all_but(frozenset(matching))
                state, text = _readers_told(self._pattern, matching, every, unreachable)
                self._tell(on_state, state, text, cause=text)
            case pcsc.Away(trouble, cause):
                self._lose_all_but(frozenset())
                self._tell(on_state, ReaderState.MISSING, trouble.value.format(cause=cause), cause=trouble)
            case pcsc.Ended():
                pass
            case _:
                assert_never(event)

    def _tap_of(self, card: "CardRead") -> Tap | None:
        """The tap that a card which was read begins, if it does."""
        if is_cut(card.raw):
            self._count_bad(f"{card.reader} gives only the first part of a long uid: get its maker's newest firmware")
            return None
        try:
            uid = self._to_uid(card.raw)
        except ValueError as error:
            self._bad_frames += 1
            log.warning("reader %s: a card does not fit the reader's uid settings: %s", self._name, error)
            return None
        random = is_random(card.raw)
        if not self._held.put(card.reader, _ANY_RANDOM if random else card.raw, card.at):
            log.debug("reader %s: the same card as before on %s", self._name, card.reader)
            return None
        return Tap(uid, card.at, self._name, card.raw, is_random=random and self._flag_random)

    def _count_bad(self, advice: str) -> None:
        self._bad_frames += 1
        log.debug("reader %s: an exchange failed, %d by now", self._name, self._bad_frames)
        if advice:
            self._advise(advice)

    def _advise(self, advice: str) -> None:
        """Warn, of each cause once: a broken card is held up again and again."""
        if advice not in self._advised:
            self._advised.add(advice)
            log.warning("reader %s: %s", self._name, advice)

    def _lose_all_but(self, readers: frozenset[str]) -> None:
        for gone in self._readers - readers:
            self._held.lost(gone)
        self._readers = readers
        if self._lamps is not None:
            self._lamps.readers_are(sorted(readers))

    def _tell(
        self,
        on_state: Callable[[ReaderState, str], None],
        state: ReaderState,
        text: str,
        *,
        cause: object,
    ) -> None:
        """Tell a change: another state, or another cause. PC/SC has several codes for one."""
        if cause != self._told:
            self._told = cause
            on_state(state, text)

    def _start_lamps(self) -> None:
        if not self._has_lamps:
            return
        from hw.readers.pcsc_lamps import PcscLamps  # noqa: PLC0415  the same extra

        self._lamps = PcscLamps()
        if self._signal is not None:
            self._lamps.show(self._signal)
        self._lamps.start()

    def _stop_lamps(self) -> None:
        if self._lamps is not None:
            self._lamps.stop()
            self._lamps = None


def _readers_told(
    pattern: str, matching: tuple[str, ...], every: tuple[str, ...], unreachable: tuple[str, ...]
) -> tuple[ReaderState, str]:
    """The state, and the sentence for the installer."""
    away = f"{', '.join(unreachable)} does not answer pcscd: pull its plug and put it back, and try another cable"
    if matching:
        found = f"PC/SC found {', '.join(matching)}: hold a card to it"
        return ReaderState.READY, f"{found}; {away}" if unreachable else found
    if unreachable:
        return ReaderState.MISSING, away
    if every:
        return ReaderState.MISSING, (
            f"no PC/SC reader is called {pattern}, there is only {', '.join(every)}: correct the pattern in the "
            "configuration, or plug the reader in"
        )
    return ReaderState.MISSING, (
        "PC/SC has no reader: plug it in; where it is, see lsusb, and the log of pcscd for its driver"
    )


_fits: tuple[type[Reader], type[Indicator], type[Pulsing]] = (PcscReader, PcscReader, PcscReader)
