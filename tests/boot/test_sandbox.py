"""Every driver under the unit's own hardening: the contract suites, run by the installed package as its service.

A container has no devices: what DeviceAllow= lets in of real ones is not shown here.
"""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.boot.charger import PYTHON, UNIT, Charger
from tests.boot.conftest import CHECKOUT, SITE

PROBE = "sandbox-probe.service"
REPORT = "/run/chargepoint-agent/report.xml"

OTHERWISE_SHOWN = {"pcsc"}
"""Its rig starts a pcscd, which only root may: test_service.py has cards on the system's own, in the sandbox."""


def probe_of(unit: str) -> str:
    """The unit, with all that it forbids, and another program in it that ends by itself."""
    run = (
        f"{PYTHON} {CHECKOUT}/tests/boot/inside.py {CHECKOUT} {SITE} -q -rs -p no:cacheprovider "
        f"-c {CHECKOUT}/pyproject.toml --rootdir={CHECKOUT} --junit-xml={REPORT} -k test_suite "
        f"{CHECKOUT}/tests/contract"
    )
    unit = re.sub(r"(?m)^ExecStart=.*$", f"ExecStart={run}", unit)
    unit = re.sub(r"(?m)^Type=.*$", "Type=oneshot", unit)
    unit = re.sub(r"(?m)^(ExecStopPost|ExecReload|Restart\w*|Watchdog\w*|StartLimit\w*)=.*\n", "", unit)
    unit = unit.replace("RuntimeDirectoryPreserve=restart", "RuntimeDirectoryPreserve=yes")
    return unit.replace("[Service]", "[Service]\nEnvironment=HOME=/tmp", 1)


def test_every_driver_does_under_the_units_hardening_what_its_contract_says(charger: Charger) -> None:
    charger.stop()
    charger.machine.write(f"/etc/systemd/system/{PROBE}", probe_of(charger.machine.says("systemctl", "cat", UNIT)))
    charger.machine.run("systemctl", "daemon-reload")
    ended = charger.machine.run("systemctl", "start", PROBE, check=False)
    said = charger.machine.says("journalctl", f"--unit={PROBE}", "--output=cat")
    assert ended.returncode == 0, said[-6000:]
    drivers, passed = set(), set()
    for case in ET.fromstring(charger.machine.read(REPORT)).iter("testcase"):
        driver = driver_of(case.get("name", ""))
        drivers.add(driver)
        if case.find("skipped") is None:
            passed.add(driver)
    assert drivers - passed == OTHERWISE_SHOWN
    print(f"\n{len(passed)} drivers keep their contracts in the sandbox: {', '.join(sorted(passed))}")


def driver_of(test: str) -> str:
    """Of `test_it_does[driver]`, or `[port: driver]`."""
    return test.partition("[")[2].removesuffix("]").rpartition(": ")[2]


def test_agent_has_no_privilege_and_more_filters_than_its_machine(charger: Charger) -> None:
    own, first = (status_of(pid) for pid in (charger.pid, charger.machine.leader))
    assert own["NoNewPrivs"] == "1"
    assert {int(own[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh")} == {0}
    assert int(own["Seccomp_filters"]) > int(first["Seccomp_filters"])
    assert "0" not in own["Uid"].split()


def status_of(pid: int) -> dict[str, str]:
    """The kernel's word about a process: proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return dict(line.partition(":\t")[::2] for line in lines)
