"""One browser for all of these tests; without Chromium they are skipped, and in the gate that is a failure."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.contract.needs import needs
from tests.panel.browser.chrome import chromium, started


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Started once: every test opens pages in a context of its own."""
    if chromium() is None:
        needs("chromium is not installed (apt-get install chromium)")
    async with started() as browser:
        yield browser
