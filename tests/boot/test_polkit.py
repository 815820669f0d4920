"""Debian 13, where pcscd asks polkit: the package's rule lets its service's user in, and without it pcscd refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.charger import USER
from tests.boot.conftest import Workshop, started_from
from tests.boot.machine import Machine

RULE = Path(__file__).parents[2] / "systemd" / "chargepoint-agent.polkit"
SYSUSERS = Path(__file__).parents[2] / "systemd" / "chargepoint-agent.sysusers"

SUCCESS, REFUSED = 0x00000000, 0x8010006A
"""SCARD_S_SUCCESS and SCARD_W_SECURITY_VIOLATION: pcsclite.h."""

# As any program that looks for readers begins; pyscard is not needed for it.
ASKS = """
import ctypes
library = ctypes.CDLL("libpcsclite.so.1")
context = ctypes.c_long()
print(hex(library.SCardEstablishContext(2, None, None, ctypes.byref(context)) & 0xFFFFFFFF))
"""


@pytest.fixture(scope="module")
def trixie(workshop: Workshop) -> Iterator[Machine]:
    """A Debian 13 with the package's user, and nothing else of it: the package is for the release that builds it."""
    with started_from(workshop.trixie, "trixie") as machine:
        machine.boot()
        machine.write(f"/usr/lib/sysusers.d/{USER}.conf", SYSUSERS.read_bytes())
        machine.run("systemd-sysusers")
        yield machine


def answer(machine: Machine) -> int:
    """What pcscd says to the service's user; systemd starts both of its services anew."""
    machine.run("systemctl", "restart", "polkit.service", "pcscd.socket", "pcscd.service")
    return int(machine.says("systemd-run", "--quiet", "--pipe", "--wait", f"--uid={USER}", "python3", "-c", ASKS), 16)


def test_debian_13_refuses_the_services_user_without_a_rule(trixie: Machine) -> None:
    assert trixie.read("/etc/debian_version").startswith("13")
    assert answer(trixie) == REFUSED
    assert "NOT authorized" in trixie.says("journalctl", "--boot", "--unit=pcscd.service", "--output=cat")


def test_debian_13_lets_the_services_user_in_by_the_packages_rule(trixie: Machine) -> None:
    trixie.write("/usr/share/polkit-1/rules.d/chargepoint-agent.rules", RULE.read_bytes())
    assert answer(trixie) == SUCCESS
