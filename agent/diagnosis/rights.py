"""Who we are, and what a device node asks of us."""

import grp
import os
import pwd
import stat
from pathlib import Path

from agent.diagnosis.finding import Finding, good, warning

AGENT_USER = "chargepoint-agent"
"""As the unit file has it."""


def user_name() -> str:
    """Of this process; its number where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def group_name(gid: int) -> str:
    """A group by its number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def user_finding() -> Finding:
    """Whose rights everything here is judged by."""
    if os.geteuid() == 0:
        advice = f"sudo -u {AGENT_USER} chargepoint-agent doctor, for root may do everything"
        return warning("user", "root, so that the rights found here are not the agent's", advice)
    groups = sorted(group_name(gid) for gid in {os.getegid(), *os.getgroups()})
    return good("user", f"{user_name()}, in the groups {', '.join(groups)}")


def lacking(node: Path) -> str:
    """What this user needs to open a device for reading and writing; empty where it may. Raises OSError."""
    if os.access(node, os.R_OK | os.W_OK, effective_ids=True):
        return ""
    found = node.stat()
    group, user = group_name(found.st_gid), user_name()
    if found.st_mode & stat.S_IRGRP and found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        if _is_member(user, found.st_gid):
            return f"{user} was added to the group {group} after this program was started: log in anew, or reboot"
        return f"sudo usermod -aG {group} {user}, then log in anew, or restart the service"
    return (
        f"a udev rule that gives it to a group of {user}'s (now: group {group}, mode {stat.S_IMODE(found.st_mode):04o})"
    )


def _is_member(user: str, gid: int) -> bool:
    try:
        return user in grp.getgrgid(gid).gr_mem
    except KeyError:
        return False
