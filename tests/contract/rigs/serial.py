"""Serial readers on a pseudo-terminal: frames of 125 kHz readers, and lines of text."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from agent.model import Uid
from fakes.serial_line import SerialLine
from hw.readers.frames import FrameKind
from hw.readers.line_frames import Digits
from hw.readers.presence import Presence
from hw.readers.serial_reader import SerialReader, line_reader
from tests.contract.behaviours import Reads
from tests.contract.rigs.kinds import Factory, ReaderRig

AN_HOUR = 3600.0
REOPEN_S = 0.005
POLL_S = 0.002

FIVE_BYTES = ("04A1B2FF80", "8000FFFE7F", "FFFFFFFFFF")
EVERY_LENGTH = ("80A1B2FF", "04A1B2C3D4E5FF", "04FFA1FFB2FF80C3D4E5")
NO_ISO_14443: Mapping[str, str] = {Reads.RANDOM: "125 kHz: cards have 5 bytes, and none of them makes up a uid"}


class Cards:
    """Names the cards, and knows how many of those that were sent the driver has been through."""

    def __init__(self) -> None:
        self._sent = 0
        self._named = 0

    def __call__(self, raw: bytes) -> Uid:
        """The reader's `to_uid`: plain hex, as the suite has it."""
        self._named += 1
        return Uid(raw.hex().upper())

    def sent(self, cards: int) -> None:
        """Take note that so many are under way."""
        self._sent += cards

    async def all_read(self, at_work: Callable[[], bool]) -> None:
        """Return when the driver has read what was sent, or is no more at work: then nothing is under way."""
        while at_work() and self._named < self._sent:  # noqa: ASYNC110  # a card that is held says nothing
            await asyncio.sleep(POLL_S)
        self._sent = self._named


class SerialRig:
    """One reader's cable, and a person with cards."""

    def __init__(
        self,
        line: SerialLine,
        reader: SerialReader,
        named: Cards,
        cards: Sequence[str],
        cannot: Mapping[str, str],
        times: int,
    ) -> None:
        self.reader = reader
        self.cards = cards
        self.cannot = cannot
        self._line = line
        self._named = named
        self._times = times

    async def hold(self, card: str) -> None:
        """As many repeats of it as the reader makes."""
        await self._line.wait_opened()
        assert self._line.present(card, times=self._times)
        self._named.sent(self._times)

    async def take_away(self, card: str) -> None:
        """Let an hour pass without waiting for it: how slow this machine is must not matter."""
        await self._named.all_read(lambda: self._line.opened)
        self.reader._taps._presence = Presence(AN_HOUR)

    async def spoil(self) -> None:
        """A wrong checksum, or a character that is none of a number's."""
        await self._line.wait_opened()
        assert self._line.present(self.cards[-1], corrupt=True)

    async def unplug(self) -> None:
        """Pull its cable."""
        self._line.unplug()

    async def plug(self) -> None:
        """Put it back."""
        self._line.plug()


def frames(kind: Literal["rdm6300", "id12la"]) -> Factory[ReaderRig]:
    """A 125 kHz reader."""

    @asynccontextmanager
    async def rig(directory: Path) -> AsyncIterator[ReaderRig]:
        with SerialLine(directory, kind) as line:
            named = Cards()
            reader = SerialReader(
                "front", str(line.path), kind=FrameKind(kind), to_uid=named, removal_s=AN_HOUR, reopen_s=REOPEN_S
            )
            yield SerialRig(line, reader, named, FIVE_BYTES, NO_ISO_14443, 3 if kind == "rdm6300" else 1)

    return rig


def lines(kind: Literal["hex-line", "decimal-line"], digits: Digits, pattern: str) -> Factory[ReaderRig]:
    """A reader that writes lines."""

    @asynccontextmanager
    async def rig(directory: Path) -> AsyncIterator[ReaderRig]:
        with SerialLine(directory, kind) as line:
            named = Cards()
            reader = line_reader(
                "front", str(line.path), pattern=pattern, digits=digits, to_uid=named, removal_s=AN_HOUR,
                reopen_s=REOPEN_S, flag_random=True,
            )  # fmt: skip
            yield SerialRig(line, reader, named, EVERY_LENGTH, {}, 3)

    return rig


READERS: dict[str, Factory[ReaderRig]] = {
    "RDM6300": frames("rdm6300"),
    "ID-12LA": frames("id12la"),
    "lines, hex": lines("hex-line", "hex", "[0-9A-F]{8,20}"),
    "lines, decimal": lines("decimal-line", "decimal", "[0-9]{10,25}"),
}
