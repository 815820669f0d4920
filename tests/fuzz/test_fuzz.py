"""The short form of `python -m tests.fuzz`, and the whole of it as a campaign."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import campaign
from tests.fuzz.run import run, run_into_limits


def test_fuzzed_server_answers_everything_well_and_stays_whole(tmp_path: Path) -> None:
    report = run(tmp_path, described=484, raw=720, warm_up=0)
    assert report.findings == []
    assert report.requests >= 1500


def test_server_in_a_flood_says_when_to_come_back(tmp_path: Path) -> None:
    report = run_into_limits(tmp_path)
    assert report.findings == []
    limited = {caller for _, caller, answer in report.counts if answer == "429 2000"}
    assert limited == {"invited", "wrong token"}


@pytest.mark.campaign
def test_fuzzed_server_answers_more_than_20_000_requests_well() -> None:
    assert campaign()
