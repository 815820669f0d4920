"""The demo's other side: cards, plugs, power and weather, and the outage that explains itself."""

import re
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from agent.core.uid import masked
from tests.panel.browser.boards import LEFT, RIGHT, WALLET, WORLD, Board, board, busy, evse, tap
from tests.panel.browser.chrome import opened
from tests.panel.browser.scripted import Script, served, told

ANNA, NORA = WALLET[0], WALLET[3]


async def test_a_real_agents_page_has_none_of_it(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url) as (page, _):
        await page.locator(".evse").first.wait_for()
        await expect(page.locator("#world")).to_be_hidden()
        await expect(page.locator(".evse-world").first).to_be_hidden()
        await expect(page.get_by_role("button")).to_have_count(1)


async def test_a_card_is_held_to_the_reader_that_is_chosen(browser: Browser) -> None:
    async with served(Script(busy(), WORLD)) as script, opened(browser, script.url) as (page, _):
        async with page.expect_response("**/world/tap"):
            await page.get_by_role("button", name=f"Hold to the reader of {LEFT}: Anna").click()
        await page.get_by_role("radio", name=RIGHT).check()
        async with page.expect_response("**/world/tap"):
            await page.get_by_role("button", name=f"Hold to the reader of {RIGHT}: Nora").click()
        await expect(page.locator("#world-trouble")).to_be_hidden()
        assert told(script, "/world/tap") == [
            {"evse": LEFT, "uid": ANNA["uid"]},
            {"evse": RIGHT, "uid": NORA["uid"]},
        ]


async def test_a_card_may_be_dragged_to_a_charge_point(browser: Browser) -> None:
    tall = {"width": 1280, "height": 1600}
    async with served(Script(busy(), WORLD)) as script, opened(browser, script.url, viewport=tall) as (page, _):
        card = page.get_by_role("button", name="Nora")
        async with page.expect_response("**/world/tap"):
            await card.drag_to(page.locator(f'.evse[data-evse="{RIGHT}"] .scene'))
        assert told(script, "/world/tap") == [{"evse": RIGHT, "uid": NORA["uid"]}]


async def test_a_plug_is_put_in_and_pulled(browser: Browser) -> None:
    script = Script(busy(), WORLD)

    def plug(path: str, body: Board) -> None:
        script.world = WORLD | {"evses": [{"uid": LEFT, "plugged": body["plugged"]}, WORLD["evses"][1]]}

    script.on_act = plug
    async with served(script), opened(browser, script.url) as (page, _):
        await page.get_by_role("button", name=f"Plug the car in at {LEFT}").click()
        await page.get_by_role("button", name=f"Unplug the car at {LEFT}").click()
        await expect(page.get_by_role("button", name=f"Plug the car in at {LEFT}")).to_be_visible()
        assert told(script, "/world/plug") == [{"evse": LEFT, "plugged": True}, {"evse": LEFT, "plugged": False}]


async def test_without_power_everything_is_dark_and_the_power_can_be_given_back(browser: Browser) -> None:
    script = Script(busy(), WORLD)

    def switch(path: str, body: Board) -> None:
        script.world = WORLD | {"power": body["on"]}

    script.on_act = switch
    async with served(script), opened(browser, script.url) as (page, _):
        await page.get_by_role("button", name="Pull the power").click()
        await expect(page.locator(".signal-words").first).to_have_text("Without power")
        await expect(page.get_by_role("img", name="Display: dark").first).to_be_visible()
        await expect(page.locator(".ring-lit").first).to_have_css("opacity", "0")
        # The plugs are as the world knows them: no agent asks the contacts.
        await expect(page.locator(f'.evse[data-evse="{LEFT}"] .facts')).to_contain_text("not plugged in")
        await expect(page.locator(f'.evse[data-evse="{RIGHT}"] .facts')).not_to_contain_text("not plugged in")
        await page.get_by_role("button", name="Give the power back").click()
        await expect(page.locator(".signal-words").first).to_have_text("Charging")
        assert told(script, "/world/power") == [{"on": False}, {"on": True}]


