"""The demo's second part: one charge from the card to its CDR, through a power cut.

Here the agent is a process of its own, for one can't take the power from oneself. Beside it stand a reader, a plug, a
contactor that lets an energy meter count while it is closed and a car is there, and an eMSP that takes sessions and
CDRs. Nothing waits for long enough: each step waits for what it is to bring about. The meter runs in fast motion,
and only the meter: times are as they are.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.charges import Charge
from agent.errors import AgentError
from agent.model import Recorded
from agent.store.database import look_at_state
from agent.store.journal import Records
from agent.store.sessions import Charges
from fakes.charger import Charger
from fakes.demo_timeline import Step, step_of
from fakes.emsp import FakeEmsp, Part
from fakes.modbus_meter import EnergyMeter, MeterLine
from fakes.serial_line import SerialLine

CARD = "0104A1B2C3"
EVSE_UID = "DE*EXA*E1"
RELAY, PLUG = 17, 24
POWER_W = 110_000
"""Ten times what an 11 kW charger gives: a demo is short."""
PORTION_KWH = 0.1
"""So much is to flow before the power cut, and again after it."""
PERSIST_WH = 100
REMOVAL_S = 0.2
HANG_S = 60.0
LOOK_S = 0.02
"""How often `state.db` is looked at: a row in a file has no event."""

TARIFF = """{
    "country_code": "DE", "party_id": "EXA", "id": "DEMO", "currency": "EUR",
    "elements": [{"price_components": [
        {"type": "FLAT", "price": 0.35, "vat": 19.0, "step_size": 1},
        {"type": "ENERGY", "price": 0.49, "vat": 19.0, "step_size": 1}
    ]}],
    "last_updated": "2026-01-01T00:00:00Z"
}"""


class Site:
    """The charge point and its eMSP; each method is something that happens to it, until it has had its effect."""

    def __init__(self, folder: Path, emsp: FakeEmsp, line: SerialLine, meters: MeterLine, meter: EnergyMeter) -> None:
        self._state = folder / "state" / "state.db"
        self._emsp = emsp
        self._line = line
        self._meters = meters
        self._meter = meter
        self._car = False
        self._began_at: float | None = None
        self._read_text: str | None = None
        self._began_wh = meter.energy_wh
        self.charger = Charger(folder / "config.toml", [line], on_level=lambda _pin, _level: self._flow())

    async def power_on(self) -> str:
        """Switch it on; it reads the meter, and has the eMSP's list of cards."""
        await self.charger.start()
        await self.charger.listens()
        await self._emsp.arrived(2, Part.LIST)  # a probe and a synchronisation
        await self._meters.asked()
        return "the charge point is switched on"

    async def card(self) -> str:
        """Hold the card to the reader. Its owner wants to be asked each time, so there is a reference."""
        self._began_at = asyncio.get_running_loop().time()
        self._line.present(CARD)
        await self._reads("plug in")
        return "a driver holds a card to the reader, and the eMSP is asked"

    async def plug(self) -> str:
        """Plug in: the relay closes, and the eMSP hears of the session."""
        self._car = True
        self.charger.plug(PLUG, inserted=True)
        await self.charger.closed(RELAY)
        await self._until_told(lambda: bool(self._emsp.sessions))
        return "the car is plugged in"

    async def charge(self) -> str:
        """Charge on until the eMSP has heard of another portion."""
        wanted = self._told_kwh() + PORTION_KWH
        await self._until_told(lambda: self._told_kwh() >= wanted)
        return "it charges"

    async def charge_on(self) -> str:
        """The same again."""
        await self.charge()
        return "it charges on"

    async def power_cut(self) -> str:
        """Take the power in the middle of it."""
        await self.charger.power_cut()
        return "power cut: kill -9, with the plug in"

    async def power_back(self) -> str:
        """Switch it on again: the session goes on."""
        await self.charger.start()
        await self._reads("resumed")
        await self.charger.closed(RELAY)
        await self.charger.listens()
        return "the power is back, and the session goes on"

    async def stop(self) -> str:
        """Hold the same card again."""
        self._line.present(CARD)
        await self.charger.opened(RELAY)
        await self._reads("stopped")
        return "the driver stops it with the card"

    async def billed(self) -> str:
        """Wait until the eMSP has acknowledged the CDR, and that is on disk."""
        await self._until_told(lambda: bool(self._emsp.cdrs))
        while (charge := (await self._read())[1]) is None or not _is_acknowledged(charge):  # noqa: ASYNC110  see LOOK_S
            await asyncio.sleep(LOOK_S)
        return "the eMSP has the session's end, and acknowledged the CDR"

    async def unplug(self) -> str:
        """Pull the plug: the charge point is free for the next."""
        self._car = False
        self.charger.plug(PLUG, inserted=False)
        await self._reads("hold your")
        return "the car is unplugged, and the charge point is free"

    async def look(self, name: str, did: str) -> Step:
        """What there is to be seen now, at the charge point, at the eMSP and in `state.db`."""
        record, charge = await self._read()
        began = self._began_at
        return step_of(
            name,
            did,
            at_s=0.0 if began is None else asyncio.get_running_loop().time() - began,
            relay="closed" if self.charger.is_closed(RELAY) else "open",
            display=self._text(),
            meter_wh=self._meter.energy_wh - self._began_wh,
            emsp=self._emsp,
            record=record,
            charge=charge,
        )

    def _flow(self) -> None:
        """Current flows while a car is there and the contactor is closed."""
        self._meter.draw(POWER_W if self._car and self.charger.is_closed(RELAY) else 0.0)

    async def _reads(self, text: str) -> None:
        """Wait until the driver reads this: the step's answer, whatever is shown a while after."""
        self._read_text = await self.charger.shows(text)

    def _text(self) -> str | None:
        """What the driver has read of this step, or else sees now; None without power."""
        read, self._read_text = self._read_text, None
        if not self.charger.is_on:
            return None
        return read or (self.charger.shown[-1] if self.charger.shown else None)

    def _told_kwh(self) -> float:
        return max((float(session["kwh"]) for session in self._emsp.sessions.values()), default=0.0)

    async def _until_told(self, so: Callable[[], bool]) -> None:
        """Wait until it is so of what the eMSP has been told, while it is told more and more."""
        while not so():
            await self._emsp.arrived(len(self._emsp.requests) + 1)

    async def _read(self) -> tuple[Recorded | None, Charge | None]:
        """The first card's record and the newest session, as they are on disk."""
        kept = await look_at_state(self._state)
        try:
            charges = await Charges(kept).recent(1)
            records = await Records(kept).recent(10)
        finally:
            await kept.close()
        return (records[-1] if records else None), (charges[0] if charges else None)


