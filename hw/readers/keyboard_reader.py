"""Card readers that type: USB keyboard wedges, grabbed so that no digit of a card reaches a console or a login."""

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Iterator
from enum import Enum

from agent.errors import DeviceError
from agent.model import Tap, Uid
from agent.ports import Reader, ReaderState
from hw.readers.arrivals import Arrivals, Heard
from hw.readers.keyboard_devices import KernelKeyboards, Keyboards
from hw.readers.keyboard_keys import EVENT, PAUSE_S, KeyParser, Layout, events_in
from hw.readers.line_clock import LineClock
from hw.readers.line_frames import Digits
from hw.readers.taps import Taps

log = logging.getLogger(__name__)

REMOVAL_S = 1.0
"""Wedges that repeat a held card do so two to five times a second; most type it once."""

REOPEN_S = 1.0
"""As of a serial reader: a failing look once a second, and back before a driver has tried twice."""


class _Trouble(Enum):
    """Why a keyboard can't be used; the value says what to do."""

    GONE = "{what} is not there ({cause}): check the cable, and how the configuration names this reader"
    FORBIDDEN = "{what} may not be opened ({cause}): add the agent's user to the group input"
    GRABBED = "{what} is grabbed by another program ({cause}): stop that program, or configure another keyboard"
    UNUSABLE = "{what} can't be used as a keyboard ({cause}): check how the configuration names this reader"
    LACKS = "{what} can't be read: {cause}"


_TROUBLES = {
    errno.ENOENT: _Trouble.GONE,
    errno.ENODEV: _Trouble.GONE,
    errno.ENXIO: _Trouble.GONE,
    errno.EIO: _Trouble.GONE,
    errno.EACCES: _Trouble.FORBIDDEN,
    errno.EPERM: _Trouble.FORBIDDEN,
    errno.EBUSY: _Trouble.GRABBED,
}


class KeyboardReader:
    """A reader that types the card's number and Enter, found anew each time that it was away.

    `device` is a path that stays, as `/dev/input/by-id/usb-…-event-kbd`; else the keyboard is found by what is given of
    its USB `vendor` and `product` and its name, `title`, which may have * and ? in it. Of several that fit it is the
    first that no other program, and no other reader, has grabbed. `layout` is the one that the reader was set up for,
    `number_bytes` is as in `hw.readers.line_frames.LineFormat`. `to_uid`, `removal_s`, `debounce_s`,
    `flag_random` and `sends_reversed` are as in `Taps`. A missing keyboard is looked for every `reopen_s` seconds.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str | None = None,
        vendor: int | None = None,
        product: int | None = None,
        title: str | None = None,
        layout: Layout = "us",
        digits: Digits,
        number_bytes: int | None = None,
        to_uid: Callable[[bytes], Uid],
        removal_s: float = REMOVAL_S,
        debounce_s: float = 0.0,
        reopen_s: float = REOPEN_S,
        flag_random: bool = False,
        sends_reversed: bool = False,
        keyboards: Keyboards | None = None,
    ) -> None:
        """Raises ValueError when nothing says which keyboard it is: another one would be grabbed."""
        if (device is None) == (vendor is None and product is None and title is None):
            raise ValueError("a keyboard is named by its device alone, or by any of vendor, product and title")
        self._name = name
        self._device = device
        self._wanted = vendor, product, title
        self._what = device or _described(vendor, product, title)
        self._keyboards = keyboards if keyboards is not None else KernelKeyboards()
        self._reopen_s = reopen_s
        self._parser = KeyParser(layout, digits, number_bytes=number_bytes)
        self._clock = LineClock(removal_s)
        self._taps = Taps(
            name, to_uid, removal_s, debounce_s, flag_random=flag_random, sends_reversed=sends_reversed
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    @property
    def bad_frames(self) -> int:
        """Cards since the start that were broken off, spoiled, overlong, no number, or have no uid."""
        return self._parser.bad + self._taps.dropped

    async def run(self, on_tap: Callable[[Tap], None], on_state: Callable[[ReaderState, str], None]) -> None:
        """Read until cancelled; see `agent.ports.Reader`. While missing, `on_state` hears again only of a new cause."""
        told: _Trouble | None = None

        def ready(path: str) -> None:
            nonlocal told
            told = None
            on_state(ReaderState.READY, f"{path} is grabbed: hold a card to the reader")

        while True:
            grabbed = self._grab()
            error = await self._read_until_gone(*grabbed, on_tap, ready) if isinstance(grabbed, tuple) else grabbed
            trouble = _trouble_of(error)
            if trouble is not told:
                told = trouble
                on_state(ReaderState.MISSING, trouble.value.format(what=self._what, cause=_cause(error)))
            await asyncio.sleep(self._reopen_s)

    def _grab(self) -> tuple[str, int] | OSError | DeviceError:
        """The path and the descriptor of the first keyboard that fits and is to be had, or why there is none."""
        paths = [self._device] if self._device is not None else self._keyboards.find(*self._wanted)
        why: OSError | DeviceError = OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        for path in paths:
            try:
                return path, self._keyboards.grab(path)
            except (OSError, DeviceError) as error:
                why = error
        return why

    async def _read_until_gone(
        self, path: str, fd: int, on_tap: Callable[[Tap], None], ready: Callable[[str], None]
    ) -> OSError:
        """Tap until the keyboard vanishes; why it did. Lets go of it on every way out."""
        self._parser.reset()
        try:
            with Arrivals(fd, self._clock, size=EVENT.size * 128) as arrivals:
                # Silence tells that no card was being typed when the keyboard was grabbed.
                if await arrivals.silence(PAUSE_S):
                    self._parser.pause()
                if arrivals.ended is not None:  # as of a wedge with a broken cable, again and again
                    return arrivals.ended
                ready(path)
                while not isinstance(arrival := await arrivals.next(), OSError):
                    for tap in self._found(arrival):
                        on_tap(tap)
                return arrival
        finally:
            os.close(fd)

    def _found(self, heard: Heard) -> Iterator[Tap]:
        bad_before = self._parser.bad
        cards = self._parser.push(events_in(heard.chunk))
        if self._parser.bad != bad_before:
            log.debug("reader %s: dropped what was no whole card, %d by now", self._name, self._parser.bad)
        for raw in cards:
            tap = self._taps.tap(raw, heard.at, heard.line_at)
            if tap is not None:
                yield tap


def _described(vendor: int | None, product: int | None, title: str | None) -> str:
    """The keyboard in the installer's words: `the keyboard with vendor 0x08ff, title "*RFID*"`."""
    said = [
        f"{word} 0x{number:04x}" for word, number in (("vendor", vendor), ("product", product)) if number is not None
    ]
    if title is not None:
        said.append(f'title "{title}"')
    return f"the keyboard with {', '.join(said)}"


def _trouble_of(error: OSError | DeviceError) -> _Trouble:
    if isinstance(error, DeviceError):
        return _Trouble.LACKS
    return _TROUBLES.get(error.errno or 0, _Trouble.UNUSABLE)


def _cause(error: OSError | DeviceError) -> str:
    if isinstance(error, DeviceError):
        return str(error)
    return f"{os.strerror(error.errno)}, {errno.errorcode.get(error.errno)}" if error.errno else str(error)


_fits: type[Reader] = KeyboardReader
