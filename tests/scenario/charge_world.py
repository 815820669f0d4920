"""A charge point where cars are plugged in and energy flows, and an eMSP beside it that hears of it.

What `world` has, and besides: plugs on mock pins, Modbus meters on a pseudo-terminal, a tariff, and an agent that may
end and start again while everything around it stays as it is.
"""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from agent.config import load
from agent.core.evse_state import Device, Plug
from agent.main import Agent, agent_of
from agent.model import Tap
from agent.runtime.charge_point import Settled
from fakes.emsp import FakeEmsp, Part
from fakes.modbus_meter import EnergyMeter, MeterLine
from fakes.pins import WatchedFactory, mock_pins
from fakes.serial_line import SerialLine
from tests.scenario.world import (
    EVSES,
    HANG_S,
    PINS,
    REMOVAL_S,
    Cards,
    Finished,
    command,
    configuration,
    emsp_with,
    running,
    select,
    until,
)

PLUGS = (24, 25)
METER_PIN = 23
REGISTER_WH = 50_000
"""What each meter shows at first: nobody is billed for that."""
QUESTIONS = 5
"""A Modbus meter is asked energy and power, and because its first reading is not believed, both again. Then come the
questions of the next reading. What leaps before is a contradiction."""

PRICE_PER_KWH, PRICE_OF_START, VAT = Decimal("0.50"), Decimal("1.00"), Decimal("1.20")
_TARIFF = {
    "country_code": "DE",
    "party_id": "EXA",
    "id": "STANDARD",
    "currency": "EUR",
    "elements": [
        {
            "price_components": [
                {"type": "FLAT", "price": 1.00, "vat": 20, "step_size": 1},
                {"type": "ENERGY", "price": 0.50, "vat": 20, "step_size": 1},
            ]
        }
    ],
    "last_updated": "2026-01-01T00:00:00Z",
}

PLACE = """
        address = "Market Street 1"
        city = "Exampleton"
        country = "DEU"
        latitude = "52.51631"
        longitude = "13.37770"
"""
BILLING = """
        [billing]
        tariff_file = "tariff.json"
        report_energy_wh = 1
        retry_first_s = 0.05
        retry_most_s = 0.2
"""
MODBUS = ("main-1", "main-2")
NO_BREAKER = "[breaker]\nfailures = 0"
A_PATIENT_SESSION = "suspended_below_w = 0.0"
"""A car that draws nothing is not parked: the meters here leap, and show no power."""


