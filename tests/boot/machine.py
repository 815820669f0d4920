"""A Debian of its own, booted by systemd-nspawn: systemd as PID 1, no network but its loopback, and a plug to pull.

All that it writes is in a tmpfs that only a keeper process sees, which is the first of a mount and a process namespace
of its own. It dies with whoever started it, by whatever end (PR_SET_PDEATHSIG), and takes along every process of the
machine, its mounts and its files. nspawn alone would not: killed, it leaves its machine running.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.boot import cgroup
from tests.boot.journal import Journal

HANG_S = 90.0
"""Against hangs alone: a boot takes two seconds, on a loaded machine ten."""

_LOOK_S = 0.02
"""There is no event for what goes on in another machine's PID 1."""

_WANTS_A_REBOOT = 133
"""systemd-nspawn(1), "Exit status"."""

_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_KEEPER = (
    "unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc",
)  # fmt: skip
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}

_KEEP = """
set -e
mount -t tmpfs -o mode=0755 machine "$1"
mkdir -p "$1/changes" "$1/work" "$1/root" /run/systemd/nspawn
mount -t tmpfs -o mode=0755 machine /run/systemd/nspawn
mount -t overlay -o "lowerdir=$2,upperdir=$1/changes,workdir=$1/work" machine "$1/root"
echo kept
exec sleep infinity
"""

_T = TypeVar("_T")


class MachineError(Exception):
    """The machine did not do what every machine does; says what, with the end of its console."""


