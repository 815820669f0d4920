"""Which drivers the contract suites run over: the rig modules of `tests.contract.rigs`, and what they lack here."""

import importlib
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.contract.behaviours import Indicates, Measures, Reads, Senses, Shows, Switches
from tests.contract.needs import kernel_lacks, needs

OURS = {"agent", "hw", "fakes", "tests"}
"""The packages of this project: one of their modules that is not there is nothing that could be installed."""

HANG_S = 120.0
"""Against hangs alone."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port of `agent.ports` with drivers: how its table is headed, where its rigs are, what they promise."""

    title: str
    rigs: str
    """The name of the dict in a rig module."""
    behaviours: type[StrEnum]
    modules: tuple[str, ...]
    """The rig modules that must have one."""


READERS = Port("Readers", "READERS", Reads, ("serial", "keyboard", "pcsc", "pn532", "wiegand"))
DISPLAYS = Port("Displays", "DISPLAYS", Shows, ("displays",))
RELAYS = Port("Relays", "RELAYS", Switches, ("relays",))
INDICATORS = Port("Lights and buzzers", "INDICATORS", Indicates, ("indicators",))
PLUG_SENSORS = Port("Plug sensors", "PLUG_SENSORS", Senses, ("inputs",))
FEEDBACKS = Port("Contact feedback", "FEEDBACKS", Senses, ("inputs",))
METERS = Port("Meters", "METERS", Measures, ("inputs",))
MODULES = ("serial", "keyboard", "pcsc", "pn532", "wiegand", "displays", "relays", "indicators", "inputs")
"""The rig modules; a driver of another port may be in any of them, as a reader's own lamps are."""
PORTS = (READERS, DISPLAYS, RELAYS, INDICATORS, PLUG_SENSORS, FEEDBACKS, METERS)


@dataclass(frozen=True, slots=True)
class Offer:
    """One driver of one port: a column of its table."""

    port: Port
    driver: str
    factory: Callable[[Path], AbstractAsyncContextManager[Any]] | None = field(repr=False)
    """None where there is nothing to run."""
    missing: str | None = None
    """There is no rig: never right."""
    needs: str | None = None
    """What must be installed: wrong in the gate."""
    hang_s: float = HANG_S
    """Against hangs alone; a person may take long."""
    kernel_lacks: str | None = None
    """What no package brings."""

    def rig(self, directory: Path) -> AbstractAsyncContextManager[Any]:
        """The driver's rig, or the end of this test: skipped, or failed, with the reason."""
        if self.missing is not None:
            pytest.fail(self.missing, pytrace=False)
        if self.kernel_lacks is not None:
            kernel_lacks(self.kernel_lacks)
        if self.needs is not None or self.factory is None:
            needs(self.needs or f"{self.driver} can't be run here")
        return self.factory(directory)


def ports_of(behaviour: StrEnum) -> list[Port]:
    """The ports that promise a behaviour."""
    return [port for port in PORTS if behaviour in port.behaviours]


def offers(port: Port) -> list[Offer]:
    """Every driver of a port, in the order of the rig modules; one that says what is missing for each that lacks."""
    return [offer for name in MODULES for offer in _offers_of(port, name)]


def _offers_of(port: Port, name: str) -> Iterable[Offer]:
    path = f"tests.contract.rigs.{name}"
    must = name in port.modules
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if not must:
            return []
        if error.name is None or error.name.partition(".")[0] in OURS:
            return [Offer(port, name, None, missing=f"there is no {error.name}: the driver has no rig")]
        return [Offer(port, name, None, needs=f"the Python module {error.name} is not installed")]
    found = getattr(module, port.rigs, {})
    if must and not found:
        return [Offer(port, name, None, missing=f"{path} has no {port.rigs}: the driver has no rig")]
    needed, lacked = _said(module, "unavailable"), _said(module, "kernel_lacks")
    return [Offer(port, driver, factory, needs=needed, kernel_lacks=lacked) for driver, factory in found.items()]


def _said(module: ModuleType, question: str) -> str | None:
    """What an optional function of a rig module says."""
    ask: Callable[[], str | None] | None = getattr(module, question, None)
    return ask() if ask is not None else None
