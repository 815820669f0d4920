"""A control group for each machine: where PID 1 is no systemd, nspawn takes its starter's, and two would share it.

Where it is one, nspawn asks it for a scope, and nothing here is needed.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

_SYSTEMD_RUNS = Path("/run/systemd/system")
_PREFIX = "chargepoint-agent-"

_PATIENCE_S, _LOOK_S = 2.0, 0.02
"""What is left after that, the next run removes."""

_ENTER = 'for group in $GROUPS_TO_ENTER; do mkdir -p "$group" && echo $$ > "$group/cgroup.procs"; done; exec "$@"'


def nspawn_options() -> list[str]:
    """Who makes the machine's control group."""
    return [] if _SYSTEMD_RUNS.exists() else ["--keep-unit"]


def entering(name: str) -> list[str]:
    """The words that start what follows them in a group of that name; none where systemd makes one."""
    if _SYSTEMD_RUNS.exists():
        return []
    groups = " ".join(os.fspath(group) for group in _groups(name))
    return ["env", f"GROUPS_TO_ENTER={groups}", "sh", "-c", _ENTER, "sh"]


def remove(name: str) -> None:
    """Remove the group, whose processes must have ended, and those that killed runs have left."""
    for group in _groups(name):
        until = time.monotonic() + _PATIENCE_S
        while not _removed(group) and time.monotonic() < until:
            time.sleep(_LOOK_S)  # who was killed in it leaves it a moment later
        for left in group.parent.glob(f"{_PREFIX}*"):
            if not Path("/proc", left.name.rpartition("-")[2]).exists():
                _removed(left)


def _groups(name: str) -> Iterator[Path]:
    """In each hierarchy that systemd keeps its units in: cgroup v2, and the named one beside v1."""
    for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
        _, kind, path = line.split(":", 2)
        roots = {"": ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"), "name=systemd": ("/sys/fs/cgroup/systemd",)}
        for root in roots.get(kind, ()):
            if Path(root, "cgroup.procs").exists():
                yield Path(root + path.rstrip("/"), _PREFIX + name)
                break


def _removed(group: Path) -> bool:
    """Whether it is gone with all that is below."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)  # noqa: PTH106  as os.walk names them
    return not group.exists()
