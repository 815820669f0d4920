"""What a test does without something that not every machine has: it skips with the reason, but never in the gate."""

import os
from typing import NoReturn

import pytest

GATE = "CHARGEPOINT_AGENT_GATE"
"""Set to 1 where everything that can be installed is installed: there, a missing package is a mistake."""


def in_gate() -> bool:
    """Whether this run may not do without anything that could be installed."""
    return os.environ.get(GATE) == "1"


def needs(reason: str) -> NoReturn:
    """Skip the test, or fail it in the gate: `reason` says what is missing and how to get it."""
    if in_gate():
        pytest.fail(f"{reason} ({GATE}=1: here it must be there)", pytrace=False)
    pytest.skip(reason)


def kernel_lacks(reason: str) -> NoReturn:
    """Skip the test, in the gate as well: no package brings a device of the kernel (`/dev/uinput`)."""
    pytest.skip(reason)
