"""The server's certificate: read at the start, and again when it was renewed."""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from agent.errors import ConfigError
from agent.ocpi.server.certificate import Certificate, tls_of
from agent.ocpi.server.serve import OcpiServer

LONG_S = 30
"""Against hanging for ever."""


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def issue(folder: Path, authority: trustme.CA) -> tuple[Path, Path]:
    """A new certificate and its key, in place of those that are there."""
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return folder / "cert.pem", folder / "key.pem"


def as_shown(certificate: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii"))


async def shown(port: int, authority: trustme.CA) -> bytes:
    """The certificate that a new connection is shown."""
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with asyncio.timeout(LONG_S):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
    return found


@asynccontextmanager
async def serving(certificate: Certificate) -> AsyncIterator[int]:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    server = OcpiServer(app, host="127.0.0.1", port=0, tls=certificate.context)
    running = asyncio.create_task(server.run())
    try:
        yield server.port
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_renewed_certificate_is_shown_to_the_next_connection(tmp_path: Path) -> None:
    authority, clock = trustme.CA(), Clock()
    cert, key = issue(tmp_path, authority)
    async with serving(Certificate(cert, key, clock=clock, look_every_s=5)) as port:
        first = await shown(port, authority)
        assert first == as_shown(cert)
        issue(tmp_path, authority)
        clock.now_s = 4.9
        assert await shown(port, authority) == first
        clock.now_s = 5
        assert await shown(port, authority) == as_shown(cert) != first


async def test_renewed_certificate_of_no_use_leaves_the_old_one_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    cert, key = issue(tmp_path, authority)
    async with serving(Certificate(cert, key, look_every_s=0)) as port:
        first = await shown(port, authority)
        trustme.CA().issue_cert("127.0.0.1").cert_chain_pems[0].write_to_path(cert)  # of another key
        assert [await shown(port, authority) for _ in range(3)] == [first] * 3
        key.unlink()
        assert [await shown(port, authority) for _ in range(3)] == [first] * 3
        assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
        assert str(cert) in caplog.text
        issue(tmp_path, authority)
        assert await shown(port, authority) == as_shown(cert) != first


def test_encrypted_key_is_a_configuration_error_and_nobody_is_asked(tmp_path: Path) -> None:
    cert, key = issue(tmp_path, trustme.CA())
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    key.write_bytes(
        plain.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption),
    )
    with pytest.raises(ConfigError, match="must not be encrypted"):
        tls_of(cert, key, "panel")


def test_certificate_that_is_none_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate", encoding="ascii")
    with pytest.raises(ConfigError, match=r"panel: tls_certificate .*in PEM in one file, unless tls_key"):
        tls_of(tmp_path / "cert.pem", None, "panel")


def test_certificate_without_its_key_says_what_to_do(tmp_path: Path) -> None:
    cert, _ = issue(tmp_path, trustme.CA())
    with pytest.raises(ConfigError, match=r"unless tls_key names another for the key: one of the two is missing"):
        tls_of(cert, None, "panel")


def test_key_of_another_certificate_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority = trustme.CA()
    (cert, _), (_, key) = issue(tmp_path, authority), issue(tmp_path / "other", authority)
    with pytest.raises(ConfigError, match=r"tls_key .*key\.pem: .*the key is another certificate's"):
        tls_of(cert, key, "panel")


def test_certificate_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cert\.pem.*No such file"):
        Certificate(tmp_path / "cert.pem", None)


def test_pipe_in_a_certificates_place_is_refused_and_waited_for_by_nobody(tmp_path: Path) -> None:
    cert, key = issue(tmp_path, trustme.CA())
    key.unlink()
    os.mkfifo(key)
    with pytest.raises(ConfigError, match=r"panel: tls_key .*key\.pem: is no file"):
        tls_of(cert, key, "panel")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="only Linux has a file that opens and can't be read")
def test_file_that_opens_and_cannot_be_read_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"panel: tls_certificate /proc/self/mem: can't be read"):
        tls_of(Path("/proc/self/mem"), None, "panel")
