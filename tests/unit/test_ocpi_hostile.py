"""Whatever a peer sends comes back as a value: arbitrary headers, bodies and addresses through the real client."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import PeerError
from agent.model import LocationReferences
from agent.ocpi.addressing import check_url
from agent.ocpi.client import Endpoints, Failure, OcpiClient, Page
from agent.ocpi.failures import harmless
from agent.ocpi.headers import http_date, retry_after_s
from agent.ocpi.paging import joined, next_url, same_origin, server
from agent.ocpi.tokens import AuthorizationInfo, token_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASE = "https://emsp.example/ocpi/tokens?limit=2"
HERE = LocationReferences("LOC1", ("EVSE1",))

NO_URLS = [
    "",
    "http://[",
    "//[",
    "https://[::1",
    "http://]/",
    "http://a:99999/",
    "http://a:0/",
    "http://a:x/",
    "http://a..b/",
    "http://a b/",
    "http://a\r\nHost: b/",
    "http://a/\x00",
    "http://xn--/",
    "http://\ud800/",
    "http://\u2100/",
    f"http://{'a' * 70}.example/",
    f"http://{'a.' * 200}example/",
    "http:///tokens",
    "ftp://a/",
    "javascript:alert(1)",
]

ODD_DATES = st.builds(
    "{}, {} {} {} {}:{}:00 {}".format,
    st.sampled_from(["Mon", "", "x"]),
    st.integers(0, 10**21),
    st.sampled_from(["Jan", "1", "Foo"]),
    st.integers(0, 10**21) | st.just(2026),
    st.integers(0, 10**21) | st.just(12),
    st.integers(-9, 99),
    st.sampled_from(["GMT", "+9999", "-99999999999999999999", "+1400", ""]),
)
# What HTTP allows in a header, and what it does not.
TEXTS = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60) | ODD_DATES
ADDRESSES = st.sampled_from(NO_URLS) | st.text(max_size=30) | st.builds("http://{}".format, st.text(max_size=20))
LINKS = st.builds('<{}>; rel="{}"'.format, ADDRESSES, st.sampled_from(["next", "prev", ""])) | TEXTS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ANSWERS = st.fixed_dictionaries(
    {"allowed": st.sampled_from(["ALLOWED", "BLOCKED", "maybe"]) | JSON},
    optional={
        "token": JSON,
        "location": JSON | st.fixed_dictionaries({"location_id": JSON, "evse_uids": JSON}),
        "info": JSON | st.fixed_dictionaries({"text": JSON, "language": JSON}),
        "authorization_reference": JSON,
    },
)
TOKENS = st.fixed_dictionaries(
    {
        name: st.just(good) | JSON
        for name, good in {
            "country_code": "DE",
            "party_id": "ABC",
            "uid": "04A1",
            "type": "RFID",
            "contract_id": "C1",
            "issuer": "ABC",
            "valid": True,
            "whitelist": "ALLOWED",
            "last_updated": "2026-03-01T12:00:00Z",
        }.items()
    }
)
ENVELOPES = st.fixed_dictionaries(
    {"status_code": st.sampled_from([1000, 2004, 3000]) | JSON, "data": JSON | ANSWERS | st.lists(TOKENS, max_size=3)},
    optional={"status_message": JSON, "timestamp": JSON},
)
BODIES = st.binary(max_size=40) | (ENVELOPES | JSON).map(lambda value: json.dumps(value).encode())

_T = TypeVar("_T")


class Hostile:
    """A peer that answers everything with the same bytes, and a client of it. Both live on a loop of their own."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.answers: dict[str, bytes] = {}
        self.server = self.runner.run(self._listening())
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    def says(self, path: str, status: int, headers: dict[str, str], body: bytes) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.answers[path] = head.encode("latin-1", "replace") + body

    def ask(self, question: Callable[[OcpiClient], Awaitable[_T]], *, discover: bool = False) -> _T:
        async def asked() -> _T:
            client = OcpiClient(
                "abc",
                token="secret",
                us=("NL", "CPO"),
                them=("DE", "ABC"),
                versions_url=f"{self.url}/versions",
                tokens_url=None if discover else f"{self.url}/tokens",
                # TLS to nobody: the system's certificates would be read for each example.
                tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            )
            try:
                return await question(client)
            finally:
                await client.aclose()

        return self.runner.run(asked())

    def close(self) -> None:
        self.server.close()
        self.runner.run(self.server.wait_closed())
        self.runner.close()

    async def _listening(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        # What is read to its end is closed without a reset.
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0)
        await reader.readexactly(length)
        path = head.split(b" ")[1].partition(b"?")[0].decode()
        writer.write(self.answers["/tokens" if path.startswith("/tokens") else path])
        await writer.drain()
        writer.close()


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    hostile = Hostile()
    yield hostile
    hostile.close()


