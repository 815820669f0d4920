"""The panel's address while the agent comes and goes, over real HTTP, with a panel that keeps the contract."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.world import World, world_in
from tests.panel.world_page import Browser, StubLives, browsing
from tests.scenario.world import until

E1 = "DE*EXA*E1"


@pytest.fixture
def lives() -> StubLives:
    """Makes each life's panel, and has them."""
    return StubLives()


@pytest.fixture
async def world(tmp_path: Path, lives: StubLives) -> AsyncIterator[World]:
    """A world whose agents have panels."""
    async with world_in(tmp_path, life_of=lives) as world:
        yield world


@pytest.fixture
async def browser(world: World) -> AsyncIterator[Browser]:
    """A browser at the panel's address, that has loaded the page."""
    async with browsing(world.front) as browser:
        browser.token = (await browser.get("/state"))["token"]
        yield browser


def events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The states of a stream."""
    lines = answer.aiter_lines()

    async def read() -> AsyncIterator[dict[str, Any]]:
        async for line in lines:
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))

    return read()


async def test_page_is_the_panels(browser: Browser) -> None:
    assert await browser.get("/") == "the page"
    assert (await browser.get("/world/state"))["power"] is True


async def test_order_without_the_pages_token_moves_nothing(browser: Browser, world: World) -> None:
    browser.token = "guessed"
    assert (await browser.post("/world/power", {"on": False})).status_code == 403
    assert world.is_on


async def test_power_that_was_pulled_by_the_page_can_be_given_back_by_it(browser: Browser, world: World) -> None:
    await browser.done("/world/power", {"on": False})
    assert not world.is_on
    assert (await browser.get("/world/state"))["power"] is False
    await browser.done("/world/power", {"on": True})
    assert world.is_on


async def test_state_without_power_is_dark_and_of_the_same_page(browser: Browser) -> None:
    await browser.done("/world/power", {"on": False})
    state = await browser.get("/state")
    assert state["token"] == browser.token
    assert state["agent"]["status"] == "no power"
    for evse in state["evses"]:
        assert (evse["live"], evse["signal"], evse["relay"], evse["session"]["power_w"]) == (False, None, "open", 0)
        assert evse["display"] == {"lines": [], "columns": 20, "rows": 4}
    assert state["agent"]["uptime_s"] is None
    assert [reader["state"] for reader in state["readers"]] == ["off", "off"]
    assert [(peer["up"], peer["breaker"], peer["latency_ms"]) for peer in state["peers"]] == [(None, "off", None)]


async def test_state_without_power_has_the_plugs_where_they_are(browser: Browser) -> None:
    await browser.done("/world/power", {"on": False})
    await browser.done("/world/plug", {"evse": E1, "plugged": True})
    state = await browser.get("/state")
    assert [(evse["phase"], evse["plug"]) for evse in state["evses"]] == [("off", "in"), ("off", "out")]


async def test_state_without_power_is_else_the_one_in_which_it_went(browser: Browser, lives: StubLives) -> None:
    lives.panels[0].tokens = 8
    await browser.done("/world/power", {"on": False})
    lives.panels[0].tokens = 0  # a dead agent's panel finds nothing
    state = await browser.get("/state")
    assert state["whitelist"] == {"tokens": 8}


async def test_what_only_an_agent_can_answer_is_503_without_one(browser: Browser) -> None:
    await browser.done("/world/power", {"on": False})
    answer = await browser.client.get("/cards", params={"q": "04A1B2C3D4E580"})
    assert (answer.status_code, "power" in answer.json()["error"]) == (503, True)


async def test_new_life_has_a_page_of_its_own(browser: Browser, lives: StubLives) -> None:
    await browser.done("/world/power", {"on": False})
    await browser.done("/world/power", {"on": True})
    assert len(lives.panels) == 2
    assert (await browser.get("/state"))["token"] == lives.panels[1].token != lives.panels[0].token


async def test_open_stream_goes_dark_with_the_power_and_ends_when_it_is_back(browser: Browser) -> None:
    async with browser.client.stream("GET", "/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        states = events(answer)
        assert (await anext(states))["evses"][0]["live"] is True
        await browser.done("/world/power", {"on": False})
        assert (await anext(states))["evses"][0]["live"] is False
        await browser.done("/world/power", {"on": True})
        assert [state async for state in states if state["evses"][0]["live"]] == []


async def test_stream_that_is_opened_in_the_dark_is_dark_until_there_is_light(browser: Browser) -> None:
    await browser.done("/world/power", {"on": False})
    async with browser.client.stream("GET", "/events") as answer:
        states = events(answer)
        assert (await anext(states))["agent"]["status"] == "no power"
        assert (await anext(states))["agent"]["status"] == "no power"
        await browser.done("/world/power", {"on": True})
        assert all([state["agent"]["status"] == "no power" async for state in states])
    async with browser.client.stream("GET", "/events") as answer:
        assert (await anext(events(answer)))["evses"][0]["live"] is True


async def test_streams_end_with_the_demo(browser: Browser, world: World) -> None:
    async with browser.client.stream("GET", "/events") as answer:
        states = events(answer)
        await anext(states)
        await world.close()
        assert [state async for state in states] == []


async def test_charge_and_power_cut_by_clicks_alone(browser: Browser, world: World) -> None:
    await browser.done("/world/plug", {"evse": E1, "plugged": True})
    answer = await browser.done("/world/tap", {"evse": E1, "uid": "04A1B2C3D4E580"})
    assert answer["verdict"] == "accepted"
    await until(lambda: bool(world.bench.emsp.sessions))
    await browser.done("/world/power", {"on": False})
    assert not world.is_closed(E1)
    await browser.done("/world/power", {"on": True})
    await until(lambda: world.is_closed(E1))
    browser.token = (await browser.get("/state"))["token"]
    answer = await browser.done("/world/tap", {"evse": E1, "uid": "04A1B2C3D4E580"})
    assert answer["reason"] == "stopped-same-card"
    await until(lambda: bool(world.bench.emsp.cdrs))
    assert world.bench.emsp.complaints == []
