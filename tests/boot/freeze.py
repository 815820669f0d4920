"""Stops one thread of a process from outside, and nothing else of it: a loop that hangs, as no test of its own can.

`python freeze.py TID` says "frozen" once the thread stands still, and holds it so until killed. Linux lets a
process trace one thread of another (ptrace(2), PTRACE_SEIZE and PTRACE_INTERRUPT). Who traces must also wait for the
thread's end: until then, a killed process would not be gone for its own parent.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SEIZE, _INTERRUPT = 0x4206, 0x4207
_WALL = 0x40000000
"""Of waitpid(2), in linux/wait.h: threads, too."""
_PR_SET_PDEATHSIG = 1


@contextmanager
def frozen(tid: int) -> Iterator[None]:
    """The thread stands still meanwhile; afterwards it goes on, if it is still there."""
    command = [sys.executable, __file__, str(tid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        try:
            if holder.stdout.readline() != "frozen\n":
                raise RuntimeError(f"thread {tid} can't be stopped: {holder.stderr.read()}")
            yield
        finally:
            holder.kill()


def threads(pid: int) -> list[int]:
    """All of a process's threads, the first one first."""
    return sorted((int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()), key=lambda tid: (tid != pid, tid))


def written_bytes(tid: int) -> int:
    """How much a thread has written into files so far, cached or not; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{tid}/task/{tid}/io").read_text("ascii").splitlines()
    except OSError:
        return 0
    return int(next(line for line in lines if line.startswith("wchar: ")).split()[1])


def waits_in(tid: int) -> int:
    """The number of the system call in which a thread waits; -1 while it runs, and for one that has ended."""
    try:
        word = Path(f"/proc/{tid}/syscall").read_text("ascii").split()[0]
    except OSError:
        return -1
    return -1 if word == "running" else int(word)


def _trace(request: int, tid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, tid, None, None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _hold(tid: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _trace(_SEIZE, tid)
    _trace(_INTERRUPT, tid)
    _, status = os.waitpid(tid, _WALL)
    print("frozen" if os.WIFSTOPPED(status) else "gone", flush=True)
    # A signal to it wakes us as well; it stays where it is, for nobody lets it go on.
    while os.WIFSTOPPED(status):
        _, status = os.waitpid(tid, _WALL)


if __name__ == "__main__":
    _hold(int(sys.argv[1]))
