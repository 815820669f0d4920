"""`pytest --hardware=FILE`: the suites over the real devices that a configuration names, with a person beside them.

A driver is built as the agent builds it, by `agent.devices`, and nothing else of the agent runs. A plug, a meter and a
contactor's contact are not among them: they are seen in a charge.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.config import Config, EvseSection, ReaderSection
from agent.devices.displays import display_of, lamps_of
from agent.devices.readers import reader_of
from agent.devices.relays import RelayWays
from agent.devices.work import Work
from agent.ports import Indicator
from tests.contract.hardware_rigs import RealDisplay, RealLamp, RealReader, RealRelay
from tests.contract.offers import DISPLAYS, INDICATORS, READERS, RELAYS, Offer, Port
from tests.contract.person import Person
from tests.contract.rigs.kinds import DisplayRig, IndicatorRig, ReaderRig, RelayRig

PATIENCE_S = 3600.0
"""For one behaviour: a person fetches a card, finds the plug, answers the telephone."""

CLOSE_S = 2.0
"""For a display's last text."""


@dataclass(slots=True)
class Bench:
    """The devices of one configuration, the person before them, and the cards that were learned so far."""

    config: Config
    person: Person
    with_relays: bool
    """Whether relays may switch: contactors may be wired to them, and a car to those."""
    cards: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def offers(self, port: Port) -> list[Offer]:
        """The devices of a port."""
        devices: dict[str, _Opened] = {}
        if port is READERS:
            devices = {section.name: _Opened(self._reader, section) for section in self.config.reader}
        elif port is DISPLAYS:
            devices = {evse.uid: _Opened(self._display, evse) for evse in self.config.evse}
        elif port is RELAYS:
            devices = {evse.uid: _Opened(self._relay, evse) for evse in self.config.evse}
        elif port is INDICATORS:
            devices = {
                name: _Opened(self._lamp, indicator, work, name)
                for evse in self.config.evse
                for name, indicator, work in lamps_of(evse)
            }
        return [Offer(port, driver, factory, hang_s=PATIENCE_S) for driver, factory in devices.items()]

    @asynccontextmanager
    async def _reader(self, section: ReaderSection) -> AsyncIterator[ReaderRig]:
        rig = RealReader(reader_of(section), section.removal_s, self.person, self.cards.get(section.name, ()))
        if not rig.cards:
            self.cards[section.name] = tuple(await rig.learn())
        try:
            yield rig
        finally:
            await rig.clear()

    @asynccontextmanager
    async def _display(self, evse: EvseSection) -> AsyncIterator[DisplayRig]:
        display = display_of(evse, self.person.hears)
        try:
            yield RealDisplay(evse.uid, display, self.person)
        finally:
            await asyncio.to_thread(display.close, CLOSE_S)

    @asynccontextmanager
    async def _relay(self, evse: EvseSection) -> AsyncIterator[RelayRig]:
        if not self.with_relays:
            pytest.skip("contactors may be wired: once nothing is, give --hardware-relays as well")
        relay = RelayWays().relay_of(evse.relay)
        try:
            yield RealRelay(evse.uid, relay, self.person)
        finally:
            relay.detach()

    @asynccontextmanager
    async def _lamp(self, indicator: Indicator, work: Work, name: str) -> AsyncIterator[IndicatorRig]:
        async with AsyncExitStack() as at_work:
            task = asyncio.create_task(_as_coroutine(work))

            async def end() -> None:
                task.cancel()
                await asyncio.wait([task])

            at_work.push_async_callback(end)
            yield RealLamp(name, indicator, at_work, self.person)


async def _as_coroutine(work: Work) -> None:
    await work()


class _Opened:
    """A device's rig, which needs no folder."""

    def __init__(self, opens: Any, *what: Any) -> None:
        self._opens = opens
        self._what = what

    def __call__(self, _directory: Path) -> AbstractAsyncContextManager[Any]:
        return self._opens(*self._what)  # type: ignore[no-any-return]