@dataclass
class ChargePoint:
    """All that surrounds the agent. EVSEs are counted from 0."""

    config: Path
    emsp: FakeEmsp
    lines: Sequence[SerialLine]
    meter_line: MeterLine
    meters: Sequence[EnergyMeter]
    pins: WatchedFactory
    modbus: bool
    switched: list[tuple[int, bool]] = field(default_factory=list)
    """The relays' pins and their new levels."""
    display: io.StringIO = field(default_factory=io.StringIO)
    _settled: "asyncio.Queue[Settled]" = field(default_factory=asyncio.Queue)
    _agent: Agent | None = None
    _pulsed_at: float = 100.0

    # ---- the agent's lives

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        """One life of it: begins once it knows plugs, meters and tokens, and ends as by SIGTERM."""
        making = agent_of(
            load(self.config), self.config, on_settled=self._settled.put_nowait, display_stream=self.display
        )
        async with making as self._agent:
            await self._agent.syncs[0].run_once()
            asked = [meter.questions for meter in self.meters]
            async with running(self._agent, self.emsp, self.lines):
                await until(lambda: self._is_ready(asked))
                yield self._agent

    def _is_ready(self, asked: Sequence[int]) -> bool:
        """Whether it knows the plugs, and has made sure of each meter; `asked`: how often they were asked before."""
        evses = [self.alive.evses[uid] for uid in EVSES if uid in self.alive.evses]
        plugs = all(evse.state.plug is not Plug.UNKNOWN for evse in evses)
        registers = all(evse.state.energy_wh is not None for evse in evses)
        sure = all(
            meter.questions >= before + QUESTIONS
            for meter, before in zip(self.meters, asked, strict=True)
            if self.modbus
        )
        return plugs and registers and sure

    @property
    def alive(self) -> Agent:
        """The agent that runs."""
        assert self._agent is not None, "no agent has been started"
        return self._agent

    # ---- what drivers and meters do

    async def tap(self, uid: str, reader: int = 0) -> Settled:
        """Hold a card to a reader, and wait for what comes of it; the card may be held there again then."""
        assert self.lines[reader].present(uid), "nobody has the line open"
        async with asyncio.timeout(HANG_S):
            settled = await self._settled.get()
        await self._taken_away(settled.tap)
        return settled

    async def _taken_away(self, tap: Tap) -> None:
        await until(lambda: asyncio.get_running_loop().time() > tap.at + REMOVAL_S)

    def plug(self, evse: int = 0) -> None:
        """Plug a car in."""
        self.pins.drive(PLUGS[evse], high=True)

    def unplug(self, evse: int = 0) -> None:
        """Pull the cable out."""
        self.pins.drive(PLUGS[evse], high=False)

    async def deliver(self, energy_wh: int, evse: int = 0) -> None:
        """Let so much energy flow, in no time at all, and wait until the agent has read it.

        Not before it has read the meter since the charge before this one: what flows until then is nobody's.
        """
        await until(lambda: not self.alive.evses[EVSES[evse]].state.energy_is_old)
        register_wh = round(self.meters[evse].energy_wh) + energy_wh
        self.meters[evse].set_energy(register_wh)
        await self.reads(register_wh, evse)

    def pulse(self, times: int) -> None:
        """Let the S0 meter say that 10 Wh have flowed, so many times."""
        for _ in range(times):
            self._pulsed_at += 1.0
            self.pins.drive(METER_PIN, high=False, at=self._pulsed_at)
            self.pins.drive(METER_PIN, high=True, at=self._pulsed_at + 0.03)

    async def reads(self, register_wh: int, evse: int = 0) -> None:
        """Return once the agent has this of the meter."""
        await until(lambda: self.alive.evses[EVSES[evse]].state.energy_wh == register_wh)

    async def lost(self, device: Device, evse: int = 0) -> None:
        """Return once the agent misses a device."""
        await until(lambda: device in self.alive.evses[EVSES[evse]].state.lost)

    async def found(self, device: Device, evse: int = 0) -> None:
        """Return once the agent misses it no more."""
        await until(lambda: device not in self.alive.evses[EVSES[evse]].state.lost)

    async def charge(self, uid: str, energy_wh: int, evse: int = 0) -> None:
        """A whole charge: card, plug, energy, unplugged."""
        await self.tap(uid, evse)
        self.plug(evse)
        await self.closed(evse)
        await self.deliver(energy_wh, evse)
        self.unplug(evse)
        await self.opened(evse)

    # ---- what can be seen of it

    def is_closed(self, evse: int = 0) -> bool:
        """Whether the pin of an EVSE's relay is high, as a voltmeter would show it."""
        return self.pins.level(PINS[evse])

    async def closed(self, evse: int = 0) -> None:
        """Return once current flows."""
        await until(lambda: self.is_closed(evse))

    async def opened(self, evse: int = 0) -> None:
        """Return once none does."""
        await until(lambda: not self.is_closed(evse))

    async def says(self, words: str, evse: int = 0) -> None:
        """Return once an EVSE's display has had these words, ` | ` between its lines."""
        await until(lambda: f"[{EVSES[evse]}] {words}\n" in self.display.getvalue())

    def rows(self, table: str) -> list[dict[str, Any]]:
        """A table of `state.db`, oldest first, read without the agent's code."""
        return select(self.config.parent / "state" / "state.db", f"SELECT * FROM {table} ORDER BY 1")

    async def command(self, *words: str) -> Finished:
        """`chargepoint-agent` with these words and this configuration."""
        return await command(*words, "--config", self.config)

    # ---- what the eMSP holds

    async def session(self, emsp: FakeEmsp | None = None, **fields: object) -> dict[str, Any]:
        """The only session at an eMSP, once it is there with these fields."""
        at = (emsp or self.emsp).sessions

        def is_so() -> bool:
            return any(all(one.get(name) == value for name, value in fields.items()) for one in at.values())

        await until(is_so)
        [told] = at.values()
        return told

    async def cdr(self, emsp: FakeEmsp | None = None) -> dict[str, Any]:
        """The only CDR at an eMSP, once it is there, and the agent knows that."""
        at = (emsp or self.emsp).cdrs
        await until(lambda: bool(at) and not self.rows("cdr_due"))
        [cdr] = at.values()
        return cdr

    def reports(self) -> list[str]:
        """What the eMSP was sent of sessions and CDRs: `PUT sessions`."""
        parts = {Part.SESSIONS, Part.CDRS}
        return [f"{request.method} {request.part}" for request in self.emsp.requests if request.part in parts]


