"""The login file: who may log in to the panel, one `user:scrypt:N:r:p:salt:hash` a line, salt and hash in base64.

scrypt (RFC 7914) comes with Python; what it costs an attacker is time and memory for each guess.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.errors import AgentError, ConfigError

SHORTEST: Final = 10
"""Characters of a password: with as many guesses as are let through, one of ten outlives the charger."""

LONGEST: Final = 256
"""Characters: what nobody types, nobody has to have hashed."""

_N, _R, _P = 1 << 14, 8, 5
"""16 MiB and some 0.2 s on a development machine, 1 s on a small controller. OWASP's password storage cheat sheet gives
this as equal to N = 2^17 with p = 1, which would take 128 MiB: three times what the whole agent has."""

_MOST_BYTES: Final = 64 << 20
"""Of memory for one password: a line that asks for more is refused, or its owner could end the agent by logging in."""

_MOST_P: Final = 16
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32

_MODE: Final = 0o600
_MOST_FILE: Final = 64 << 10

_USER = re.compile(r"[A-Za-z0-9._-]{1,32}")


@dataclass(frozen=True, slots=True)
class Credential:
    """One line."""

    user: str
    n: int
    r: int
    p: int
    salt: bytes
    hash: bytes

    def matches(self, password: str) -> bool:
        """Whether this is the password. Takes as long for a wrong one; blocks, without the interpreter's lock."""
        return hmac.compare_digest(self.hash, self.derived(password))

    def derived(self, password: str) -> bytes:
        """What the password comes to with this line's salt and cost. Blocks."""
        # maxmem counts everything that OpenSSL takes, a little more than the 128 * N * r bytes of the table.
        room = 128 * self.r * (self.n + self.p + 2) + (1 << 20)
        secret = password.encode("utf-8", "surrogatepass")
        return hashlib.scrypt(secret, salt=self.salt, n=self.n, r=self.r, p=self.p, maxmem=room, dklen=_HASH_BYTES)

    def __str__(self) -> str:
        salt, derived = (base64.b64encode(part).decode() for part in (self.salt, self.hash))
        return f"{self.user}:scrypt:{self.n}:{self.r}:{self.p}:{salt}:{derived}"


def credential_for(user: str, password: str) -> Credential:
    """A new line. Raises ConfigError for a name or a password that won't do, without showing the latter."""
    check_user(user)
    check_password(password)
    blank = Credential(user, _N, _R, _P, secrets.token_bytes(_SALT_BYTES), b"")
    return replace(blank, hash=blank.derived(password))


def check_user(user: str) -> None:
    """Raises ConfigError for a name that would spoil the file."""
    if not _USER.fullmatch(user):
        raise ConfigError("panel: a user's name has 1 to 32 letters, digits, dots, hyphens and underscores")


def check_password(password: str) -> None:
    """Raises ConfigError for one that won't do, without showing it."""
    if len(password) < SHORTEST or len(password) > LONGEST:
        raise ConfigError(f"panel: a password has {SHORTEST} to {LONGEST} characters")


def nobody() -> Credential:
    """What an unknown name's password is held against, so that the time it takes does not tell who is known."""
    return Credential("", _N, _R, _P, secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_HASH_BYTES))


def read_logins(file: Path) -> dict[str, Credential]:
    """Everybody in the file. Raises ConfigError for one that can't be read, or that others may read or change."""
    try:
        # Who opens a pipe would wait for whoever writes into it, and the agent with it.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(_MOST_FILE + 1).decode("utf-8") if stat.S_ISREG(mode) else ""
    except (OSError, UnicodeDecodeError) as error:
        make = "make it: chargepoint-agent panel password USER"
        if isinstance(error, PermissionError):
            make = "give it to the agent's user, or to its group with mode 0640"
        raise ConfigError(f"panel.login_file: {file}: can't be read: {error}; {make}") from error
    # Its group may be the service's own, as with the configuration.
    if not stat.S_ISREG(mode) or mode & 0o037:
        raise ConfigError(f"panel.login_file: {file}: others may read or change it: chmod 640, or 600")
    if len(text) > _MOST_FILE:
        raise ConfigError(f"panel.login_file: {file}: has more than {_MOST_FILE} bytes")
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return {one.user: one for one in (_credential(line, f"{file}: line {number}") for number, line in lines)}


def set_password(file: Path, credential: Credential) -> bool:
    """Put the line into the file, in the place of its user's old one; whole or not at all, readable by its owner alone.

    Whether the user was there before. Owner and group stay. Raises ConfigError for a file that is there and can't be
    read as one, AgentError for a disk that fails.
    """
    place = file.resolve()
    there = read_logins(place) if place.exists() else {}
    known = credential.user in there
    lines = "".join(f"{one}\n" for one in {**there, credential.user: credential}.values())
    try:
        _write(place, lines.encode())
    except OSError as error:
        raise AgentError(f"{file}: can't be written: {error.strerror}; it is left as it was") from error
    return known


def _write(place: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".panel-", dir=place.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            # Written by root, read by the service: whose it was stays whose it is; a new one is the folder's owner's,
            # and where that is root, its group's as well, as the package has it.
            whose = (place if place.exists() else place.parent).stat()
            shared = (place.exists() and whose.st_mode & 0o040) or (whose.st_uid == 0 and whose.st_gid != 0)
            os.fchmod(descriptor, _MODE | (0o040 if shared else 0))
            if os.geteuid() == 0:
                os.fchown(descriptor, whose.st_uid, whose.st_gid)
            os.fsync(descriptor)
        part.replace(place)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _credential(line: str, where: str) -> Credential:
    try:
        user, kind, n, r, p, salt, derived = line.strip().split(":")
        one = Credential(user, int(n), int(r), int(p), _bytes(salt), _bytes(derived))
    except (ValueError, binascii.Error):
        raise ConfigError(f"panel.login_file: {where}: expected user:scrypt:N:r:p:salt:hash") from None
    is_power = one.n > 1 and one.n & (one.n - 1) == 0
    # Below 2 ** (16 r), RFC 7914, 2.
    is_power = is_power and one.r > 0 and one.n.bit_length() - 1 < 16 * one.r
    is_fitting = one.r > 0 and 0 < one.p <= _MOST_P and 128 * one.n * one.r <= _MOST_BYTES
    is_whole = len(one.salt) >= 8 and len(one.hash) == _HASH_BYTES
    if kind != "scrypt" or not _USER.fullmatch(user) or not (is_power and is_fitting and is_whole):
        raise ConfigError(
            f"panel.login_file: {where}: set this password anew: chargepoint-agent panel password {_shown(user)}"
        )
    return one


def _shown(user: str) -> str:
    return user if _USER.fullmatch(user) else "USER"


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
