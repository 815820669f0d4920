"""PC/SC: the driver on a real pcscd with `vsmartcard-vpcd` and cards that are played.

There is one pcscd on a machine, so this rig waits for whoever else has it: see `fakes.pcscd`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from agent.model import Uid
from fakes.pcscd import Pcscd, why_not
from fakes.vpcd import PORTS, CardSlot, Manner
from hw.readers.pcsc_reader import PcscReader
from tests.contract.rigs.kinds import Factory, ReaderRig

READER_NAMES = ("Virtual PCD 00 00", "Virtual PCD 00 01")
HANG_S = 60
NOBODY_READS_S = 5.0
_LOOK_S = 0.01

CARDS = ("80FFA1B2", "04A1B2FF80C3E5", "04FFA1FFB2807FC3D4E5")
"""4, 7 and 10 bytes."""


def hex_uid(raw: bytes) -> Uid:
    """The plain form."""
    return Uid(raw.hex().upper())


def unavailable() -> str | None:
    """What is missing."""
    return why_not()


class PcscRig:
    """The driver, the daemon, and the two places where a card can lie.

    pcscd looks at a place every 0.4 s: the next card goes to the other place while it has not seen the last one leave.
    """

    def __init__(self, daemon: Pcscd, slots: tuple[CardSlot, CardSlot]) -> None:
        self.reader = PcscReader("front", "virtual pcd*", to_uid=hex_uid, removal_s=0.0, reopen_s=0.05)
        self.cards = CARDS
        self.cannot: dict[str, str] = {}
        self._daemon = daemon
        self._places = dict(zip(READER_NAMES, slots, strict=True))
        self._left: dict[str, str] = {}
        """The card last taken from a place where pcscd need not have noticed yet; the place left longest ago first."""

    async def hold(self, card: str) -> None:
        """Put it where it lies already or where nothing does."""
        if card not in {slot.uid for slot in self._places.values()}:
            (await self._free_place(card)).present(card)

    async def take_away(self, card: str) -> None:
        """Take it away, not before a driver at work has read it. It is gone for everybody before it comes again."""
        for name, slot in self._places.items():
            if slot.uid == card:
                if self._daemon.running:
                    await self._read_once(slot)
                    self._left[name] = card
                slot.remove()

    async def spoil(self) -> None:
        """Hold up a mute card until it was counted."""
        slot = await self._free_place("")
        before = self.reader.bad_frames
        slot.present("04A1B2C3", Manner.MUTE)
        async with asyncio.timeout(HANG_S):
            while self.reader.bad_frames == before:  # noqa: ASYNC110  a counter has no event
                await asyncio.sleep(_LOOK_S)
        slot.remove()
        await asyncio.to_thread(wait_empty, next(name for name, each in self._places.items() if each is slot))

    async def unplug(self) -> None:
        """`kill -9`: to the driver the same as every cable pulled at once."""
        self._daemon.kill()
        self._left.clear()

    async def plug(self) -> None:
        """Start it again."""
        await asyncio.to_thread(self._daemon.start)

    async def _read_once(self, slot: CardSlot) -> None:
        """Whoever takes his card away sooner than pcscd looks, which is every 0.4 s, has not tapped."""
        with contextlib.suppress(TimeoutError):  # nobody reads
            async with asyncio.timeout(NOBODY_READS_S):
                while not slot.uids_sent:  # noqa: ASYNC110  it is the emulator's thread that counts
                    await asyncio.sleep(_LOOK_S)

    async def _free_place(self, card: str) -> CardSlot:
        """Where nothing lies, for everybody; and nobody still believes that this card lies in the other place."""
        free = [name for name, slot in self._places.items() if slot.uid is None]
        longest = next((name for name in free if name not in self._left), None) or next(
            name for name in self._left if name in free
        )
        for name in free:
            if name in self._left and (name == longest or self._left[name] == card):
                del self._left[name]
                await asyncio.to_thread(wait_empty, name)
        return self._places[longest]


def wait_empty(reader: str) -> None:
    """Return once pcscd has noticed that nothing lies on a reader."""
    from smartcard import scard  # noqa: PLC0415  an extra

    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
    try:
        state = scard.SCARD_STATE_UNAWARE
        code = scard.SCARD_S_SUCCESS
        while code == scard.SCARD_S_SUCCESS and not state & scard.SCARD_STATE_EMPTY:
            code, [(_, state, _)] = scard.SCardGetStatusChange(context, HANG_S * 1000, [(reader, state)])
        assert code == scard.SCARD_S_SUCCESS, f"no {reader} to wait for: 0x{code:08X}"
    finally:
        scard.SCardReleaseContext(context)


@asynccontextmanager
async def _pcsc(folder: Path) -> AsyncIterator[PcscRig]:
    with ExitStack() as stack:
        daemon = Pcscd()
        # Another run may have it for minutes: the event loop goes on meanwhile.
        await asyncio.to_thread(stack.enter_context, daemon)
        slots = (stack.enter_context(CardSlot(PORTS[0])), stack.enter_context(CardSlot(PORTS[1])))
        await asyncio.to_thread(daemon.start)
        yield PcscRig(daemon, slots)


READERS: dict[str, Factory[ReaderRig]] = {"pcsc": _pcsc}
