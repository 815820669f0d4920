"""The keyboard reader on wedges that type, in each layout."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fakes.keyboard import KEY_LEFTCTRL, Layout, TypingReader
from hw.readers.keyboard_reader import KeyboardReader
from hw.readers.line_frames import Digits
from hw.readers.presence import Presence
from tests.contract.rigs.kinds import Factory, ReaderRig
from tests.contract.rigs.serial import Cards

AN_HOUR = 3600.0
REOPEN_S = 0.005

_DECIMAL_DIGITS = {8: 10, 14: 17, 20: 25}
"""By the hex digits of a card: as many decimal ones as the largest such number has."""


class KeyboardRig:
    """A wedge's cable, and a person with cards."""

    cards: Sequence[str] = ("80A1B2FF", "04A1B2C3D4E5FF", "04FFA1FFB2FF80C3D4E5")
    cannot: Mapping[str, str] = {}

    def __init__(self, wedge: TypingReader, digits: Digits) -> None:
        self._named = Cards()
        self.reader = KeyboardReader(
            "front", device=wedge.path, layout=wedge.typist.layout, digits=digits, to_uid=self._named,
            removal_s=AN_HOUR, reopen_s=REOPEN_S, flag_random=True, keyboards=wedge,
        )  # fmt: skip
        self._wedge = wedge
        self._digits = digits

    async def hold(self, card: str) -> None:
        """It types the card's number, as often as it is told to hold it."""
        await self._wedge.wait_grabbed()
        hexadecimal = self._digits == "hex"
        self._wedge.present(card if hexadecimal else f"{int(card, 16):0{_DECIMAL_DIGITS[len(card)]}d}")
        self._named.sent(1)

    async def take_away(self, card: str) -> None:
        """Let an hour pass without waiting for it: how slow this machine is must not matter."""
        await self._named.all_read(lambda: self._wedge.grabbed)
        self.reader._taps._presence = Presence(AN_HOUR)

    async def spoil(self) -> None:
        """Somebody leans on Ctrl while a card is typed."""
        await self._wedge.wait_grabbed()
        typist = self._wedge.typist
        typist.press(KEY_LEFTCTRL)
        self._wedge.present("1234567890")
        typist.release(KEY_LEFTCTRL)

    async def unplug(self) -> None:
        """Pull its cable."""
        self._wedge.unplug()

    async def plug(self) -> None:
        """Put it back."""
        self._wedge.plug()


def typing(layout: Layout, digits: Digits) -> Factory[ReaderRig]:
    """A wedge set up like this."""

    @asynccontextmanager
    async def rig(_directory: Path) -> AsyncIterator[ReaderRig]:
        with TypingReader(layout) as wedge:
            yield KeyboardRig(wedge, digits)

    return rig


READERS: dict[str, Factory[ReaderRig]] = {
    "keyboard, us hex": typing("us", "hex"),
    "keyboard, de decimal": typing("de", "decimal"),
    "keyboard, fr hex": typing("fr", "hex"),
}
