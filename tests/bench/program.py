"""`chargepoint-agent run` as an installer has it: a process of its own, watched through its log and /proc."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from tests.bench.peer_process import ROOT

HANG_S = 120.0
"""Against hangs alone."""

BARE = (
    "import asyncio, httpx, aiosqlite, serial, gpiozero, msgspec, sys, time\n"
    "print('ready', file=sys.stderr, flush=True)\n"
    "sys.stdin.read()"
)
"""The least that the agent's dependencies cost: an interpreter that imports them and does nothing."""

_KIB = 1024


@dataclass(slots=True)
class Program:
    """A running process whose standard error is read line by line."""

    process: subprocess.Popen[str]
    began: float
    """`perf_counter` just before the exec."""
    log: list[str] = field(default_factory=list)

    def wait_for(self, text: str) -> float:
        """Read the log up to a line with `text`; the seconds since the start. Raises RuntimeError at the end."""
        assert self.process.stderr is not None
        hang = threading.Timer(HANG_S, self.process.kill)
        hang.start()
        try:
            for line in self.process.stderr:
                self.log.append(line)
                if text in line:
                    return perf_counter() - self.began
        finally:
            hang.cancel()
        raise RuntimeError(f"ended or hung without saying {text!r}; its last words: {''.join(self.log[-5:])}")

    def resident_mb(self) -> float:
        """VmRSS in MB."""
        return _kib(self._proc("status"), "VmRSS") * _KIB / 1e6

    def proportional_mb(self) -> float:
        """Pss in MB: what it shares with others counts by its part."""
        return _kib(self._proc("smaps_rollup"), "Pss") * _KIB / 1e6

    def written(self) -> "Written":
        """What it has written since its start."""
        return written(self.process.pid)

    def stop(self) -> "Written":
        """End it in good order, and say what it had written by then, the closing of its files included."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stderr is not None
        self.log += self.process.stderr.readlines()
        # Not reaped yet: what the kernel counted can still be read.
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return self.written()

    def _proc(self, file: str) -> str:
        return Path(f"/proc/{self.process.pid}/{file}").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes: handed to the kernel, and sent on to storage."""

    characters: int
    storage: int

    def since(self, before: "Written") -> "Written":
        """The difference."""
        return Written(self.characters - before.characters, self.storage - before.storage)


def written(pid: int) -> Written:
    """From /proc/<pid>/io; what was dirtied and thrown away again before it was written does not count."""
    counts = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text("utf-8").splitlines())
    return Written(int(counts["wchar"]), int(counts["write_bytes"]) - int(counts["cancelled_write_bytes"]))


def agent(config: Path) -> list[str]:
    """The command line of the agent."""
    return [str(Path(sys.executable).with_name("chargepoint-agent")), "run", "--config", str(config)]


def bare() -> list[str]:
    """The command line of the floor."""
    return [sys.executable, "-c", BARE]


@contextmanager
def started(command: Sequence[str]) -> Iterator[Program]:
    """Run a program until the block ends."""
    environment = {**os.environ, "GPIOZERO_PIN_FACTORY": "mock"}
    began = perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    with process:
        try:
            yield Program(process, began)
        finally:
            process.terminate()
            hang = threading.Timer(HANG_S, process.kill)
            hang.start()
            process.communicate()
            hang.cancel()


def _kib(text: str, name: str) -> int:
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:"))
