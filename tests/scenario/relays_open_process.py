"""The agent as a process of its own that can be told how to die from within: what `test_relays_open_board` ends.

    python -m tests.scenario.relays_open_process CONFIG DEATH

SIGUSR1 brings DEATH about, in whatever the agent is doing: `exit` is C's _exit, which cleans up nothing, `segfault` a
fault in C code, `hang` an event loop that turns no more.
"""

import asyncio
import ctypes
import faulthandler
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.config import load
from agent.main import run_agent
from fakes.pins import mock_pins


def _exit() -> None:
    os._exit(7)


def _segfault() -> None:
    ctypes.string_at(0)


def _hang() -> None:
    time.sleep(3600)


DEATHS: Mapping[str, Callable[[], None]] = {"exit": _exit, "segfault": _segfault, "hang": _hang}


def main(path: str, death: str) -> None:
    """Run until told to stop, or to die."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    faulthandler.enable()
    signal.signal(signal.SIGUSR1, lambda _signum, _frame: DEATHS[death]())
    mock_pins()
    asyncio.run(run_agent(load(Path(path)), Path(path)))


if __name__ == "__main__":
    main(*sys.argv[1:])
