"""A site whose charger can be killed at any moment: four outlets, and what stands around them and does not die with it.

The meters count on while the agent is dead, plugs stay in, the eMSP keeps what it was told. A car draws power while
its plug is in and its relay is closed, and only then.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from fakes.charger import Charger
from fakes.emsp import FakeEmsp
from fakes.modbus_meter import EnergyMeter, MeterLine
from fakes.serial_line import SerialLine
from tests.scenario.charge_world import PLACE

PERSIST_WH = 50
PRICE = "0.30"
READ_EVERY_S = 0.1
STOP_AFTER_S = 0.2
DEADLINE_S = 1.0
SHORT_CUT_S = 0.8
"""What `resume_within_s` is where it is not long."""
HANG_S = 60.0
"""Against hangs alone."""
KNOWN_AFTER = 3
"""Readings after which the agent knows of the first one: it asks for energy, then for power, and believes no first."""

_OUTLETS = (("DE*EXA*E1", 17, 24), ("DE*EXA*E2", 18, 25), ("DE*EXA*E3", 22, 5), ("DE*EXA*E4", 27, 6))
"""EVSE, the pin of its relay, the pin of its plug sensor."""
_ENERGY = 0x0048
"""Where an SDM630 and an SDM120 keep the energy that was drawn."""


@dataclass
class Visit:
    """One car at one outlet, from the driver's coming to where nothing of it is open on record any more."""

    evse: str
    uid: str
    begun_wh: float
    ended_wh: float = 0.0
    cuts: int = 0
    """Power cuts since its relay first closed."""
    closings: int = 0
    power_w: float = 0.0
    """The most that it has drawn."""
    readings: list[float] = field(default_factory=list)
    """What the meter showed whenever it was asked."""

    @property
    def drawn_wh(self) -> float:
        return self.ended_wh - self.begun_wh

    @property
    def step_wh(self) -> float:
        """The most that flowed between two looks at the meter, or since the last."""
        shown = [self.begun_wh, *self.readings, self.ended_wh]
        return max(after - before for before, after in pairwise(shown))


@dataclass
class Outlet:
    """An EVSE as those see it who stand before it."""

    evse: str
    relay: int
    plug: int
    line: SerialLine
    meter: EnergyMeter
    wants_w: float = 0.0
    """What the car would draw."""
    plugged: bool = False
    was_plugged: bool = False
    """At any moment of this life of the agent."""
    closed: bool = False
    readings: int = 0
    """Since the power came back, or the last car left."""
    visit: Visit | None = None

    def flow(self) -> None:
        """Draw what is to be drawn from here on."""
        power_w = self.wants_w if self.plugged and self.closed else 0.0
        if self.visit is not None:
            self.visit.power_w = max(self.visit.power_w, power_w)
        if power_w != self.meter.power_w:
            self.meter.draw(power_w)


@dataclass(frozen=True, slots=True)
class Closing:
    """A relay that closed, and what was on disk when that was seen."""

    evse: str
    uid: str
    is_recorded: bool | None
    """None: the file could not be read just then."""
    is_plugged: bool
    """Whether the plug was in at any moment of this life of the agent."""


class Site:
    """Everything but the people."""

    def __init__(self, folder: Path, emsp: FakeEmsp, outlets: list[Outlet]) -> None:
        self.folder = folder
        self.emsp = emsp
        self.outlets = outlets
        self.closings: list[Closing] = []
        self.life = 0
        """Which life of the agent this is."""
        self.is_open = False
        """Whether the charger has power and its readers listen."""
        self.moves = 0
        """How often a relay has closed or opened."""
        self.taps = 0
        self.is_closing = False
        """Whether nobody comes any more, and who is there leaves: there will be no further power cut."""
        self.config = folder / "config.toml"
        self.charger = Charger(self.config, [outlet.line for outlet in outlets], on_level=self._switched)
        self._news = asyncio.Event()

    def configure(self, *, resume_within_s: float) -> None:
        """Write the configuration that the next start reads."""
        self.config.write_text(_configuration(self, resume_within_s))

    async def power_on(self) -> None:
        """Switch the charger on, and return at once."""
        self.life += 1
        for outlet in self.outlets:
            outlet.readings, outlet.was_plugged = 0, outlet.plugged
        await self.charger.start()

    async def open(self) -> None:
        """Return once its readers listen; from then on drivers come."""
        async with asyncio.timeout(HANG_S):
            await self.charger.listens()
        self.is_open = True
        self.tell()

    async def power_cut(self) -> None:
        """Kill the agent. What it has switched until then is known when this returns."""
        self.is_open = False
        for outlet in self.outlets:
            outlet.meter.draw(0.0)
            if outlet.visit is not None and outlet.visit.closings:
                outlet.visit.cuts += 1
        await self.charger.power_cut()
        self.tell()

    def plug(self, outlet: Outlet, *, inserted: bool) -> None:
        """Plug the car in, or pull its plug."""
        outlet.plugged = inserted
        outlet.was_plugged = outlet.was_plugged or inserted
        outlet.flow()
        self.charger.plug(outlet.plug, inserted=inserted)

    def present(self, outlet: Outlet, uid: str) -> bool:
        """Hold a card to the reader; whether the agent's driver got it."""
        self.taps += 1
        self.tell()
        return outlet.line.present(uid)

    async def until(self, so: Callable[[], bool], within_s: float = HANG_S) -> bool:
        """Return once it is so, or the time is over; whether it is so. For what is told, see `tell`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not so():
                    await self._news.wait()
        return so()

    def tell(self) -> None:
        """Something has happened that somebody may wait for."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def select(self, sql: str, *parameters: Any) -> list[dict[str, Any]] | None:
        """Rows of `state.db`, read without the agent's code and without mending the file; None where that fails."""
        path = self.folder / "state" / "state.db"
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(sql, parameters)]
        except sqlite3.OperationalError:  # not made yet, or left by a kill and not recovered yet
            return None

    async def watch(self, line: MeterLine) -> None:
        """Note what each meter of the line shows when it is asked, until cancelled."""
        while True:
            question = await line.asked()
            for outlet in self.outlets:
                is_its = outlet.meter.unit == question[0] and int.from_bytes(question[2:4]) == _ENERGY
                if is_its:
                    outlet.readings += 1
                    if outlet.visit is not None:
                        outlet.visit.readings.append(outlet.meter.energy_wh)
                    self.tell()

    def _switched(self, pin: int, level: bool) -> None:  # noqa: FBT001  a Watcher's signature
        for outlet in self.outlets:
            if outlet.relay == pin:
                self.moves += 1
                outlet.closed = level
                outlet.flow()
                if level:
                    self._closed(outlet)
        self.tell()

    def _closed(self, outlet: Outlet) -> None:
        uid = outlet.visit.uid if outlet.visit else "nobody"
        if outlet.visit is not None:
            outlet.visit.closings += 1
        rows = self.select(
            "SELECT id FROM authorization WHERE uid = ? AND evse_uid = ? AND verdict = 'accepted' AND relay_closed = 1"
            " AND (ended_at IS NULL OR ended_at >= ?)",
            *(uid, outlet.evse, (time.time() - 5.0) * 1e6),  # it may have been ended since, and we be slow to look
        )
        self.closings.append(Closing(outlet.evse, uid, None if rows is None else bool(rows), outlet.was_plugged))


