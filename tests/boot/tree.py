"""A bare Debian as a folder, made by mmdebstrap from the mirror that this machine's own apt names, and kept in build/.

What is kept has the suite, the packages and the sources in its name: a change of any of them makes a new one.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

BOOTS = ("systemd", "systemd-sysv", "dbus", "udev", "python3")
"""What a charger's bare system has for certain: the agent's own package has to name the rest."""

PCSC = ("pcscd", "libpcsclite1", "vsmartcard-vpcd")
"""The real daemon, the library that its clients load, and the reader that is not there."""

KEPT = Path(__file__).parents[2] / "build" / "boot"

_TARGETS = "$(REPO_URI) $(RELEASE) $(COMPONENT)"

# Offline from here on: what a package's installation wants that is not in the tree, it does not get.
_OFFLINE = 'rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*'


class TreeError(Exception):
    """No tree can be made here; says why and what to do."""


def codename() -> str:
    """Of the Debian that this machine runs; empty where it runs something else."""
    text = Path("/etc/os-release").read_text("utf-8")
    found = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', text, re.MULTILINE))
    return found.get("VERSION_CODENAME", "") if found.get("ID") == "debian" else ""


def tree_of(suite: str, packages: Sequence[str]) -> Path:
    """The folder, which nobody may write into: a new one takes half a minute. Raises TreeError."""
    sources = _sources(suite)
    included = ",".join(sorted({*BOOTS, *packages}))
    key = hashlib.sha256("\n".join([suite, included, _OFFLINE, *sources]).encode()).hexdigest()[:16]
    folder = KEPT / f"{suite}-{key}"
    KEPT.mkdir(parents=True, exist_ok=True)
    with _alone(KEPT / f"{folder.name}.lock"):
        if not folder.is_dir():
            _make(folder, suite, included, sources)
    return folder


def _sources(suite: str) -> list[str]:
    """Lines for the tree's apt, by what this machine's apt uses, with the suite put in the place of its own."""
    own = codename()
    if not own:
        raise TreeError("this machine runs no Debian: its apt names no mirror of one")
    named = subprocess.run(
        ["apt-get", "indextargets", "--format", _TARGETS, "Identifier: Packages"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    suites = {own: suite, f"{own}-updates": f"{suite}-updates", f"{own}-security": f"{suite}-security"}
    found = {tuple(line.split(" ")) for line in named.splitlines()}
    lines = sorted(f"deb {uri} {suites[release]} {part}" for uri, release, part in found if release in suites)
    if not lines:
        raise TreeError(f"this machine's apt names no mirror with {own}: see /etc/apt/sources.list")
    return lines


def _make(folder: Path, suite: str, included: str, sources: Sequence[str]) -> None:
    half_made = folder.with_suffix(".part")
    shutil.rmtree(half_made, ignore_errors=True)
    command = ["mmdebstrap", "--variant=minbase", f"--include={included}", f"--customize-hook={_OFFLINE}"]
    made = subprocess.run(
        [*command, suite, os.fspath(half_made), "-"],
        input="\n".join(sources) + "\n",
        text=True,
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        shutil.rmtree(half_made, ignore_errors=True)
        raise TreeError(f"mmdebstrap could not make {suite}:\n{made.stderr[-2000:]}")
    half_made.rename(folder)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Two runs at once make one tree, and the second waits for it."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
