"""A panel with a login: nothing before it, and a card's number for whoever is logged in."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from agent.panel.passwords import credential_for, set_password
from tests.panel.browser.boards import busy
from tests.panel.browser.chrome import opened
from tests.panel.browser.scripted import Script, served
from tests.panel.browser.test_access import findings
from tests.panel.browser.test_link import look


@pytest.fixture
def logins(tmp_path: Path) -> Path:
    """A login file with one user."""
    file = tmp_path / "logins"
    set_password(file, credential_for("anna", "correct horse"))
    return file


async def log_in(page: Page, password: str, user: str = "anna") -> None:
    """Fill the form, and send it."""
    await page.get_by_label("Name").fill(user)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


async def test_before_the_login_the_page_shows_nothing_else(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        await expect(page.locator("#board")).to_be_hidden()
        await expect(page.locator("#lost")).to_be_hidden()
        await expect(page.get_by_label("Name")).to_be_focused()
        await expect(page.locator("#login-note")).to_be_empty()
        assert await findings(page) == []


async def test_a_wrong_password_is_told_and_the_right_one_opens(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        await log_in(page, "wrong")
        await expect(page.locator("#login-trouble")).to_have_text("The name or the password is wrong.")
        await log_in(page, "correct horse")
        await expect(page.locator(".evse").first).to_be_visible()
        await expect(page.locator("#login")).to_be_hidden()
        await expect(page.locator("#user-name")).to_have_text("anna")
        await expect(page.locator("#chargers")).to_be_focused()


async def test_the_whole_uid_is_shown_to_whoever_is_logged_in(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        await log_in(page, "correct horse")
        newest = page.locator(".tap").first
        names = [str(await button.get_attribute("aria-label")) for button in await page.locator(".reveal").all()]
        assert all(name.startswith("Show the whole uid (is recorded): card 04") for name in names)
        await newest.get_by_role("button", name="Show the whole uid").click()
        await expect(newest.locator(".uid")).to_have_text("04A1B2C3D4E5F6")
        await expect(newest.locator(".uid")).to_be_focused()
        assert script.revealed == [(12, "anna")]


async def reveal(page: Page) -> Locator:
    """Log in, and have the newest card's number shown; gives where it stands."""
    await log_in(page, "correct horse")
    newest = page.locator(".tap").first
    await newest.get_by_role("button", name="Show the whole uid").click()
    await expect(newest.locator(".uid")).to_have_text("04A1B2C3D4E5F6")
    return newest.locator(".uid")


async def test_who_logs_in_beside_another_finds_nothing_of_what_was_shown_to_him(
    browser: Browser, logins: Path
) -> None:
    set_password(logins, credential_for("bob", "correct horse"))
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (annas, _):
        bobs = await annas.context.new_page()
        await bobs.goto(script.url)
        uid = await reveal(annas)
        await log_in(bobs, "correct horse", "bob")
        await expect(annas.locator("#user-name")).to_have_text("bob")
        await expect(uid).to_have_text("04D1…03")
        assert script.revealed == [(12, "anna")]


async def test_what_one_user_has_clicked_is_not_done_in_the_name_of_another(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        await log_in(page, "correct horse")
        await page.locator(".tap").first.wait_for()
        status = await page.evaluate(
            "import('/link.js').then(({link, send}) => { link.token = 'of before'; link.login = {user: 'bob'};"
            " return send('/reveal', {tap: 12}) }).then(answer => answer.status)"
        )
        assert (status, script.revealed) == (403, [])


async def test_a_number_is_masked_again_when_the_connection_is_lost(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        uid = await reveal(page)
        script.goes.clear()
        await expect(page.locator("body")).to_have_attribute("data-link", "lost")
        await expect(uid).to_have_text("04D1…03", timeout=1)
        script.goes.set()
        await expect(page.locator("body")).to_have_attribute("data-link", "live")
        await expect(uid).to_have_text("04D1…03")
        await page.locator(".tap").first.get_by_role("button", name="Show the whole uid").click()
        await expect(uid).to_have_text("04A1B2C3D4E5F6")
        assert script.revealed == [(12, "anna"), (12, "anna")]


async def test_a_number_is_masked_when_the_charge_point_answers_no_more_than_that_it_is_asked_too_often(
    browser: Browser, logins: Path
) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        uid = await reveal(page)
        for path in ("**/events", "**/state"):
            await page.route(path, lambda route: route.fulfill(status=429, json={"error": "too many requests"}))
        logins.write_text("")  # noqa: ASYNC240  a line
        await expect(page.locator("#lost")).to_contain_text("Too many requests. The charge point was asked too often")
        await expect(uid).to_have_text("04D1…03")
        await page.unroute_all()
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()


async def test_a_number_is_masked_again_when_nobody_looks_at_the_page(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        uid = await reveal(page)
        await look(page, "hidden")
        assert await uid.text_content() == "04D1…03"


async def test_a_number_is_masked_again_after_two_minutes(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        uid = await reveal(page)
        await page.evaluate("window.now = Date.now; Date.now = () => window.now() + 100_000")
        script.board["agent"]["version"] = "0.2.0"
        await expect(page.locator("#agent")).to_contain_text("0.2.0")
        assert await uid.text_content() == "04A1B2C3D4E5F6"
        await page.evaluate("Date.now = () => window.now() + 121_000")
        await expect(uid).to_have_text("04D1…03")
        await expect(page.locator("body")).to_have_attribute("data-link", "live")


async def test_a_number_that_comes_when_nobody_looks_any_more_is_not_shown(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        await log_in(page, "correct horse")
        newest = page.locator(".tap").first

        async def turn_away(route: Route) -> None:
            await look(page, "hidden")
            await route.continue_()

        await page.route("**/reveal", turn_away)
        await newest.get_by_role("button", name="Show the whole uid").click()
        await expect(newest.get_by_role("alert")).to_have_text("Not shown: the page was not live when it came.")
        await look(page, "visible")
        await expect(page.locator("body")).to_have_attribute("data-link", "live")
        await expect(newest.locator(".uid")).to_have_text("04D1…03")


async def test_a_token_that_is_another_one_costs_the_numbers_and_no_more(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        uid = await reveal(page)
        await page.evaluate("window.wasHere = true")
        assert script.login is not None
        for session in script.login._sessions.values():
            session.token = "another"
        await expect(uid).to_have_text("04D1…03")
        await expect(page.locator("body")).to_have_attribute("data-link", "live")
        assert await page.evaluate("window.wasHere") is True


async def test_nobody_is_offered_a_uid_without_a_login(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url) as (page, _):
        await page.locator(".tap").first.wait_for()
        await expect(page.get_by_role("button", name="Show the whole uid")).to_have_count(0)


async def test_after_logging_out_nothing_is_shown(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        await log_in(page, "correct horse")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        await expect(page.locator("#board")).to_be_hidden()
        await expect(page.locator("#login-note")).to_be_empty()


async def test_a_session_that_the_charge_point_has_ended_says_so(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        await log_in(page, "correct horse")
        await expect(page.locator(".evse").first).to_be_visible()
        set_password(logins, credential_for("anna", "another horse"))
        await expect(page.locator("#login-note")).to_have_text("Your session has ended: please log in again.")
        await expect(page.locator("#board")).to_be_hidden()


async def test_a_login_file_that_cannot_be_used_is_not_taken_for_a_wrong_password(
    browser: Browser, logins: Path
) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        logins.write_text("spoilt")  # noqa: ASYNC240  a line
        await log_in(page, "correct horse")
        await expect(page.locator("#login-trouble")).to_contain_text("the charge point's log says why")
