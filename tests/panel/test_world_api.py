"""The World API over real HTTP: what it takes, what it turns away, and what that does to the world."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.world import WALLET, WEATHERS, World, WorldApi, world_in
from tests.panel.world_page import Browser, browsing

E1, E2 = "DE*EXA*E1", "DE*EXA*E2"
ANNA = WALLET[0].uid


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world with its power on."""
    async with world_in(tmp_path) as world:
        yield world


@pytest.fixture
async def browser(world: World) -> AsyncIterator[Browser]:
    """A browser at the World API itself."""
    async with browsing(WorldApi(world)) as browser:
        yield browser


async def test_state_names_the_wallet_the_weathers_the_evses_and_the_power(browser: Browser) -> None:
    state = await browser.get("/world/state")
    assert [card["label"] for card in state["wallet"]] == [card.label for card in WALLET]
    assert state["wallet"][0] == {"uid": ANNA, "label": WALLET[0].label, "what": WALLET[0].what}
    assert state["weathers"] == ["fine", "slow", "silent", "down", "refusing", "nonsense"] == list(WEATHERS)
    assert state["weather"] == "fine"
    assert state["evses"] == [{"uid": E1, "plugged": False}, {"uid": E2, "plugged": False}]
    assert state["power"] is True


async def test_tap_answers_with_what_came_of_it(browser: Browser, world: World) -> None:
    answer = await browser.done("/world/tap", {"evse": E1, "uid": ANNA})
    assert answer == {
        "verdict": "accepted",
        "reason": "whitelisted",
        "source": "whitelist",
        "text": "Card accepted\nPlease plug in",
    }
    assert world.agent.evses[E1].active_authorization is not None
    assert world.agent.evses[E2].active_authorization is None


async def test_same_card_twice_begins_and_stops(browser: Browser) -> None:
    await browser.done("/world/tap", {"evse": E1, "uid": ANNA})
    answer = await browser.done("/world/tap", {"evse": E1, "uid": ANNA})
    assert answer["reason"] == "stopped-same-card"


async def test_cards_at_both_evses_are_decided_beside_each_other(browser: Browser) -> None:
    taps = [browser.done("/world/tap", {"evse": evse, "uid": ANNA}) for evse in (E1, E2)]
    answers = await asyncio.gather(*taps)
    assert [answer["verdict"] for answer in answers] == ["accepted", "accepted"]


async def test_plug_is_in_until_it_is_pulled(browser: Browser) -> None:
    state = await browser.done("/world/plug", {"evse": E2, "plugged": True})
    assert state["evses"] == [{"uid": E1, "plugged": False}, {"uid": E2, "plugged": True}]
    state = await browser.done("/world/plug", {"evse": E2, "plugged": False})
    assert state["evses"] == [{"uid": E1, "plugged": False}, {"uid": E2, "plugged": False}]


@pytest.mark.parametrize("weather", WEATHERS)
async def test_weather_is_as_it_was_set(browser: Browser, weather: str) -> None:
    assert (await browser.done("/world/weather", {"weather": weather}))["weather"] == weather
    assert (await browser.get("/world/state"))["weather"] == weather


async def test_power_goes_and_comes_back(browser: Browser) -> None:
    assert (await browser.done("/world/power", {"on": False}))["power"] is False
    assert (await browser.done("/world/power", {"on": True}))["power"] is True


async def test_power_that_is_as_wished_already_stays_so(browser: Browser, world: World) -> None:
    agent = world.agent
    assert (await browser.done("/world/power", {"on": True}))["power"] is True
    assert world.agent is agent


async def test_card_without_power_is_not_read(browser: Browser) -> None:
    await browser.done("/world/power", {"on": False})
    answer = await browser.post("/world/tap", {"evse": E1, "uid": ANNA})
    assert (answer.status_code, "power" in answer.json()["error"]) == (409, True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/world/tap", {"evse": "DE*EXA*E3", "uid": ANNA}),
        ("/world/tap", {"evse": E1, "uid": "no card"}),
        ("/world/tap", {"evse": E1, "uid": "04A1B2"}),
        ("/world/plug", {"evse": "DE*EXA*E3", "plugged": True}),
        ("/world/weather", {"weather": "hail"}),
        ("/world/nothing", {}),
    ],
)
async def test_what_there_is_not_is_404_with_a_reason(browser: Browser, path: str, body: object) -> None:
    before = await browser.get("/world/state")
    answer = await browser.post(path, body)
    assert (answer.status_code, bool(answer.json()["error"])) == (404, True)
    assert await browser.get("/world/state") == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/world/tap", {"evse": E1}),
        ("/world/plug", {"evse": E1, "plugged": "yes"}),
        ("/world/weather", {"weather": 1}),
        ("/world/power", {"on": 1}),
        ("/world/power", []),
    ],
)
async def test_order_that_is_not_whole_is_400_and_changes_nothing(browser: Browser, path: str, body: object) -> None:
    before = await browser.get("/world/state")
    assert (await browser.post(path, body)).status_code == 400
    assert await browser.get("/world/state") == before


@pytest.mark.parametrize("body", [b"{", b"", b"[" * 4000, b'{"on": ' * 500, b"\xff"])
async def test_order_that_is_no_json_is_400(browser: Browser, body: bytes) -> None:
    answer = await browser.client.post("/world/power", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400


async def test_order_that_a_form_of_another_site_could_send_is_refused(browser: Browser, world: World) -> None:
    answer = await browser.client.post("/world/power", content=b'{"on": false}', headers={"content-type": "text/plain"})
    assert answer.status_code == 415
    assert world.is_on


async def test_order_that_is_too_long_is_refused(browser: Browser) -> None:
    answer = await browser.post("/world/weather", {"weather": "x" * 5000})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/world/state"), ("GET", "/world/tap"), ("DELETE", "/world/tap")]
)
async def test_wrong_method_is_405(browser: Browser, method: str, path: str) -> None:
    assert (await browser.client.request(method, path)).status_code == 405


async def test_answers_are_kept_by_no_browser(browser: Browser) -> None:
    answer = await browser.client.get("/world/state")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
