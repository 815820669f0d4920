"""Debian's Chromium, driven by Playwright: started once, each page in a context of its own."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

FLAGS = (
    "--no-sandbox",  # as root, as in most containers, there is none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

PATIENCE_MS = 30_000
"""Against hangs only: the machine may be busy with other tests."""


expect.set_options(timeout=PATIENCE_MS)


def chromium() -> str | None:
    """Where it is installed; None where it is not."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@asynccontextmanager
async def started() -> AsyncIterator[Browser]:
    """A headless browser with a new profile, which is thrown away."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS), timeout=60_000)
        try:
            yield browser
        finally:
            await browser.close()


class Watched:
    """What a page did behind the test's back: complaints, and requests to anywhere."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        self.requested: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _request(self, request: Request) -> None:
        self.requested.append(request.url)


@asynccontextmanager
async def opened(browser: Browser, url: str, **context: Any) -> AsyncIterator[tuple[Page, Watched]]:
    """A page in a context of its own; `context` as Playwright's `new_context` takes it."""
    settings = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "timezone_id": "UTC"} | context
    async with await browser.new_context(**settings) as made:
        made.set_default_timeout(PATIENCE_MS)
        page = await made.new_page()
        watched = Watched(page)
        await page.goto(url)
        yield page, watched
