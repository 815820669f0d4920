"""Who gets in, how much he may, and that every answer is an envelope: OCPI 2.2.1 transport_and_format, status_codes."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.ocpi.server.asgi import WELCOME
from agent.ocpi.server.authorization import candidates
from agent.ocpi.server.gate import Limits
from agent.ocpi.server.limits import is_nested_too_deep
from agent.runtime.reception import TokenDesk
from agent.store.peers import Accepted, PeerStore
from tests.ocpi_server.site import Site, card, client_of, header, site_in

TOKEN_URL = "/2.2.1/tokens/DE/ABC/04A1B2C3"


def envelope(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert set(body) <= {"status_code", "status_message", "timestamp", "data"}
    assert datetime.fromisoformat(body["timestamp"]).utcoffset() is not None
    assert len(body["timestamp"]) <= 25
    return body


@pytest.mark.parametrize("plain", [False, True])
async def test_token_is_taken_in_base64_and_plain(site: Site, plain: bool) -> None:  # noqa: FBT001
    async with client_of(site, await site.agreed(), plain=plain) as client:
        assert (await client.get("/versions")).status_code == 200


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Token eA==", ["x", "eA=="]),
        ("token eA==", ["x", "eA=="]),
        ("Token   eA==  ", ["x", "eA=="]),
        ("Token ZXhhbXBsZS10b2tlbgo=", ["example-token", "ZXhhbXBsZS10b2tlbgo="]),
        ("Token not/base64!", ["not/base64!"]),
        ("Token ////", ["////"]),
        (None, []),
        ("", []),
        ("Token", []),
        ("Token ", []),
        ("Bearer eA==", []),
        ("Basic dXNlcjp4", []),
        ("Token " + "x" * 1000, []),
        ("Token \xff\xfe", ["\xff\xfe"]),
    ],
)
def test_header_is_read_in_every_way_that_occurs(value: str | None, found: list[str]) -> None:
    assert candidates(value) == found


@pytest.mark.parametrize("value", [None, "", "Token", "Token x", "Bearer x", "Token =", "Token \xff", "\xff"])
@pytest.mark.parametrize("path", ["/versions", "/2.2.1/credentials", TOKEN_URL, "/nothing", "/"])
async def test_header_that_is_missing_or_of_nobody_is_401_everywhere(site: Site, value: str | None, path: str) -> None:
    headers = {} if value is None else {"Authorization": value.encode("latin-1")}
    async with client_of(site) as client:
        answer = await client.get(path, headers=headers)  # type: ignore[arg-type]  # bytes are sent as they are
    assert answer.status_code == 401
    assert envelope(answer)["status_code"] == 2000


async def test_token_a_opens_versions_and_credentials_and_shall_be_401_on_another_module(site: Site) -> None:
    invitation = await site.registrar.invite("emsp")
    async with client_of(site, invitation.token) as client:
        answers = [await client.get(path) for path in ("/versions", "/2.2.1", "/2.2.1/credentials", TOKEN_URL)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 401]


@pytest.mark.parametrize("path", ["/versions", "/nothing", TOKEN_URL])
async def test_accepted_token_makes_its_connection_welcome(site: Site, path: str) -> None:
    assert await is_welcome(site, path, await site.agreed())


@pytest.mark.parametrize("token", [None, "nobodys"])
async def test_no_other_request_makes_its_connection_welcome(site: Site, token: str | None) -> None:
    await site.agreed()
    assert not await is_welcome(site, "/versions", token)


async def is_welcome(site: Site, path: str, token: str | None) -> bool:
    noted: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await site.app({**scope, "extensions": {WELCOME: lambda: noted.append(True)}}, receive, send)

    headers = header(token) if token else {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=site.url, headers=headers) as client:
        await client.get(path)
    return bool(noted)


async def test_versions_and_details_name_absolute_urls_under_the_public_one(
    site: Site, peer: httpx.AsyncClient
) -> None:
    assert envelope(await peer.get("/versions"))["data"] == [{"version": "2.2.1", "url": f"{site.url}/2.2.1"}]
    assert envelope(await peer.get("/2.2.1"))["data"] == {
        "version": "2.2.1",
        "endpoints": [
            {"identifier": "credentials", "role": "SENDER", "url": f"{site.url}/2.2.1/credentials"},
            {"identifier": "tokens", "role": "RECEIVER", "url": f"{site.url}/2.2.1/tokens"},
        ],
    }


@pytest.mark.parametrize("path", ["/versions/", "/2.2.1/", "/2.2.1/credentials/", "/2.2.1/credentials//"])
async def test_trailing_slash_makes_no_difference(peer: httpx.AsyncClient, path: str) -> None:
    assert (await peer.get(path)).status_code == 200


async def test_request_ids_come_back(peer: httpx.AsyncClient) -> None:
    answer = await peer.get("/nothing", headers={"X-Request-ID": "r-1", "X-Correlation-ID": "c-1"})
    assert (answer.headers["x-request-id"], answer.headers["x-correlation-id"]) == ("r-1", "c-1")


async def test_request_without_ids_gets_some(peer: httpx.AsyncClient) -> None:
    answer = await peer.get("/versions")
    assert answer.headers["x-request-id"] != answer.headers["x-correlation-id"]


ROUTING = {
    "OCPI-from-country-code": "DE",
    "OCPI-from-party-id": "ABC",
    "OCPI-to-country-code": "NL",
    "OCPI-to-party-id": "CPO",
}


async def test_routing_headers_are_swapped_on_functional_modules(peer: httpx.AsyncClient) -> None:
    answer = await peer.get(TOKEN_URL, headers=ROUTING)
    way_back = {name: answer.headers[name] for name in ROUTING}
    assert list(way_back.values()) == ["NL", "CPO", "DE", "ABC"]


async def test_request_for_another_party_is_served_and_answered_from_us(site: Site, peer: httpx.AsyncClient) -> None:
    wrong = ROUTING | {"OCPI-to-country-code": "FR", "OCPI-to-party-id": "XYZ"}
    answer = await peer.put(TOKEN_URL, json=card(), headers=wrong)
    assert (answer.status_code, envelope(answer)["status_code"]) == (201, 1000)
    assert (answer.headers["ocpi-from-country-code"], answer.headers["ocpi-from-party-id"]) == ("NL", "CPO")
    assert len(await site.whitelist.list_tokens()) == 1


async def test_open_routing_request_is_answered_from_us(peer: httpx.AsyncClient) -> None:
    answer = await peer.get(TOKEN_URL)
    assert (answer.headers["ocpi-from-country-code"], answer.headers["ocpi-from-party-id"]) == ("NL", "CPO")
    assert "ocpi-to-party-id" not in answer.headers


async def test_configuration_modules_shall_not_have_routing_headers(peer: httpx.AsyncClient) -> None:
    answer = await peer.get("/2.2.1/credentials", headers=ROUTING)
    assert [name for name in answer.headers if name.startswith("ocpi-")] == []


@pytest.mark.parametrize("path", ["/", "/nothing", "/2.2.1/cdrs", "/2.1.1", "/versions/more", "/../versions"])
async def test_unknown_path_is_404_with_an_envelope(peer: httpx.AsyncClient, path: str) -> None:
    answer = await peer.get(path)
    assert (answer.status_code, envelope(answer)["status_code"]) == (404, 2000)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/versions"), ("DELETE", "/2.2.1"), ("PATCH", "/2.2.1/credentials"), ("OPTIONS", "/versions")],
)
async def test_method_that_is_not_offered_is_405_with_an_envelope(
    peer: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await peer.request(method, path)
    assert (answer.status_code, envelope(answer)["status_code"]) == (405, 2000)
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b'{"a":\xff}', b'"\\ud800"', b"\x00", b"[1,]", b"\xef\xbb\xbf{}"]
)
@pytest.mark.parametrize(("method", "path"), [("PUT", TOKEN_URL), ("PATCH", TOKEN_URL), ("PUT", "/2.2.1/credentials")])
async def test_body_that_is_no_json_is_400_with_an_envelope(
    site: Site, peer: httpx.AsyncClient, method: str, path: str, body: bytes
) -> None:
    answer = await peer.request(method, path, content=body)
    assert answer.status_code == 400
    assert envelope(answer)["status_code"] == 2000
    assert await site.whitelist.list_tokens() == []


@pytest.mark.parametrize("number", [b"1e400", b"-1e999", b"1" * 5000])
async def test_number_that_nobody_can_hold_is_json_all_the_same(peer: httpx.AsyncClient, number: bytes) -> None:
    broken = await peer.put(TOKEN_URL, content=b'{"issuer":' + number + b"x}")
    wrong = await peer.put(TOKEN_URL, content=b'{"issuer":' + number + b"}")
    unknown = await peer.put(TOKEN_URL, content=json.dumps(card()).encode()[:-1] + b',"extra":' + number + b"}")
    assert (broken.status_code, envelope(broken)["status_code"]) == (400, 2000)
    assert (wrong.status_code, envelope(wrong)["status_code"]) == (200, 2001)
    assert (unknown.status_code, envelope(unknown)["status_code"]) == (201, 1000)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
async def test_body_nested_without_end_is_refused(peer: httpx.AsyncClient, opening: bytes) -> None:
    answer = await peer.put(TOKEN_URL, content=opening * (60_000 // len(opening)))
    assert envelope(answer)["status_code"] == 2001


@pytest.mark.parametrize("filling", [b'\\"', b'"', b"\\", b'\\\\"', b'"\\'])
def test_string_that_does_not_end_is_gone_through_once(filling: bytes) -> None:
    # Anything slower than that takes hours.
    assert is_nested_too_deep(b"[" * 33 + b'"' + filling * 1_000_000)


async def test_brackets_within_a_string_are_no_nesting(peer: httpx.AsyncClient) -> None:
    answer = await peer.put(TOKEN_URL, json=card(issuer='"[' * 30))
    assert answer.status_code == 201


async def test_body_of_the_limit_is_read_and_one_byte_more_is_413(site: Site, peer: httpx.AsyncClient) -> None:
    body = json.dumps(card()).encode()
    assert (await peer.put(TOKEN_URL, content=body.ljust(65_536))).status_code == 201
    answer = await peer.put(TOKEN_URL, content=body.ljust(65_537))
    assert (answer.status_code, envelope(answer)["status_code"]) == (413, 2000)


async def test_requests_of_one_caller_are_limited_and_others_go_on(tmp_path: Path) -> None:
    async with site_in(tmp_path, limits=Limits(requests_per_minute=3), serve=False) as site:
        invitation = await site.registrar.invite("other")
        async with client_of(site, await site.agreed()) as client:
            answers = [await client.get("/versions") for _ in range(4)]
            other = await client.get("/versions", headers=header(invitation.token))
            site.clock.passed = site.clock.passed.resolution * 20_000_000
            later = await client.get("/versions")
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert int(answers[3].headers["retry-after"]) == 20
    assert envelope(answers[3])["status_code"] == 2000
    assert (other.status_code, later.status_code) == (200, 200)


async def test_failed_logins_of_one_address_are_limited_and_a_good_token_goes_through(tmp_path: Path) -> None:
    limits = Limits(failed_logins_per_minute=2)
    async with site_in(tmp_path, limits=limits, serve=False) as site, client_of(site) as client:
        answers = [await client.get("/versions", headers=header(f"wrong-{n}")) for n in range(3)]
        good = await client.get("/versions", headers=header(await site.agreed()))
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert envelope(answers[2])["status_code"] == 2000
    assert good.status_code == 200


async def test_storage_that_fails_is_500_with_3000(
    site: Site, peer: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await site.whitelist.close()
    answer = await peer.put(TOKEN_URL, json=card())
    assert (answer.status_code, envelope(answer)["status_code"]) == (500, 3000)
    assert "04A1B2C3" not in caplog.text
    assert "could not be served" in caplog.text


async def test_fault_of_the_program_is_500_with_3000_and_logged_without_what_it_says(
    site: Site, peer: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    site.reception._us = None  # type: ignore[assignment]  # the fault
    answer = await peer.get("/2.2.1/credentials", headers={"X-Request-ID": "r-9"})
    assert (answer.status_code, envelope(answer)["status_code"]) == (500, 3000)
    assert answer.headers["x-request-id"] == "r-9"
    assert "AttributeError" in caplog.text
    assert "current-token" not in caplog.text


def test_token_that_is_base64_of_another_is_read_both_ways() -> None:
    inner = b64encode(b"abc").decode()
    assert candidates(f"Token {inner}") == ["abc", inner]


class Watched:
    """A desk on a store that counts the lookups, and holds each one's result back while it is told to."""

    def __init__(self, site: Site) -> None:
        self.looked_up = 0
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.found = asyncio.Event()
        self.desk = TokenDesk(_Counting(site.store, self), now=site.clock.now)


