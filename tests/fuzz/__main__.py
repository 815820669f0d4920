"""`python -m tests.fuzz`: fuzz our OCPI server as it runs, print what was sent and answered, fail on any finding."""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz.callers import KNOWN
from tests.fuzz.findings import Report
from tests.fuzz.raw_bytes import CALLERS
from tests.fuzz.run import run, run_into_limits

DESCRIBED, RAW, WARM_UP = 15_000, 9_000, 700
"""Together far more than 20,000 requests: a connection of raw bytes has one to six, and asks again at its end."""

_KNOWN = {*KNOWN, *CALLERS[:1]}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--described", type=int, default=DESCRIBED, help="requests from the OpenAPI document")
    parser.add_argument("--raw", type=int, default=RAW, help="connections with raw bytes")
    given = parser.parse_args()
    sys.exit(0 if campaign(given.described, given.raw) else 1)


def campaign(described: int = DESCRIBED, raw: int = RAW) -> bool:
    """Run both, print what happened; whether nothing was wrong."""
    with tempfile.TemporaryDirectory() as main_folder, tempfile.TemporaryDirectory() as limits_folder:
        reports = {
            "All operations, all callers": run(Path(main_folder), described=described, raw=raw, warm_up=WARM_UP),
            "Against the limits": run_into_limits(Path(limits_folder)),
        }
    for title, report in reports.items():
        _show(title, report)
    return not any(report.findings for report in reports.values())


def _show(title: str, report: Report) -> None:
    table = Table("sent", "caller", "HTTP and OCPI status: how often", title=f"{title}: {report.requests} requests")
    rows: dict[tuple[str, str], list[str]] = {}
    for (sent, caller, answer), count in sorted(report.counts.items()):
        rows.setdefault((sent, caller), []).append(f"{answer}: {count}")
    for (sent, caller), answers in rows.items():
        table.add_row(sent, caller, ", ".join(answers))
    console = Console(width=150)
    console.print(table)
    known = sum(count for (_, caller, _), count in report.counts.items() if caller in _KNOWN)
    console.print(f"{known} with a known credentials token, {report.requests - known} without")
    if report.resident_kib:
        first, last = report.resident_kib[0], report.resident_kib[-1]
        console.print(
            f"memory of the server: {first} KiB warm, {last} KiB at the end, peak {max(report.resident_kib)} KiB"
        )
    for finding in report.findings:
        print(f"FOUND {finding}")
    print(f"{len(report.findings)} findings")


if __name__ == "__main__":
    main()
