"""The page for everybody: by keyboard, by ear, on a narrow phone, in light and dark; and nothing from elsewhere."""

from importlib import resources
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, expect

from tests.panel.browser.boards import LEFT, RIGHT, WORLD, board, busy, evse, showing, tap
from tests.panel.browser.chrome import opened
from tests.panel.browser.scripted import Script, served, told
from tests.panel.browser.test_books import ASKED

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")

PHONE = {"viewport": {"width": 320, "height": 640}}


async def findings(page: Page) -> list[str]:
    """What axe-core finds, whatever it calls it: rule and place."""
    await page.evaluate(AXE)
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['impact']} {one['id']}: {node['html'][:120]}" for one in found["violations"] for node in one["nodes"]
    ]


async def full_page(page: Page) -> None:
    """Wait until everything is there, a search's answer as well."""
    await page.get_by_label("What would happen to a card?").fill("04D1E2F3A4B503")
    await page.get_by_role("button", name="Explain").click()
    await page.locator(".outcome").first.wait_for()
    await page.locator("#wallet button").first.wait_for()


def full() -> Script:
    """Everything that the page can show at once."""
    script = Script(busy(), WORLD)
    script.card = ASKED
    return script


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{}, PHONE], ids=["desk", "phone"])
async def test_axe_finds_nothing(browser: Browser, scheme: str, size: dict[str, Any]) -> None:
    context = {"color_scheme": scheme, "reduced_motion": "reduce", **size}
    async with served(full()) as script, opened(browser, script.url, **context) as (page, _):
        await full_page(page)
        assert await findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_while_the_connection_is_lost(browser: Browser, scheme: str) -> None:
    async with (
        served(full()) as script,
        opened(browser, script.url, color_scheme=scheme, reduced_motion="reduce") as (page, _),
    ):
        await full_page(page)
        script.goes.clear()
        await expect(page.locator("#lost")).to_be_visible()
        assert await findings(page) == []


@pytest.mark.parametrize("width", [320, 360, 390, 768, 1080, 1440])
async def test_no_width_needs_scrolling_sideways(browser: Browser, width: int) -> None:
    long = busy()
    long["taps"][0] |= {"why": "W" * 300, "reference": "R" * 36}
    long["agent"]["status"] = "unbroken" * 30
    async with (
        served(Script(long, WORLD)) as script,
        opened(browser, script.url, viewport={"width": width, "height": 700}) as (page, _),
    ):
        await page.locator("#wallet button").first.wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        outside = await page.locator("main *:visible:not(svg *, .unseen)").evaluate_all(
            "(all, width) => all.filter(one => one.getBoundingClientRect().right > width + 1)"
            ".map(one => one.outerHTML.slice(0, 80))",
            width,
        )
        assert outside == []


async def test_the_whole_display_is_to_be_seen_on_the_narrowest_phone(browser: Browser) -> None:
    shown = showing("M" * 40, columns=40, rows=4)
    async with (
        served(Script(board(evses=[evse(display=shown)]))) as script,
        opened(browser, script.url, **PHONE) as (page, _),
    ):
        await page.locator(".line").first.wait_for()
        fits = await page.evaluate(
            "() => { const glass = document.querySelector('.glass').getBoundingClientRect();"
            " return [...document.querySelectorAll('.line')].every(line => { const box = line.getBoundingClientRect();"
            " return box.left >= glass.left && box.right <= glass.right && box.top >= glass.top"
            " && box.bottom <= glass.bottom }) }"
        )
        assert fits


async def test_a_day_by_keyboard_alone(browser: Browser) -> None:
    async with served(full()) as script, opened(browser, script.url) as (page, _):
        await page.locator("#wallet button").first.wait_for()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the charge points")).to_be_focused()
        await page.keyboard.press("Enter")
        await tab_to(page, f"Plug the car in at {LEFT}")
        await answered(page, "plug", "Space")
        await tab_to(page, LEFT, role="radio")
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("radio", name=RIGHT)).to_be_checked()
        await tab_to(page, f"Hold to the reader of {RIGHT}: Nora")
        await answered(page, "tap", "Enter")
        await tab_to(page, "Pull the power")
        await answered(page, "power", "Space")
        await tab_to(page, "What would happen to a card?", role="combobox")
        await page.keyboard.type("04D1E2F3A4B503")
        await page.keyboard.press("Enter")
        await page.locator(".outcome").first.wait_for()
        assert told(script, "/world/plug") == [{"evse": LEFT, "plugged": True}]
        assert told(script, "/world/tap") == [{"evse": RIGHT, "uid": "04D1E2F3A4B503"}]
        assert told(script, "/world/power") == [{"on": False}]
        assert script.searched == ["04D1E2F3A4B503"]


