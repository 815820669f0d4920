"""The table of drivers and behaviours: what it shows, and that the suites fill every cell of it."""

import importlib
import pkgutil
from collections import Counter

import pytest

import tests.contract
from tests.contract.offers import PORTS, Port, offers, ports_of
from tests.contract.suite import SUITE
from tests.contract.table import Cell, Result, table, worst

SHOWN, FAILED = Cell(Result.SHOWN), Cell(Result.FAILED)


def left_out(reason: str) -> Cell:
    return Cell(Result.LEFT_OUT, reason)


def test_each_cell_has_its_mark_and_each_reason_its_note() -> None:
    cells = {
        ("rdm6300", "is read"): SHOWN,
        ("rdm6300", "is kept"): FAILED,
        ("wiegand", "is read"): left_out("no wire to pull"),
        ("wiegand", "is kept"): left_out("no wire to pull"),
        ("pcsc", "is read"): left_out("one card at a time"),
    }
    assert table("Readers", ["rdm6300", "wiegand", "pcsc"], ["is read", "is kept"], cells, 120) == [
        "Readers",
        "",
        "        rdm6300  wiegand  pcsc",
        "is read    ✓        –1     –2",  # noqa: RUF001  # the table's own dash
        "is kept    ✗        –1     ·",  # noqa: RUF001
        "  –1 no wire to pull",  # noqa: RUF001
        "  –2 one card at a time",  # noqa: RUF001
    ]


def test_table_that_is_too_wide_goes_on_below() -> None:
    drivers = [f"driver-{number:02}" for number in range(30)]
    lines = table("Readers", drivers, ["is read"], {}, 80)
    assert max(len(line) for line in lines) <= 120
    assert [line.startswith("is read") for line in lines].count(True) == 3
    assert " ".join(lines).count("driver-") == 30


def test_long_name_and_long_reason_are_folded() -> None:
    cells = {("a display with luma", "is read"): left_out("why " * 50)}
    lines = table("Displays", ["a display with luma"], ["is read"], cells, 120)
    assert [line.strip() for line in lines[2:4]] == ["a display", "with luma"]
    assert max(len(line) for line in lines) <= 120


def test_nothing_is_left_out_without_a_reason() -> None:
    with pytest.raises(ValueError, match="without a reason"):
        left_out(" ")


def test_worst_of_two_results_counts() -> None:
    assert worst(None, SHOWN) is SHOWN
    assert worst(SHOWN, FAILED) is FAILED
    assert worst(FAILED, SHOWN) is FAILED
    assert worst(left_out("no wire"), SHOWN) == left_out("no wire")


def test_every_behaviour_is_tested_by_one_function() -> None:
    suites = [name for _, name, _ in pkgutil.iter_modules(tests.contract.__path__) if name.startswith("test_suite_")]
    modules = [importlib.import_module(f"tests.contract.{suite}") for suite in suites]
    marks = [mark for module in modules for test in vars(module).values() for mark in getattr(test, "pytestmark", [])]
    tested = Counter(mark.args[0].__class__.__name__ + "." + mark.args[0].name for mark in marks if mark.name == SUITE)
    promised = {f"{port.behaviours.__name__}.{behaviour.name}" for port in PORTS for behaviour in port.behaviours}
    assert tested == dict.fromkeys(promised, 1)


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.title)
def test_every_driver_of_a_port_has_a_rig_and_a_name_of_its_own(port: Port) -> None:
    found = offers(port)
    assert [offer.missing for offer in found if offer.missing] == []
    assert max(Counter(offer.driver for offer in found).values()) == 1


def test_behaviours_of_two_ports_run_over_both() -> None:
    assert [port.title for port in ports_of(next(iter(PORTS[4].behaviours)))] == ["Plug sensors", "Contact feedback"]
