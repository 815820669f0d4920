"""The package on a booted Debian: installed without a network, upgraded over data, removed, purged."""

from pathlib import Path

from tests.boot.charger import (
    AT_PCSC,
    AT_SERIAL,
    COMMAND,
    CONFIG,
    CONFIGURATION,
    PCSC_CARDS,
    SERIAL_CARDS,
    STATE,
    UNIT,
    Charger,
)
from tests.boot.conftest import Workshop
from tests.boot.package import NAME, older, version_of

PREVIOUS = "0.0.1~deb"

STAYS = (
    "/etc/group-", "/etc/gshadow-", "/etc/passwd-", "/etc/shadow-", "/etc/subgid-", "/etc/subuid-", "/etc/.pwd.lock",
    "/var/backups", "/var/cache/apt", "/var/cache/debconf", "/var/cache/ldconfig",
    "/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd",
    "/var/log/apt", "/var/log/dpkg.log", "/var/log/journal",
)  # fmt: skip
"""What every package leaves: Debian's own books, the journal, and copies of the user lists, which keep the user."""

OF_THIS_TEST = (
    "/etc/systemd/system/stand-ins.service",
    "/etc/systemd/system/multi-user.target.wants",
    "/run/stand-ins",
)

COMES_AND_GOES = (
    "/run/systemd", "/run/udev", "/run/log", "/run/lock", "/run/dbus", "/run/pcscd", "/run/user", "/run/mount",
    "/run/credentials", "/run/adduser",
)  # fmt: skip
"""The running system's own; what the agent has in /run is not among it."""


def test_installed_package_waits_for_its_configuration_and_says_so(bare: Charger, workshop: Workshop) -> None:
    said = bare.install(workshop.package)
    assert f"fill in {CONFIG}" in said
    assert bare.shows("ActiveState") == "inactive"
    assert bare.machine.says("systemctl", "is-enabled", UNIT) == "enabled"
    assert bare.machine.says("stat", "--format=%U:%G %a", CONFIG) == f"root:{NAME} 640"
    assert bare.machine.says("stat", "--format=%U:%G %a", STATE) == f"{NAME}:{NAME} 700"


def test_upgrade_keeps_records_and_configuration_and_opens_the_relay(
    bare: Charger, workshop: Workshop, tmp_path: Path
) -> None:
    previous = older(workshop.package, tmp_path, PREVIOUS)
    bare.install(previous)
    bare.configure()
    bare.tap(AT_SERIAL, SERIAL_CARDS[0])
    pid = bare.pid
    bare.install(workshop.package)
    assert bare.machine.says("dpkg-query", "--show", "--showformat=${Version}", NAME) == version_of(workshop.package)
    assert bare.pid != pid
    assert not bare.is_closed(AT_SERIAL)
    assert "accepted" in bare.tap(AT_PCSC, PCSC_CARDS[0])["MESSAGE"]
    assert [one["uid"] for one in bare.lists("authorizations")] == [PCSC_CARDS[0], SERIAL_CARDS[0]]
    assert bare.machine.read(CONFIG) == CONFIGURATION


def test_removal_in_a_charge_leaves_the_relay_open_and_the_records_there(charger: Charger) -> None:
    charger.tap(AT_SERIAL, SERIAL_CARDS[0])
    charger.machine.run("apt-get", "remove", "--yes", NAME)
    assert not charger.is_closed(AT_SERIAL)
    assert charger.shows("LoadState") == "not-found"
    assert charger.machine.run("test", "-e", COMMAND, check=False).returncode != 0
    assert charger.machine.read(CONFIG) == CONFIGURATION
    charger.machine.run("test", "-s", f"{STATE}/state.db")


def files(charger: Charger) -> set[str]:
    """All files and folders, those in memory, too."""
    return set(
        charger.machine.says("find", "/", "/run", "-xdev", "-path", "/tmp", "-prune", "-o", "-print").splitlines()
    )


def is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def test_purge_leaves_nothing_of_a_charger_that_was_in_use(bare: Charger, workshop: Workshop) -> None:
    before = files(bare)
    bare.install(workshop.package)
    bare.configure()
    bare.tap(AT_SERIAL, SERIAL_CARDS[0])
    bare.machine.run("apt-get", "purge", "--yes", NAME)
    closed = bare.is_closed(AT_SERIAL)
    bare.machine.run("systemctl", "disable", "--now", "--quiet", "stand-ins.service")
    left = {path for path in files(bare) - before if not is_below(path, (*STAYS, *OF_THIS_TEST, *COMES_AND_GOES))}
    assert left == set()
    assert not closed
    assert bare.shows("LoadState") == "not-found"
    assert bare.machine.says("dpkg-query", "--list").count(NAME) == 0
