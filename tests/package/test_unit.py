"""The service's unit, as systemd itself judges it without starting it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contract.needs import needs

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "chargepoint-agent.service"
MOST_EXPOSURE = 20
"""In tenths, as systemd-analyze takes it."""


@pytest.fixture
def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    return found or needs("nobody judges the unit here: apt-get install systemd")


def test_the_units_exposure_is_at_most_two(systemd_analyze: str) -> None:
    judged = _said(systemd_analyze, "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", "--no-pager", UNIT)

    assert judged.returncode == 0, judged.stdout.splitlines()[-1]


def test_systemd_understands_every_line_of_the_unit(systemd_analyze: str, tmp_path: Path) -> None:
    # The command is not installed here, and systemd looks for it.
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text("utf-8").replace("/usr/bin/chargepoint-agent", "/bin/true"), "utf-8")

    understood = _said(systemd_analyze, "verify", "--man=no", copy)

    assert (understood.returncode, _about(copy, understood.stderr)) == (0, [])


def test_the_user_is_in_the_group_of_every_kind_of_device(tmp_path: Path) -> None:
    if not shutil.which("systemd-sysusers"):
        needs("nobody makes the user here: apt-get install systemd")
    (tmp_path / "etc").mkdir()
    made = _said("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "chargepoint-agent.sysusers")
    groups = dict(_named_first(line) for line in (tmp_path / "etc/group").read_text("utf-8").splitlines())

    assert made.returncode == 0, made.stderr
    members = {name for name, members in groups.items() if "chargepoint-agent" in members}
    assert members - {"chargepoint-agent"} == {"dialout", "plugdev", "input", "gpio", "i2c", "spi"}


def _said(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _about(unit: Path, said: str) -> list[str]:
    return [line for line in said.splitlines() if unit.name in line]


def _named_first(line: str) -> tuple[str, list[str]]:
    name, _, _, members = line.split(":")
    return name, members.split(",")
