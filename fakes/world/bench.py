"""What stands around the agent: readers, plugs, contactors with meters behind them, and the eMSP; and what it is told.

Everything here goes on while the agent has no power: a car stays plugged in, a meter keeps its register, the eMSP is
somewhere else anyway.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fakes.emsp import FakeEmsp
from fakes.modbus_meter import EnergyMeter, MeterLine
from fakes.pins import WatchedFactory
from fakes.serial_line import SerialLine
from fakes.world.wallet import WALLET

POWER_W = 110_000
"""Ten times what such a socket gives: whoever watches a demo has a minute. Only the meter runs fast; times are real."""
DEADLINE_S = 3.0
_RESERVE_S = 0.75
"""For the record and the relay, on whatever disk and beside whatever else this is shown."""
REMOVAL_S = 0.2
"""With no time during which a card that comes again is still the same tap: each click is a tap."""
PERSIST_WH = 100

_RELAYS = (5, 6)
_PLUGS = (23, 24)
"""BCM numbers. None that the demo's deck of cards has, on the same board."""

_TARIFF = """{
    "country_code": "DE", "party_id": "EXA", "id": "DEMO", "currency": "EUR",
    "elements": [{"price_components": [
        {"type": "FLAT", "price": 0.35, "vat": 19.0, "step_size": 1},
        {"type": "ENERGY", "price": 0.49, "vat": 19.0, "step_size": 1}
    ]}],
    "last_updated": "2026-01-01T00:00:00Z"
}"""


@dataclass(slots=True)
class Bay:
    """One EVSE from outside, with the place before it where a car may stand."""

    uid: str
    line: SerialLine
    meter: EnergyMeter
    relay: int
    plug: int
    plugged: bool = False
    level: bool = False
    """Of the pin that the contactor's coil hangs on."""
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Whoever has it holds a card to the reader."""


class Bench:
    """The whole of it. `powered` says whether the charge point has any: without it no contactor stays closed."""

    def __init__(self, folder: Path, emsp: FakeEmsp, pins: WatchedFactory, meters: MeterLine) -> None:
        """Whoever else watches these pins does so no more."""
        self.folder = folder
        self.emsp = emsp
        self.meters = meters
        self.powered = False
        self._pins = pins
        places = enumerate(zip(_RELAYS, _PLUGS, strict=True), start=1)
        self.bays = dict(self._bay(number, *pair) for number, pair in places)
        pins.watcher = self._switched

    @property
    def config_path(self) -> Path:
        """Where the agent's configuration is."""
        return self.folder / "config.toml"

    @property
    def storage(self) -> Path:
        """Where the agent has its databases."""
        return self.folder / "state"

    def plug(self, bay: Bay, *, plugged: bool) -> None:
        """Plug the car in, or pull the plug: power or not, the contact is where the plug is."""
        bay.plugged = plugged
        self._pins.drive(bay.plug, high=plugged)
        self._flow(bay)

    def is_closed(self, bay: Bay) -> bool:
        """Whether the contactor is: its spring opens it without power, whatever the pin may say."""
        return self.powered and bay.level

    def power(self, *, on: bool) -> None:
        """Give power to the charge point, or take it."""
        self.powered = on
        for bay in self.bays.values():
            self._flow(bay)

    def plug_readers(self) -> None:
        """Connect the readers anew: what an earlier life has opened can't pass for this one's."""
        for bay in self.bays.values():
            bay.line.unplug()
            bay.line.plug()

    def wake_readers(self) -> None:
        """Let the readers end a line: their driver takes what it hears first for the rest of one, and drops it."""
        for bay in self.bays.values():
            bay.line.send(b"\r\n")

    def configuration(self, deadline_s: float) -> str:
        """A configuration like any other, but for short times."""
        return _configuration(self, deadline_s)

    def _bay(self, number: int, relay: int, plug: int) -> tuple[str, Bay]:
        uid = f"DE*EXA*E{number}"
        meter = self.meters.add(number, "sdm630")
        meter.set_energy(1_234_500 * number)
        return uid, Bay(uid, SerialLine(self.folder, "hex-line", name=f"reader-{number}"), meter, relay, plug)

    def _switched(self, pin: int, level: bool) -> None:  # noqa: FBT001  a Watcher's signature
        for bay in self.bays.values():
            if bay.relay == pin:
                bay.level = level
                self._flow(bay)

    def _flow(self, bay: Bay) -> None:
        """Current flows while a car is there and the contactor closed."""
        bay.meter.draw(POWER_W if bay.plugged and self.is_closed(bay) else 0.0)


@asynccontextmanager
async def bench_in(folder: Path, pins: WatchedFactory, deadline_s: float) -> AsyncIterator[Bench]:
    """A bench whose eMSP knows the wallet; the charge point, with this deadline, has no power yet."""
    async with FakeEmsp(country_code="DE", party_id="EMS", reports=True, remember=False) as emsp:
        for card in WALLET:
            if card.beliefs is not None:
                emsp.card(card.uid, **card.beliefs)
        with MeterLine(folder) as meters, ExitStack() as stack:
            bench = Bench(folder, emsp, pins, meters)
            for bay in bench.bays.values():
                stack.enter_context(bay.line)
                bench.plug(bay, plugged=False)
            (folder / "tariff.json").write_text(_TARIFF)
            bench.config_path.write_text(bench.configuration(deadline_s))
            yield bench


def _configuration(bench: Bench, deadline_s: float) -> str:
    return f"""
        [party]
        country_code = "DE"
        party_id = "EXA"
        [location]
        id = "DEMO"
        address = "Market Street 1"
        city = "Exampleton"
        country = "DEU"
        latitude = "52.51631"
        longitude = "13.37770"
        [storage]
        directory = "{bench.storage}"
        [clock]
        trusted = true
        [policy]
        deadline_s = {deadline_s}
        reserve_s = {min(_RESERVE_S, deadline_s / 2)}
        stop_after_s = 0.0
        [slowdown]
        refusals = 0
        [breaker]
        failures = 3
        probe_every_s = 1.0
        retry_first_s = 0.2
        retry_most_s = 1.0
        [session]
        persist_energy_wh = {PERSIST_WH}
        [billing]
        tariff_file = "tariff.json"
        report_every_s = 2.0
        report_energy_wh = 50
        retry_first_s = 0.2
        retry_most_s = 1.0
        [[peer]]
        name = "demo-emsp"
        country_code = "DE"
        party_id = "EMS"
        versions_url = "{bench.emsp.versions_url}"
        token = "{bench.emsp.credentials_token}"
        {"".join(_evse(bay, bench.meters) for bay in bench.bays.values())}
    """


def _evse(bay: Bay, meters: MeterLine) -> str:
    reader, meter = bay.line.path.name, f"meter-{bay.meter.unit}"
    return f"""
        [[reader]]
        name = "{reader}"
        kind = "line"
        port = "{bay.line.path}"
        random_uids = "refuse"
        removal_s = {REMOVAL_S}
        reopen_s = 0.1
        [[meter]]
        name = "{meter}"
        kind = "modbus"
        port = "{meters.path}"
        model = "{bay.meter.model}"
        unit = {bay.meter.unit}
        interval_s = 0.2
        [[evse]]
        uid = "{bay.uid}"
        id = "{bay.uid}"
        readers = ["{reader}"]
        meter = "{meter}"
        plug = {{ gpio = {bay.plug} }}
        relay = {{ gpio = {bay.relay} }}
        display = {{ kind = "console", columns = 20, rows = 4 }}
        connector = {{ standard = "IEC_62196_T2", format = "SOCKET", power_type = "AC_3_PHASE" }}
    """
