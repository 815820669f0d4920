"""Whom to trust for https: the system's certificate authorities, or a peer's own."""

import re
import ssl
from contextlib import suppress
from pathlib import Path

from agent.errors import ConfigError

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""A certificate in a folder as OpenSSL looks it up, by the hash of its subject: openssl-rehash(1)."""

_BEGINS = b"-----BEGIN CERTIFICATE-----"


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Trust in the system's certificate authorities, or in those of `ca_file` alone. Raises ConfigError."""
    folder = None if ca_file else folder_of(ssl.get_default_verify_paths())
    try:
        return ssl.create_default_context(cafile=ca_file, capath=folder)
    except OSError as error:
        raise ConfigError(f"ca_file {ca_file}: expected certificates in PEM: {error.strerror or error}") from error


def folder_of(paths: ssl.DefaultVerifyPaths) -> str | None:
    """Where the system keeps its authorities one by one, if that is all of them; None to take them as OpenSSL does.

    OpenSSL reads the system's file as a whole, 140 authorities of which a peer needs one: 1.3 MB for the first context,
    0.9 for each further one, and 30 ms each. From the folder it takes those that a handshake asks for. Not where
    somebody named another file (SSL_CERT_FILE), nor where the file has more than the folder.
    """
    if not paths.cafile or not paths.capath:
        return None  # what is missing costs nothing
    with suppress(OSError):
        system = Path(paths.openssl_cafile)
        hashed = sum(bool(_HASHED.fullmatch(entry.name)) for entry in Path(paths.capath).iterdir())
        if system.samefile(paths.cafile) and 0 < system.read_bytes().count(_BEGINS) <= hashed:
            return paths.capath
    return None
