"""A peer behind TLS: real handshakes with certificates of an authority made for the test."""

import ssl
from pathlib import Path

import pytest
import trustme

from agent.errors import ConfigError
from agent.model import LocationReferences, Outcome
from agent.ocpi.client import Failure, OcpiClient, tls_context
from agent.ocpi.connection import Connection, Reply, Unsent
from agent.ocpi.tokens import AllowedType, AuthorizationInfo
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