class _Counting(PeerStore):
    def __init__(self, store: PeerStore, watched: Watched) -> None:
        super().__init__(store._database)
        self._watched = watched

    async def caller(self, candidates: Sequence[str], now: datetime) -> Accepted | None:
        accepted = await super().caller(candidates, now)
        self._watched.looked_up += 1
        self._watched.found.set()
        await self._watched.let_go.wait()
        return accepted


@pytest.fixture
async def watched(site: Site) -> Watched:
    """The peer has used its token already."""
    watched = Watched(site)
    await watched.desk.caller([await site.agreed()])
    watched.looked_up = 0
    watched.found.clear()
    return watched


@pytest.fixture
async def elsewhere(site: Site, tmp_path: Path) -> AsyncIterator[PeerStore]:
    """The same file as another process has it."""
    store = await PeerStore.open(tmp_path / "state.db")
    yield store
    await store.close()


async def test_token_that_was_looked_up_is_known_in_either_form(watched: Watched) -> None:
    callers = [await watched.desk.caller(form) for form in (["current-token"], ["nonsense", "current-token"]) * 2]
    assert [caller and (caller.peer, caller.token) for caller in callers] == [("emsp", "current-token")] * 4
    assert watched.looked_up == 1


async def test_token_of_nobody_is_looked_up_each_time(watched: Watched) -> None:
    assert [await watched.desk.caller(["wrong"]) for _ in range(2)] == [None, None]
    assert watched.looked_up == 2


