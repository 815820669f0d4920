"""What somebody tries who is not the page: another site, a rebound name, broken clients, and a great many of them."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from agent.errors import ConfigError
from agent.panel.exchange import BODY_BYTES, Request
from agent.panel.guard import Guard
from agent.panel.place import Place, place_of
from agent.panel.server import PanelServer
from tests.panel.panels import HANG_S, UID, Served, event, hung_up, log_in, logins, post, served, token_of, until


@pytest.fixture
async def panel(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(login_file=logins(tmp_path, "anna")) as one:
        yield one


@pytest.fixture
async def open_panel() -> AsyncIterator[Served]:
    async with served() as one:
        yield one


# ---- forged requests


@pytest.mark.parametrize(
    "forged",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://127.0.0.1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "SAME-ORIGIN, cross-site"},
        {"x-panel-token": ""},
        {"x-panel-token": "x" * 43},
        {"x-panel-token": "tökén"},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout", "/reveal"])
async def test_a_forged_post_does_nothing(panel: Served, path: str, forged: dict[str, str]) -> None:
    async with panel.client() as browser:
        await log_in(browser)
        encoded = {name: value.encode("utf-8") for name, value in forged.items()}
        own = {"origin": panel.origin, "sec-fetch-site": "same-origin", "x-panel-token": await token_of(browser)}
        answer = await browser.post(path, headers={**own, **encoded}, json={"tap": 12})  # type: ignore[arg-type]
        assert answer.status_code == 403
        assert (await browser.get("/state")).json()["login"]["user"] == "anna"
    assert panel.shown.revealed == []
    assert panel.login.sessions == 1


async def test_a_post_that_says_nothing_of_where_it_comes_from_does_nothing(panel: Served) -> None:
    async with panel.client() as browser:
        await log_in(browser)
        answer = await browser.post("/logout", headers={"x-panel-token": await token_of(browser)})
    assert answer.status_code == 403
    assert panel.login.sessions == 1


async def test_a_token_of_somebody_else_is_none(tmp_path: Path) -> None:
    async with (
        served(login_file=logins(tmp_path, "anna", "bert")) as panel,
        panel.client() as annas,
        panel.client() as berts,
    ):
        await log_in(annas, "anna")
        await log_in(berts, "bert")
        answer = await post(annas, "/reveal", json={"tap": 12}, headers={"x-panel-token": await token_of(berts)})
    assert answer.status_code == 403
    assert panel.shown.revealed == []


@pytest.mark.parametrize("path", ["/state", "/events", "/cards?q=04A1", "/panel.js"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_sites_page_gets_no_data_and_no_stream(open_panel: Served, path: str, site: str) -> None:
    """Sixty-four streams opened by a page elsewhere would keep the operator's out."""
    async with open_panel.client() as browser:
        answer = await browser.get(path, headers={"sec-fetch-site": site, "sec-fetch-mode": "cors"})
    assert answer.status_code == 403
    assert (open_panel.stream.clients, open_panel.shown.looks, open_panel.shown.asked) == (0, 0, [])


