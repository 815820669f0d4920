"""The charge point and what stands around it: four EVSEs, their readers and meters, two eMSPs. Nothing moves here yet.

One eMSP is in the configuration and is pulled from; the other has registered and pushes as well.
"""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes.emsp import FakeEmsp
from fakes.modbus_meter import EnergyMeter, MeterLine
from fakes.serial_line import Kind, SerialLine

_KINDS: tuple[Kind, ...] = ("rdm6300", "rdm6300", "hex-line", "hex-line")
"""The last two read cards of 4 and 7 bytes, and so see what a phone makes up."""
_PINS = ((17, 24), (18, 25), (22, 5), (27, 6))
"""Relay and plug sensor of each EVSE."""
TOKENS = 2000
"""Of the eMSP that is pulled from, beside those that are held to a reader."""


@dataclass
class Outlet:
    """One EVSE as drivers find it."""

    evse: str
    relay: int
    plug: int
    kind: Kind
    line: SerialLine
    meter: EnergyMeter
    wants_w: float = 0.0
    """What the car would draw."""


@dataclass
class Place:
    """Everything but the agent and the people."""

    folder: Path
    config: Path
    emsp: FakeEmsp
    """In the configuration."""
    acme: FakeEmsp
    """It registers, and pushes."""
    outlets: list[Outlet]
    meters: list[MeterLine]
    port: int
    day_s: float

    def configure(self, *, variant: int = 0) -> None:
        """Write the configuration. The variants differ in what SIGHUP takes over: policy, slowdown, the peer."""
        self.config.write_text(_configuration(self, variant))

    def state(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of `state.db`, read without the agent's code."""
        path = self.folder / "state" / "state.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as connection:
            return connection.execute(sql).fetchall()

    def is_told(self) -> bool:
        """Whether the peers have heard of everything."""
        [(due,)] = self.state("SELECT (SELECT count(*) FROM cdr_due) + (SELECT count(*) FROM session_due)")
        return int(due) == 0


@asynccontextmanager
async def place_in(folder: Path, *, day_s: float, port: int) -> AsyncIterator[Place]:
    """Such a place. `day_s` is how long its days last, `port` where the agent's server is to listen."""
    async with AsyncExitStack() as stack:
        emsp = await stack.enter_async_context(FakeEmsp(reports=True, remember=False))
        acme = FakeEmsp(reports=True, remember=False, party_id="ACM", lenient_rotation=True)
        acme.device.credentials_token = ""
        await stack.enter_async_context(acme)
        emsp.populate(TOKENS)
        meters = [stack.enter_context(MeterLine(folder, name=f"meters-{number}")) for number in (1, 2)]
        outlets = []
        for number, (kind, (relay, plug)) in enumerate(zip(_KINDS, _PINS, strict=True)):
            line = stack.enter_context(SerialLine(folder, kind, name=f"reader-{number + 1}"))
            meter = meters[number // 2].add(number + 1, "sdm630")
            outlets.append(Outlet(f"DE*EXA*E{number + 1}", relay, plug, kind, line, meter))
        (folder / "tariff.json").write_text(json.dumps(_TARIFF))
        place = Place(folder, folder / "config.toml", emsp, acme, outlets, meters, port, day_s)
        place.configure()
        yield place


_TARIFF = {
    "country_code": "DE",
    "party_id": "EXA",
    "id": "ENERGY",
    "currency": "EUR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.30, "step_size": 1}]}],
    "last_updated": "2026-01-01T00:00:00Z",
}


def _configuration(place: Place, variant: int) -> str:
    day_min = place.day_s / 60
    outlets = "".join(_outlet(place, number, outlet) for number, outlet in enumerate(place.outlets))
    return f"""
        [party]
        country_code = "DE"
        party_id = "EXA"
        [location]
        id = "LOC1"
        address = "Market Street 1"
        city = "Exampleton"
        country = "DEU"
        latitude = "52.51631"
        longitude = "13.37770"
        [storage]
        directory = "{place.folder / "state"}"
        [clock]
        trusted = true
        [policy]
        deadline_s = 1.0
        reserve_s = 0.2
        late_window_s = 2.0
        stop_after_s = 0.1
        stale_offline = "{("accept", "refuse")[variant % 2]}"
        [slowdown]
        refusals = {(6, 8)[variant % 2]}
        within_s = 1.0
        pause_s = 0.1
        most_pause_s = 0.4
        [session]
        connection_timeout_s = 1.5
        suspended_after_s = 0.3
        resume_within_s = 300
        persist_every_s = 1.0
        [billing]
        tariff_file = "tariff.json"
        report_every_s = 2.0
        report_energy_wh = 1000
        retry_first_s = 0.1
        retry_most_s = 0.5
        [breaker]
        failures = 3
        probe_every_s = 1.0
        retry_first_s = 0.1
        retry_most_s = 0.5
        [sync]
        every_min = {day_min / 96}
        full_every_h = {day_min / 60}
        overlap_s = 1.0
        [ocpi.server]
        enabled = true
        port = {place.port}
        public_url = "http://127.0.0.1:{place.port}/ocpi/cpo"
        [[peer]]
        name = "emsp"
        country_code = "{place.emsp.device.country_code}"
        party_id = "{place.emsp.device.party_id}"
        versions_url = "{place.emsp.versions_url}"
        token = "{place.emsp.credentials_token}"
        page_size = {(250, 500)[variant // 2 % 2]}
        {outlets}
    """


def _outlet(place: Place, number: int, outlet: Outlet) -> str:
    reads = 'kind = "rdm6300"' if outlet.kind == "rdm6300" else 'kind = "line"\n        random_uids = "refuse"'
    return f"""
        [[reader]]
        name = "{outlet.line.path.name}"
        {reads}
        port = "{outlet.line.path}"
        removal_s = 0.05
        reopen_s = 0.05
        [[meter]]
        name = "meter-{outlet.meter.unit}"
        kind = "modbus"
        port = "{place.meters[number // 2].path}"
        model = "sdm630"
        unit = {outlet.meter.unit}
        baudrate = 115200
        interval_s = 0.2
        [[evse]]
        uid = "{outlet.evse}"
        id = "{outlet.evse}"
        connector = {{ standard = "IEC_62196_T2", format = "SOCKET", power_type = "AC_3_PHASE" }}
        readers = ["{outlet.line.path.name}"]
        meter = "meter-{outlet.meter.unit}"
        plug = {{ gpio = {outlet.plug}, debounce_s = 0.01 }}
        relay = {{ gpio = {outlet.relay} }}
        display = {{ kind = "console", idle_clock = true }}
        """
