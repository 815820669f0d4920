"""URLs that a peer names: where nobody but we can be, it must not lead us, and what we found it does not learn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import httpx
import pytest

from agent.errors import PeerError
from agent.ocpi.failures import Failure
from agent.ocpi.handshake import Handshake, is_local_http
from agent.runtime.exchange import Us, connect_as
from agent.runtime.reception import Reception
from agent.runtime.registration import Registrar
from agent.store.peers import PeerStatus
from tests.ocpi.scripted import ScriptedPeer
from tests.ocpi_server.hostile import TOKEN_A, credentials, enveloped, peer_in_order
from tests.ocpi_server.site import NAME, Site, client_of

PUBLIC = "https://cpo.example.com/ocpi/versions"


def publish(site: Site, *, allow_http: bool = False) -> None:
    """Have the site found from outside, as a real one is, and not on this machine alone."""
    us = replace(site.us, versions_url=PUBLIC)
    connect = connect_as(us, allow_http=allow_http)
    public = Reception(site.store, us, connect, allow_http=allow_http, now=site.clock.now)
    vars(site.reception).update(vars(public))
    site.registrar = Registrar(site.store, us, connect, allow_http=allow_http, now=site.clock.now)


async def posted(site: Site, body: object) -> httpx.Response:
    invitation = await site.registrar.invite(NAME)
    async with client_of(site, invitation.token) as client:
        return await client.post("/2.2.1/credentials", json=body)


@asynccontextmanager
async def another_service() -> AsyncIterator[ScriptedPeer]:
    """Something else on this machine, which must not be asked anything."""
    async with peer_in_order() as service:
        yield service


async def test_peer_that_names_a_url_of_our_machine_is_refused_unasked(
    site: Site, scripted: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    publish(site)
    answer = await posted(site, credentials(scripted))
    assert (answer.json()["status_code"], answer.json()["status_message"]) == (2001, "url: expected an https URL")
    assert scripted.requests == []
    [warning] = [record for record in caplog.records if "refused" in record.message]
    assert (warning.levelname, warning.message.endswith("url: expected an https URL")) == ("WARNING", True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1.2.3"])
async def test_no_name_of_our_machine_is_taken(site: Site, scripted: ScriptedPeer, host: str) -> None:
    publish(site)
    answer = await posted(site, credentials(scripted, url=f"http://{host}:1/versions"))
    assert answer.json()["status_code"] == 2001


async def test_peer_on_our_machine_is_taken_where_plain_http_is_allowed(site: Site, scripted: ScriptedPeer) -> None:
    publish(site, allow_http=True)
    assert (await posted(site, credentials(scripted))).status_code == 201


@pytest.mark.parametrize("step", ["/versions", "/2.2.1"])
async def test_peer_of_our_operators_choice_leads_to_no_other_service_of_our_machine(
    site: Site, scripted: ScriptedPeer, step: str
) -> None:
    publish(site)
    async with another_service() as service:
        url = service.url
        endpoints = [
            {"identifier": name, "role": "SENDER", "url": f"{url}/{name}"} for name in ("credentials", "tokens")
        ]
        named = {
            "/versions": [{"version": "2.2.1", "url": f"{url}/2.2.1"}],
            "/2.2.1": {"version": "2.2.1", "endpoints": endpoints},
        }
        scripted.says(step, enveloped(named[step]))
        with pytest.raises(PeerError, match="version details: expected an https URL"):
            await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
        assert service.requests == []
    assert await site.store.relations() == []


async def test_peer_of_our_operators_choice_may_be_on_our_machine(site: Site, scripted: ScriptedPeer) -> None:
    publish(site)
    relation = await site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    assert relation.status is PeerStatus.REGISTERED
    assert (await site.registrar.unregister(NAME)).told_peer


async def test_refusal_tells_the_status_and_not_the_words_of_what_was_found(
    site: Site, scripted: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.says("/versions", {"status_code": 2000, "status_message": "of an inner service"}, status="403 Forbidden")
    answer = await posted(site, credentials(scripted))
    assert answer.json()["status_message"] == "calling you back failed: versions: HTTP 403"
    assert "of an inner service" in caplog.text


async def test_refusal_tells_not_why_there_was_no_connection(
    site: Site, scripted: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await posted(site, credentials(scripted, url="http://127.0.0.1:1/versions"))
    assert answer.json()["status_message"] == "calling you back failed: versions: unreachable"
    assert "Connection refused" in caplog.text


@pytest.mark.parametrize(
    ("body", "coarse"),
    [(b"a secret page", "no OCPI answer"), (b'{"status_code":3000,"status_message":"a secret"}', "OCPI 3000")],
)
async def test_refusal_tells_nothing_of_an_answer_that_is_none(
    site: Site, scripted: ScriptedPeer, body: bytes, coarse: str
) -> None:
    scripted.sends("/versions", body)
    answer = await posted(site, credentials(scripted))
    assert answer.json()["status_message"] == f"calling you back failed: versions: {coarse}"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_request_out_of_turn_is_logged(
    site: Site, scripted: ScriptedPeer, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    token = await site.agreed() if method == "POST" else (await site.registrar.invite(NAME)).token
    async with client_of(site, token) as client:
        assert (await client.request(method, "/2.2.1/credentials", json=credentials(scripted))).status_code == 405
    assert [record.levelname for record in caplog.records if "were refused" in record.message] == ["WARNING"]


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1/versions", True),
        ("http://localhost:8080/versions", True),
        ("https://127.0.0.1/versions", False),
        ("http://cpo.example.com/versions", False),
        ("no URL", False),
    ],
)
def test_plain_http_on_this_machine_is_told_apart(url: str, *, local: bool) -> None:
    assert is_local_http(url) is local


async def test_credentials_are_sent_once_where_a_kept_connection_breaks() -> None:
    """A server that read the request and died may have done it: OCPI's POST and PUT are no requests to repeat."""
    heads: list[bytes] = []
    handlers: list[asyncio.Task[None]] = []

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a GET; hang up on what comes next on that connection, and on anything else."""
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head.split(b" ", 1)[0])
            if not head.startswith(b"GET"):
                return
            body = b'{"status_code":1000,"data":[]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await answer_one(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.create_task(serve(reader, writer)))

    ours = Us("NL", "CPO", "A charge point operator", PUBLIC).credentials("token-b")
    async with await asyncio.start_server(accepted, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with Handshake(NAME, "token", us=("NL", "CPO")) as platform:
            assert await platform.versions(url) == []
            answer = await platform.exchange("PUT", url, ours)
        await asyncio.gather(*handlers)
    assert isinstance(answer, Failure)
    assert heads == [b"GET", b"PUT"]