def fitted(number: int, *, plug: bool = True, meter: str | None = None) -> str:
    """The keys of an EVSE that may be billed for."""
    keys = [
        f'id = "{EVSES[number]}"',
        'connector = { standard = "IEC_62196_T2", format = "SOCKET", power_type = "AC_3_PHASE" }',
        f"plug = {{ gpio = {PLUGS[number]}, debounce_s = 0.005 }}" if plug else "",
        f'meter = "{meter}"' if meter else "",
    ]
    return "\n        ".join(keys)


@asynccontextmanager
async def charge_point(
    folder: Path,
    cards: Cards,
    *,
    evses: int = 1,
    one_reader: bool = False,
    billing: str = BILLING,
    session: str = A_PATIENT_SESSION,
    policy: str = "deadline_s = 30.0",
    peer: str = "",
    more: str = "",
    s0: bool = False,
    **device: Any,
) -> AsyncIterator[ChargePoint]:
    """Such a charge point, its agent not yet started; every EVSE with plug sensor and Modbus meter.

    `billing` "" bills nobody. `s0` gives the first EVSE a meter with pulses of 10 Wh instead. The further settings are
    tables and keys of the configuration, and those of the eMSP. On the way out the eMSP must have had nothing to
    complain of.
    """
    (folder / "tariff.json").write_text(json.dumps(_TARIFF))
    async with AsyncExitStack() as stack:
        switched: list[tuple[int, bool]] = []
        pins = mock_pins(lambda pin, level: switched.append((pin, level)) if pin in PINS else None)
        emsp = await stack.enter_async_context(emsp_with(cards, reports=True, **device))
        names = ["reader-1"] if one_reader else [f"reader-{number + 1}" for number in range(evses)]
        lines = [stack.enter_context(SerialLine(folder, name=name)) for name in names]
        meter_line = stack.enter_context(MeterLine(folder))
        meters = [meter_line.add(unit + 1, "sdm630") for unit in range(evses)]
        for meter in meters:
            meter.set_energy(REGISTER_WH)
        config = folder / "config.toml"
        text = configuration(
            folder,
            [emsp],
            lines * evses if one_reader else lines,
            policy=policy,
            location=PLACE,
            peer=peer,
            fitted=[fitted(number, meter=MODBUS[number]) for number in range(evses)],
            more=f"{NO_BREAKER}\n[session]\n{session}\n{billing}\n{_meters(meter_line, evses, s0=s0)}\n{more}",
        )
        config.write_text(text)
        yield ChargePoint(config, emsp, lines, meter_line, meters, pins, not s0, switched)
        assert emsp.complaints == []


def _meters(line: MeterLine, evses: int, *, s0: bool) -> str:
    modbus = [
        f"""
        [[meter]]
        name = "{name}"
        kind = "modbus"
        port = "{line.path}"
        model = "sdm630"
        unit = {unit}
        baudrate = 115200
        interval_s = 0.1
        """
        for unit, name in enumerate(MODBUS[:evses], 1)
    ]
    pulses = f"""
        [[meter]]
        name = "{MODBUS[0]}"
        kind = "s0"
        gpio = {METER_PIN}
        pulses_per_kwh = 100
        """
    return "".join([pulses, *modbus[1:]] if s0 else modbus)
