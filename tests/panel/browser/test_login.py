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
        assert await findings(page) == []


async def test_a_wrong_password_is_told_and_the_right_one_opens(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        await log_in(page, "wrong")
        await expect(page.locator("#login-trouble")).to_have_text("the name or the password is wrong")
        await log_in(page, "correct horse")
        await expect(page.locator(".evse").first).to_be_visible()
        await expect(page.locator("#login")).to_be_hidden()
        await expect(page.locator("#user-name")).to_have_text("anna")


async def test_the_whole_uid_is_shown_to_whoever_is_logged_in(browser: Browser, logins: Path) -> None:
    async with served(Script(busy()), login_file=logins) as script, opened(browser, script.url) as (page, _):
        await log_in(page, "correct horse")
        newest = page.locator(".tap").first
        await newest.get_by_role("button", name="Show the whole uid").click()
        await expect(newest.locator(".uid")).to_have_text("04A1B2C3D4E5F6")
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