async def test_token_that_is_withdrawn_in_another_process_opens_nothing_from_then_on(
    site: Site, watched: Watched, elsewhere: PeerStore
) -> None:
    assert await watched.desk.caller(["current-token"])
    await elsewhere.end("emsp", site.clock.now())
    assert await watched.desk.caller(["current-token"]) is None


async def test_token_that_is_withdrawn_here_opens_nothing_from_then_on(site: Site, watched: Watched) -> None:
    assert await watched.desk.caller(["current-token"])
    await site.store.end("emsp", site.clock.now())
    assert await watched.desk.caller(["current-token"]) is None


async def test_lookup_that_a_withdrawal_overtakes_is_not_remembered(
    site: Site, watched: Watched, elsewhere: PeerStore
) -> None:
    watched.let_go.clear()
    slow = asyncio.create_task(watched.desk.caller(["current-token"]))
    await watched.found.wait()
    await elsewhere.end("emsp", site.clock.now())
    watched.let_go.set()
    other = await watched.desk.caller(["current-token"])
    assert await slow is not None  # it was the peer's when it was asked
    assert [other, await watched.desk.caller(["current-token"])] == [None, None]


async def test_invite_that_was_used_expires_all_the_same(site: Site) -> None:
    invitation = await site.registrar.invite("emsp", expires=timedelta(days=1))
    assert await site.desk.caller([invitation.token])
    site.clock.passed += timedelta(days=2)
    assert await site.desk.caller([invitation.token]) is None


async def test_push_whose_sender_is_unregistered_before_its_last_byte_is_refused(served_site: Site) -> None:
    body = json.dumps(card()).encode()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:10]
        await served_site.store.end("emsp", served_site.clock.now())
        yield body[10:]

    headers = header(await served_site.agreed())
    async with httpx.AsyncClient(headers=headers) as client:
        answer = await client.put(f"{served_site.url}{TOKEN_URL}", content=slowly())
    assert (answer.status_code, envelope(answer)["status_code"]) == (401, 2000)
    assert await served_site.whitelist.count() == {}


async def test_body_of_a_caller_that_is_refused_is_drained_and_not_kept(site: Site) -> None:
    async with client_of(site, "nobody's") as client:
        answer = await client.put(TOKEN_URL, content=b"x" * 65_536)
        assert (answer.status_code, answer.headers.get("connection")) == (401, None)
        answer = await client.put(TOKEN_URL, content=b"x" * (3 << 20))
        assert (answer.status_code, answer.headers.get("connection")) == (401, "close")
