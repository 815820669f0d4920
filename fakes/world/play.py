"""What a person can do to the demo's charge points: hold cards to them, plug cars in, pull the power, stop the peer."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.config import load
from agent.core.evse_state import Plug
from agent.errors import AgentError
from agent.main import Agent
from agent.runtime.charge_point import Settled
from fakes.pins import WatchedFactory, mock_pins
from fakes.world.api import WorldApi
from fakes.world.bench import DEADLINE_S, REMOVAL_S, Bay, Bench, bench_in
from fakes.world.disk import Disk
from fakes.world.errors import NoPowerError, UnknownThingError
from fakes.world.front import Front
from fakes.world.lives import Life, LifeOf, life_without_panel
from fakes.world.wallet import card_of
from fakes.world.weathers import FINE_WEATHER, REFUSING, WEATHERS

log = logging.getLogger(__name__)

_LOOK_S = 0.02
"""How often to see whether the agent is up: its devices are known one after the other."""
_HANG_S = 30.0
"""A card of which nothing has come by then was not read."""
_TRUSTED_S = 5.0
"""The agent probes its peer every second: by then it has seen what there is to see."""
_GONE_S = REMOVAL_S + 0.05
"""So long after a tap is over its card counts as taken away for certain."""


class World:
    """Two EVSEs, and everything around them that is not the agent.

    `switch_on` and `pull_the_power` return once it has happened; both do nothing where it is so already. A method that
    is given an EVSE, a card or a weather that there is not raises UnknownThingError and changes nothing.
    """

    def __init__(self, bench: Bench, life_of: LifeOf) -> None:
        """The power is off. `world_in` makes one, with all that has to be closed again."""
        self.front = Front(lambda: {bay.uid: bay.plugged for bay in self.bays})
        self.api = WorldApi(self)
        self.bench = bench
        self._life_of = life_of
        self._disk = Disk(bench.storage)
        self._switching = asyncio.Lock()
        self._living: asyncio.Task[None] | None = None
        self._agent: Agent | None = None
        self._has_cards = False
        self._weather = FINE_WEATHER
        self._turning = asyncio.Lock()
        self._awaited: dict[str, asyncio.Future[Settled | None]] = {}
        self._left_at: dict[tuple[str, str], float] = {}

    @property
    def is_on(self) -> bool:
        """Whether the charge point has power, and its agent is up."""
        return self._agent is not None

    @property
    def agent(self) -> Agent:
        """The agent of this life. Raises NoPowerError between two."""
        if self._agent is None:
            raise NoPowerError("the charge point has no power: switch it on first")
        return self._agent

    @property
    def bays(self) -> tuple[Bay, ...]:
        """The EVSEs from outside."""
        return tuple(self.bench.bays.values())

    def is_closed(self, evse_uid: str) -> bool:
        """Whether current can flow to the car."""
        return self.bench.is_closed(self._bay(evse_uid))

    @property
    def weather(self) -> str:
        """The peer's, by its name on the page."""
        return self._weather

    async def turn(self, weather: str) -> None:
        """Let the peer's weather be this one from its next request on; the last that was asked for counts.

        Credentials that were rejected count as rejected until an answer shows otherwise, which no foul weather brings:
        after "refusing" it is fine until the agent has seen so.
        """
        if weather not in WEATHERS:
            raise UnknownThingError(f"no weather {weather!r}: there are {', '.join(WEATHERS)}")
        self._weather = weather
        async with self._turning:
            if self._weather == weather != REFUSING:
                await self._be_trusted_again()
            if self._weather == weather:
                self.bench.emsp.set_weather(WEATHERS[weather])

    def plug(self, evse_uid: str, *, plugged: bool) -> None:
        """Plug a car in, or pull its plug; with or without power."""
        self.bench.plug(self._bay(evse_uid), plugged=plugged)

    async def tap(self, evse_uid: str, uid: str) -> Settled | None:
        """Hold a card to a reader, once it is away from there; what came of it, or None when the power went meanwhile.

        A card that is not of the wallet is read as any other. Raises NoPowerError.
        """
        bay, card = self._bay(evse_uid), card_of(uid)
        if card is None:
            _check_uid(bay, uid)
        async with bay.reading:
            await self._is_away(bay, uid)
            async with self._turning:
                _ = self.agent  # nobody reads a card without power
            try:
                return await self._hold(bay, uid if card is None else card.drawn_uid())
            finally:
                self._left_at[bay.uid, _seen_as(uid)] = asyncio.get_running_loop().time()

    async def switch_on(self) -> None:
        """Give it power: the agent starts on the databases that are there. Raises AgentError when it can't."""
        async with self._switching:
            if self.is_on:
                return
            self.bench.plug_readers()
            self.bench.power(on=True)
            up: asyncio.Future[Life] = asyncio.get_running_loop().create_future()
            self._living = asyncio.create_task(self._live(up), name="the agent's life")
            try:
                either: set[asyncio.Future[Any]] = {up, self._living}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if self._living.done():
                    self._living.result()
                life = up.result()
            except BaseException:
                self.bench.power(on=False)
                await self._end_life()
                raise
            self._agent = life.agent
            if life.page is not None:
                self.front.light(life.page)

    async def pull_the_power(self) -> None:
        """Take the power, in the middle of whatever is going on. Raises what the agent had failed of before."""
        async with self._switching:
            if not self.is_on:
                return
            await self.front.darken()
            self.bench.power(on=False)
            self._disk.keep()
            self._agent = None
            for awaited in self._awaited.values():
                awaited.set_result(None)
            self._awaited.clear()
            await self._end_life()
            self._disk.put_back()

    async def close(self) -> None:
        """End it, in good order. May be called twice."""
        async with self._switching:
            self.front.close()
            self.bench.power(on=False)
            self._agent = None
            await self._end_life()

    async def _live(self, up: "asyncio.Future[Life]") -> None:
        """One life, in a task of its own: it begins with one request of the page and ends with another."""
        gc.unfreeze()  # what the last one took out of the collector's sight
        config = load(self.bench.config_path)
        async with self._life_of(config, self.bench.config_path, self.api, self._settled) as life:
            if not self._has_cards:
                for sync in life.agent.syncs:
                    await sync.run_once()
                self._has_cards = True
            running = asyncio.create_task(life.agent.run(), name="the agent")
            try:
                await self._until_up(life.agent, running)
                up.set_result(life)
                await running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    async def _until_up(self, agent: Agent, running: "asyncio.Task[None]") -> None:
        """Until its readers are read and it knows its plugs and meters: now it does what a driver expects."""
        opened = asyncio.gather(*(bay.line.wait_opened() for bay in self.bays))
        try:
            while not (opened.done() and all(_knows_its_devices(agent, bay) for bay in self.bays)):
                if running.done():
                    running.result()
                    raise AgentError("the agent has ended by itself")
                await asyncio.sleep(_LOOK_S)
            self.bench.wake_readers()
        finally:
            opened.cancel()
            await asyncio.gather(opened, return_exceptions=True)

    async def _end_life(self) -> None:
        living, self._living = self._living, None
        if living is None:
            return
        living.cancel()
        await asyncio.wait({living})
        if not living.cancelled():
            living.result()

    async def _be_trusted_again(self) -> None:
        until = asyncio.get_running_loop().time() + _TRUSTED_S
        while self._is_rejected() and asyncio.get_running_loop().time() < until:
            self.bench.emsp.set_weather(WEATHERS[FINE_WEATHER])
            await asyncio.sleep(_LOOK_S)

    def _is_rejected(self) -> bool:
        return self._agent is not None and any(peer.rejects_credentials for peer in self._agent.peers.values())

    async def _is_away(self, bay: Bay, uid: str) -> None:
        """Until this card is: held too soon again, it would still be the same tap."""
        now = asyncio.get_running_loop().time()
        self._left_at = {card: at for card, at in self._left_at.items() if now - at < _GONE_S}
        left_at = self._left_at.get((bay.uid, _seen_as(uid)))
        if left_at is not None:
            await asyncio.sleep(left_at + _GONE_S - now)

    async def _hold(self, bay: Bay, uid: str) -> Settled | None:
        reader = bay.line.path.name
        awaited: asyncio.Future[Settled | None] = asyncio.get_running_loop().create_future()
        self._awaited[reader] = awaited
        bay.line.present(uid)
        try:
            async with asyncio.timeout(_HANG_S):
                return await awaited
        except TimeoutError:
            log.warning("%s: a card was held to the reader, and nothing has come of it", bay.uid)
            return None
        finally:
            self._awaited.pop(reader, None)

    def _settled(self, settled: Settled) -> None:
        awaited = self._awaited.pop(settled.tap.reader, None)
        if awaited is not None and not awaited.done():
            awaited.set_result(settled)

    def _bay(self, evse_uid: str) -> Bay:
        bay = self.bench.bays.get(evse_uid)
        if bay is None:
            raise UnknownThingError(f"no EVSE {evse_uid!r}: there are {', '.join(self.bench.bays)}")
        return bay


