"""A site on loopback, and an eMSP beside it that must find nothing to complain of."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fakes.emsp import FakeEmsp
from tests.ocpi.scripted import ScriptedPeer
from tests.ocpi_server.hostile import peer_in_order
from tests.ocpi_server.site import Site, client_of, site_in


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Without a network: for whoever talks straight into the application."""
    async with site_in(tmp_path, serve=False) as site:
        yield site


@pytest.fixture
async def served_site(tmp_path: Path) -> AsyncIterator[Site]:
    """On loopback, where an eMSP can call it."""
    async with site_in(tmp_path) as site:
        yield site


@pytest.fixture
async def emsp() -> AsyncIterator[FakeEmsp]:
    async with FakeEmsp(lenient_rotation=True) as emsp:
        emsp.device.credentials_token = ""
        yield emsp


@pytest.fixture
async def peer(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A registered peer, DE-ABC, straight into the application."""
    async with client_of(site, await site.agreed()) as client:
        yield client


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedPeer]:
    """A peer that is in order, for a test to spoil."""
    async with peer_in_order() as peer:
        yield peer
