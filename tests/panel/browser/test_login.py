"""A panel with a login: nothing before it, and a card's number for whoever is logged in."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from agent.panel.passwords import credential_for, set_password
from tests.panel.browser.boards import busy
from tests.panel.browser.chrome import opened
from tests.panel.browser.scripted import Script, served
from tests.panel.browser.test_access import findings


@pytest.fixture
def logins(tmp_path: Path) -> Path:
    """A login file with one user."""
    file = tmp_path / "logins"
    set_password(file, credential_for("anna", "correct horse"))
    return file


async def log_in(page: Page, password: str) -> None:
    """Fill the form, and send it."""
    await page.get_by_label("Name").fill("anna")
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
        await expect(page.locator("#login-trouble")).to_have_text("the name or the password is wrong")
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
