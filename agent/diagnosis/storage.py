"""The folder of the databases: there, the agent's, and with room in it."""

import os
from pathlib import Path

from agent.diagnosis.finding import Finding, bad, good, warning
from agent.diagnosis.rights import AGENT_USER, user_name
from agent.errors import BusyError, StoreError
from agent.runtime.room import lack_of_room
from agent.storage import alone_in

LEAST_BYTES = 4 << 20
"""A few hundred taps, and what SQLite's log needs beside the file."""
LEAST_FILES = 16
"""The databases, their logs, the lock, and a few that systemd keeps."""

_ACCESS = os.R_OK | os.W_OK | os.X_OK


def folder_findings(folder: Path) -> list[Finding]:
    """Whether the agent can keep its databases there. Raises OSError, StoreError."""
    if not folder.exists():
        return [_not_there(folder)]
    if not folder.is_dir():
        return [bad("storage", f"{folder} is no folder", "another storage.directory, or move the file away")]
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        remount = "mount it writable; the kernel's log (dmesg) says whether the disk failed"
        return [bad("storage", f"{folder} is on a file system that is mounted read-only", remount), *_room(folder)]
    if not os.access(folder, _ACCESS, effective_ids=True):
        owner = f"sudo chown -R {user_name()}: {folder}, if this is the user that runs the agent"
        return [bad("storage", f"{user_name()} may not write in {folder}", owner), *_room(folder)]
    return [good("storage", f"{folder} is there, and {user_name()} may write in it"), *_files(folder), *_room(folder)]


def _not_there(folder: Path) -> Finding:
    parent = next(each for each in folder.absolute().parents if each.exists())
    if os.access(parent, _ACCESS, effective_ids=True):
        return good("storage", f"{folder} is not there yet; the agent makes it when it first runs")
    made = f"sudo mkdir -p {folder} and sudo chown {user_name()}: {folder}, or StateDirectory= in the unit"
    return bad("storage", f"{folder} is not there, and {user_name()} may not make it in {parent}", made)


def _files(folder: Path) -> list[Finding]:
    """Those of the databases' files that this user may not write."""
    found = [folder / f"{name}{suffix}" for name in ("state.db", "whitelist.db") for suffix in ("", "-wal", "-shm")]
    locked = [path for path in found if path.exists() and not os.access(path, os.R_OK | os.W_OK, effective_ids=True)]
    remedy = f"sudo chown -R {user_name()}: {folder}, if this is the user that runs the agent"
    return [bad("storage", f"{user_name()} may not write {path}", remedy) for path in locked]


def _room(folder: Path) -> list[Finding]:
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    findings = []
    if free < LEAST_BYTES:
        said = f"{free >> 10} KiB free on the file system of {folder}: no card can be recorded, so each is refused"
        findings.append(bad("free space", said, "make room, or put storage.directory on a larger disk"))
    elif lack := lack_of_room(folder):
        findings.append(warning("free space", f"{lack}: no further tokens are taken", "make room"))
    else:
        findings.append(good("free space", f"{free >> 20} MiB"))
    if found.f_files and found.f_favail < LEAST_FILES:  # some file systems count none
        said = f"{found.f_favail} files more fit on the file system of {folder}"
        findings.append(bad("free inodes", said, "delete files: many small ones fill a disk that has space left"))
    elif found.f_files:
        findings.append(good("free inodes", f"{found.f_favail} files more fit"))
    return findings


def agent_runs_in(folder: Path | None) -> bool | None:
    """Whether an agent works on these databases now; None where that can't be told. Looked at and let go of at once."""
    if folder is None or not folder.is_dir():
        return False
    try:
        with alone_in(folder):
            return False
    except BusyError:
        return True
    except StoreError:
        return None


def agent_finding(*, runs: bool | None) -> Finding:
    """Said first, for it explains why devices are busy."""
    if runs is None:
        said = "whether one is running can't be told by this user: devices that are in use may be in use by it"
        return warning("agent", said, f"sudo -u {AGENT_USER} chargepoint-agent doctor")
    if runs:
        return good("agent", "an agent is running on these databases: devices that are in use are in use by it")
    return good("agent", "no agent is running on these databases")
