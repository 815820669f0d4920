"""One fake eMSP, one client that keeps to OCPI, and one CPO's system that others can call too."""

from collections.abc import AsyncIterator

import pytest

from fakes.emsp import FakeEmsp
from tests.fakes.cpo_system import CpoSystem
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


@pytest.fixture
async def system() -> AsyncIterator[CpoSystem]:
    async with CpoSystem() as operator:
        yield operator
