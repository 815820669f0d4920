"""A PN532 on a serial port (HSU), 13.56 MHz: it looks for ISO 14443 type A cards when it is asked to. UM0701-02.

The commands are in `pn532_cards`, the frames in `pn532_frames`, the line in `pn532_link`.
"""

import asyncio
import logging
import termios
from collections.abc import Callable, Iterator
from typing import NoReturn

import serial

from agent.model import Tap, Uid
from agent.ports import Pulsing, Reader, ReaderState
from hw.readers import pn532_cards as chip
from hw.readers.pn532_frames import FrameParser
from hw.readers.pn532_link import Link, NoAnswerError, PortLostError
from hw.readers.presence import Presence
from hw.readers.turns import Turns
from hw.readers.uids import is_cut, is_random
from hw.serial_port import open_port, trouble_of

log = logging.getLogger(__name__)

POLL_S = 0.15
"""A card is found at the latest this long after it came, which nobody notices; each search costs the host three
wake-ups and the antenna some 20 ms of field."""

REMOVAL_S = 1.0
"""A card at the edge of the field misses some searches; nobody takes one away and holds it there again within a second
without meaning one tap."""

REOPEN_S = 1.0
"""A missing port costs one failing `open` a second, and a replugged one is back before a driver has tried twice."""

ANSWER_S = 0.5
"""Three tries to find a card are over after 0.1 s; a USB adapter may keep what came for 16 ms more."""

_RANDOM = "random"
"""All random uids of a reader go as one card: a phone takes another one each time that the field comes back."""


class SearchClock:
    """The time in which cards come and go, which is that of the searches. Pure.

    A card is gone when searches have missed it. However long nobody searched, because the loop was held up or the chip
    was away, one that is found by two searches in a row has not gone between them.
    """

    def __init__(self, removal_s: float) -> None:
        """`removal_s`: as long as a card takes to be gone."""
        self._most_s = 0.9 * removal_s  # from one search to the next: less than it takes, so that one must have missed
        self._searched_at: float | None = None
        self._now = 0.0

    def searched(self, at: float) -> float:
        """There was a search, at this loop time: when that is in the time of the cards."""
        if self._searched_at is not None:
            self._now += min(at - self._searched_at, self._most_s)
        self._searched_at = at
        return self._now


