"""The demo as a newcomer plays with it: Chromium, the page, the real agent, and what `state.db` says afterwards."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, expect

from agent.core.uid import masked
from agent.model import EndReason
from agent.panel.place import place_of
from agent.panel.server import PanelServer
from fakes.world import WALLET, WEATHERS, WalletCard, World, life_with_panel, world_in
from tests.panel.browser.chrome import Watched, opened
from tests.panel.browser.test_access import tab_to
from tests.scenario.world import select

LEFT, RIGHT = "DE*EXA*E1", "DE*EXA*E2"
ANNA, DAVID = WALLET[0], WALLET[3]


@dataclass(frozen=True, slots=True)
class Demo:
    """A world with its page open in a browser."""

    world: World
    page: Page
    watched: Watched
    url: str

    def records(self, statement: str) -> list[dict[str, Any]]:
        """From `state.db`, read without the agent's code."""
        return select(self.world.bench.storage / "state.db", statement)

    def evse(self, uid: str = LEFT) -> Any:
        """One charge point on the page."""
        return self.page.locator(f'.evse[data-evse="{uid}"]')

    async def hold(self, card: WalletCard, evse: str = LEFT) -> None:
        """Click on a card, and wait until the world says that it is decided."""
        async with self.page.expect_response("**/world/tap", timeout=60_000):
            await self.page.get_by_role("button", name=f"Hold to the reader of {evse}: {card.label}").click()

    async def weather(self, name: str) -> None:
        """Choose the peer's, unless it is so."""
        choice = self.page.locator(f'#weathers [data-value="{name}"] input')
        if not await choice.is_checked():
            async with self.page.expect_response("**/world/weather"):
                await choice.check()


@asynccontextmanager
async def playing(browser: Browser, folder: Path, **context: Any) -> AsyncIterator[Demo]:
    """The demo's world, served as the demo serves it."""
    async with world_in(folder, life_of=life_with_panel) as world:
        place = place_of("127.0.0.1:0")
        server = PanelServer(world.front, place)
        serving = asyncio.create_task(server.run())
        try:
            url = place.url(server.port)
            async with opened(browser, url, **context) as (page, watched):
                await page.locator("#wallet button").first.wait_for()
                yield Demo(world, page, watched, url)
        finally:
            world.front.close()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def shown(tap: Any) -> dict[str, str]:
    """A row of the last cards, in the record's terms."""
    source = str(await tap.locator(".tap-source").text_content())
    return {
        "uid": str(await tap.locator(".uid").text_content()),
        "verdict": str(await tap.locator(".verdict").text_content()),
        "reason": source.partition(" · ")[0],
        "text": str(await tap.locator(".screen").text_content()),
        "detail": str(await tap.locator(".why").text_content()),
    }


@pytest.mark.parametrize("weather", WEATHERS)
async def test_every_card_shows_the_verdict_and_the_text_of_its_record(
    browser: Browser, tmp_path: Path, weather: str
) -> None:
    async with playing(browser, tmp_path) as demo:
        await demo.weather(weather)
        for number, card in enumerate(WALLET, 1):
            await demo.hold(card)
            await expect(demo.page.locator(".tap")).to_have_count(number)
            await demo.world.agent.evses[LEFT].end(EndReason.OPERATOR)
        rows = demo.records("SELECT uid, verdict, reason, text, detail FROM authorization ORDER BY id DESC")
        expected = [{**row, "uid": masked(row["uid"])} for row in rows]
        assert [await shown(tap) for tap in await demo.page.locator(".tap").all()] == expected
        assert demo.watched.complaints == []


async def test_plug_charge_power_cut_resume_and_an_acknowledged_cdr(browser: Browser, tmp_path: Path) -> None:
    async with playing(browser, tmp_path) as demo:
        await demo.hold(ANNA)
        await expect(demo.evse().locator(".signal-words")).to_have_text("Accepted: plug in the cable")
        await demo.page.get_by_role("button", name=f"Plug the car in at {LEFT}").click()
        await expect(demo.evse().locator(".signal-words")).to_have_text("Charging")
        await expect(demo.evse().locator(".facts")).to_contain_text("closed: current may flow")
        await expect(demo.evse().locator(".facts")).to_contain_text(re.compile(r"0\.[0-9]*[1-9][0-9]* kWh"))
        await demo.page.get_by_role("button", name="Pull the power").click()
        await expect(demo.evse().locator(".signal-words")).to_have_text("Without power")
        await expect(demo.evse().locator(".facts")).to_contain_text("open: no current")
        await demo.page.get_by_role("button", name="Give the power back").click()
        await expect(demo.evse().locator(".signal-words")).to_have_text("Charging", timeout=60_000)
        await demo.hold(ANNA)
        await expect(demo.evse().locator(".signal-words")).to_have_text("Finished: unplug the cable")
        await demo.page.get_by_role("button", name=f"Unplug the car at {LEFT}").click()
        await expect(demo.evse().locator(".signal-words")).to_have_text("Ready for a card")
        await expect(demo.page.locator(".session").first).to_contain_text("acknowledged", timeout=60_000)
        [cdr] = demo.records("SELECT cdr_id FROM cdr JOIN cdr_acknowledged USING (number)")
        await expect(demo.page.locator(".session").first).to_contain_text(cdr["cdr_id"])
        assert demo.watched.complaints == []


