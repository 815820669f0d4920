"""A USB keyboard wedge that is not there: an emulator that types cards as the kernel would hand them on.

The events are written here by hand, from linux/input.h, linux/input-event-codes.h and the pictures of the keyboards,
and know nothing of the driver. `TypingReader` needs nothing of the kernel; `UinputReader` is a real input device.
"""

import asyncio
import errno
import os
import select
import struct
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Literal

from fakes.cable import Pluggable

Layout = Literal["us", "de", "fr"]

EV_SYN, EV_KEY, EV_MSC = 0, 1, 4
SYN_REPORT, SYN_DROPPED, MSC_SCAN = 0, 3, 4
UP, DOWN, REPEAT = 0, 1, 2
KEY_ENTER, KEY_KPENTER = 28, 96
KEY_LEFTSHIFT, KEY_RIGHTSHIFT, KEY_CAPSLOCK, KEY_LEFTCTRL = 42, 54, 58, 29

_DIGIT_KEYS = {"1": 2, "2": 3, "3": 4, "4": 5, "5": 6, "6": 7, "7": 8, "8": 9, "9": 10, "0": 11}
_KEYPAD_KEYS = {"7": 71, "8": 72, "9": 73, "4": 75, "5": 76, "6": 77, "1": 79, "2": 80, "3": 81, "0": 82}
# The keys by what is printed on a US keyboard. French keyboards have their A where that has its Q.
_LETTER_KEYS = {"A": 30, "B": 48, "C": 46, "D": 32, "E": 18, "F": 33, "G": 34, "Q": 16, "Z": 44, "Y": 21}
_MOVED: dict[Layout, dict[str, str]] = {"us": {}, "de": {"Y": "Z", "Z": "Y"}, "fr": {"A": "Q", "Q": "A"}}
# Colon and hyphen: their keys and whether they need shift.
_SEPARATORS: dict[Layout, dict[str, tuple[int, bool]]] = {
    "us": {":": (39, True), "-": (12, False), " ": (57, False)},
    "de": {":": (52, True), "-": (53, False), " ": (57, False)},
    "fr": {":": (52, False), "-": (7, False), " ": (57, False)},
}
_HID_USAGE_PAGE_KEYBOARD = 0x70000

_EVENT = struct.Struct("@llHHi")
_KEY_S = 0.004
"""A full-speed device is asked every 2 to 8 ms, and sends a key's press and its release by themselves."""
_POLL_S = 0.002
"""Short beside the time that a driver takes to open a device; a pipe has no event for it."""

Put = Callable[[int, int, int], None]
"""Takes type, code and value of one event."""


class Typist:
    """The keys that a wedge presses for a text, in one layout, with all that a real one sends beside them."""

    def __init__(self, layout: Layout, put: Put) -> None:
        self.layout: Layout = layout
        self.shift = KEY_LEFTSHIFT
        """Which of the two it uses."""
        self.repeats = 0
        """How often the kernel repeats each key, as one that sticks does."""
        self.keypad = False
        """Whether it types digits on the keypad, as some do to not depend on the layout."""
        self.enter = KEY_ENTER
        self._put = put

    def type(self, text: str) -> None:
        """Type a text and Enter. Raises KeyError for a character that no card has."""
        for character in text:
            self._type_one(character)
        self.tap(self.enter)

    async def type_slowly(self, text: str) -> None:
        """The same in real time: the kernel keeps 64 events for who does not read them, a third of a card."""
        for character in text:
            self._type_one(character)
            await asyncio.sleep(_KEY_S)
        self.tap(self.enter)

    def tap(self, key: int) -> None:
        """Press and release one key."""
        self.press(key)
        for _ in range(self.repeats):
            self._put(EV_KEY, key, REPEAT)
            self._put(EV_SYN, SYN_REPORT, 1)
        self.release(key)

    def press(self, key: int) -> None:
        """Press a key and keep it down."""
        self._report(key, DOWN)

    def release(self, key: int) -> None:
        """Let it go."""
        self._report(key, UP)

    def _type_one(self, character: str) -> None:
        key, shifted = self._key_of(character)
        if shifted:
            self.press(self.shift)
        self.tap(key)
        if shifted:
            self.release(self.shift)

    def _report(self, key: int, value: int) -> None:
        self._put(EV_MSC, MSC_SCAN, _HID_USAGE_PAGE_KEYBOARD + key)
        self._put(EV_KEY, key, value)
        self._put(EV_SYN, SYN_REPORT, 0)

    def _key_of(self, character: str) -> tuple[int, bool]:
        """The key, and whether it needs shift: capital letters do, and on a French keyboard digits."""
        if character.isdecimal():
            if self.keypad:
                return _KEYPAD_KEYS[character], False
            return _DIGIT_KEYS[character], self.layout == "fr"
        if character in _SEPARATORS[self.layout]:
            return _SEPARATORS[self.layout][character]
        letter = character.upper()
        return _LETTER_KEYS[_MOVED[self.layout].get(letter, letter)], character.isupper()


