"""The Wiegand driver on gpiozero's mock pins, an emulated reader at the other end of the wires."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import gpiozero

from agent.model import Uid
from fakes.pins import mock_pins
from fakes.wiegand import Output, WiegandOutput
from hw.readers.presence import Presence
from hw.readers.wiegand_frames import GAP_S
from hw.readers.wiegand_reader import WiegandReader
from tests.contract.rigs.kinds import Factory, ReaderRig

D0, D1 = 17, 27
AN_HOUR = 3600.0
REPEATS = 3


class WiegandRig:
    """Cards held to a reader that sends each again while it is held."""

    cards: Sequence[str] = ("04A1B2FF", "80FFFE", "8000FFFE", "7FA1B2")
    cannot: Mapping[str, str] = {}

    def __init__(self, output: WiegandOutput) -> None:
        self._output = output
        self.reader = WiegandReader(
            "front", data0=D0, data1=D1, to_uid=lambda raw: Uid(raw.hex().upper()), removal_s=AN_HOUR,
            reopen_s=0.005, flag_random=True, look_s=0.01,
        )  # fmt: skip

    async def hold(self, card: str) -> None:
        """Put a card there: the reader sends it some times, and is given the rest behind it that ends a frame."""
        for _ in range(REPEATS):
            self._output.send(card)
        await self._frame_is_over()

    async def take_away(self, card: str) -> None:
        """Take it away, and let an hour go by without waiting for it."""
        # A short removal time instead would let a held card tap twice wherever the machine stalls for that long.
        self.reader._presence = Presence(AN_HOUR)

    async def spoil(self) -> None:
        """One frame with a wrong parity."""
        good, self._output.output = self._output.output, Output(flipped={3})
        self._output.send(self.cards[0])
        self._output.output = good
        await self._frame_is_over()

    async def unplug(self) -> None:
        """Take the reader's power."""
        self._output.lose_power()

    async def plug(self) -> None:
        """Give it back."""
        self._output.get_power()

    async def _frame_is_over(self) -> None:
        await asyncio.sleep(2 * GAP_S)  # the driver's own wait ends first, in the same loop
        for _ in range(20):
            await asyncio.sleep(0)


@asynccontextmanager
async def rig(_directory: Path) -> AsyncIterator[ReaderRig]:
    """A reader at rest, on pins of its own."""
    before = gpiozero.Device.pin_factory
    pins = mock_pins()
    try:
        yield WiegandRig(WiegandOutput(pins, data0=D0, data1=D1))
    finally:
        pins.close()
        gpiozero.Device.pin_factory = before


READERS: dict[str, Factory[ReaderRig]] = {"Wiegand 26/34": rig}
