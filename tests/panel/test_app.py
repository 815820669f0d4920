"""What is asked of the panel over HTTP, and what comes back."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.ocpi.server.asgi import Receive, Scope, Send
from agent.panel.pages import pages_of
from tests.panel.panels import HEADERS, INDEX, UID, Served, log_in, logins, post, served, token_of


@pytest.fixture
async def open_panel() -> AsyncIterator[Served]:
    async with served() as panel:
        yield panel


@pytest.fixture
async def locked_panel(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(login_file=logins(tmp_path, "anna")) as panel:
        yield panel


async def asgi_body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def toy_world(scope: Scope, receive: Receive, send: Send) -> None:
    """Says what it was asked."""
    body = await asgi_body(receive)
    headers = [(b"content-type", b"text/plain"), (b"x-content-type-options", b"none of it")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    said = f"{scope['method']} {scope['path']} ".encode() + body
    await send({"type": "http.response.body", "body": said})


# ---- the page's own files


async def test_the_page_is_served_with_its_kind_and_tag(open_panel: Served) -> None:
    async with open_panel.client() as browser:
        answer = await browser.get("/")
    assert (answer.status_code, answer.content) == (200, INDEX)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["etag"] == '"index"'
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("known", ['"index"', 'W/"index"', '"other", "index"'])
async def test_a_browser_that_has_the_page_is_told_so(open_panel: Served, known: str) -> None:
    async with open_panel.client() as browser:
        answer = await browser.get("/", headers={"if-none-match": known})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == '"index"'


async def test_head_of_the_page_has_its_length_alone(open_panel: Served) -> None:
    async with open_panel.client() as browser:
        answer = await browser.head("/")
    assert answer.headers["content-length"] == str(len(INDEX))
    assert answer.content == b""


async def test_no_browser_finds_its_icon_missing(open_panel: Served) -> None:
    async with open_panel.client() as browser:
        assert (await browser.get("/favicon.ico")).status_code == 204


def test_the_installed_page_is_whole() -> None:
    pages = pages_of()
    assert pages["/"].content_type == "text/html; charset=utf-8"
    assert {"/panel.css", "/panel.js"} <= pages.keys()


# ---- every answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/state", 200),
        ("GET", "/cards?q=04A1", 200),
        ("GET", "/cards", 400),
        ("GET", "/favicon.ico", 204),
        ("GET", "/nothing", 404),
        ("GET", "/world/state", 204),
        ("DELETE", "/state", 405),
        ("POST", "/", 405),
        ("HEAD", "/events", 405),
        ("POST", "/logout", 403),
    ],
)
async def test_every_answer_keeps_the_browser_in_its_place(
    open_panel: Served, method: str, path: str, status: int
) -> None:
    async with open_panel.client() as browser:
        answer = await browser.request(method, path, headers={"origin": open_panel.origin})
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "cache-control" in answer.headers


async def test_a_method_that_is_not_offered_is_answered_with_those_that_are(open_panel: Served) -> None:
    async with open_panel.client() as browser:
        answer = await browser.put("/state", headers={"origin": open_panel.origin})
    assert answer.headers["allow"] == "GET, HEAD"


# ---- the state


async def test_the_state_is_what_there_is_and_what_is_the_clients_own(open_panel: Served) -> None:
    async with open_panel.client() as browser:
        answer = await browser.get("/state")
    state = answer.json()
    assert len(state.pop("token")) >= 40
    assert state == {"version": 1, "login": {"needed": False, "user": None}, "at": "now", "number": 0}
    assert answer.headers["cache-control"] == "no-store"


async def test_who_has_not_logged_in_sees_only_that_he_has_to(locked_panel: Served) -> None:
    async with locked_panel.client() as browser:
        state = (await browser.get("/state")).json()
    assert state.keys() == {"version", "token", "login", "at"}
    assert state["login"] == {"needed": True, "user": None}
    assert locked_panel.shown.looks == 0


@pytest.mark.parametrize("path", ["/events", "/cards?q=04A1"])
async def test_who_has_not_logged_in_gets_nothing_else(locked_panel: Served, path: str) -> None:
    async with locked_panel.client() as browser:
        answer = await browser.get(path)
    assert answer.status_code == 401
    assert locked_panel.shown.asked == []


async def test_who_has_logged_in_sees_it_under_his_name(locked_panel: Served) -> None:
    async with locked_panel.client() as browser:
        await log_in(browser)
        state = (await browser.get("/state")).json()
    assert state["login"] == {"needed": True, "user": "anna"}
    assert state["number"] == 0


# ---- cards


async def test_a_card_is_explained(open_panel: Served) -> None:
    async with open_panel.client() as browser:
        answer = await browser.get("/cards", params={"q": "04:a1:b2 c3"})
    assert answer.json() == {"uid": "04A1…F6"}
    assert open_panel.shown.asked == ["04:a1:b2 c3"]


@pytest.mark.parametrize("query", ["", "q", "x=1", "q=1&q=2", "q=%ff", "&".join(["q=1"] * 9)])
async def test_a_question_that_is_none_is_refused(open_panel: Served, query: str) -> None:
    async with open_panel.client() as browser:
        answer = await browser.get(f"/cards?{query}")
    assert answer.status_code == 400
    assert "error" in answer.json()


async def test_cards_are_not_tried_by_the_thousand(open_panel: Served) -> None:
    async with open_panel.client() as browser:
        answers = [await browser.get("/cards?q=04A1") for _ in range(121)]
    assert {answer.status_code for answer in answers[:120]} == {200}
    assert answers[120].status_code == 429
    assert int(answers[120].headers["retry-after"]) >= 1
    assert len(open_panel.shown.asked) == 120


# ---- reveals


async def test_a_card_is_revealed_to_who_is_logged_in(locked_panel: Served) -> None:
    async with locked_panel.client() as browser:
        await log_in(browser)
        answer = await post(browser, "/reveal", json={"tap": 12})
    assert answer.json() == {"uid": UID}
    assert locked_panel.shown.revealed == [(12, "anna", "127.0.0.1")]


async def test_nothing_is_revealed_where_nobody_can_log_in(open_panel: Served) -> None:
    async with open_panel.client() as browser:
        answer = await post(browser, "/reveal", json={"tap": 12})
    assert answer.status_code == 403
    assert open_panel.shown.revealed == []


async def test_nothing_is_revealed_to_who_is_not_logged_in(locked_panel: Served) -> None:
    async with locked_panel.client() as browser:
        answer = await post(browser, "/reveal", json={"tap": 12})
    assert answer.status_code == 401
    assert locked_panel.shown.revealed == []


async def test_nothing_is_revealed_that_can_not_be_put_on_record(locked_panel: Served) -> None:
    locked_panel.shown.disk_is_broken = True
    async with locked_panel.client() as browser:
        await log_in(browser)
        answer = await post(browser, "/reveal", json={"tap": 12})
    assert answer.status_code == 503
    assert UID not in answer.text


async def test_a_tap_that_is_not_shown_any_more_is_not_revealed(locked_panel: Served) -> None:
    async with locked_panel.client() as browser:
        await log_in(browser)
        answer = await post(browser, "/reveal", json={"tap": 11})
    assert answer.status_code == 404


@pytest.mark.parametrize("body", [b"", b"12", b'{"tap": "12"}', b'{"tap": 12, "all": true}', b"[" * 4000, b"\xff"])
async def test_a_reveal_that_names_no_tap_is_refused(locked_panel: Served, body: bytes) -> None:
    async with locked_panel.client() as browser:
        await log_in(browser)
        answer = await post(browser, "/reveal", content=body)
    assert answer.status_code == 400
    assert locked_panel.shown.revealed == []


async def test_reveals_are_limited(locked_panel: Served) -> None:
    async with locked_panel.client() as browser:
        await log_in(browser)
        answers = [await post(browser, "/reveal", json={"tap": 12}) for _ in range(31)]
    assert answers[30].status_code == 429
    assert len(locked_panel.shown.revealed) == 30


# ---- the world's side


async def test_the_world_is_asked_by_the_pages_rules(tmp_path: Path) -> None:
    async with served(world=toy_world) as panel, panel.client() as browser:
        seen = await browser.get("/world/state")
        done = await post(browser, "/world/tap", json={"uid": "04A1"})
        forged = await browser.post("/world/tap", json={"uid": "04A1"})
    assert seen.text == "GET /world/state "
    assert done.text == 'POST /world/tap {"uid":"04A1"}'
    assert forged.status_code == 403
    assert {name: seen.headers[name] for name in HEADERS} == HEADERS
    assert seen.headers["cache-control"] == "no-store"


async def test_the_world_is_closed_to_who_has_to_log_in(tmp_path: Path) -> None:
    async with served(world=toy_world, login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        before = await browser.get("/world/state")
        await log_in(browser)
        after = await browser.get("/world/state")
    assert (before.status_code, after.status_code) == (401, 200)


async def test_an_agent_has_no_world(open_panel: Served) -> None:
    async with open_panel.client() as browser:
        answer = await browser.post(
            "/world/tap", headers={"origin": open_panel.origin, "x-panel-token": await token_of(browser)}
        )
    assert answer.status_code == 404
