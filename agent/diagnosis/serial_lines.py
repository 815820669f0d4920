"""Devices behind a node under /dev: there, and ours to open; a reader's and a meter's line is opened for a moment."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from agent.diagnosis.finding import Finding, Level, bad, good
from agent.diagnosis.rights import lacking
from hw.serial_port import Trouble, open_port, trouble_of

Parity = Literal["none", "even", "odd"]


def node_finding(subject: str, node: Path, *, level: Level = Level.BAD) -> Finding:
    """Existence and rights, without opening it. `level` is what it means that it can't be used."""
    try:
        is_device = stat.S_ISCHR(node.stat().st_mode)
    except OSError as error:
        cause = f"{node} is not there ({os.strerror(error.errno or 0)})"
        remedy = "check the cable, and its name in the configuration: chargepoint-agent readers lists what is there"
        return Finding(level, subject, cause, remedy)
    if not is_device:
        return Finding(level, subject, f"{node} is no device", "check its name in the configuration")
    if remedy := lacking(node):
        return Finding(level, subject, f"{node} may not be opened by this user", remedy)
    return good(subject, f"{node} is there and may be opened")


def serial_finding(subject: str, node: Path, *, level: Level = Level.BAD) -> Finding:
    """The same for a line that is not to be opened: is it one at all?"""
    finding = node_finding(subject, node, level=level)
    if finding.level is Level.GOOD and not _is_tty(node):
        return Finding(level, subject, f"{node} is no serial port", "chargepoint-agent readers lists those there are")
    return finding


def _is_tty(node: Path) -> bool:
    """By what the kernel says of it; one that it does not list, such as a pseudo-terminal, may be."""
    device = node.stat().st_rdev
    listed = Path(f"/sys/dev/char/{os.major(device)}:{os.minor(device)}/subsystem")
    return not listed.exists() or listed.resolve().name == "tty"


def line_finding(
    subject: str, port: str, baudrate: int, *, parity: Parity = "none", agent_runs: Callable[[], bool]
) -> Finding:
    """Also whether somebody else has the line; while an agent runs that one is expected to."""
    finding = node_finding(subject, Path(port))
    if finding.level is not Level.GOOD:
        return finding
    try:
        open_port(port, baudrate, parity=parity).close()
    except OSError as error:
        trouble = trouble_of(error)
        if trouble is Trouble.IN_USE and agent_runs():
            return good(subject, f"{port} is there, and in use by the running agent")
        return bad(subject, trouble.told(port, error))
    if agent_runs():
        advice = "start the agent again if the configuration was changed; else look into its log"
        return Finding(Level.WARNING, subject, f"{port} works, but the running agent does not have it open", advice)
    return good(subject, f"{port} is there and can be opened")
