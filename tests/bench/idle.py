"""The agent with a device of every kind and nobody near: how much of a processor it takes to wait.

The devices are emulated in this process, at the same level as in the tests, so that their own work is not counted. What
this machine has no emulator for (I2C, SPI, HID, input devices: they need the kernel's) is not fitted.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fakes.glass import SerialGlass
from fakes.modbus_meter import MeterLine
from fakes.pcscd import Pcscd, why_not
from fakes.pn532 import Pn532Module
from fakes.relay_boards import LcusBoard
from fakes.serial_line import SerialLine
from fakes.vpcd import PORTS, CardSlot
from tests.bench.figure import Figure, Goal, Plan
from tests.bench.program import Program, agent, started

BARE = "import asyncio, sys\nprint('ready', file=sys.stderr, flush=True)\nasyncio.run(asyncio.sleep(86400))"
"""The least that waiting costs: an event loop with nothing to do."""

SETTLE_S = 3.0
"""By then the databases are open, the readers are found, and the first texts have been written."""

CONFIGURATION = """
[party]
country_code = "DE"
party_id = "EXA"
[location]
id = "LOC1"
[storage]
directory = "databases"
[[reader]]
name = "rdm6300"
kind = "rdm6300"
port = "{folder}/rdm6300"
[[reader]]
name = "line"
kind = "line"
port = "{folder}/line"
[[reader]]
name = "pn532"
kind = "pn532"
port = "{folder}/pn532"
[[reader]]
name = "wiegand"
kind = "wiegand"
data0 = 14
data1 = 15
{pcsc}
[[meter]]
name = "modbus"
kind = "modbus"
port = "{folder}/meter"
model = "sdm630"
[[meter]]
name = "s0"
kind = "s0"
gpio = 23
pulses_per_kwh = 1000
[[evse]]
uid = "E1"
readers = {readers}
meter = "modbus"
plug = {{ gpio = 24 }}
relay = {{ kind = "gpio", gpio = 17, feedback = {{ gpio = 27 }} }}
display = {{ kind = "serial", port = "{folder}/display", protocol = "vt100", idle_clock = true }}
light = {{ red = 5, green = 6, blue = 13 }}
buzzer = {{ gpio = 12 }}
[[evse]]
uid = "E2"
readers = ["line"]
meter = "s0"
relay = {{ kind = "lcus", port = "{folder}/relays" }}
"""

PCSC = """
[[reader]]
name = "pcsc"
kind = "pcsc"
match = "*"
"""


def idle(plan: Plan) -> list[Figure]:
    """The share of one core over 20 seconds of waiting."""
    folder = plan.folder / "idle"
    folder.mkdir(parents=True)
    return asyncio.run(_idle(folder, plan.count(20, 1)))


async def _idle(folder: Path, seconds: int) -> list[Figure]:
    async with _devices(folder) as readers:
        config = folder / "config.toml"
        names = ", ".join(f'"{reader}"' for reader in readers if reader != "line")
        pcsc = PCSC if "pcsc" in readers else ""
        config.write_text(CONFIGURATION.format(folder=folder, readers=f"[{names}]", pcsc=pcsc), "utf-8")
        with started(agent(config)) as program, started([sys.executable, "-c", BARE]) as bare:
            await asyncio.to_thread(bare.wait_for, "ready")
            await asyncio.to_thread(_wait_for_readers, program, readers)
            await asyncio.sleep(SETTLE_S)
            share, floor = await _shares(program, bare, seconds)
    fitted = ", ".join(readers)
    return [
        Figure("idle agent, of a core", share, "%", floor or None, Goal(1, "value"), f"over {seconds} s; {fitted}"),
        Figure("idle event loop, of a core", floor, "%", note="the floor: asyncio with nothing to do"),
    ]


@asynccontextmanager
async def _devices(folder: Path) -> AsyncIterator[list[str]]:
    """Every device that can be emulated here, plugged in; the names of the readers."""
    async with AsyncExitStack() as stack:
        for name in ("rdm6300", "line"):
            stack.enter_context(SerialLine(folder, name=name))
        stack.enter_context(Pn532Module(folder))
        stack.enter_context(LcusBoard(folder))
        stack.enter_context(SerialGlass(folder, "vt100"))
        stack.enter_context(MeterLine(folder, name="meter")).add(1, "sdm630")
        readers = ["rdm6300", "line", "pn532", "wiegand"]
        reason = why_not()
        if reason is None:
            daemon = Pcscd()
            await asyncio.to_thread(stack.enter_context, daemon)  # another run may have it for a while
            stack.enter_context(CardSlot(PORTS[0]))
            await asyncio.to_thread(daemon.start)
            readers.append("pcsc")
        else:
            print(f"idle: without PC/SC: {reason}", file=sys.stderr)
        yield readers


def _wait_for_readers(program: Program, readers: list[str]) -> None:
    """Return once every reader has said that it is there."""
    missing = set(readers)
    while missing:
        program.wait_for("reader ")
        line = program.log[-1]
        if "WARNING" not in line:
            missing -= {name for name in missing if f"reader {name}: " in line}


async def _shares(program: Program, bare: Program, seconds: int) -> tuple[float, float]:
    """Per cent of a core that each took meanwhile."""
    loop = asyncio.get_running_loop()
    began, before = loop.time(), (_cpu_s(program), _cpu_s(bare))
    await asyncio.sleep(seconds)
    lasted, after = loop.time() - began, (_cpu_s(program), _cpu_s(bare))
    share, floor = (100 * (now - then) / lasted for now, then in zip(after, before, strict=True))
    return share, floor


def _cpu_s(program: Program) -> float:
    """User and system time of all its threads so far: proc(5), /proc/pid/stat, fields 14 and 15."""
    text = Path(f"/proc/{program.process.pid}/stat").read_text("utf-8")
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
