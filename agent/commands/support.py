"""`support`: everything that somebody far away needs to help, in one file, without secrets or card numbers.

What can't be had is named in its place: a charge point that asks for help is seldom whole.
"""

import io
import os
import platform
import pwd
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from agent import __version__
from agent.commands.doctor import doctor
from agent.commands.readers import listing
from agent.commands.redaction import Redaction
from agent.commands.terminal import harmless, json_text
from agent.commands.whole_file import whole_file
from agent.config import Config, credentials_token, load
from agent.config.reading import text_of
from agent.core.uid import masked
from agent.diagnosis.databases import reading
from agent.diagnosis.rights import AGENT_USER
from agent.errors import AgentError, ConfigError
from agent.store.database import from_us

UNIT = "chargepoint-agent.service"

MOST_BYTES = 4 << 20
"""Of one part; what is newest stays."""
COMMAND_S = 45.0
"""For a program that is asked: a journal of an SD card is slow to read, and `doctor` may take half a minute."""
NEWEST = 500
"""Authorizations."""
KNOWN_CARDS = 100_000
"""So many cards, those tapped last, are looked for in all texts, beside what never was in clear anyway."""

_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
_RECORDS = (
    "SELECT id, tapped_at, evse_uid, uid, reader, verdict, reason, source, detail, relay_closed, latency_ms,"
    " deadline_ms, correlation_id, peer, ended_at, ended_because FROM authorization ORDER BY id DESC LIMIT ?"
)
_CARDS = "SELECT DISTINCT uid FROM (SELECT uid FROM authorization ORDER BY id DESC LIMIT ?)"


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the bundle."""

    name: str
    text: Callable[[], str]
    """Raises AgentError, OSError, or what SQLite or a program's run raises."""


def bundle(config_path: Path, output: Path | None, *, offline: bool) -> Path:
    """Write the bundle, readable by its owner alone, and return where it is. Raises ConfigError, StoreError."""
    now = datetime.now(UTC)
    target = output or Path(f"chargepoint-agent-support-{now:%Y%m%d-%H%M%S}.tar.gz")
    config, fault = _loaded(config_path)
    redaction = Redaction(*_known(config, config_path))
    folder = target.name.removesuffix(".gz").removesuffix(".tar")
    with whole_file(target) as out, tarfile.open(fileobj=out, mode="w:gz") as archive:
        for part in _parts(config, config_path, fault, offline=offline):
            data = redaction(_text(part)).encode(errors="backslashreplace")[-MOST_BYTES:]
            info = tarfile.TarInfo(f"{folder}/{part.name}")
            info.size, info.mode, info.mtime = len(data), 0o600, int(now.timestamp())
            archive.addfile(info, io.BytesIO(data))
            click.echo(f"{part.name}: {len(data):,} bytes", err=True)
    return target


def _loaded(path: Path) -> tuple[Config | None, str]:
    try:
        return load(path), ""
    except ConfigError as error:
        return None, str(error)


def _known(config: Config | None, path: Path) -> tuple[set[str], set[str]]:
    """The secrets and the cards that are known here, as far as they can be read."""
    secrets: set[str] = set()
    uids: set[str] = set()
    if config is None:
        return secrets, uids
    for peer in config.peer:
        with suppress(AgentError):
            secrets.add(credentials_token(peer, path))
    state = Path(config.storage.directory) / "state.db"
    with suppress(AgentError, sqlite3.Error, OSError, ValueError), reading(state) as connection:
        for row in connection.execute("SELECT their_token, their_previous_token FROM peer"):
            secrets.update(token for token in row if token)
        uids.update(uid for (uid,) in connection.execute(_CARDS, (KNOWN_CARDS,)))
    return secrets, uids


def _parts(config: Config | None, path: Path, fault: str, *, offline: bool) -> Iterator[Part]:
    yield Part("about.txt", lambda: _about(path, fault))
    yield Part("configuration.toml", lambda: text_of(path, errors="replace"))
    yield Part("doctor.txt", lambda: _doctor(path, offline=offline))
    yield Part("devices.txt", lambda: _printed(lambda: listing(probe=False, as_json=False)))
    if config is not None:
        folder = Path(config.storage.directory)
        yield Part("databases.txt", lambda: _databases(folder))
        yield Part("authorizations.jsonl", lambda: _authorizations(folder / "state.db"))
    yield Part("unit.txt", lambda: _asked("systemctl", "show", UNIT) + _asked("systemctl", "cat", UNIT))
    since = ("--no-pager", "--output=short-iso-precise", "--lines=20000")
    yield Part("journal.txt", lambda: _asked("journalctl", f"--unit={UNIT}", *since))
    yield Part("kernel.txt", lambda: _asked("journalctl", "--dmesg", *since[:2], "--lines=2000"))


