"""The package of this checkout, built once and unpacked, on a Debian that has what builds it."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.boot.package import READY_MADE, built, version_of
from tests.boot.tree import codename
from tests.contract.needs import needs

__all__ = ["READY_MADE", "Unpacked"]


@dataclass(frozen=True)
class Unpacked:
    """A package's file, what it installs below `root`, and what dpkg is told in `control`."""

    file: Path
    root: Path
    control: Path
    version: str

    def installed(self) -> set[str]:
        """Every file that it brings, folders not counted, by its path once installed."""
        return {f"/{path.relative_to(self.root)}" for path in self.root.rglob("*") if not _is_folder(path)}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    """Skips where this is no Debian; what builds a package can be installed."""
    if not codename():
        pytest.skip("a Debian package is built on Debian")
    if not shutil.which("dh") or not shutil.which("dpkg-buildpackage"):
        needs("no Debian package is built here: apt-get install debhelper dpkg-dev")
    folder = tmp_path_factory.mktemp("package")
    file = built(folder)
    subprocess.run(["dpkg-deb", "--extract", file, folder / "root"], check=True)
    subprocess.run(["dpkg-deb", "--control", file, folder / "control"], check=True)
    return Unpacked(file, folder / "root", folder / "control", version_of(file))
