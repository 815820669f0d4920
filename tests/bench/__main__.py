"""`python -m tests.bench`: measure, print a table, write `build/bench.json`. Ctrl-C leaves nothing running."""

import argparse
import logging
import platform
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

from tests.bench.client_load import authorize
from tests.bench.deadline import deadline
from tests.bench.delivery import delivery
from tests.bench.figure import Figure, Measure, Plan, show, write
from tests.bench.idle import idle
from tests.bench.local_tap import outage_tap, whitelisted_tap
from tests.bench.million import million
from tests.bench.month import month
from tests.bench.panels import panels
from tests.bench.pcsc_tap import pcsc_tap
from tests.bench.peer_process import ROOT
from tests.bench.realtime_tap import realtime_tap
from tests.bench.server_load import push
from tests.bench.session import session
from tests.bench.whole_agent import whole_agent

MEASURES: dict[str, Measure] = {
    "whitelisted-tap": whitelisted_tap,
    "realtime-tap": realtime_tap,
    "deadline": deadline,
    "outage-tap": outage_tap,
    "whole-agent": whole_agent,
    "idle": idle,
    "pcsc-tap": pcsc_tap,
    "panels": panels,
    "million": million,
    "push": push,
    "authorize": authorize,
    "month": month,
    "session": session,
    "delivery": delivery,
}


def main() -> None:
    """Measure what the command line asks for."""
    given = _arguments()
    given.out = given.out.resolve()  # the agent reads a relative path beside its own configuration
    folder = given.out.with_name(f"{given.out.stem}-databases")  # and not `bench`: --out may lie beside our sources
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # The agent's lines are written as they are in the field, only not onto the table.
    logging.basicConfig(filename=folder / "agent.log", level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Asked to end, it stops its processes as after Ctrl-C: in asyncio's way, which loses no interrupt in a callback.
    # A shell starts background jobs deaf to SIGINT; both then need it back.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    plan = Plan(folder, quick=given.quick)
    figures: list[Figure] = []
    for name in given.only or MEASURES:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        figures += MEASURES[name](plan)
    write(figures, given.out)
    show(figures, f"{_machine(folder)}{'; QUICK: these figures mean nothing' if given.quick else ''}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--only", action="append", choices=sorted(MEASURES), help="measure this; may be repeated")
    parser.add_argument("--quick", action="store_true", help="prove that the bench runs; the figures mean nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json", help="where the JSON goes")
    return parser.parse_args()


def _machine(folder: Path) -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return f"{python}, {platform.machine()}; databases on {filesystem_of(folder)}"


def filesystem_of(folder: Path) -> str:
    """The type of the file system that a folder is on: a commit to a tmpfs would be none."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    above = [(where, kind) for where, kind in mounts if folder.resolve().is_relative_to(where)]
    return max(above, key=lambda mount: len(mount[0]))[1]


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
