"""A peer behind TLS: real handshakes with certificates of an authority made for the test."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme

from agent.errors import ConfigError
from agent.model import LocationReferences, Outcome
from agent.ocpi.client import Failure, OcpiClient, tls_context
from agent.ocpi.connection import Connection, Reply, Unsent
from agent.ocpi.tokens import AllowedType, AuthorizationInfo
from agent.ocpi.trust import folder_of
from agent.runtime.peer_check import CheckedPeer, Level, check_peer
from fakes.emsp import FakeEmsp

UID = "04A1B2C3D4"
LOCATION = LocationReferences("LOC1", ("E1",))


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def ca_file(authority: trustme.CA, folder: Path) -> Path:
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


async def asked(emsp: FakeEmsp, tls: ssl.SSLContext | None) -> AuthorizationInfo | Failure:
    emsp.card(UID)
    client = OcpiClient(
        "acme",
        token=emsp.credentials_token,
        us=("DE", "EXA"),
        them=("DE", "ABC"),
        versions_url=emsp.versions_url,
        tls=tls,
    )
    try:
        return await client.authorize(UID, LOCATION, correlation_id="c-1")
    finally:
        await client.aclose()


async def test_certificate_of_the_configured_authority_is_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    async with FakeEmsp(tls=server_context(authority)) as emsp:
        reply = await asked(emsp, tls_context(ca_file(authority, tmp_path)))
        assert emsp.versions_url.startswith("https://")
    assert isinstance(reply, AuthorizationInfo)
    assert reply.allowed is AllowedType.ALLOWED


async def test_certificate_of_an_unknown_authority_is_unreachable_and_says_why() -> None:
    async with FakeEmsp(tls=server_context(trustme.CA())) as emsp:
        reply = await asked(emsp, None)
        assert emsp.requests == []
    assert isinstance(reply, Failure)
    assert reply.outcome is Outcome.UNREACHABLE
    assert "certificate verify failed" in reply.detail


async def test_certificate_of_another_host_is_unreachable_and_says_why(tmp_path: Path) -> None:
    authority = trustme.CA()
    async with FakeEmsp(tls=server_context(authority, "emsp.example.com")) as emsp:
        reply = await asked(emsp, tls_context(ca_file(authority, tmp_path)))
        assert emsp.requests == []
    assert isinstance(reply, Failure)
    assert reply.outcome is Outcome.UNREACHABLE
    assert "certificate verify failed" in reply.detail


@pytest.mark.parametrize("trust", [None, tls_context()], ids=["by default", "given"])
async def test_request_to_a_server_that_nobody_signed_for_never_arrives(trust: ssl.SSLContext | None) -> None:
    async with FakeEmsp(tls=server_context(trustme.CA())) as emsp:
        connection = Connection(tls=trust)
        reply = await connection.send("GET", emsp.versions_url, [(b"Authorization", b"Token c2VjcmV0")], most_bytes=9)
        await connection.aclose()
        assert emsp.requests == []
    assert isinstance(reply, Unsent)
    assert "certificate verify failed" in reply.detail


async def test_check_of_a_peer_that_nobody_signed_for_never_shows_it_the_token() -> None:
    async with FakeEmsp(tls=server_context(trustme.CA())) as emsp:
        peer = CheckedPeer("acme", "secret-token", us=("DE", "EXA"), them=("DE", "ABC"), versions_url=emsp.versions_url)
        findings = await check_peer(peer, tls=None)
        assert emsp.requests == []
    assert [finding.level for finding in findings] == [Level.BROKEN]


async def test_authorities_of_the_system_are_those_that_are_trusted_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file(authority, tmp_path)))
    async with FakeEmsp(tls=server_context(authority)) as emsp:
        connection = Connection()
        reply = await connection.send("GET", emsp.versions_url, [], most_bytes=1 << 10)
        await connection.aclose()
    assert isinstance(reply, Reply)


def test_authority_that_is_no_certificate_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected certificates in PEM"):
        tls_context(path)


# The system's authorities


async def test_authority_in_the_file_that_the_environment_names_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file(authority, tmp_path)))
    async with FakeEmsp(tls=server_context(authority)) as emsp:
        reply = await asked(emsp, None)
    assert isinstance(reply, AuthorizationInfo)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="only OpenSSL's own program knows the hash of a name")
async def test_authority_in_a_folder_alone_is_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    rehash(ca_file(authority, tmp_path).parent)
    async with FakeEmsp(tls=server_context(authority)) as emsp:
        reply = await asked(emsp, ssl.create_default_context(capath=tmp_path))
    assert isinstance(reply, AuthorizationInfo)


def rehash(folder: Path) -> None:
    subprocess.run(["openssl", "rehash", str(folder)], check=True, timeout=60)


@pytest.mark.parametrize(("in_file", "in_folder", "taken"), [(2, 2, True), (2, 3, True), (3, 2, False), (0, 2, False)])
def test_folder_of_authorities_is_taken_where_it_has_all_of_them(
    tmp_path: Path, in_file: int, in_folder: int, *, taken: bool
) -> None:
    paths = verify_paths(tmp_path, in_file, in_folder)
    assert folder_of(paths) == (paths.capath if taken else None)


def test_folder_of_authorities_is_not_taken_where_another_file_is_named(tmp_path: Path) -> None:
    paths = verify_paths(tmp_path, 1, 1)
    other = tmp_path / "other.pem"
    other.write_text(Path(paths.cafile).read_text("utf-8"), "utf-8")
    assert folder_of(paths._replace(cafile=str(other))) is None


def test_folder_of_authorities_that_can_not_be_read_is_not_taken(tmp_path: Path) -> None:
    paths = verify_paths(tmp_path, 1, 1)
    assert folder_of(paths._replace(capath=str(tmp_path / "missing"))) is None


def verify_paths(folder: Path, in_file: int, in_folder: int) -> ssl.DefaultVerifyPaths:
    hashed, bundle = folder / "certs", folder / "bundle.pem"
    hashed.mkdir()
    bundle.write_text("-----BEGIN CERTIFICATE-----\n" * in_file, "utf-8")
    (hashed / "README").touch()
    for number in range(in_folder):
        (hashed / f"0123abc{number}.0").touch()
    return ssl.DefaultVerifyPaths(
        cafile=str(bundle),
        capath=str(hashed),
        openssl_cafile_env="SSL_CERT_FILE",
        openssl_cafile=str(bundle),
        openssl_capath_env="SSL_CERT_DIR",
        openssl_capath=str(hashed),
    )
