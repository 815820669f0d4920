"""The PN532 driver on its emulator, a chip on a pseudo-terminal."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agent.model import Uid
from fakes.pn532 import Fault, Pn532Module
from hw.readers.pn532_reader import Pn532Reader
from hw.readers.presence import Presence
from tests.contract.rigs.kinds import Factory, ReaderRig

AN_HOUR = 3600.0


class Pn532Rig:
    """Cards held to a module."""

    cards: Sequence[str] = ("04A1B2FF", "8000FFFE", "04A1B2C3D4E580", "80FF00FEC3D4E5F67788")
    cannot: Mapping[str, str] = {}

    def __init__(self, module: Pn532Module) -> None:
        self._module = module
        self.reader = Pn532Reader(
            "front", str(module.path), to_uid=lambda raw: Uid(raw.hex().upper()),
            poll_s=0.002, removal_s=AN_HOUR, reopen_s=0.005, answer_s=30.0,
        )  # fmt: skip

    async def hold(self, card: str) -> None:
        """Put a card there and let a driver at work search once: every search finds it."""
        self._module.present(card)
        await self._module.searched()

    async def take_away(self, card: str) -> None:
        """Take it away, let the driver search without it, and let an hour go by without waiting for it."""
        self._module.remove(card)
        await self._module.searched()
        # A short removal time instead would let a held card tap twice wherever the machine stalls for that long.
        self.reader._presence = Presence(AN_HOUR)

    async def spoil(self) -> None:
        """One answer with a wrong checksum."""
        self._module.misbehave(Fault.BAD_DCS, times=1)
        await self._module.searched(2)

    async def unplug(self) -> None:
        """Pull the cable."""
        self._module.unplug()

    async def plug(self) -> None:
        """Put it back."""
        self._module.plug()


@asynccontextmanager
async def rig(directory: Path) -> AsyncIterator[ReaderRig]:
    """A module that is plugged in, with no card."""
    with Pn532Module(directory) as module:
        yield Pn532Rig(module)


READERS: dict[str, Factory[ReaderRig]] = {"PN532 (HSU)": rig}
