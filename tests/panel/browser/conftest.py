"""Where there is no Playwright these tests are left out, and in the gate that is an error."""

from importlib.util import find_spec

import pytest

from tests.contract.needs import in_gate

if in_gate() or find_spec("playwright") is not None:
    from tests.panel.browser.one_browser import browser as browser  # noqa: PLC0414 - pytest looks for fixtures here
else:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser belongs to one loop, and so do the tests that use it."""
    for item in items:
        if "tests/panel/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