@pytest.mark.parametrize("path", ["/state", "/events", "/cards?q=04A1"])
async def test_an_old_browser_tells_another_site_by_its_origin(open_panel: Served, path: str) -> None:
    async with open_panel.client() as browser:
        answer = await browser.get(path, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert (open_panel.stream.clients, open_panel.shown.looks, open_panel.shown.asked) == (0, 0, [])


async def test_a_link_on_another_sites_page_leads_to_the_page(open_panel: Served) -> None:
    following = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    async with open_panel.client() as browser:
        assert (await browser.get("/", headers=following)).status_code == 200
        assert (await browser.get("/state", headers=following)).status_code == 403


async def test_whose_a_reveal_was_can_not_be_made_up(panel: Served) -> None:
    async with panel.client() as browser:
        await log_in(browser)
        await post(browser, "/reveal", json={"tap": 12}, headers={"x-forwarded-for": "192.0.2.1"})
    assert panel.shown.revealed == [(12, "anna", "127.0.0.1")]


async def test_no_answer_lets_another_origin_read_it(open_panel: Served) -> None:
    async with open_panel.client() as browser:
        answer = await browser.get("/state", headers={"origin": "https://evil.example"})
        asked = await browser.options("/reveal", headers={"origin": "https://evil.example"})
    for one in (answer, asked):
        assert not [name for name in one.headers if name.startswith("access-control-")]
    assert asked.status_code == 403


# ---- names


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8470",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "127.0.0.1@evil.example",
        "192.0.2.7:8470",
        "0.0.0.0",
        "[::]",
        "[2001:db8::1]:8470",
        "localhost:8470:1",
        "localhost/..",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/", "/state", "/cards?q=04A1"])
async def test_a_name_that_is_not_this_machines_own_is_not_answered_to(
    open_panel: Served, host: str, path: str
) -> None:
    """DNS rebinding: a name of the attacker's leads to 127.0.0.1, and his page is of the same origin."""
    answer = await open_panel.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.split(b" ")[1] in {b"421", b"400"}
    assert b"number" not in answer
    assert open_panel.shown.looks == 0


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1:8470", "127.8.9.1", "[::1]:8470"])
async def test_this_machines_names_are_answered_to_at_any_port(open_panel: Served, host: str) -> None:
    """A tunnel ends at whatever port is free."""
    answer = await open_panel.raw(f"GET /state HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200")


async def test_two_names_at_once_are_no_request(open_panel: Served) -> None:
    answer = await open_panel.raw(b"GET /state HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


def test_a_panel_that_others_reach_answers_to_whatever_it_is_called() -> None:
    guard = Guard(scheme="https", is_loopback=False)
    assert guard.refusal(Request("GET", "/", b"", {"host": "charger.example:8470"}, "192.0.2.1")) is None
    posted = {"host": "charger.example", "origin": "https://charger.example"}
    assert guard.refusal(Request("POST", "/login", b"", posted, "192.0.2.1")) is None
    over_http = {**posted, "origin": "http://charger.example"}
    assert guard.refusal(Request("POST", "/login", b"", over_http, "192.0.2.1")) is not None
    assert guard.refusal(Request("GET", "/", b"", {"host": "charger.example\x00"}, "192.0.2.1")) is not None


# ---- what is sent


async def test_a_uid_that_would_be_a_header_stays_a_uid(open_panel: Served) -> None:
    raw = await open_panel.raw(
        b"GET /cards?q=04A1%0d%0aSet-Cookie:%20panel=planted%0d%0a%0d%0a<script> HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"planted" not in head
    assert b"set-cookie" not in head.lower()
    assert open_panel.shown.asked == ["04A1\r\nSet-Cookie: panel=planted\r\n\r\n<script>"]
    assert b"\n" not in body


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/panel.js/../../app.py",
        "/static/panel.js",
        "/panel.js%00.html",
        "/.\\..\\app.py",
        "/index.html",
        "/app.py",
    ],
)
async def test_no_path_leads_out_of_the_page(open_panel: Served, path: str) -> None:
    answer = await open_panel.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("size", [BODY_BYTES + 1, 1 << 20, 1 << 30])
async def test_a_body_that_is_too_large_is_refused_unread(panel: Served, size: int) -> None:
    async with panel.client() as browser:
        token = await token_of(browser)
    head = (
        f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{panel.port}\r\nOrigin: {panel.origin}\r\nX-Panel-Token: {token}\r\n"
        f"Content-Length: {size}\r\n\r\n"
    )
    answer = await panel.raw(head.encode() + b"x" * min(size, 2 << 20))
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_without_an_end_is_refused(panel: Served) -> None:
    async with panel.client() as browser:
        token = await token_of(browser)
    head = (
        f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{panel.port}\r\nOrigin: {panel.origin}\r\nX-Panel-Token: {token}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    answer = await panel.raw(head.encode() + b"10000\r\n" + (b"x" * 0x10000 + b"\r\n10000\r\n") * 40)
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_of_a_request_without_one_is_not_kept(open_panel: Served) -> None:
    answer = await open_panel.raw(
        b"GET /state HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
    )
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_answered_and_hung_up_on(open_panel: Served, request_bytes: bytes) -> None:
    answer = await open_panel.raw(request_bytes)
    assert answer.split(b" ")[1] in {b"400", b"421", b"431"}
    async with open_panel.client() as browser:
        assert (await browser.get("/state")).status_code == 200


# ---- a great many


async def test_a_thousand_connections_that_say_nothing_keep_nobody_out(open_panel: Served) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", open_panel.port) for _ in range(1000)]
    async with open_panel.client() as browser:
        assert (await browser.get("/state")).status_code == 200
    for _, writer in idle:
        await hung_up(writer)


async def test_a_thousand_pages_get_sixty_four_streams_and_the_rest_a_word(open_panel: Served) -> None:
    pages = [await open_panel.watch() for _ in range(1000)]
    await until(lambda: open_panel.stream.clients == 64)
    async with open_panel.client() as browser:
        assert (await browser.get("/state")).status_code == 200
        assert (await browser.get("/events")).status_code == 503
    assert open_panel.stream.clients == 64
    for _, writer in pages:
        await hung_up(writer)
    await until(lambda: open_panel.stream.clients == 0)


# ---- under TLS


async def test_under_tls_the_cookie_is_for_tls_and_this_host_alone(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "panel.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with served(login_file=logins(tmp_path, "anna"), certificate=certificate, tls=trusting) as panel:
        async with panel.client() as browser:
            answer = await log_in(browser)
            revealed = await post(browser, "/reveal", json={"tap": 12})
        cookie = answer.headers["set-cookie"]
        reader, writer = await panel.watch(cookie.partition(";")[0])
        assert (await event(reader))["login"]["user"] == "anna"
        await hung_up(writer)
        async with asyncio.timeout(HANG_S):
            plain, plain_writer = await asyncio.open_connection("127.0.0.1", panel.port)
            plain_writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            in_plain = await plain.read()
            await hung_up(plain_writer)
    assert b"HTTP" not in in_plain
    assert cookie.startswith("__Host-panel=")
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert revealed.json() == {"uid": UID}


async def test_a_certificate_that_is_none_is_refused_as_the_panels(tmp_path: Path) -> None:
    async with served() as panel:
        (tmp_path / "panel.pem").write_text("no certificate")
        with pytest.raises(ConfigError, match=r"\Apanel: tls_certificate"):
            PanelServer(panel.app, Place("127.0.0.1", 0, tmp_path / "panel.pem"))
        with pytest.raises(ConfigError, match=r"\Apanel: can't listen"):
            PanelServer(panel.app, Place("127.0.0.1", panel.port))


# ---- where it listens


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("127.0.0.1:8470", "127.0.0.1", 8470), ("localhost:1", "127.0.0.1", 1), ("[::1]:0", "::1", 0)],
)
def test_an_address_on_this_machine_needs_nothing_else(listen: str, host: str, port: int) -> None:
    place = place_of(listen)
    assert (place.host, place.port, place.is_loopback, place.scheme) == (host, port, True, "http")


@pytest.mark.parametrize(
    "listen", ["", "8470", ":8470", "charger.example:8470", "127.0.0.1", "127.0.0.1:65536", "::1:8470", "/run/panel"]
)
def test_a_place_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"panel\.listen"):
        place_of(listen)