async def test_one_click_shows_why_one_card_works_in_an_outage(browser: Browser, tmp_path: Path) -> None:
    async with playing(browser, tmp_path) as demo:
        await demo.page.get_by_role("button", name="Show me an outage").click()
        await expect(demo.page.locator("#guide-title")).to_have_text("Same outage, two cards", timeout=60_000)
        left, right = demo.page.locator(".guide-card").nth(0), demo.page.locator(".guide-card").nth(1)
        await expect(left).to_contain_text(ANNA.label)
        await expect(left.locator(".verdict")).to_have_text("accepted")
        await expect(right).to_contain_text(DAVID.label)
        await expect(right.locator(".verdict")).to_have_text("refused")
        rows = demo.records("SELECT uid, verdict FROM authorization ORDER BY id")
        assert [(row["uid"], row["verdict"]) for row in rows] == [(DAVID.uid, "refused"), (ANNA.uid, "accepted")]


async def test_the_outage_can_be_shown_again_and_again(browser: Browser, tmp_path: Path) -> None:
    async with playing(browser, tmp_path) as demo:
        for telling in range(1, 5):
            await demo.page.get_by_role("button", name="Show me an outage").click()
            await expect(demo.page.locator("#guide")).not_to_have_attribute("aria-disabled", "true", timeout=60_000)
            await expect(demo.page.locator("#guide-title")).to_have_text("Same outage, two cards")
            refused = demo.records("SELECT uid FROM authorization WHERE verdict = 'refused'")
            assert refused == [{"uid": DAVID.uid}] * telling


async def test_what_became_of_a_card_stays_in_sight_beside_the_wallet(browser: Browser, tmp_path: Path) -> None:
    async with playing(browser, tmp_path) as demo:
        for card, verdict in ((DAVID, "accepted"), (WALLET[4], "refused")):
            await demo.hold(card)
            line = demo.page.locator("#held-outcome")
            await expect(line).to_contain_text(f"{card.label} at {LEFT}: {verdict}.")
            await demo.page.wait_for_timeout(1500)  # whatever moves has come to rest
            assert await line.evaluate("(line) => getComputedStyle(line).opacity") == "1"
            assert await line.evaluate("(line) => line.clientWidth / line.parentElement.clientWidth") > 0.8


async def test_a_charge_by_keyboard_alone(browser: Browser, tmp_path: Path) -> None:
    async with playing(browser, tmp_path, viewport={"width": 320, "height": 640}) as demo:
        await tab_to(demo.page, f"Hold to the reader of {LEFT}: {ANNA.label}")
        await demo.page.keyboard.press("Enter")
        await expect(demo.evse().locator(".signal-words")).to_have_text("Accepted: plug in the cable")
        await demo.page.get_by_role("link", name="Skip to the charge points").focus()
        await demo.page.keyboard.press("Enter")
        await tab_to(demo.page, f"Plug the car in at {LEFT}")
        await demo.page.keyboard.press("Space")
        await expect(demo.evse().locator(".signal-words")).to_have_text("Charging")
        assert await demo.page.evaluate("document.documentElement.scrollWidth") <= 320


async def test_a_search_explains_a_card_of_the_wallet(browser: Browser, tmp_path: Path) -> None:
    async with playing(browser, tmp_path) as demo:
        await demo.page.get_by_label("What would happen to a card?").fill(DAVID.uid.lower())
        await demo.page.get_by_role("button", name="Explain").click()
        answer = demo.page.locator("#lookup-answer")
        await expect(answer).to_contain_text("NEVER, valid")
        await expect(answer).to_contain_text("If nobody answers: refused")
        assert demo.records("SELECT id FROM authorization") == []


async def test_the_demo_asks_nothing_of_another_origin(browser: Browser, tmp_path: Path) -> None:
    async with playing(browser, tmp_path) as demo:
        await demo.hold(DAVID)
        await expect(demo.page.locator(".tap")).to_have_count(1)
        assert {urlsplit(url).netloc for url in demo.watched.requested} == {urlsplit(demo.url).netloc}
        assert demo.watched.complaints == []