async def steps() -> AsyncGenerator[Step, None]:
    """One charge, step by step. Raises AgentError for one that hangs, or when the agent ends by itself."""
    async with _site() as site:
        happenings = (
            site.power_on, site.card, site.plug, site.charge, site.power_cut,
            site.power_back, site.charge_on, site.stop, site.billed, site.unplug,
        )  # fmt: skip
        for happening in happenings:
            name = happening.__name__.replace("_", "-")
            try:
                async with asyncio.timeout(HANG_S):
                    step = await site.look(name, await happening())
            except TimeoutError:
                log = site.charger.last_words()
                raise AgentError(
                    f"the step {name} has not come about in {HANG_S:g} s; the agent's log ends: {log}"
                ) from None
            yield step
        await site.charger.stop()


@asynccontextmanager
async def _site() -> AsyncIterator[Site]:
    with TemporaryDirectory(prefix="chargepoint-agent-demo-") as name:
        folder = Path(name)
        async with FakeEmsp(country_code="DE", party_id="EMS", reports=True) as emsp:
            emsp.card(CARD, whitelist="NEVER")
            with SerialLine(folder, name="reader") as line, MeterLine(folder) as meters:
                meter = meters.add(1, "sdm630")
                meter.set_energy(1_234_500)
                (folder / "tariff.json").write_text(TARIFF)
                (folder / "config.toml").write_text(_config(emsp, line, meters))
                site = Site(folder, emsp, line, meters, meter)
                async with site.charger:
                    yield site


def _config(emsp: FakeEmsp, line: SerialLine, meters: MeterLine) -> str:
    """A configuration like any other, but for short times: nobody waits five minutes for a demo's report."""
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
        directory = "state"
        [clock]
        trusted = true
        [policy]
        stop_after_s = {REMOVAL_S}
        [session]
        persist_energy_wh = {PERSIST_WH}
        [billing]
        tariff_file = "tariff.json"
        report_every_s = 2.0
        report_energy_wh = 50
        retry_first_s = 0.2
        [[peer]]
        name = "demo-emsp"
        country_code = "DE"
        party_id = "EMS"
        versions_url = "{emsp.versions_url}"
        token = "{emsp.credentials_token}"
        [[reader]]
        name = "reader"
        kind = "rdm6300"
        port = "{line.path}"
        removal_s = {REMOVAL_S}
        [[meter]]
        name = "meter"
        kind = "modbus"
        port = "{meters.path}"
        model = "sdm630"
        interval_s = 0.1
        [[evse]]
        uid = "{EVSE_UID}"
        id = "{EVSE_UID}"
        readers = ["reader"]
        meter = "meter"
        plug = {{ gpio = {PLUG} }}
        relay = {{ gpio = {RELAY} }}
        connector = {{ standard = "IEC_62196_T2", format = "SOCKET", power_type = "AC_3_PHASE" }}
    """


def _is_acknowledged(charge: Charge) -> bool:
    return any(cdr.acknowledged_at is not None for cdr in charge.cdrs)
