"""`make day`: three days of a busy charge point's traffic in one process of the agent, and what grows with them.

    python -m tests.day [--days 3] [--day-s 120] [--share 1] [--seed 20261123]

Exit code 1 with what grows without bound, or is wrong besides.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from time import monotonic

from tests.day.days import Pace, days
from tests.day.report import show


def main() -> int:
    """Live through the days, and print the table."""
    usual = Pace()
    parser = argparse.ArgumentParser(prog="python -m tests.day", description="A day in fast motion.")
    parser.add_argument("--days", type=int, default=usual.days, help="how many, in one process")
    parser.add_argument("--day-s", type=float, default=usual.day_s, help="how long each lasts")
    parser.add_argument("--share", type=float, default=usual.share, help="how much of a day's traffic each has")
    parser.add_argument("--seed", type=int, default=usual.seed)
    given = parser.parse_args()
    pace, began = Pace(given.days, given.day_s, given.share, given.seed), monotonic()
    with tempfile.TemporaryDirectory(prefix="day-") as folder:
        tell = lambda label: print(f"{monotonic() - began:6.0f} s  {label}", file=sys.stderr, flush=True)  # noqa: E731
        run = asyncio.run(days(Path(folder), pace, tell))
    show(run, pace, monotonic() - began)
    return 1 if run.found else 0


if __name__ == "__main__":
    sys.exit(main())
