"""The bench runs and writes what it promises. What the figures are is judged by people, on a quiet machine."""

import json
import subprocess
import sys

import pytest

from fakes.pcscd import why_not
from tests.bench.figure import Figure, Goal
from tests.bench.million_sync import waits
from tests.bench.peer_process import ROOT

HANG_S = 1200
"""Against hangs alone."""


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    out = tmp_path_factory.mktemp("bench") / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--out", str(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert ended.returncode == 0, ended.stderr
    figures: list[dict[str, object]] = json.loads(out.read_text("utf-8"))
    return figures


def test_quick_run_writes_every_figure_with_a_goal(figures: list[dict[str, object]]) -> None:
    judged = [figure["name"] for figure in figures if figure["goal"] is not None]

    assert judged == [
        "whitelisted tap -> relay",
        "real-time tap, peer answers at once -> relay",
        "real-time tap, peer answers after 20 ms -> relay",
        "deadline with a stalled peer, overshoot",
        "relays closed after the deadline",
        "tap in an outage, breaker open -> relay",
        "ready after the start",
        "resident memory",
        "written to storage a tap",
        "idle agent, of a core",
        *([] if why_not() else ["tap through PC/SC, added to the card exchange"]),
        "whitelisted tap with 50 stalled panels -> relay",
        "full sync of a million tokens",
        "memory growth in the full sync",
        "lookup during the full sync, p99",
        "lookup during the full sync of the same again, p99",
        "pages fetched twice after kill -9",
        "delta sync of 1,000 changes",
        "ready after the start, 5 sessions",
        "`authorizations`, 5 sessions",
        "`sessions`, 5 sessions",
        "`cdrs list`, 5 sessions",
        "whitelisted tap -> relay, 5 sessions",
        "energy that a kill costs at most, 11 kW",
        "whitelisted tap that begins a billed session -> relay",
    ]


def test_quick_run_gives_every_entry_the_same_keys(figures: list[dict[str, object]]) -> None:
    keys = {frozenset(figure) for figure in figures}

    assert keys == {frozenset({"name", "value", "unit", "floor", "ratio", "goal", "met", "note"})}


def test_quick_run_names_no_entry_twice(figures: list[dict[str, object]]) -> None:
    names = [figure["name"] for figure in figures]

    assert len(set(names)) == len(names)


def test_standstill_counts_for_every_card_that_was_due_during_it() -> None:
    assert waits(0.0175) == pytest.approx([0.0175, 0.0125, 0.0075, 0.0025])


def test_lookup_that_ends_before_the_next_card_is_due_counts_once() -> None:
    assert waits(0.004) == [0.004]


def test_goal_on_the_ratio_judges_the_ratio() -> None:
    figure = Figure("tap", 3.0, "ms", 2.0, Goal(1.4, "ratio"))

    assert (figure.ratio, figure.met) == (1.5, False)


def test_goal_on_the_value_judges_the_value_whatever_the_floor() -> None:
    figure = Figure("memory", 44.0, "MB", 1.0, Goal(45, "value"))

    assert figure.met is True


def test_goal_on_the_ratio_is_not_met_without_a_floor() -> None:
    assert Figure("tap", 1.0, "ms", None, Goal(2.0, "ratio")).met is False