class TypingReader(Pluggable):
    """A wedge with its cable. World side: `plug`, `unplug`, `present`. Machine side: `find`, `grab`.

    The events go through a pipe to whoever has grabbed it. What is typed meanwhile without anybody is lost, as to a
    driver: it goes to a console. `clock` stamps them, in seconds; it moves on by itself as keys take their time, and a
    test moves it on by more with `wait`.
    """

    def __init__(
        self,
        layout: Layout = "us",
        *,
        path: str = "/dev/input/by-id/usb-Sycreader_RFID_Reader-event-kbd",
        vendor: int = 0xFFFF,
        product: int = 0x0035,
        title: str = "Sycreader RFID Technology Co., Ltd SYC ID&IC USB Reader",
    ) -> None:
        """The reader starts unplugged."""
        self.path = path
        self.vendor = vendor
        self.product = product
        self.title = title
        self.refusal: int | None = None
        """The errno with which it refuses to be grabbed: EBUSY while another program has it, EACCES without rights."""
        self.typist = Typist(layout, self.put)
        self.clock = time.time()
        self._plugged = False
        self._sink: int | None = None
        self._reports = bytearray()

    def plug(self) -> None:
        """Plug the cable in; nothing happens where it is."""
        self._plugged = True

    def unplug(self) -> None:
        """Pull the cable: who has it grabbed gets an error, after what had been typed. Nothing happens without one."""
        self._plugged = False
        self._let_go()

    @property
    def grabbed(self) -> bool:
        """Whether a driver has it grabbed now."""
        if self._sink is None:
            return False
        poll = select.poll()
        poll.register(self._sink, 0)
        if any(events & select.POLLERR for _, events in poll.poll(0)):
            self._let_go()
        return self._sink is not None

    async def wait_grabbed(self) -> None:
        """Wait until a driver has grabbed it."""
        while not self.grabbed:  # noqa: ASYNC110  # no event: see _POLL_S
            await asyncio.sleep(_POLL_S)

    def present(self, text: str) -> None:
        """Hold a card to the reader: it types the text, which is the card's number as this reader writes it."""
        self.typist.type(text)

    def put(self, type_: int, code: int, value: int) -> None:
        """Send one event. Events are handed on with the report that ends them, and a report is never cut."""
        seconds, fraction = divmod(self.clock, 1)
        self._reports += _EVENT.pack(int(seconds), int(fraction * 1_000_000), type_, code, value)
        if type_ == EV_SYN:
            report, self._reports = bytes(self._reports), bytearray()
            self.clock += _KEY_S
            if self.grabbed and self._sink is not None:
                os.write(self._sink, report)

    def wait(self, seconds: float) -> None:
        """Let time pass, as the events tell it."""
        self.clock += seconds

    def find(self, vendor: int | None, product: int | None, title: str | None) -> list[str]:
        """The machine's answer to who looks for such a keyboard."""
        fits = (
            vendor in {None, self.vendor}
            and product in {None, self.product}
            and (title is None or fnmatchcase(self.title, title))
        )
        return [self.path] if self._plugged and fits else []

    def grab(self, path: str) -> int:
        """Open and grab it, as the kernel lets one process do. Raises OSError as the kernel does."""
        if not self._plugged or path != self.path:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        code = errno.EBUSY if self.grabbed else self.refusal
        if code is not None:
            raise OSError(code, os.strerror(code), path)
        source, self._sink = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        return source

    def _let_go(self) -> None:
        if self._sink is not None:
            os.close(self._sink)
            self._sink = None


class UinputReader:
    """The same wedge as a real input device of this machine's kernel, through /dev/uinput.

    Whoever is logged in at its console gets what it types while nobody has grabbed it. Raises ImportError without the
    Python module evdev, and OSError without /dev/uinput or the right to it.
    """

    vendor = 0x1209
    """pid.codes, with a product for tests: no real reader has these."""
    product = 0x0001
    title = "chargepoint-agent test wedge"

    def __init__(self, layout: Layout = "us") -> None:
        from evdev import UInput, ecodes  # noqa: PLC0415  an extra: only this class needs it

        keys = sorted({*_DIGIT_KEYS.values(), *_KEYPAD_KEYS.values(), *_LETTER_KEYS.values(), KEY_ENTER, KEY_KPENTER})
        more = [KEY_LEFTSHIFT, KEY_RIGHTSHIFT, KEY_CAPSLOCK, KEY_LEFTCTRL, 7, 12, 39, 52, 53, 57]
        self._device: Any = UInput(
            {ecodes.EV_KEY: sorted({*keys, *more}), ecodes.EV_MSC: [ecodes.MSC_SCAN]},
            name=self.title,
            vendor=self.vendor,
            product=self.product,
        )
        self.typist = Typist(layout, self._put)

    @property
    def path(self) -> str:
        """Its event device."""
        return str(self._device.device.path)

    async def present(self, text: str) -> None:
        """Hold a card to the reader."""
        await self.typist.type_slowly(text)

    def unplug(self) -> None:
        """Take the device away, for good."""
        self._device.close()

    def _put(self, type_: int, code: int, value: int) -> None:
        self._device.write(type_, code, value)
