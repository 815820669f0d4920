"""The table that ends a run of the contract suites: driver by behaviour, one a port. Pure: results in, lines out."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

NARROWEST, WIDEST = 120, 160
"""Columns of text: what a log shows unfolded, and what a person still reads as one line."""

LEFT_OUT = "–"  # noqa: RUF001  # nobody takes it for a minus sign here

LEGEND = f"✓ shown   ✗ failed   {LEFT_OUT} not here, for the reason below   · not chosen for this run"

_HEAD = 9
"""Longest line of a driver's name above its column."""


class Result(IntEnum):
    """What a test came to; of several for one cell the worst counts."""

    SHOWN = 0
    LEFT_OUT = 1
    FAILED = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """One driver's one behaviour."""

    result: Result
    reason: str = ""
    """Why it was left out."""

    def __post_init__(self) -> None:
        if self.result is Result.LEFT_OUT and not self.reason.strip():
            raise ValueError("nothing may be left out without a reason")


Cells = Mapping[tuple[str, str], Cell]
"""(driver, behaviour) -> what it came to."""


def worst(one: Cell | None, other: Cell) -> Cell:
    """What counts where a cell has two results."""
    return other if one is None or other.result > one.result else one


def table(title: str, drivers: Sequence[str], behaviours: Sequence[str], cells: Cells, width: int) -> list[str]:
    """The lines of one port's table, with a note for each reason; in several blocks where it would be too wide."""
    width = min(max(width, NARROWEST), WIDEST)
    notes = _Notes()
    label = max(len(behaviour) for behaviour in behaviours)
    lines = [title]
    for block in _blocks(drivers, width - label):
        columns = [_Column(driver) for driver in block]
        lines += ["", *_heads(columns, label)]
        for behaviour in behaviours:
            marks = [column.put(notes.mark(cells.get((column.driver, behaviour)))) for column in columns]
            lines.append(f"{behaviour:<{label}}{''.join(marks)}".rstrip())
    return [*lines, *notes.lines(width)]


class _Column:
    """A driver's column, as wide as the longest line of its name."""

    def __init__(self, driver: str) -> None:
        self.driver = driver
        self.head = textwrap.wrap(driver, _HEAD) or [""]
        self.width = max(4, *(len(line) for line in self.head)) + 2

    def put(self, text: str) -> str:
        """A text in its middle."""
        return text.center(self.width)


class _Notes:
    """Reasons, numbered as they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, cell: Cell | None) -> str:
        """What stands in the cell."""
        if cell is None:
            return "·"
        match cell.result:
            case Result.SHOWN:
                return "✓"
            case Result.FAILED:
                return "✗"
            case Result.LEFT_OUT:
                return f"{LEFT_OUT}{self._numbers.setdefault(cell.reason, len(self._numbers) + 1)}"

    def lines(self, width: int) -> Iterable[str]:
        """The notes below the table."""
        for reason, number in self._numbers.items():
            head = f"  {LEFT_OUT}{number} "
            yield from textwrap.wrap(reason, width, initial_indent=head, subsequent_indent=" " * len(head))


def _blocks(drivers: Sequence[str], room: int) -> Iterable[list[str]]:
    """The drivers in portions that fit beside each other."""
    block: list[str] = []
    used = 0
    for driver in drivers:
        width = _Column(driver).width
        if block and used + width > room:
            yield block
            block, used = [], 0
        block.append(driver)
        used += width
    if block:
        yield block


def _heads(columns: Sequence[_Column], label: int) -> Iterable[str]:
    """The drivers' names, standing on the table."""
    height = max(len(column.head) for column in columns)
    for row in range(height):
        names = [column.put(([""] * (height - len(column.head)) + column.head)[row]) for column in columns]
        yield f"{'':<{label}}{''.join(names)}".rstrip()
