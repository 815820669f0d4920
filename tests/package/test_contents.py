"""What the Debian package brings, and that it is the same however often it is built."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from agent import __version__
from agent.cli import main
from tests.boot.package import READY_MADE, built, needed_by
from tests.contract.needs import needs
from tests.package.conftest import Unpacked

ENVIRONMENT = "/usr/lib/chargepoint-agent/"
CONFIGURATION = "etc/chargepoint-agent/chargepoint-agent.toml"

PLACES = (
    f"/{CONFIGURATION}",
    "/usr/bin/chargepoint-agent",
    ENVIRONMENT,
    "/usr/lib/sysusers.d/chargepoint-agent.conf",
    "/usr/lib/tmpfiles.d/chargepoint-agent.conf",
    "/usr/share/bash-completion/completions/chargepoint-agent",
    "/usr/share/chargepoint-agent/",
    "/usr/share/doc/chargepoint-agent/",
    "/usr/share/lintian/overrides/chargepoint-agent",
    "/usr/share/man/man8/chargepoint-agent.8.gz",
    "/usr/share/polkit-1/rules.d/chargepoint-agent.rules",
    "/usr/share/zsh/vendor-completions/_chargepoint-agent",
)
MERGED = ("/systemd/system/chargepoint-agent.service", "/udev/rules.d/60-chargepoint-agent.rules")
"""Below /lib on Debian 12, below /usr/lib from Debian 13 on."""


def test_every_file_is_in_a_place_of_the_packages_own(package: Unpacked) -> None:
    elsewhere = {path for path in package.installed() if not path.startswith(PLACES)}

    assert {path.removeprefix("/usr").removeprefix("/lib") for path in elsewhere} == set(MERGED)


def test_the_version_is_the_agents_and_names_the_release(package: Unpacked) -> None:
    assert re.fullmatch(rf"{re.escape(__version__)}~deb\d+", package.version)


def test_the_configuration_is_the_only_file_that_dpkg_asks_about(package: Unpacked) -> None:
    assert (package.control / "conffiles").read_text("utf-8").split() == [f"/{CONFIGURATION}"]


def test_the_checksums_name_every_file_and_fit(package: Unpacked) -> None:
    lines = (package.control / "md5sums").read_text("utf-8").splitlines()
    sums = {f"/{path}": digest for digest, path in (line.split("  ", 1) for line in lines)}
    expected = {
        path: hashlib.md5((package.root / path[1:]).read_bytes(), usedforsecurity=False).hexdigest()
        for path in package.installed()
        if path != f"/{CONFIGURATION}" and not (package.root / path[1:]).is_symlink()
    }

    assert sums == expected


def test_what_may_hold_secrets_is_not_everybodys_to_read(package: Unpacked) -> None:
    listed = subprocess.run(["dpkg-deb", "--contents", package.file], check=True, capture_output=True, text=True).stdout
    modes = {line.split()[-1]: line.split()[0] for line in listed.splitlines() if "./etc/" in line}

    assert modes["./etc/chargepoint-agent/"] == "drwxr-x---"
    assert modes[f"./{CONFIGURATION}"] == "-rw-r-----"
    assert modes["./etc/chargepoint-agent/credentials/"] == "drwx------"


def test_no_file_names_the_folder_it_was_built_in(package: Unpacked) -> None:
    here = os.fsencode(Path(__file__).parents[2])

    assert [path for path in package.installed() if here in _bytes(package.root / path[1:])] == []


def test_every_module_has_its_bytecode_which_is_never_looked_after(package: Unpacked) -> None:
    tag = _environments_python(package).replace("python", "cpython-").replace(".", "")
    modules = list((package.root / ENVIRONMENT[1:]).rglob("*.py"))
    compiled = {path: path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in modules}

    assert len(modules) > 500
    assert [path for path, bytecode in compiled.items() if not bytecode.is_file()] == []
    # PEP 552: a bit for "by its hash", and none for "look at the source first".
    assert {bytecode.read_bytes()[4:8] for bytecode in compiled.values()} == {b"\x01\x00\x00\x00"}


def test_the_environment_uses_the_python_that_the_package_depends_on(package: Unpacked) -> None:
    assert _environments_python(package) in needed_by(package.file)


@pytest.mark.parametrize("library", ["libc6", "libpcsclite1", "tzdata", "ca-certificates"])
def test_the_package_depends_on_what_no_wheel_brings(package: Unpacked, library: str) -> None:
    assert library in needed_by(package.file)


@pytest.mark.parametrize(
    "module",
    [
        "agent",
        "fakes",
        "hw",
        "_lgpio",
        "evdev",
        "gpiozero",
        "hidraw",
        "luma/lcd",
        "luma/oled",
        "PIL",
        "smartcard",
        "spidev",
    ],
)
def test_every_driver_is_there(package: Unpacked, module: str) -> None:
    (site,) = (package.root / ENVIRONMENT[1:]).glob("lib/python*/site-packages")

    assert list(site.glob(f"{module}*")) != []


def test_the_manual_has_every_command(package: Unpacked) -> None:
    page = subprocess.run(
        ["gzip", "-dc", package.root / "usr/share/man/man8/chargepoint-agent.8.gz"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    commands = [" ".join(path) for path in _commands(main)]

    assert len(commands) > 20
    assert [name for name in commands if f".SS {name} ".replace("-", "\\-") not in page] == []


def test_the_completions_call_the_command(package: Unpacked) -> None:
    bash = package.root / "usr/share/bash-completion/completions/chargepoint-agent"
    zsh = package.root / "usr/share/zsh/vendor-completions/_chargepoint-agent"

    assert "_CHARGEPOINT_AGENT_COMPLETE=bash_complete" in bash.read_text("utf-8")
    assert zsh.read_text("utf-8").startswith("#compdef chargepoint-agent\n")
    assert subprocess.run(["bash", "-n", bash], check=False).returncode == 0


def test_lintian_has_nothing_to_say(package: Unpacked) -> None:
    if not shutil.which("lintian"):
        needs("the package is not looked through: apt-get install lintian")
    said = subprocess.run(
        ["lintian", "--allow-root", package.file], capture_output=True, text=True, check=False,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )  # fmt: skip

    assert (said.stdout, said.returncode) == ("", 0)


@pytest.mark.skipif(READY_MADE in os.environ, reason=f"{READY_MADE} names a package: none is built")
def test_a_second_build_gives_the_same_bytes(package: Unpacked, tmp_path: Path) -> None:
    again = built(tmp_path)

    assert _digest(again) == _digest(package.file)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _bytes(path: Path) -> bytes:
    return os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()


def _environments_python(package: Unpacked) -> str:
    return (package.root / ENVIRONMENT[1:] / "bin/python3").readlink().name


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        yield path
        return
    for name, below in command.commands.items():
        yield from _commands(below, (*path, name))