class Pn532Reader:
    """A PN532 on a serial port, 8N1, which nobody else may have open meanwhile.

    `to_uid` names the card by its uid's bytes; where it raises ValueError the card is dropped with a warning. Looks
    every `poll_s` seconds; a card not found for `removal_s` seconds counts as taken away, and taps no sooner than
    `debounce_s` after its last tap. A missing port or a silent chip is tried again every `reopen_s` seconds. With
    `flag_random` a uid that is another one each time is marked.
    """

    def __init__(
        self,
        name: str,
        port: str,
        *,
        to_uid: Callable[[bytes], Uid],
        baudrate: int = 115200,
        poll_s: float = POLL_S,
        removal_s: float = REMOVAL_S,
        debounce_s: float = 0.0,
        reopen_s: float = REOPEN_S,
        flag_random: bool = True,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._name = name
        self._port = port
        self._to_uid = to_uid
        self._baudrate = baudrate
        self._poll_s = poll_s
        self._reopen_s = reopen_s
        self._flag_random = flag_random
        self._answer_s = answer_s
        self._parser = FrameParser()
        self._presence = Presence(removal_s, debounce_s)
        self._unnamed = Presence(removal_s, debounce_s)
        self._search_clock = SearchClock(removal_s)
        self._turns = Turns()
        self._dropped = 0
        self._searches = 0
        self._told_cut = False
        self._told_field = False

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    @property
    def bad_frames(self) -> int:
        """Since the start: frames that were cut or garbled, answers that make no sense, and uids that were cut."""
        return self._parser.bad + self._dropped

    async def pulse(self) -> None:
        """Return when the next search, or the next try to get to the chip, begins; see `agent.ports.Pulsing`."""
        await self._turns.next()

    async def run(self, on_tap: Callable[[Tap], None], on_state: Callable[[ReaderState, str], None]) -> None:
        """Read until cancelled; see `agent.ports.Reader`. While missing, `on_state` hears again only of a new cause."""
        told = _Told(on_state)
        while True:
            self._turns.turned()
            line = self._open()
            error = await self._use(line, on_tap, told) if isinstance(line, serial.Serial) else line
            trouble = trouble_of(error)
            told.missing(trouble.name, trouble.told(self._port, error))
            self._turns.without_loop()  # a chip that is gone is no hanging, however rarely it is looked for
            await asyncio.sleep(self._reopen_s)

    def _open(self) -> serial.Serial | OSError:
        """The open line, or why there is none."""
        try:
            return open_port(self._port, self._baudrate)
        except OSError as error:
            return error

    async def _use(self, line: serial.Serial, on_tap: Callable[[Tap], None], told: "_Told") -> OSError:
        """Tap until the port vanishes; why it did. The line is closed then."""
        with line:
            link = Link(line.fileno(), self._parser, baudrate=self._baudrate, answer_s=self._answer_s)
            link.open()
            try:
                return await self._serve(link, on_tap, told)
            finally:
                link.close()
                _forget_output(line)

    async def _serve(self, link: Link, on_tap: Callable[[Tap], None], told: "_Told") -> OSError:
        """Tap until the port vanishes, however often the chip falls silent meanwhile; why it vanished."""
        while True:
            self._turns.turned()
            searches_before = self._searches
            try:
                await self._search(link, on_tap, told)
            except PortLostError as lost:
                return lost.cause
            except (NoAnswerError, chip.AnswerError) as error:
                log.debug("reader %s: %s", self._name, error)
                if self._searches != searches_before:  # it may only have lost its power for a moment
                    await asyncio.sleep(self._poll_s)
                    continue
                told.missing(type(error).__name__, self._advice(error))
                await asyncio.sleep(self._reopen_s)

    async def _search(self, link: Link, on_tap: Callable[[Tap], None], told: "_Told") -> NoReturn:
        """Set the chip up and tap, until it raises that it doesn't answer."""
        firmware = await _set_up(link)
        switches_field = True
        while True:
            self._turns.turned()
            at, cards = await self._look(link)
            self._searches += 1
            told.ready(f"{self._port}: a PN532 with firmware {firmware} answers: hold a card to the reader")
            for tap in self._taps(at, cards):
                on_tap(tap)
            if not switches_field:  # and yet it has just answered: so that is not for want of power
                self._warn_of_field()
            elif cards:
                switches_field = await _switches_field_off(link)
            await asyncio.sleep(self._poll_s)

    async def _look(self, link: Link) -> tuple[float, list[chip.Card]]:
        """The cards there now, and when they were known. An answer that makes no sense is counted and brings none."""
        at, answer = await link.ask(chip.FIND_TWO)
        try:
            return at, chip.cards_found(answer)
        except chip.AnswerError as error:
            self._dropped += 1
            log.debug("reader %s: dropped an answer: %s", self._name, error)
            return at, []

    def _taps(self, at: float, cards: list[chip.Card]) -> Iterator[Tap]:
        seen_at = self._search_clock.searched(at)
        for raw in (card.uid for card in cards):
            if is_cut(raw):
                self._drop_cut()
                continue
            try:
                uid = self._to_uid(raw)
            except ValueError as error:
                self._dropped += 1
                if self._unnamed.seen(raw.hex(), seen_at):
                    log.warning("reader %s: a card does not fit the reader's uid settings: %s", self._name, error)
                continue
            if self._presence.seen(_RANDOM if is_random(raw) else uid, seen_at):
                yield Tap(uid, at, self._name, raw, is_random=self._flag_random and is_random(raw))

    def _drop_cut(self) -> None:
        self._dropped += 1
        if not self._told_cut:
            self._told_cut = True
            log.warning(
                "reader %s gives only the first 4 bytes of longer uids: such cards are dropped; take another module",
                self._name,
            )

    def _warn_of_field(self) -> None:
        if not self._told_field:
            self._told_field = True
            log.warning(
                "reader %s: this module can't switch its field off: of two cards held at once one may not be found; "
                "take another module where that happens",
                self._name,
            )

    def _advice(self, error: NoAnswerError | chip.AnswerError) -> str:
        if isinstance(error, chip.AnswerError):
            return f"{self._port}: {error}: check the port's name in the configuration"
        return (
            f"{self._port} opens, but no PN532 works there ({error}): is its DIP switch set to HSU, has it power, are "
            f"TX and RX crossed, and does it talk at {self._baudrate} baud?"
        )


class _Told:
    """What `on_state` has heard: each change once, and while missing each new cause once."""

    def __init__(self, on_state: Callable[[ReaderState, str], None]) -> None:
        self._on_state = on_state
        self._last: str | None = None

    def ready(self, text: str) -> None:
        self._tell(ReaderState.READY, "", text)

    def missing(self, cause: str, text: str) -> None:
        self._tell(ReaderState.MISSING, cause, text)

    def _tell(self, state: ReaderState, cause: str, text: str) -> None:
        if self._last != cause:
            self._last = cause
            self._on_state(state, text)


async def _switches_field_off(link: Link) -> bool:
    """Switch the field off; whether the chip has understood. Clones are about that do not."""
    try:
        await link.ask(chip.FIELD_OFF)
    except NoAnswerError as error:
        log.debug("a PN532 does not switch its field off: %s", error)
        return False
    return True


async def _set_up(link: Link) -> str:
    """Make the chip look for cards as we need it, whatever it did before; its firmware's version."""
    await link.ask(chip.SAM_NORMAL, wake=True)
    _, version = await link.ask(chip.FIRMWARE)
    firmware = chip.firmware_version(version)
    await link.ask(chip.NO_EXTRAS)
    await link.ask(chip.FEW_TRIES)
    return firmware


def _forget_output(line: serial.Serial) -> None:
    """Drop what the kernel still wants to send: closing a port waits for that, up to 30 s where nobody takes it."""
    try:
        line.reset_output_buffer()
    except termios.error as error:  # gone, and its output with it
        log.debug("%s: %s", line.port, error)


_fits: tuple[type[Reader], type[Pulsing]] = (Pn532Reader, Pn532Reader)
