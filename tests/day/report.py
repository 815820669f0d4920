"""The days as a table for people, and the verdict."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from rich.console import Console
from rich.table import Table

from tests.day.days import WATCHDOG_S, Pace, Run
from tests.day.judge import BLOCKS_A_DAY, MEMORY_A_DAY, OBJECTS_A_DAY, bytes_a_record, day_ends, later, slope
from tests.day.sample import Sample

_MB = 1e6
_COLUMNS: Sequence[tuple[str, Callable[[Sample], str]]] = (
    ("RSS", lambda one: f"{one.rss / _MB:.1f}"),
    ("PSS", lambda one: f"{one.pss / _MB:.1f}"),
    ("anonymous", lambda one: f"{one.anonymous / _MB:.2f} MB"),
    ("blocks", lambda one: f"{one.blocks:,}"),
    ("objects", lambda one: f"{one.objects:,}"),
    ("files", lambda one: f"{one.files}"),
    ("threads", lambda one: f"{one.threads}"),
    ("to storage", lambda one: f"{one.storage / _MB:.1f} MB"),
    ("state.db", lambda one: f"{one.state_db / _MB:.2f}"),
    ("used", lambda one: f"{one.state_used / _MB:.2f} MB"),
    ("whitelist.db", lambda one: f"{one.whitelist_db / _MB:.2f}"),
    ("WALs", lambda one: f"{one.wal / _MB:.2f} MB"),
    ("records", lambda one: f"{one.authorizations:,}"),
    ("sessions", lambda one: f"{one.sessions:,}"),
    ("CDRs", lambda one: f"{one.cdrs:,}"),
    ("told", lambda one: f"{one.acknowledged:,}"),
    ("fed", lambda one: f"{one.fed}"),
)


def show(run: Run, pace: Pace, took_s: float) -> None:
    """Print it."""
    console = Console(highlight=False, width=None if Console().is_terminal else 190, soft_wrap=True)
    title = f"{pace.days} day(s) of {pace.day_s:g} s, {pace.share:g} of the traffic, in {took_s / 60:.1f} minutes"
    table = Table(title=title, title_justify="left", padding=(0, 1), show_edge=False)
    table.add_column("", no_wrap=True)
    for name, _ in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for sample in run.samples:
        table.add_row(
            sample.label, *(text(sample) for _, text in _COLUMNS), end_section=sample in day_ends(run.samples)
        )
    console.print(table)
    console.print("traffic: " + ", ".join(f"{count} {name}" for name, count in sorted(run.done.items())))
    console.print(f"systemd: {run.statuses} times STATUS, the last: {run.last_status}")
    console.print(f"watchdog: fed {run.fed} times, at most {run.hungry_s:.1f} s apart; systemd waits {WATCHDOG_S:g} s")
    for line in _growth(run.samples):
        console.print(line)
    console.print(
        "the agent's warnings: "
        + (", ".join(f"{count} x {text}" for text, count in run.said.most_common(12)) or "none")
    )
    console.print("\n".join(f"WRONG: {each}" for each in run.found) or "nothing grows without bound")


def _growth(samples: Sequence[Sample]) -> list[str]:
    judged, ends = later(samples), day_ends(samples)
    lines = []
    if len({sample.day for sample in judged}) > 1:
        memory, blocks = slope(judged, lambda one: one.anonymous), slope(judged, lambda one: one.blocks)
        objects = slope(judged, lambda one: one.objects)
        lines.append("objects that have become most since the first day: " + _most(judged[0], judged[-1]))
        lines.append(
            f"growth a day after the first: memory {memory / 1000:+,.0f} kB (bound {MEMORY_A_DAY / 1000:,.0f}),"
            f" blocks {blocks:+,.0f} ({BLOCKS_A_DAY:,}), objects {objects:+,.0f} ({OBJECTS_A_DAY:,})"
        )
    per_day = [(after.storage - before.storage) / _MB for before, after in pairwise(ends)]
    lines.append("to storage a day: " + ", ".join(f"{each:.1f} MB" for each in per_day))
    each_record = ", ".join(f"{bytes_a_record(one, samples[0]):,.0f}" for one in ends[1:])
    lines.append(f"bytes of state.db a record, at the end of each day: {each_record}")
    return lines


def _most(before: Sample, after: Sample) -> str:
    more = Counter({name: count - before.types.get(name, 0) for name, count in after.types.items()})
    return ", ".join(f"{count:+d} {name}" for name, count in more.most_common(12))
