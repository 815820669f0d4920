"""One fake eMSP and one client that keeps to OCPI."""

from collections.abc import AsyncIterator

import pytest

from fakes.emsp import FakeEmsp
from tests.fakes.emsp_client import Cpo


@pytest.fixture
async def emsp() -> AsyncIterator[FakeEmsp]:
    async with FakeEmsp() as fake:
        yield fake


@pytest.fixture
async def cpo(emsp: FakeEmsp) -> AsyncIterator[Cpo]:
    client = Cpo(emsp)
    async with client.http:
        yield client