def _text(part: Part) -> str:
    try:
        return part.text()
    except Exception as error:  # noqa: BLE001  a charge point that asks for help is seldom whole, nor need this program be
        said = f"can't be had: {error if isinstance(error, AgentError | OSError) else repr(error)}"
        click.echo(f"{part.name}: {harmless(said)}", err=True)
        return f"{said}\n"


def _about(path: Path, fault: str) -> str:
    facts: Mapping[str, object] = {
        "made at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z by this machine's clock",
        "chargepoint-agent": __version__,
        "configuration": f"{path}: {fault or 'can be used'}",
        "Python": f"{sys.version.split()[0]} at {sys.executable}",
        "SQLite": sqlite3.sqlite_version,
        "system": " ".join((platform.system(), platform.release(), platform.machine())),
        "distribution": _distribution(),
        "up for": f"{time.clock_gettime(time.CLOCK_BOOTTIME):.0f} s",
    }
    return "".join(f"{name}: {value}\n" for name, value in facts.items())


def _distribution() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "?")
    return "?"


def _doctor(path: Path, *, offline: bool) -> str:
    """As the agent's own user, where root asks: it is this user's rights that are looked at."""
    program, runuser = shutil.which("chargepoint-agent"), shutil.which("runuser")
    if os.geteuid() == 0 and program and runuser and _is_known(AGENT_USER):
        words = ("doctor", "--config", str(path.absolute()), *(("--offline",) if offline else ()))
        return _asked(runuser, "-u", AGENT_USER, "--", program, *words)
    return _printed(lambda: doctor(path, offline=offline, as_json=False))


def _is_known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _printed(command: Callable[[], object]) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        try:
            command()
        except AgentError as error:
            print(harmless(error))  # noqa: T201  into the part
    return out.getvalue()


def _databases(folder: Path) -> str:
    lines = []
    usage = shutil.disk_usage(folder)
    lines.append(f"{folder}: {usage.free >> 20:,} MiB free of {usage.total >> 20:,}")
    for each in sorted(folder.iterdir()):
        with suppress(OSError):
            lines.append(f"{each.name}: {each.stat().st_size:,} bytes")
    for name in ("state.db", "whitelist.db"):
        lines += [f"{name}: {line}" for line in _counted(folder / name)]
    return "".join(f"{line}\n" for line in lines)


def _counted(path: Path) -> Iterator[str]:
    """How many rows of what, and whether the file is whole; none of the rows."""
    try:
        with reading(path) as connection:
            yield f"schema version {connection.execute('PRAGMA user_version').fetchone()[0]}"
            yield f"quick check: {connection.execute('PRAGMA quick_check(5)').fetchall()}"
            for (table,) in connection.execute(_TABLES).fetchall():
                [(count,)] = connection.execute(f'SELECT count(*) FROM "{table}"').fetchall()  # noqa: S608  the file's own
                yield f"{table}: {count:,} rows"
    except (AgentError, sqlite3.Error) as error:
        yield f"can't be read: {error}"


def _authorizations(path: Path) -> str:
    """The newest, with masked cards and without contracts."""
    with reading(path) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(_RECORDS, (NEWEST,)).fetchall()
    return "".join(f"{json_text(_record(dict(row)))}\n" for row in rows)


def _record(row: dict[str, object]) -> dict[str, object]:
    times = {
        key: from_us(value).isoformat() if isinstance(value := row[key], int) else None
        for key in ("tapped_at", "ended_at")
    }
    return {**row, **times, "uid": masked(str(row["uid"]))}


def _asked(*command: str) -> str:
    program = shutil.which(command[0])
    if program is None:
        return f"{command[0]}: not on this machine\n"
    done = subprocess.run((program, *command[1:]), capture_output=True, timeout=COMMAND_S, check=False)  # noqa: S603  our own words
    said, complaint = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    if complaint and "permission" in complaint.casefold():
        click.echo(f"{' '.join(command[:2])}: not all of it may be read by this user: run it as root", err=True)
    return said + (f"{command[0]}: {complaint}" if complaint else "")
