"""A pcscd that refuses the agent's user, or hangs up: played on a socket of its own, for polkit is not to be had here.

libpcsclite finds its daemon by PCSCLITE_CSOCK_NAME, which it reads once: so the driver runs in a process of its own.
What is said is pcsc-lite's `winscard_msg.h`: a size and a command, and a struct that is sent back with the result in
its last field, all of 32 bits in the machine's order.
"""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.needs import needs

HANG_S = 60
ROOT = Path(__file__).parents[2]
SECURITY_VIOLATION = 0x8010006A
ESTABLISH_CONTEXT = 0x01

PROGRAM = """
import asyncio, sys
from hw.readers.pcsc_reader import PcscReader
async def main():
    told = asyncio.Queue()
    reader = PcscReader("front", to_uid=str, reopen_s=0.05, patience_s=float(sys.argv[1]))
    run = asyncio.create_task(reader.run(print, lambda *said: told.put_nowait(said)))
    print(*await told.get())
    run.cancel()
    await asyncio.wait([run])
asyncio.run(main())
"""


def heard(line: socket.socket) -> tuple[int, bytes] | None:
    """One call, whole: hung up on in the middle of it, libpcsclite finds now one word for it and now another."""
    head = line.recv(8, socket.MSG_WAITALL)
    if len(head) < 8:
        return None
    size, command = struct.unpack("=II", head)
    return command, line.recv(size, socket.MSG_WAITALL)


def refuse(line: socket.socket) -> None:
    """Agree on the version, then refuse a context."""
    while (call := heard(line)) is not None:
        command, body = call
        result = SECURITY_VIOLATION if command == ESTABLISH_CONTEXT else 0
        line.sendall(body[:-4] + struct.pack("=I", result))


def hang_up(line: socket.socket) -> None:
    """Listen, and not answer: what a daemon before pcsc-lite 2 does to a user whom polkit refuses."""
    heard(line)


def hang_up_later(line: socket.socket) -> None:
    """Agree on the version, and no more."""
    if (call := heard(line)) is not None:
        line.sendall(call[1][:-4] + bytes(4))
        heard(line)


def keep(line: socket.socket) -> None:
    """Take the call and never answer: until the caller hangs up, at its end."""
    heard(line)
    line.recv(1)


@contextlib.contextmanager
def a_daemon(path: Path, manner: Callable[[socket.socket], None]) -> Iterator[None]:
    """Somebody on the socket who treats every caller so."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):  # the end: see below
                while True:
                    line, _ = listener.accept()
                    with line:
                        manner(line)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(HANG_S)


def what_the_driver_says(path: Path, *, patience_s: float = HANG_S, logged: str = "") -> str:
    """Its first sentence; what it has logged is as said, and nothing else came out of it."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(patience_s)],
        cwd=ROOT, capture_output=True, text=True, timeout=HANG_S, check=True,
        env={**os.environ, "PCSCLITE_CSOCK_NAME": str(path)},
    )  # fmt: skip
    assert ended.stderr == logged
    return ended.stdout


def test_a_daemon_that_refuses_is_missing_with_the_rule_to_add(tmp_path: Path) -> None:
    _needs_pyscard()
    with a_daemon(tmp_path / "pcscd.comm", refuse):
        told = what_the_driver_says(tmp_path / "pcscd.comm")
    assert told.startswith("missing pcscd refuses the agent's user")
    assert "polkit" in told
    assert "access_pcsc" in told


@pytest.mark.parametrize("manner", [hang_up, hang_up_later])
def test_a_daemon_that_hangs_up_is_missing_with_polkit_to_look_at(
    tmp_path: Path, manner: Callable[[socket.socket], None]
) -> None:
    _needs_pyscard()
    with a_daemon(tmp_path / "pcscd.comm", manner):
        told = what_the_driver_says(tmp_path / "pcscd.comm")
    assert told.startswith("missing pcscd takes the call and hangs up")
    assert "polkit" in told
    assert "access_pcsc" in told


def test_a_daemon_that_takes_a_call_and_never_answers_is_missing_with_the_restart_to_do(tmp_path: Path) -> None:
    _needs_pyscard()
    with a_daemon(tmp_path / "pcscd.comm", keep):
        left_behind = "PC/SC holds up a call for more than 2 s: it is left behind\n"
        told = what_the_driver_says(tmp_path / "pcscd.comm", patience_s=0.1, logged=left_behind)
    assert told.startswith("missing pcscd takes calls and answers none (for ")
    assert "systemctl restart pcscd" in told


def _needs_pyscard() -> None:
    try:
        import smartcard  # noqa: F401, PLC0415  an extra
    except ImportError:
        needs("pyscard is not installed: install the extra pcsc")
