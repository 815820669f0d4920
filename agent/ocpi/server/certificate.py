"""What the server shows under TLS: a certificate and its key, from files that are renewed while it runs."""

import logging
import os
import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path

from agent.errors import ConfigError

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0
"""However many connections come: two calls of stat are cheap, but not for each one of a flood."""

_Stamp = tuple[tuple[int, int, int] | None, ...]


class Certificate:
    """Gives each connection the newest certificate that could be read."""

    def __init__(
        self,
        certificate: Path,
        key: Path | None,
        *,
        section: str = "ocpi.server",
        look_every_s: float = _LOOK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`certificate` with its chain, and `key` unless it is in there, in PEM. Raises ConfigError.

        `section` is where the configuration names them.
        """
        self._section = section
        self._files = (certificate, key)
        self._look_every_s = look_every_s
        self._clock = clock
        self._looked_at = clock()
        self._stamp = self._now()
        self._context = tls_of(certificate, key, section)

    def context(self) -> ssl.SSLContext:
        """For the next connection. Renewed files that are of no use are logged once, and the old ones stay."""
        now = self._clock()
        if now - self._looked_at >= self._look_every_s:
            self._looked_at = now
            self._look()
        return self._context

    def _look(self) -> None:
        stamp = self._now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            # A context of its own: of two files that don't go together, the old one would keep half.
            self._context = tls_of(*self._files, self._section)
        except ConfigError as error:
            log.error("a renewed certificate can't be used, peers are shown the old one: %s", error)
        else:
            log.info("a renewed certificate is shown from now on: %s", self._files[0])

    def _now(self) -> _Stamp:
        return tuple(_stamp(path) for path in self._files if path is not None)


def tls_of(certificate: Path, key: Path | None, section: str) -> ssl.SSLContext:
    """A certificate with its chain, and its key, in PEM. Raises ConfigError; never asks for a password."""
    _check_readable(f"{section}: tls_certificate", certificate)
    if key is not None:
        _check_readable(f"{section}: tls_key", key)
    named = f"{section}: tls_certificate {certificate}" + (f", tls_key {key}" if key else "")

    def password() -> str:
        # Without this OpenSSL would ask for it on the terminal, and a service would wait for ever.
        raise ConfigError(f"{named}: the key must not be encrypted: nobody is there to type its password")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password)
    except OSError as error:
        if not isinstance(error, ssl.SSLError):  # gone, or a bad block, since it was looked at
            raise ConfigError(f"{named}: can't be read: {error.strerror or error}") from error
        of_two = error.reason == "KEY_VALUES_MISMATCH"
        wrong = "the key is another certificate's" if of_two else "one of the two is missing, or is no PEM"
        beside = "" if key else " in one file, unless tls_key names another for the key"
        raise ConfigError(f"{named}: expected a certificate and its key in PEM{beside}: {wrong}") from error
    return context


def _check_readable(named: str, path: Path) -> None:
    try:
        # Who opens a pipe would wait for whoever writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"{named} {path}: can't be read: {error.strerror or error}") from error
    if not is_file:
        raise ConfigError(f"{named} {path}: is no file")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What is different once a file was written again or replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