@asynccontextmanager
async def site_in(folder: Path) -> AsyncIterator[Site]:
    """A site without power, with its eMSP; whatever happens, nothing of it runs on afterwards."""
    async with AsyncExitStack() as stack:
        emsp = await stack.enter_async_context(FakeEmsp(reports=True))
        lines = [stack.enter_context(MeterLine(folder, name=f"meters-{number}")) for number in (1, 2)]
        outlets = []
        for place, (evse, relay, plug) in enumerate(_OUTLETS):
            reader = stack.enter_context(SerialLine(folder, name=f"reader-{place + 1}"))
            meter = lines[place // 2].add(place + 1, ("sdm630", "sdm120")[place % 2])
            outlets.append(Outlet(evse, relay, plug, reader, meter))
        site = Site(folder, emsp, outlets)
        (folder / "tariff.json").write_text(_TARIFF)
        site.configure(resume_within_s=300)
        watching = [asyncio.create_task(site.watch(line)) for line in lines]
        stack.push_async_callback(_cancelled, watching)
        yield await stack.enter_async_context(_powered(site))


@asynccontextmanager
async def _powered(site: Site) -> AsyncIterator[Site]:
    async with site.charger:
        yield site


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_TARIFF = json.dumps(
    {
        "country_code": "DE",
        "party_id": "EXA",
        "id": "ENERGY",
        "currency": "EUR",
        "elements": [{"price_components": [{"type": "ENERGY", "price": float(PRICE), "step_size": 1}]}],
        "last_updated": "2026-01-01T00:00:00Z",
    }
)


def _configuration(site: Site, resume_within_s: float) -> str:
    outlets = "".join(
        f"""
        [[reader]]
        name = "{outlet.line.path.name}"
        kind = "rdm6300"
        port = "{outlet.line.path}"
        removal_s = 0.01
        reopen_s = 0.02
        [[meter]]
        name = "meter-{outlet.meter.unit}"
        kind = "modbus"
        port = "{site.folder / f"meters-{1 + place // 2}"}"
        model = "{outlet.meter.model}"
        unit = {outlet.meter.unit}
        baudrate = 115200
        interval_s = {READ_EVERY_S}
        [[evse]]
        uid = "{outlet.evse}"
        id = "{outlet.evse}"
        connector = {{ standard = "IEC_62196_T2_COMBO", format = "CABLE", power_type = "DC" }}
        readers = ["{outlet.line.path.name}"]
        meter = "meter-{outlet.meter.unit}"
        plug = {{ gpio = {outlet.plug}, debounce_s = 0.01 }}
        relay = {{ gpio = {outlet.relay} }}
        """
        for place, outlet in enumerate(site.outlets)
    )
    return f"""
        [party]
        country_code = "DE"
        party_id = "EXA"
        [location]
        id = "LOC1"
        {PLACE}
        [storage]
        directory = "{site.folder / "state"}"
        [clock]
        trusted = true
        [policy]
        deadline_s = {DEADLINE_S}
        reserve_s = 0.2
        late_window_s = 3.0
        stop_after_s = {STOP_AFTER_S}
        [slowdown]
        refusals = 0
        [session]
        connection_timeout_s = 1.5
        suspended_after_s = 0.4
        resume_within_s = {resume_within_s}
        persist_energy_wh = {PERSIST_WH}
        persist_every_s = 5.0
        [billing]
        tariff_file = "tariff.json"
        report_every_s = 2.0
        report_energy_wh = 400
        retry_first_s = 0.1
        retry_most_s = 1.0
        [breaker]
        failures = 5
        probe_every_s = 1.0
        retry_first_s = 0.1
        retry_most_s = 0.5
        [sync]
        every_min = 0.05
        [[peer]]
        name = "emsp"
        country_code = "{site.emsp.device.country_code}"
        party_id = "{site.emsp.device.party_id}"
        versions_url = "{site.emsp.versions_url}"
        token = "{site.emsp.credentials_token}"
        {outlets}
    """
