"""The real pcscd as a process that can be killed, with the virtual reader of `vsmartcard-vpcd`: see `fakes.vpcd`.

There can be one pcscd on a machine: its socket has a fixed place. A file lock makes two users of this module wait for
each other, and one that somebody else runs is never touched.
"""

import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_SOCKET = Path("/run/pcscd/pcscd.comm")
_PID = Path("/run/pcscd/pcscd.pid")
_READER = Path("/etc/reader.conf.d/vpcd")
_LOCK = Path(tempfile.gettempdir()) / "chargepoint-agent-pcscd.lock"
"""Holds the pid of the daemon that its owner has started: a killed test run leaves one behind, and the next ends it."""

_POLL_S = 0.005
_START_S = 30
"""Against hangs alone; it takes 20 ms."""


def why_not() -> str | None:
    """Why no pcscd can be started here and what to install; None when it can. Waits for nobody."""
    if importlib.util.find_spec("smartcard") is None:
        return "pyscard is not installed: install the extra pcsc"
    if shutil.which("pcscd") is None:
        return "pcscd is not installed: apt install pcscd"
    if not _READER.exists():
        return f"{_READER} is not there: apt install vsmartcard-vpcd"
    if os.geteuid() != 0:
        return "pcscd has to be started, which only root may"
    with _LOCK.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None  # it is a run like this one that has it: `Pcscd` waits
        return _somebody_elses(lock)


def _somebody_elses(lock: IO[str]) -> str | None:
    _end_left_over(lock)
    return f"a pcscd is running that is not ours ({_SOCKET} answers): stop it" if answers() else None


def answers() -> bool:
    """Whether a daemon takes calls now."""
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(str(_SOCKET))
        except OSError:
            return False
        return True


def _end_left_over(lock: IO[str]) -> None:
    """End the daemon of a run that was killed: the lock is ours, and in it is the pid of its last owner's."""
    lock.seek(0)
    pid = lock.read().strip()
    if pid and _name_of(pid) == "pcscd":
        os.kill(int(pid), signal.SIGKILL)
        while _name_of(pid) == "pcscd":
            time.sleep(_POLL_S)
    lock.truncate(0)


def _name_of(pid: str) -> str:
    try:
        return Path("/proc", pid, "comm").read_text("utf-8").strip()
    except OSError:
        return ""


class Pcscd:
    """One daemon, from `start` to `kill` and again. Blocks for some ten milliseconds a call, and while another has it.

    Entered, it owns this machine's PC/SC; nothing runs before `start`. Raises RuntimeError where it can't be had.
    """

    def __init__(self, readers: Path | None = None) -> None:
        """`readers`: a folder in place of /etc/reader.conf.d; an empty one makes a daemon without readers."""
        self._readers = readers
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self._lock = _LOCK.open("a+")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if (reason := _somebody_elses(self._lock)) is not None:
            self._lock.close()
            raise RuntimeError(reason)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        assert self._lock is not None
        self._lock.close()

    @property
    def running(self) -> bool:
        """Whether our daemon is there."""
        return self._process is not None

    def start(self, *, readers: Path | None = None) -> None:
        """Start it and return once it takes calls; nothing happens where it runs."""
        assert self._lock is not None, "entered first"
        if self._process is not None:
            return
        _sweep()
        folder = readers or self._readers
        command = ["pcscd", "--foreground", *(["--config", str(folder)] if folder else [])]
        self._process = subprocess.Popen(  # noqa: S603  our own words and a folder of the test's
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._lock.truncate(0)
        self._lock.write(str(self._process.pid))
        self._lock.flush()
        until = time.monotonic() + _START_S
        while not answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("pcscd does not come up: try `pcscd --foreground --debug`")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """As `kill -9`; its socket and pid file stay behind, as in the field, until the next start."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As `systemctl stop`."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It stays and does nothing any more, until `thaw` or `kill`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


def _sweep() -> None:
    """Remove what a killed daemon has left: with its pid given to another program, pcscd would refuse to start."""
    _SOCKET.unlink(missing_ok=True)
    _PID.unlink(missing_ok=True)