@given(st.sampled_from([200, 404, 429, 503]), TEXTS, TEXTS, LINKS, BODIES)
def test_no_answer_to_a_tap_raises(
    hostile: Hostile, status: int, date: str, retry_after: str, link: str, body: bytes
) -> None:
    hostile.says("/tokens", status, {"Date": date, "Retry-After": retry_after, "Link": link}, body)
    reply = hostile.ask(lambda client: client.authorize("04A1B2C3", HERE, correlation_id="tap-1"))
    assert isinstance(reply, AuthorizationInfo | Failure)
    assert isinstance(reply, Failure) or token_of(reply) is None or token_of(reply)


@given(st.sampled_from([200, 404, 429, 503]), TEXTS, TEXTS, LINKS, BODIES)
def test_no_page_raises(hostile: Hostile, status: int, date: str, total: str, link: str, body: bytes) -> None:
    headers = {"Date": date, "Retry-After": date, "Link": link, "X-Total-Count": total, "X-Limit": total}
    hostile.says("/tokens", status, headers, body)
    assert isinstance(hostile.ask(lambda client: client.page(f"{hostile.url}/tokens?limit=2")), Page | Failure)
    assert isinstance(hostile.ask(lambda client: client.probe()), Failure | None)


@given(ADDRESSES | JSON)
def test_no_address_that_a_peer_gives_raises(hostile: Hostile, address: object) -> None:
    endpoint = {"identifier": "tokens", "role": "SENDER", "url": address}
    versions = {"status_code": 1000, "data": [{"version": "2.2.1", "url": "/details"}]}
    details = {"status_code": 1000, "data": {"endpoints": [endpoint]}}
    hostile.says("/versions", 200, {}, json.dumps(versions).encode())
    hostile.says("/details", 200, {}, json.dumps(details).encode())

    async def found(client: OcpiClient) -> Endpoints | PeerError:
        try:
            return await client.discover()
        except PeerError as error:
            return error

    assert isinstance(hostile.ask(found, discover=True), Endpoints | PeerError)


@given(ADDRESSES, LINKS, TEXTS)
def test_no_address_and_no_date_raises(address: str, link: str, date: str) -> None:
    following = next_url([link], BASE)
    assert following is None or isinstance(same_origin(following, BASE), bool)
    assert server(address)
    assert isinstance(joined(BASE, address), str)
    assert check_url(address) is None or not same_origin(address, address)
    http_date(date)
    sent = date.encode("latin-1")
    waits = retry_after_s(httpx.Headers([(b"Retry-After", sent), (b"Date", sent)]), NOON)
    assert waits is None or waits >= 0


@pytest.mark.parametrize("text", NO_URLS)
def test_what_no_request_can_be_sent_to_is_no_url(text: str) -> None:
    wrong = check_url(text)
    assert wrong is not None
    assert wrong.startswith("expected a URL, but it is not ")


@pytest.mark.parametrize(
    "text",
    [
        "https://emsp.example",
        "http://127.0.0.1:8080/ocpi/versions/",
        "https://[::1]:8443/v",
        "HTTPS://EMSP.example./tokens?key=1",
        "https://my_emsp.example/",
        "https://bücher.example/",
    ],
)
def test_a_url_that_requests_can_be_sent_to_is_one(text: str) -> None:
    assert check_url(text) is None


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2024 99999999999999999999:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        "Mon, 99999999999999999 Jan 2024 00:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 GMT" + " " * 100_000,
    ],
)
def test_a_date_beyond_all_calendars_was_not_sent(date: str) -> None:
    assert http_date(date) is None
    assert retry_after_s(httpx.Headers({"Retry-After": date}), NOON) is None


@pytest.mark.parametrize("target", ["http://[", "https://[::1", "//["])
def test_a_link_to_what_is_no_url_is_not_the_end_of_the_list(target: str) -> None:
    following = next_url([f'<{target}>; rel="next"'], BASE)
    assert following == target
    assert not same_origin(target, BASE)


def test_a_megabyte_of_words_is_cut_without_leaving_half_a_secret() -> None:
    text = harmless(" " * 4088 + "04A1B2C3D4E5F6" + "x" * 1_000_000, ["04A1B2C3D4E5F6"])
    assert "04A1" not in text
