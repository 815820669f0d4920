"""What is no longer known to be true never looks live."""

import asyncio
import re

from playwright.async_api import Browser, Page, expect

from tests.panel.browser.boards import busy
from tests.panel.browser.chrome import opened
from tests.panel.browser.scripted import Script, served
from tests.panel.browser.test_access import findings
from tests.scenario.world import until

HANG_S = 60.0

WATCH_LINKS = (
    "window.links = []; new MutationObserver(() => links.push(document.body.dataset.link))"
    ".observe(document.body, {attributes: true})"
)
"""Notes each time that the page says something else of its link."""


async def test_a_server_that_has_gone_is_told_of_and_found_again(browser: Browser) -> None:
    script = Script(busy())
    async with asyncio.timeout(HANG_S):
        async with served(script):
            port = int(script.url.rstrip("/").rpartition(":")[2])
            context = opened(browser, script.url)
            page, _ = await context.__aenter__()
            await expect(page.locator("#link-words")).to_have_text("Live")
        await expect(page.locator("#link-words")).to_have_text(re.compile("Connection lost"))
        await expect(page.get_by_role("alert").first).to_contain_text("was true at 10:24:36")
        await expect(page.locator(".ring-lit").first).to_have_css("animation-name", "none")
        async with served(script, port=port):
            await expect(page.locator("#link-words")).to_have_text("Live")
            await expect(page.locator("#lost")).to_be_hidden()
            await context.__aexit__(None, None, None)


async def test_a_server_that_stalls_with_its_connections_open_is_lost(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url) as (page, _):
        await expect(page.locator("body")).to_have_attribute("data-link", "live")
        script.goes.clear()
        await expect(page.locator("body")).to_have_attribute("data-link", "lost")
        await expect(page.locator("#lost")).to_contain_text("The charge point does not answer")
        was = await page.locator(".signal-words").first.evaluate("one => getComputedStyle(one, '::before').content")
        assert was == '"Was: "'
        script.goes.set()
        await expect(page.locator("body")).to_have_attribute("data-link", "live")
        await expect(page.locator("#lost")).to_be_hidden()


async def test_a_server_that_never_begins_to_talk_is_lost(browser: Browser) -> None:
    script = Script(busy())
    script.goes.clear()
    async with served(script), opened(browser, script.url) as (page, _):
        await expect(page.locator("#lost")).to_have_text(
            "Connection lost. The charge point does not answer. Trying again."
        )
        await expect(page.locator("#board")).to_be_hidden()
        script.goes.set()
        await expect(page.locator("body")).to_have_attribute("data-link", "live")


async def test_a_stream_that_ends_and_goes_on_alarms_nobody(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url) as (page, _):
        await expect(page.locator("body")).to_have_attribute("data-link", "live")
        await page.evaluate(WATCH_LINKS)
        async with page.expect_request("**/events"):
            script.end_streams()
        script.board["agent"]["version"] = "0.2.0"
        await expect(page.locator("#agent")).to_contain_text("0.2.0")
        assert await page.evaluate("links") == []


async def test_a_page_that_nobody_looks_at_lets_go_of_its_stream(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url) as (page, _):
        await expect(page.locator("body")).to_have_attribute("data-link", "live")
        await look(page, "hidden")
        await until(lambda: script.stream.clients == 0)
        await expect(page.locator("body")).to_have_attribute("data-link", "waiting")
        await expect(page.locator("#lost")).to_be_hidden()
        await look(page, "visible")
        await expect(page.locator("body")).to_have_attribute("data-link", "live")


async def look(page: Page, state: str) -> None:
    """Somebody turns to another tab, or back."""
    await page.evaluate(
        "state => { Object.defineProperty(document, 'visibilityState', {value: state, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')) }",
        state,
    )


async def test_a_page_too_many_is_told_why(browser: Browser) -> None:
    async with served(Script(busy()), most=1) as script, opened(browser, script.url) as (first, _):
        await expect(first.locator("#link-words")).to_have_text("Live")
        async with opened(browser, script.url) as (second, _):
            await expect(second.locator("#lost")).to_contain_text("Close one of them")
            await expect(second.locator("#link-words")).to_have_text("Too many pages")
            await second.evaluate(WATCH_LINKS)
            for _ in range(3):
                async with second.expect_response("**/events"):
                    pass
            assert await second.evaluate("links") == []
            await first.close()
            await expect(second.locator("#link-words")).to_have_text("Live")


async def test_a_state_that_can_not_be_made_any_more_is_not_shown_as_live(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url) as (page, _):
        await expect(page.locator("body")).to_have_attribute("data-link", "live")
        script.fault = KeyError("a record that nobody foresaw")
        script.board["evses"] = []
        await expect(page.locator("#lost")).to_have_text(
            "Fault of the page. The charge point answers, but what it does cannot be shown now: its log says why."
            " Trying again. What you see below was true at 10:24:36 and may no longer be."
        )
        await expect(page.locator("#link-words")).to_have_text("Fault of the page")
        await expect(page.locator(".ring-lit").first).to_have_css("animation-name", "none")
        assert await findings(page) == []
        script.fault = None
        await expect(page.locator("#link-words")).to_have_text("Live")
        await expect(page.locator("#lost")).to_be_hidden()
        await expect(page.locator(".evse")).to_have_count(0)


async def test_who_comes_while_nothing_can_be_shown_is_told_so_and_stays(browser: Browser) -> None:
    script = Script(busy())
    script.fault = KeyError("a record that nobody foresaw")
    async with served(script), opened(browser, script.url) as (page, watched):
        await expect(page.locator("#lost")).to_have_text(
            "Fault of the page. The charge point answers, but what it does cannot be shown now: its log says why."
            " Trying again."
        )
        await expect(page.locator("#board")).to_be_hidden()
        script.fault = None
        await expect(page.locator("#link-words")).to_have_text("Live")
        assert watched.complaints == []


async def test_who_comes_after_the_fault_has_begun_sees_what_was_true_before(browser: Browser) -> None:
    async with served(Script(busy())) as script:
        await script.stream.newest()
        script.fault = KeyError("a record that nobody foresaw")
        async with opened(browser, script.url) as (page, _):
            await expect(page.locator("#lost")).to_contain_text("was true at 10:24:36")
            await expect(page.locator(".evse")).to_have_count(2)
            await expect(page.locator("body")).to_have_attribute("data-link", "fault")
