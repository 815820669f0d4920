"""The Debian package: built as `make deb` builds it, and as an older version of itself."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = "chargepoint-agent"
READY_MADE = "CHARGEPOINT_AGENT_DEB"
"""Names a package that was built before: that one is tried, in place of one of this checkout."""


def built(folder: Path) -> Path:
    """A package of this checkout, in `folder`, which several processes may share: the first one makes it."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return next(folder.glob("*.deb"), None) or _copied(os.environ.get(READY_MADE) or _made(), folder)


def _copied(package: str, folder: Path) -> Path:
    """Whole at once, and out of the way of the next build."""
    half = Path(shutil.copy(package, folder / "half"))
    return half.rename(folder / Path(package).name)


def _made() -> str:
    # Not as this test's own Python sees the world: the package is for Debian's.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    made = subprocess.run(
        [ROOT / "systemd" / "build-deb"], env=environment | _pip_settings(), capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, f"systemd/build-deb ended with {made.returncode}:\n{made.stderr[-3000:]}"
    return made.stdout.splitlines()[-1]


def older(package: Path, folder: Path, version: str) -> Path:
    """The same package under another version, as if that one had been there before."""
    inside, aged = folder / "inside", folder / f"{NAME}_{version}.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", package, inside], check=True)
    control = inside / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", control.read_text("utf-8")), "utf-8")
    subprocess.run(
        ["dpkg-deb", "-Znone", "--root-owner-group", "--build", inside, aged], check=True, stdout=subprocess.DEVNULL
    )
    shutil.rmtree(inside)
    return aged


def version_of(package: Path) -> str:
    """As Debian compares it."""
    return _field(package, "Version")


def needed_by(package: Path) -> Sequence[str]:
    """The names of the packages that it depends on; of alternatives the first one."""
    wanted = re.split(r"\s*,\s*", _field(package, "Depends"))
    return [re.split(r"[\s(:|]", one, maxsplit=1)[0] for one in wanted]


def _field(package: Path, name: str) -> str:
    asked = ["dpkg-deb", "--field", os.fspath(package), name]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def _pip_settings() -> dict[str, str]:
    """How this machine reaches the packages' index, where its environment says so."""
    named = re.compile(r"PIP_.*|(https?|no|all)_proxy|SSL_CERT_.*|REQUESTS_CA_BUNDLE", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if named.fullmatch(name)}
