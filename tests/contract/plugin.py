"""The contract suites run over every driver that has a rig, and their table is printed at the end of the run."""

import os
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _pytest.capture import CaptureManager
from _pytest.terminal import TerminalReporter

from tests.contract.offers import PORTS, Offer, Port, offers, ports_of
from tests.contract.person import Person
from tests.contract.suite import SUITE
from tests.contract.table import LEGEND, WIDEST, Cell, Cells, Result, table, worst

if TYPE_CHECKING:
    from tests.contract.hardware import Bench

_Key = tuple[str, str, str]
"""Port, driver, behaviour."""

CELL = "contract cell"
"""The property of a report that has its key and cell: the process that prints the table need not be the test's own."""

CELLS = pytest.StashKey[dict[_Key, Cell]]()
BENCH = pytest.StashKey["Bench | None"]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{SUITE}(behaviour): a behaviour of a port, tested over every driver of it")
    cells: dict[_Key, Cell] = {}
    config.stash[CELLS] = cells
    config.stash[BENCH] = _bench(config)
    config.pluginmanager.register(_Results(cells), "contract results")


class _Results:
    """Takes down what each test came to, in whichever process it ran."""

    def __init__(self, cells: dict[_Key, Cell]) -> None:
        self._cells = cells

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == CELL and isinstance(value, list):
                port, driver, behaviour, result, reason = value
                key = port, driver, behaviour
                self._cells[key] = worst(self._cells.get(key), Cell(Result(result), reason))


def _bench(config: pytest.Config) -> "Bench | None":
    """The real devices, where the run is for them."""
    file: Path | None = config.getoption("hardware")
    if file is None:
        return None
    from agent.config import load  # noqa: PLC0415  whoever has no such file pays for none of the agent's parts
    from agent.errors import ConfigError  # noqa: PLC0415
    from tests.contract.hardware import Bench  # noqa: PLC0415

    try:
        devices = load(file)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error
    return Bench(devices, _person(config), with_relays=config.getoption("hardware_relays"))


def _person(config: pytest.Config) -> Person:
    """Whoever started pytest, past its capturing of what the tests write and its closing of what they read."""
    capturing: CaptureManager | None = config.pluginmanager.getplugin("capturemanager")
    with ExitStack() as past:
        if capturing is not None:
            past.enter_context(capturing.global_and_fixture_disabled())
            capturing.suspend_global_capture(in_=True)
        hears = os.fdopen(os.dup(1), "w", encoding="utf-8")
        says = os.fdopen(os.dup(0), "r", encoding="utf-8")
    config.add_cleanup(hears.close)
    config.add_cleanup(says.close)
    return Person(hears, says)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.stash[BENCH] is None:
        return
    suites = [item for item in items if _offer(item) is not None]
    config.hook.pytest_deselected(items=[item for item in items if item not in suites])
    items[:] = suites


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker(SUITE)
    if marker is None:
        return
    ports = ports_of(marker.args[0])
    chosen = [offer for port in ports for offer in _chosen(metafunc.config, port)]
    metafunc.parametrize("offer", chosen, ids=[_id(offer, alone=len(ports) == 1) for offer in chosen])


def _chosen(config: pytest.Config, port: Port) -> list[Offer]:
    """The drivers of a port that this run is for."""
    bench = config.stash[BENCH]
    return offers(port) if bench is None else bench.offers(port)


def _id(offer: Offer, *, alone: bool) -> str:
    """A driver's name, with its port's where one test runs over two."""
    return offer.driver if alone else f"{offer.port.title}: {offer.driver}"


def _offer(item: pytest.Item) -> Offer | None:
    """The driver that a suite's test is for; None for any other test, and where the bench has no such device."""
    callspec = getattr(item, "callspec", None)
    offer = None if callspec is None else callspec.params.get("offer")
    return offer if isinstance(offer, Offer) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marker, offer = item.get_closest_marker(SUITE), _offer(item)
    if marker is not None and offer is not None and (report.when == "call" or not report.passed):
        cell = _cell(report)
        value = [offer.port.title, offer.driver, str(marker.args[0]), int(cell.result), cell.reason]
        report.user_properties = [*report.user_properties, (CELL, value)]
    return report


def _cell(report: pytest.TestReport) -> Cell:
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        return Cell(Result.LEFT_OUT, reason.removeprefix("Skipped: "))
    return Cell(Result.SHOWN if report.passed else Result.FAILED)


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    cells = config.stash[CELLS]
    if not cells:
        return
    width = terminalreporter._tw.fullwidth if terminalreporter.isatty else WIDEST
    terminalreporter.section("what each driver was shown to do")
    terminalreporter.write_line(LEGEND)
    for port in PORTS:
        own: Cells = {
            (driver, behaviour): cell for (title, driver, behaviour), cell in cells.items() if title == port.title
        }
        if own:
            drivers = list(dict.fromkeys(offer.driver for offer in _chosen(config, port)))
            behaviours = [str(behaviour) for behaviour in port.behaviours]
            for line in ["", *table(port.title, drivers, behaviours, own, width)]:
                terminalreporter.write_line(line)
