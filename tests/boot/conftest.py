"""The machines of this folder: what they need, the trees, the package, and a charger, installed once and copied."""

import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from tests.boot import package
from tests.boot.charger import Charger
from tests.boot.machine import Machine, MachineError
from tests.boot.tree import PCSC, TreeError, codename, tree_of
from tests.contract.needs import kernel_lacks, needs

ROOT = Path(__file__).parents[2]
CHECKOUT = "/checkout"
SITE = "/checkout-libraries"

_CAP_SYS_ADMIN = 1 << 21
_TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "dh": "debhelper",
    "dpkg-buildpackage": "dpkg-dev",
    "setpriv": "util-linux",
}

_T = TypeVar("_T")


@pytest.fixture(scope="session")
def ground() -> None:
    """That machines can be made here; skips with the reason where not."""
    if not Path("/proc/self/ns/pid").exists():
        kernel_lacks("machines are booted on Linux alone")
    if os.geteuid() != 0:
        kernel_lacks("a machine can be booted by root alone (systemd-nspawn)")
    status = Path("/proc/self/status").read_text("ascii")
    capabilities = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    if not capabilities & _CAP_SYS_ADMIN:
        kernel_lacks("whoever contains us forbids to mount (no CAP_SYS_ADMIN): systemd-nspawn can't work")
    if not codename():
        kernel_lacks("this is no Debian: the package is built and tried on the release that it is for")
    for tool, brought_by in _TOOLS.items():
        if shutil.which(tool) is None:
            needs(f"{tool} is not installed: apt install {brought_by}")


@pytest.fixture(scope="session")
def workshop(ground: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Workshop"]:
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "package"
    folder.mkdir(exist_ok=True)
    with Workshop(folder) as made:
        yield made


class Workshop:
    """Makes what takes long, at the same time: the package, and the tree of Debian 13."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._threads = ThreadPoolExecutor(2)
        self._package = self._threads.submit(package.built, folder)
        self._trixie = self._threads.submit(tree_of, "trixie", (*PCSC, "polkitd"))

    def __enter__(self) -> "Workshop":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    @property
    def package(self) -> Path:
        """The .deb of this checkout."""
        return self._package.result()

    @property
    def trixie(self) -> Path:
        """Debian 13, with pcscd and polkit."""
        return _tree(self._trixie)

    @property
    def own(self) -> Path:
        """The release that this machine runs, and that the package is for, with what the package depends on."""
        return _tree(self._threads.submit(tree_of, codename(), (*PCSC, *package.needed_by(self.package))))


def _tree(made: "Future[_T]") -> _T:
    try:
        return made.result()
    except TreeError as error:
        _without_a_tree(error)


def _without_a_tree(error: TreeError) -> NoReturn:
    needs(f"no Debian to boot could be made: {error}")


@pytest.fixture(scope="session")
def bare_model(workshop: Workshop) -> Iterator[Machine]:
    """Off, with nothing of ours."""
    shown = {
        ROOT / "tests": f"{CHECKOUT}/tests",
        ROOT / "pyproject.toml": f"{CHECKOUT}/pyproject.toml",
        Path(pytest.__file__).parents[1]: SITE,
    }
    with started_from(workshop.own, "model", shows=shown) as machine:
        yield machine


@contextmanager
def started_from(tree: Path, name: str, *, shows: Mapping[Path, str] | None = None) -> Iterator[Machine]:
    """A machine that is off and could be booted; skips with the reason where the kernel or a container forbids it."""
    with ExitStack() as stack:
        try:
            machine = stack.enter_context(Machine(tree, name, shows=shows))
            reason = machine.why_not()
        except MachineError as error:
            kernel_lacks(f"no machine can be made here: {error}")
        if reason is not None:
            kernel_lacks(f"no machine can be started here: {reason}")
        yield machine


@pytest.fixture(scope="session")
def installed_model(bare_model: Machine, workshop: Workshop) -> Iterator[Machine]:
    """Off, with the agent installed, configured, and started once."""
    with bare_model.twin("installed") as machine:
        machine.boot()
        charger = Charger(machine)
        charger.install(workshop.package)
        charger.configure()
        charger.stop()
        machine.cut_power()
        yield machine


@pytest.fixture
def bare(bare_model: Machine) -> Iterator[Charger]:
    """A charger on which nothing of ours was ever installed."""
    with bare_model.twin("bare") as machine:
        machine.boot()
        yield Charger(machine)


@pytest.fixture
def charger(installed_model: Machine) -> Iterator[Charger]:
    """A charger whose agent is ready for cards."""
    with installed_model.twin("charger") as machine:
        machine.boot()
        yield Charger(machine)
