"""Relays: on gpiozero's mock pins, and on USB boards, emulated at their serial line and their feature report."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import gpiozero

from agent.errors import DeviceError
from agent.ports import Relay, RelayBoard
from fakes.pins import WatchedFactory, mock_pins
from fakes.relay_boards import HidBoard, HidBus, LcusBoard
from hw.outputs.gpio_relay import GpioRelay
from hw.outputs.hid_relay import HidRelay
from hw.outputs.serial_relay import SerialRelay, SerialRelayLine
from tests.contract.behaviours import Switches
from tests.contract.rigs.kinds import RelayRig

PIN = 17
CHANNEL = 2
SOON_S = 0.01
PATIENT_S = 30.0
"""A machine under load takes longer than a board."""
NO_CABLE = "a pin has no cable to pull"


class GpioRig:
    """A relay on a pin."""

    board: RelayBoard | None = None
    cannot: Mapping[str, str] = {Switches.UNPLUGGED: NO_CABLE, Switches.COMES_BACK_OPEN: NO_CABLE}

    def __init__(self, pins: WatchedFactory, levels: list[tuple[int, bool]], *, active_high: bool) -> None:
        self._pins, self._levels, self._active_high = pins, levels, active_high
        self._relay = GpioRelay(PIN, active_high=active_high)
        self.relay: Relay = self._relay
        self._other: GpioRelay | None = None
        levels.clear()

    def contact_closed(self) -> bool:
        return self._pins.is_output(PIN) and self._pins.level(PIN) is self._active_high

    def moves(self) -> int:
        return len(self._levels)

    def another(self) -> Relay:
        # A process that has died holds no pin; its object here would give the pin back if it were collected.
        self._pins.release_pins(self._relay._device, PIN)
        self._other = GpioRelay(PIN, active_high=self._active_high)
        return self._other

    def close(self) -> None:
        if self._other is not None:
            self._other.detach()
        with suppress(DeviceError):
            self._relay.detach()

    async def unplug(self) -> None:
        raise NotImplementedError(NO_CABLE)

    async def plug(self) -> None:
        raise NotImplementedError(NO_CABLE)


@asynccontextmanager
async def gpio(_directory: Path, *, active_high: bool) -> AsyncIterator[RelayRig]:
    before = gpiozero.Device.pin_factory
    levels: list[tuple[int, bool]] = []
    rig = GpioRig(mock_pins(lambda pin, level: levels.append((pin, level))), levels, active_high=active_high)
    try:
        yield rig
    finally:
        rig.close()
        gpiozero.Device.pin_factory = before


class LcusRig:
    """A channel of a board on a serial line."""

    cannot: Mapping[str, str] = {}

    def __init__(self, world: LcusBoard) -> None:
        self._world = world
        self._drivers = [self._driver()]
        self.relay: Relay = self._drivers[0]
        self.board: RelayBoard | None = self._drivers[0]
        self._moved = world.moves()

    def contact_closed(self) -> bool:
        return self._world.contact_closed(CHANNEL)

    def moves(self) -> int:
        return self._world.moves() - self._moved

    def another(self) -> Relay:
        # A process that has died holds no line.
        self._drivers[-1]._line._close(drained=True)
        self._drivers.append(self._driver())
        return self._drivers[-1]

    async def unplug(self) -> None:
        self._world.unplug()

    async def plug(self) -> None:
        self._world.plug()

    def close(self) -> None:
        for driver in reversed(self._drivers):
            with suppress(DeviceError):
                driver.detach()

    def _driver(self) -> SerialRelay:
        return SerialRelay(SerialRelayLine(str(self._world.path), reopen_s=SOON_S), channel=CHANNEL)


@asynccontextmanager
async def lcus(directory: Path) -> AsyncIterator[RelayRig]:
    with LcusBoard(directory) as world:
        rig = LcusRig(world)
        try:
            yield rig
        finally:
            rig.close()


class HidRig:
    """A relay of a HID board."""

    cannot: Mapping[str, str] = {}

    def __init__(self) -> None:
        self._world = HidBoard("QAAMZ")
        self._bus = HidBus(HidBoard("BITFT"), self._world)
        self._drivers = [self._driver()]
        self.relay: Relay = self._drivers[0]
        self.board: RelayBoard | None = self._drivers[0]

    def contact_closed(self) -> bool:
        return self._world.contact_closed(CHANNEL)

    def moves(self) -> int:
        return self._world.moves()

    def another(self) -> Relay:
        self._bus.kill_programs()
        self._drivers.append(self._driver())
        return self._drivers[-1]

    async def unplug(self) -> None:
        self._world.unplug()

    async def plug(self) -> None:
        self._world.plug()

    def close(self) -> None:
        for driver in self._drivers:
            with suppress(DeviceError):
                driver.detach()

    def _driver(self) -> HidRelay:
        return HidRelay(
            channel=CHANNEL,
            serial="QAAMZ",
            library=self._bus,
            hold=self._bus.hold,
            answer_s=PATIENT_S,
            look_s=SOON_S,
        )


@asynccontextmanager
async def hid(_directory: Path) -> AsyncIterator[RelayRig]:
    rig = HidRig()
    try:
        yield rig
    finally:
        rig.close()


RELAYS: dict[str, Callable[[Path], AbstractAsyncContextManager[RelayRig]]] = {
    "GPIO, active high": partial(gpio, active_high=True),
    "GPIO, active low": partial(gpio, active_high=False),
    "LCUS on a serial line": lcus,
    "USB HID": hid,
}
