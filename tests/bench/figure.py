"""One measured figure, and how a run of them is printed and kept."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Goal:
    """What the ratio, or where the design gives an absolute bound the value, must not exceed."""

    at_most: float
    of: Literal["ratio", "value"]

    def __str__(self) -> str:
        return f"{self.of} <= {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value. `floor` is what the same machine gave, in turn with it, for the least that it could cost."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    goal: Goal | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value by floor."""
        return self.value / self.floor if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None for what is only told."""
        if self.goal is None:
            return None
        judged = self.value if self.goal.of == "value" else self.ratio
        return judged is not None and judged <= self.goal.at_most

    def as_json(self) -> dict[str, Any]:
        """What `bench.json` holds."""
        goal = None if self.goal is None else str(self.goal)
        return {**asdict(self), "goal": goal, "ratio": self.ratio, "met": self.met}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure, and where. A quick run proves that the bench works and says nothing about speed."""

    folder: Path
    quick: bool = False

    def count(self, full: int, quick: int) -> int:
        """The number of repetitions."""
        return quick if self.quick else full


Measure = Callable[[Plan], list[Figure]]
"""Measures what belongs together."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` per cent of all do not exceed. Raises ValueError when there are none."""
    if not values:
        raise ValueError("nothing was measured")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def spread(name: str, values: Sequence[float], unit: str, floors: Sequence[float] = (), note: str = "") -> list[Figure]:
    """p50, p99 and max as entries of their own, each beside the same percentile of the floor."""
    return [
        Figure(f"{name}, {label}", percentile(values, at), unit, percentile(floors, at) if floors else None, note=note)
        for label, at in (("p50", 50.0), ("p99", 99.0), ("max", 100.0))
    ]


def milliseconds(seconds: Iterable[float]) -> list[float]:
    """Seconds as people read them here."""
    return [value * 1000 for value in seconds]


def write(figures: Sequence[Figure], path: Path) -> None:
    """Keep the figures as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([figure.as_json() for figure in figures], indent=1) + "\n", "utf-8")


def show(figures: Sequence[Figure], title: str) -> None:
    """Print the table: figures with a goal stand out from what is only told."""
    table = Table(title=title, title_justify="left", padding=(0, 1), show_edge=False)
    for heading in ("figure", "value", "floor", "ratio", "goal", "met"):
        table.add_column(heading, justify="right" if heading in {"value", "floor", "ratio"} else "left", no_wrap=True)
    table.add_column("note")
    for figure in figures:
        table.add_row(
            figure.name if figure.goal else f"  {figure.name}",
            f"{_number(figure.value)} {figure.unit}",
            _number(figure.floor),
            _number(figure.ratio),
            str(figure.goal or ""),
            {True: "[green]yes[/]", False: "[red]NO[/]", None: ""}[figure.met],
            figure.note,
            style="bold" if figure.goal else "dim",
        )
    Console(highlight=False, width=None if Console().is_terminal else 170).print(table)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
