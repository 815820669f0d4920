"""What the world's side says of a card is what `state.db` says: every card of the wallet, in weathers that matter."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.model import EndReason
from fakes.emsp import Part
from fakes.world import WALLET, WEATHERS, WalletCard, World, WorldApi, world_in
from tests.panel.world_page import Browser, browsing
from tests.scenario.world import HANG_S, POLL_S, select

EVSE = "DE*EXA*E1"
ALWAYS, ALLOWED, OFFLINE, NEVER = WALLET[:4]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world with its power on, whose peer has more time than any machine could take."""
    async with world_in(tmp_path, deadline_s=30.0) as world:
        yield world


@pytest.fixture
async def browser(world: World) -> AsyncIterator[Browser]:
    """A browser at the World API itself."""
    async with browsing(WorldApi(world)) as browser:
        yield browser


def records(world: World) -> list[dict[str, Any]]:
    """The authorizations in `state.db`, oldest first, read without the agent's code."""
    return select(world.bench.storage / "state.db", "SELECT * FROM authorization ORDER BY id")


def said(record: dict[str, Any]) -> dict[str, Any]:
    """Of a record what the page is told."""
    return {name: record[name] for name in ("verdict", "reason", "source", "text")}


async def hold(browser: Browser, card: WalletCard) -> Any:
    """Hold a card of the wallet to the first EVSE's reader."""
    return await browser.done("/world/tap", {"evse": EVSE, "uid": card.uid})


FINE = {
    "Anna": ("accepted", "whitelisted", "whitelist"),
    "Ben": ("accepted", "whitelisted", "whitelist"),
    "Chiara": ("accepted", "allowed", "realtime"),
    "David": ("accepted", "allowed", "realtime"),
    "Lost card": ("refused", "blocked", "realtime"),
    "Last year's card": ("refused", "expired", "realtime"),
    "Empty prepaid": ("refused", "no-credit", "realtime"),
    "Library card": ("refused", "unknown", "realtime"),
    "A phone": ("refused", "random-uid", "local"),
    "Jürgen": ("accepted", "whitelisted", "whitelist"),
}


@pytest.mark.parametrize("card", WALLET, ids=lambda card: card.label)
async def test_card_in_fine_weather_is_decided_as_its_label_says_and_so_recorded(
    browser: Browser, world: World, card: WalletCard
) -> None:
    answer = await hold(browser, card)
    assert (answer["verdict"], answer["reason"], answer["source"]) == FINE[card.label]
    assert [said(record) for record in records(world)] == [answer]


WORKS_IN_AN_OUTAGE = {"Anna", "Ben", "Chiara", "Jürgen"}


@pytest.mark.parametrize("weather", ["down", "refusing", "nonsense"])
async def test_wallet_in_bad_weather_is_decided_from_the_whitelist_and_so_recorded(
    browser: Browser, world: World, weather: str
) -> None:
    await browser.done("/world/weather", {"weather": weather})
    answers = {}
    for card in WALLET:
        answers[card.label] = await hold(browser, card)
        await world.agent.evses[EVSE].end(EndReason.OPERATOR)
    accepted = {label for label, answer in answers.items() if answer["verdict"] == "accepted"}
    assert accepted == WORKS_IN_AN_OUTAGE
    assert [said(record) for record in records(world)] == list(answers.values())
    assert all(answer["source"] == "fallback" for answer in (answers[OFFLINE.label], answers[NEVER.label]))


async def test_whitelisted_card_works_in_an_outage_and_a_never_card_does_not(browser: Browser, world: World) -> None:
    await browser.done("/world/weather", {"weather": "down"})
    never = await hold(browser, NEVER)
    always = await hold(browser, ALWAYS)
    assert (never["verdict"], always["verdict"]) == ("refused", "accepted")
    rows = records(world)
    assert [(row["uid"], row["verdict"], row["source"]) for row in rows] == [
        (NEVER.uid, "refused", "fallback"),
        (ALWAYS.uid, "accepted", "whitelist"),
    ]
    assert [row["text"] for row in rows] == [never["text"], always["text"]]


async def test_never_card_that_was_refused_in_an_outage_works_when_its_owner_answers_again(
    browser: Browser, world: World
) -> None:
    await browser.done("/world/weather", {"weather": "down"})
    await hold(browser, NEVER)
    await browser.done("/world/weather", {"weather": "fine"})
    [peer] = world.agent.peers.values()
    async with asyncio.timeout(HANG_S):
        while not peer.is_asked:  # noqa: ASYNC110  driven by probes
            await asyncio.sleep(POLL_S)
    answer = await hold(browser, NEVER)
    assert (answer["verdict"], answer["source"]) == ("accepted", "realtime")


async def test_peer_that_has_refused_us_is_found_in_the_weather_that_came_after(browser: Browser, world: World) -> None:
    await browser.done("/world/weather", {"weather": "refusing"})
    refused = await hold(browser, NEVER)
    await browser.done("/world/weather", {"weather": "down"})
    [peer] = world.agent.peers.values()
    assert not peer.rejects_credentials
    down = await hold(browser, NEVER)
    assert refused["reason"] == "credentials-rejected"
    assert down["reason"] in {"unreachable", "breaker-open"}


async def test_weather_that_was_chosen_last_counts(world: World) -> None:
    for weather in ("refusing", "silent", "refusing", "slow", "fine"):
        await asyncio.gather(*(world.turn(passing) for passing in ("refusing", "nonsense", weather)))
        assert (world.weather, world.bench.emsp.weather(Part.AUTHORIZE)) == (weather, WEATHERS[weather])


async def test_slow_peer_is_waited_for(browser: Browser) -> None:
    await browser.done("/world/weather", {"weather": "slow"})
    answer = await hold(browser, NEVER)
    assert (answer["verdict"], answer["source"]) == ("accepted", "realtime")


async def test_never_card_is_refused_at_the_deadline_when_its_peer_is_silent(tmp_path: Path) -> None:
    async with world_in(tmp_path, deadline_s=1.0) as world, browsing(WorldApi(world)) as browser:
        await browser.done("/world/weather", {"weather": "silent"})
        answer = await hold(browser, NEVER)
        assert (answer["verdict"], answer["reason"]) == ("refused", "timeout")
        assert [said(record) for record in records(world)] == [answer]


async def test_phone_shows_another_uid_each_time_and_none_is_accepted(browser: Browser, world: World) -> None:
    phone = next(card for card in WALLET if card.is_phone)
    for _ in range(2):
        await hold(browser, phone)
    rows = records(world)
    assert len({row["uid"] for row in rows}) == 2
    assert {(row["uid"][:2], row["verdict"], row["reason"]) for row in rows} == {("08", "refused", "random-uid")}


async def test_card_that_is_not_of_the_wallet_is_read_as_any_other(browser: Browser, world: World) -> None:
    answer = await browser.done("/world/tap", {"evse": EVSE, "uid": "04ffeeddccbbaa"})
    assert answer["reason"] == "unknown"
    assert [row["uid"] for row in records(world)] == ["04FFEEDDCCBBAA"]


async def test_driver_of_the_german_card_reads_german(browser: Browser) -> None:
    answer = await hold(browser, WALLET[-1])
    assert answer["text"].startswith("Karte akzeptiert")