async def answered(page: Page, order: str, key: str) -> None:
    """Press a key on what has the focus, and wait until the world has done what it stands for."""
    async with page.expect_response(f"**/world/{order}"):
        await page.keyboard.press(key)


async def tab_to(page: Page, name: str, role: Any = "button") -> None:
    """Press Tab until that control has the focus, which then must be visible."""
    wanted = page.get_by_role(role, name=name)
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await wanted.first.evaluate("one => one === document.activeElement"):
            break
    await expect(wanted.first).to_be_focused()
    seen = await wanted.first.evaluate(
        "one => [one, one.closest('label') ?? one].some(shown => getComputedStyle(shown).outlineStyle !== 'none')"
    )
    assert seen, name


async def test_states_that_come_leave_the_focus_and_the_answer_where_they_are(browser: Browser) -> None:
    async with served(full()) as script, opened(browser, script.url) as (page, _):
        await full_page(page)
        nora = page.get_by_role("button", name="Nora")
        await nora.focus()
        script.board["taps"] = [tap(id=77), *script.board["taps"]]
        script.board["evses"][0]["display"] = showing("Charging", "6.500 kWh")
        await expect(page.locator(".tap")).to_have_count(5)
        await expect(nora).to_be_focused()
        await expect(page.locator(".outcome").first).to_be_visible()


async def test_a_screen_reader_hears_verdicts_and_changes_and_no_running_figures(browser: Browser) -> None:
    async with served(Script(board(evses=[evse()]))) as script, opened(browser, script.url) as (page, _):
        await page.locator(".evse").wait_for()
        said = page.locator("#said")
        await expect(said).to_have_text("")
        script.board["evses"] = [evse(display=showing("Charging", "0.001 kWh"))]
        await expect(page.get_by_role("img", name="Display: Charging / 0.001 kWh")).to_be_visible()
        await expect(said).to_have_text("")
        script.board["taps"] = [tap(verdict="refused", why="its owner says BLOCKED")]
        script.board["evses"] = [evse(signal="refused")]
        await expect(said).to_have_text(f"Card 04A1…F6 at {LEFT}: refused. its owner says BLOCKED")
        script.board["evses"] = [evse(signal="charging", relay="closed")]
        await expect(said).to_have_text(f"{LEFT}: Charging.")


async def test_landmarks_and_headings_lead_through_the_page(browser: Browser) -> None:
    async with served(full()) as script, opened(browser, script.url) as (page, _):
        await full_page(page)
        for name in ("Charge points", "The world's side", "Last cards", "Whitelist", "Sessions and CDRs"):
            await expect(page.get_by_role("region", name=name, exact=True)).to_be_visible()
        levels = await page.locator("h1:visible, h2:visible, h3:visible, h4:visible").evaluate_all(
            "all => all.map(one => Number(one.tagName[1]))"
        )
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))


async def test_nothing_is_asked_of_another_origin_and_the_console_is_silent(browser: Browser) -> None:
    async with served(full()) as script, opened(browser, script.url) as (page, watched):
        await full_page(page)
        await page.get_by_role("button", name="Anna").click()
        async with page.expect_response("**/world/state"):
            pass
        assert {urlsplit(url).netloc for url in watched.requested} == {urlsplit(script.url).netloc}
        assert watched.complaints == []


async def test_colours_told_by_the_system_are_left_to_it(browser: Browser) -> None:
    async with served(full()) as script, opened(browser, script.url, forced_colors="active") as (page, watched):
        await full_page(page)
        await expect(page.locator(".signal-words").first).to_be_visible()
        assert watched.complaints == []
