"""A tap through PC/SC, on a real pcscd with a card that is played, against the least that any program needs for it."""

import asyncio
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agent.model import Tap, Uid
from fakes.pcscd import Pcscd, why_not
from fakes.vpcd import PORTS, CardSlot
from hw.readers.pcsc_reader import PcscReader
from tests.bench.figure import Figure, Goal, Plan, milliseconds, percentile, spread

READER = "Virtual PCD 00 00"
WARM_UP = 2
ADDED_MS = 10.0
HANG_S = 60


@dataclass(frozen=True, slots=True)
class Took:
    """One tap, in seconds on the card's own clock."""

    from_power_s: float
    """Since pcscd gave the card power, having just found it: its wake-up of who waits is in it."""
    from_last_byte_s: float
    """Since the card's last byte of the uid had been handed to the line."""


def pcsc_tap(plan: Plan) -> list[Figure]:
    """A card that was put on the reader until its tap in the event loop; nothing where PC/SC can't be had."""
    if (reason := why_not()) is not None:
        print(f"no tap through PC/SC: {reason}", file=sys.stderr)
        return []
    return asyncio.run(_pcsc_tap(plan))


async def _pcsc_tap(plan: Plan) -> list[Figure]:
    ours: list[Took] = []
    bare: list[Took] = []
    with Pcscd() as daemon, CardSlot(PORTS[0]) as slot:
        daemon.start()
        for number in range(plan.count(40, 1) + WARM_UP):
            uid = f"04A1B2FF80{number:04X}"
            ours.append(await _driver_tap(slot, uid))
            with _bare_program() as read_at:
                slot.present(uid)
                at = await asyncio.to_thread(read_at)
                bare.append(Took(at - slot.powered_at, at - slot.sent_at))
            await _taken_away(slot)
    return _figures(ours[WARM_UP:] if not plan.quick else ours, bare[WARM_UP:] if not plan.quick else bare)


def _figures(ours: list[Took], bare: list[Took]) -> list[Figure]:
    whole = milliseconds(took.from_power_s for took in ours)
    floor = milliseconds(took.from_power_s for took in bare)
    added = percentile(whole, 50) - percentile(floor, 50)
    return [
        Figure(
            "tap through PC/SC, added to the card exchange", max(0.0, added), "ms", None, Goal(ADDED_MS, "value"),
            f"p50 of {len(ours)}, pcscd's power-up of the card -> Tap in the loop, less the same of a bare program",
        ),
        *spread("tap through PC/SC, from power-up", whole, "ms", floor, "floor: wait, connect, transmit and no more"),
        *spread(
            "tap through PC/SC, from the uid's last byte", milliseconds(took.from_last_byte_s for took in ours), "ms",
            milliseconds(took.from_last_byte_s for took in bare), "floor: as above",
        ),
    ]  # fmt: skip


async def _driver_tap(slot: CardSlot, uid: str) -> Took:
    """One tap by the driver. It runs only for this: the bare program's turn shall not find it at the card."""
    taps: asyncio.Queue[tuple[float, Tap]] = asyncio.Queue()
    ready = asyncio.Event()
    reader = PcscReader("bench", READER, to_uid=lambda raw: Uid(raw.hex().upper()), removal_s=0.0)
    run = asyncio.create_task(reader.run(lambda tap: taps.put_nowait((time.monotonic(), tap)), lambda *_: ready.set()))
    try:
        async with asyncio.timeout(HANG_S):
            await ready.wait()
            slot.present(uid)
            at, tap = await taps.get()
    finally:
        run.cancel()
        await asyncio.wait([run])
    if tap.uid != uid:
        raise RuntimeError(f"another card than was held up: {len(tap.raw)} bytes")
    took = Took(at - slot.powered_at, at - slot.sent_at)
    await _taken_away(slot)
    return took


async def _taken_away(slot: CardSlot) -> None:
    """Take the card away and wait until pcscd has noticed."""
    from tests.contract.rigs.pcsc import wait_empty  # noqa: PLC0415  pytest and pyscard, and both may be missing

    slot.remove()
    await asyncio.to_thread(wait_empty, READER)


@contextmanager
def _bare_program() -> Iterator[Callable[[], float]]:
    """The least: a thread that waits for a card, connects and asks; gives when it had the answer."""
    from smartcard import scard  # noqa: PLC0415  an extra

    answered: queue.Queue[float] = queue.Queue()
    waiting = threading.Event()
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)

    def read() -> None:
        _, [(_, state, _)] = scard.SCardGetStatusChange(context, 0, [(READER, scard.SCARD_STATE_UNAWARE)])
        waiting.set()
        while not state & scard.SCARD_STATE_PRESENT:
            _, [(_, state, _)] = scard.SCardGetStatusChange(context, HANG_S * 1000, [(READER, state)])
        both = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        _, card, protocol = scard.SCardConnect(context, READER, scard.SCARD_SHARE_SHARED, both)
        pci = scard.SCARD_PCI_T1 if protocol == scard.SCARD_PROTOCOL_T1 else scard.SCARD_PCI_T0
        scard.SCardTransmit(card, pci, [0xFF, 0xCA, 0x00, 0x00, 0x00])
        answered.put(time.monotonic())
        scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    waiting.wait(HANG_S)
    try:
        yield lambda: answered.get(timeout=HANG_S)
    finally:
        thread.join(HANG_S)
        scard.SCardReleaseContext(context)