async def test_the_weather_is_chosen(browser: Browser) -> None:
    script = Script(busy(), WORLD)

    def change(path: str, body: Board) -> None:
        script.world = WORLD | body

    script.on_act = change
    async with served(script), opened(browser, script.url) as (page, _):
        for weather in ("Slow", "Silent", "Down", "Refusing", "Nonsense", "Fine"):
            await page.get_by_role("radio", name=re.compile(f"^{weather}")).click()
            await expect(page.get_by_role("radio", name=re.compile(f"^{weather}"))).to_be_checked()
        sent = [body["weather"] for body in told(script, "/world/weather")]
        assert sent == ["slow", "silent", "down", "refusing", "nonsense", "fine"]


async def test_what_the_world_refuses_is_told(browser: Browser) -> None:
    script = Script(busy(), WORLD)

    def refuse(path: str, body: Board) -> None:
        raise LookupError("the reader is unplugged")

    script.on_act = refuse
    async with served(script), opened(browser, script.url) as (page, _):
        await page.get_by_role("button", name="Anna").click()
        await expect(page.locator("#world-trouble")).to_have_text("The reader is unplugged.")


async def test_a_token_of_an_agent_before_this_one_is_renewed(browser: Browser) -> None:
    async with served(Script(busy(), WORLD)) as script, opened(browser, script.url) as (page, _):
        await page.get_by_role("button", name="Anna").wait_for()
        script.renew_token()
        async with page.expect_response(lambda answer: answer.url.endswith("/world/tap") and answer.ok):
            await page.get_by_role("button", name="Anna").click()
        await expect(page.locator("#world-trouble")).to_be_hidden()
        assert told(script, "/world/tap") == [{"evse": LEFT, "uid": ANNA["uid"]}]


def outage(script: Script) -> None:
    """From now on the script does what an agent does in an outage."""
    words = {ANNA["uid"]: ("accepted", "Card accepted"), NORA["uid"]: ("refused", "Can't check card")}

    def act(path: str, body: Board) -> None:
        assert script.world is not None
        if path == "/world/weather":
            script.world["weather"] = body["weather"]
        if path == "/world/tap":
            verdict, text = words[body["uid"]]
            uid, number = masked(body["uid"]), len(script.board["taps"]) + 1
            held: dict[str, Any] = {"id": number, "uid": uid, "evse": body["evse"], "verdict": verdict, "text": text}
            script.board["taps"] = [tap(**held), *script.board["taps"]]

    script.on_act = act


async def guided(page: Page) -> None:
    """Click, and wait for the end of the story."""
    await page.get_by_role("button", name="Show me an outage").click()
    await expect(page.locator("#guide-title")).to_have_text("Same outage, two cards")


async def test_one_click_shows_the_same_outage_for_two_cards(browser: Browser) -> None:
    script = Script(board(evses=[evse(), evse(uid=RIGHT)]), WORLD)
    outage(script)
    async with served(script), opened(browser, script.url) as (page, _):
        await guided(page)
        accepted, refused = page.locator(".guide-card").nth(0), page.locator(".guide-card").nth(1)
        await expect(accepted).to_contain_text("Anna")
        await expect(accepted.locator(".verdict")).to_have_text("accepted")
        await expect(accepted).to_contain_text("lets the list decide")
        await expect(refused).to_contain_text("Nora")
        await expect(refused.locator(".verdict")).to_have_text("refused")
        await expect(refused).to_contain_text("there is no fallback")
        assert told(script, "/world/weather") == [{"weather": "down"}]
        # The refused one first: it leaves the charge point free.
        assert [body["uid"] for body in told(script, "/world/tap")] == [NORA["uid"], ANNA["uid"]]


async def test_after_the_outage_the_network_is_mended(browser: Browser) -> None:
    script = Script(board(evses=[evse(), evse(uid=RIGHT)]), WORLD)
    outage(script)
    async with served(script), opened(browser, script.url) as (page, _):
        await guided(page)
        await page.get_by_role("button", name="Mend the network again").click()
        await expect(page.get_by_role("radio", name=re.compile("^Fine"))).to_be_checked()
        assert told(script, "/world/weather")[-1] == {"weather": "fine"}


@pytest.mark.parametrize(
    ("world", "said"),
    [(WORLD, "Every charge point is in use."), (WORLD | {"power": False}, "The charge point has no power.")],
)
async def test_a_story_that_cannot_be_told_says_why(browser: Browser, world: Board, said: str) -> None:
    async with served(Script(busy(), world)) as script, opened(browser, script.url) as (page, _):
        await page.get_by_role("button", name="Show me an outage").click()
        await expect(page.locator("#guide-title")).to_have_text(said)
        assert script.did == []