class Machine:
    """One charger's computer. Off at first; what was written stays from boot to boot, and goes when it is left."""

    def __init__(self, tree: Path, name: str, *, shows: Mapping[Path, str] | None = None) -> None:
        """`shows`: what of this machine can be read in there, and where."""
        self.journal = Journal(self)
        self._name = f"{name}-{os.getpid()}"
        self._shows = dict(shows or {})
        self._layers = [os.fspath(tree)]
        self._after: Machine | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="machine-")
        self._keeper: subprocess.Popen[str] | None = None
        self._first = 0
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def twin(self, name: str) -> "Machine":
        """Another machine with the same disk as this one, which must be off, and stay off: its disk is now theirs."""
        assert self._nspawn is None
        self._in_here("umount", "--quiet", f"{self._mount_point}/root", check=False)
        twin = Machine(Path(self._layers[-1]), name, shows=self._shows)
        twin._layers = [f"{self._mount_point}/changes", *self._layers]
        twin._after = self
        return twin

    def __enter__(self) -> Self:
        # A twin's disk begins with what only its model's keeper sees.
        seeing = ["nsenter", f"--target={self._after._first}", "--mount", "--"] if self._after else []
        command = [*_DIES_WITH_US, *seeing, *_KEEPER, "sh", "-c", _KEEP, "sh"]
        self._keeper = subprocess.Popen(
            [*command, os.fspath(self._mount_point), ":".join(self._layers)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        if self._keeper.stdout.readline() != "kept\n":
            said = self._keeper.stderr.read()
            self.__exit__(None, None, None)
            raise MachineError(f"no file system for a machine: {said}")
        (self._first,) = (pid for pid, fields in _processes() if fields["PPid"] == str(self._keeper.pid))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut_power()
        if (keeper := self._keeper) is not None:
            keeper.kill()
            with keeper:  # closes the pipes
                keeper.wait()
        cgroup.remove(self._name)
        self._folder.cleanup()

    @property
    def _mount_point(self) -> Path:
        return Path(self._folder.name)

    @property
    def _console(self) -> Path:
        return self._mount_point / "console"  # below the mount, which only the keeper sees

    @property
    def leader(self) -> int:
        """Its PID 1 by the number that it has here; 0 while it is off."""
        return self._leader

    def why_not(self) -> str | None:
        """Why nothing can be started in here: what the kernel or whoever contains us forbids; None when it can."""
        tried = subprocess.run(
            [*self._nspawn_command(), "--quiet", "--console=pipe", "/bin/true"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip
        if tried.returncode == 0:
            return None
        return tried.stderr.strip() or f"systemd-nspawn ended with {tried.returncode}"

    # ---- power

    def boot(self) -> float:
        """Switch it on; returns once all is started that starts by itself. The seconds that it took."""
        began = time.monotonic()
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                [*self._nspawn_command(), "--console=pipe", "--boot"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, cwd="/",
            )  # fmt: skip
        self._wait_booted(0)
        return time.monotonic() - began

    def reboot(self) -> float:
        """As `reboot` typed in; returns once all is started again. The seconds that it took."""
        assert self._nspawn is not None
        nspawn, before, began = self._nspawn, self._leader, time.monotonic()
        # Called from outside, it would be killed by the very shutdown that it begins.
        self.run("systemctl", "reboot", "--no-block")
        # By nspawn itself, or, where nobody gave it a unit of its own, by whoever started it.
        self._until("it to go down", lambda: nspawn.poll() is not None or _first_process(nspawn.pid, but=before))
        if nspawn.poll() is None:
            self._wait_booted(before)
        else:
            self._is_off(nspawn.returncode, expected=_WANTS_A_REBOOT)
            self.boot()
        return time.monotonic() - began

    def cut_power(self) -> None:
        """As if its plug was pulled: nothing in there gets to do anything any more. Nothing happens where it is off."""
        if (nspawn := self._nspawn) is None:
            return
        if self._leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)  # a PID 1 takes its whole namespace along
        nspawn.kill()
        self._is_off(nspawn.wait())

    # ---- at its keyboard

    def run(
        self, *command: str, stdin: str | bytes | None = None, check: bool = True, user: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command as root or another user. With `check`, MachineError unless it ends with 0."""
        sent = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            self.entering(*command, user=user), input=sent or b"", capture_output=True, check=False,
            env=_ENVIRONMENT, timeout=HANG_S,
        )  # fmt: skip
        out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        if check and done.returncode != 0:
            raise MachineError(f"{' '.join(command)}: ended with {done.returncode}\n{out[-3000:]}\n{err[-3000:]}")
        return subprocess.CompletedProcess(command, done.returncode, out, err)

    def says(self, *command: str, user: str | None = None) -> str:
        """What a command prints, without the white space at its ends."""
        return self.run(*command, user=user).stdout.strip()

    def entering(self, *command: str, user: str | None = None) -> list[str]:
        """The words that run a command in there. Past what nspawn forbids: only for what a person would type."""
        if not self._leader:
            raise MachineError("the machine is off")
        as_user = ("runuser", "--user", user, "--") if user else ()
        return ["nsenter", f"--target={self._leader}", "--all", "--", *as_user, *command]

    def write(self, path: str, content: str | bytes, *, mode: str = "0644") -> None:
        """A file, with the folders that lead to it."""
        self.run("install", "-D", f"--mode={mode}", "/dev/stdin", path, stdin=content)

    def read(self, path: str) -> str:
        """A file's text."""
        return self.run("cat", path).stdout

    def seen_from_here(self, path: str) -> Path:
        """A path in there as this machine names it; no link on the way may be absolute."""
        return Path(f"/proc/{self._leader}/root") / path.removeprefix("/")

    def pid_of(self, inside: str) -> int:
        """The number that a process in there has here. Raises MachineError when there is none."""
        namespace = Path(f"/proc/{self._leader}/ns/pid").readlink()
        for pid, fields in _processes():
            with contextlib.suppress(OSError):
                same = Path(f"/proc/{pid}/ns/pid").readlink() == namespace
                if same and fields["NSpid"].endswith(f"\t{inside}"):
                    return pid
        raise MachineError(f"there is no process {inside} in the machine")

    # ---- inside

    def _is_off(self, code: int, *, expected: int | None = None) -> None:
        self._until("its processes to be gone", lambda: not Path(f"/proc/{self._leader}/root/etc").exists())
        self._nspawn, self._leader = None, 0
        if expected is not None and code != expected:
            raise MachineError(f"systemd-nspawn ended with {code}:\n{self._last_words()}")

    def _entering_keeper(self) -> list[str]:
        return ["nsenter", f"--target={self._first}", "--mount", "--pid", "--"]

    def _in_here(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._entering_keeper(), *command], check=check, capture_output=True, text=True)

    def _nspawn_command(self) -> list[str]:
        binds = [f"--bind-ro={here}:{there}" for here, there in self._shows.items()]
        return [
            *self._entering_keeper(), *_DIES_WITH_US, *cgroup.entering(self._name),
            "systemd-nspawn", *cgroup.nspawn_options(), "--register=no", f"--machine={self._name}", "--private-network",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no", f"--directory={self._mount_point}/root", *binds,
        ]  # fmt: skip

    def _wait_booted(self, not_leader: int) -> None:
        def booted() -> bool:
            assert self._nspawn is not None
            if (code := self._nspawn.poll()) is not None:
                raise MachineError(f"systemd-nspawn ended with {code}:\n{self._last_words()}")
            self._leader = _first_process(self._nspawn.pid, but=not_leader) or 0
            return bool(self._leader) and self._is_up()

        self._until("the machine to start", booted)

    def _is_up(self) -> bool:
        """Whether everything is started; `degraded` too, for that is for a test to judge."""
        asked = self.run("systemctl", "is-system-running", "--wait", check=False)
        return asked.stdout.strip() in ("running", "degraded")

    def _until(self, what: str, is_so: Callable[[], _T]) -> None:
        until = time.monotonic() + HANG_S
        while not is_so():
            if time.monotonic() > until:
                raise MachineError(f"waited {HANG_S:.0f} s for {what}:\n{self._last_words()}")
            time.sleep(_LOOK_S)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return self._console.read_text("utf-8", "replace")[-3000:]
        return ""


def _first_process(nspawn: int, *, but: int) -> int | None:
    """What has become systemd as PID 1 of a namespace, below the process that has become nspawn; None so far."""
    running = dict(_processes())
    for pid, fields in running.items():
        if fields["Name"] == "systemd" and fields["NSpid"].endswith("\t1") and pid != but:
            above = running.get(int(fields["PPid"]), {})
            if str(nspawn) in (fields["PPid"], above.get("PPid")):
                return pid
    return None


def _processes() -> Iterator[tuple[int, dict[str, str]]]:
    """All that run here, in the machines, too, with the fields of their status."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it has just ended
            lines = status.read_text("utf-8", "replace").splitlines()
            yield int(status.parent.name), dict(line.partition(":\t")[::2] for line in lines)