@asynccontextmanager
async def world_in(
    folder: Path,
    *,
    life_of: LifeOf = life_without_panel,
    pins: Callable[[], WatchedFactory] = mock_pins,
    deadline_s: float = DEADLINE_S,
) -> AsyncIterator[World]:
    """A world with its power on. `pins` gives the board, of which this takes four pins. Raises AgentError."""
    async with bench_in(folder, pins(), deadline_s) as bench:
        world = World(bench, life_of)
        try:
            await world.switch_on()
            yield world
        finally:
            await world.close()


def _knows_its_devices(agent: Agent, bay: Bay) -> bool:
    evse = agent.evses[bay.uid]
    state = evse.state
    return evse.is_live and not state.lost and state.plug is not Plug.UNKNOWN and state.energy_wh is not None


def _seen_as(uid: str) -> str:
    """What the reader tells cards on it apart by: all random uids of phones are one to it."""
    return "phone" if len(uid) == 8 and uid.startswith("08") else uid.upper()


def _check_uid(bay: Bay, uid: str) -> None:
    try:
        bay.line.frame(uid)
        known = len(uid) in {8, 14, 20}
    except ValueError:
        known = False
    if not known:
        raise UnknownThingError("no card: a uid has 4, 7 or 10 bytes, in hex without separators")