@pytest.mark.parametrize("listen", ["0.0.0.0:8470", "[::]:8470", "192.0.2.7:8470", "[2001:db8::1]:8470"])
def test_others_are_let_in_only_with_a_login_and_encryption(listen: str, tmp_path: Path) -> None:
    file, certificate = tmp_path / "logins", tmp_path / "panel.pem"
    with pytest.raises(ConfigError, match="allow_remote"):
        place_of(listen, login_file=file, tls_certificate=certificate)
    with pytest.raises(ConfigError, match="login_file"):
        place_of(listen, allow_remote=True, tls_certificate=certificate)
    with pytest.raises(ConfigError, match="tls_certificate"):
        place_of(listen, allow_remote=True, login_file=file)
    assert place_of(listen, allow_remote=True, login_file=file, tls_certificate=certificate).scheme == "https"
    assert place_of(listen, allow_remote=True, login_file=file, allow_http=True).scheme == "http"


def test_a_key_without_a_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tls_key"):
        place_of("127.0.0.1:8470", tls_key=tmp_path / "panel.key")


async def test_what_another_sites_page_asks_uses_up_nothing_of_its_persons(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        forged = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
        answers = [(await browser.get("/panel.js", headers=forged)).status_code for _ in range(1250)]
        assert (answers[0], answers[-1]) == (403, 429)
        assert (await browser.get("/panel.js")).status_code == 200
        assert (await log_in(browser)).status_code == 200


async def test_who_asks_too_often_is_cut_off_as_well(open_panel: Served) -> None:
    async with open_panel.client() as browser:
        answers = [await browser.get("/panel.js") for _ in range(1201)]
    assert [answer.status_code for answer in answers] == [200] * 1200 + [429]
    assert (answers[0].headers.get("connection"), answers[-1].headers["connection"]) == (None, "close")


def test_of_many_cookies_a_few_are_looked_at() -> None:
    scope = {"method": "GET", "path": "/", "query_string": b"", "headers": [(b"cookie", b"panel=x;" * 5000)] * 2}
    assert Request.of(scope).cookies("panel") == ["x"] * 8


def test_headers_that_come_several_times_are_joined_as_they_came() -> None:
    headers = [(b"X-A", b"1"), (b"cookie", b"a=1"), (b"x-a", b"2"), (b"Cookie", b"b=2")]
    scope = {"method": "GET", "path": "/", "query_string": b"", "headers": headers}
    assert Request.of(scope).headers == {"x-a": "1, 2", "cookie": "a=1; b=2"}
