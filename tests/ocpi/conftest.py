"""A fake eMSP that must find nothing to complain of, and clients of it that are closed afterwards."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agent.model import LocationReferences
from agent.ocpi.client import OcpiClient
from agent.store.whitelist import Whitelist
from fakes.emsp import FakeEmsp
from tests.ocpi.scripted import ScriptedPeer, scripted_peer

US = ("NL", "CPO")
THEM = ("DE", "ABC")
HERE = LocationReferences("LOC1", ("EVSE1",))
UID = "04A1B2C3D4E5F6"

ClientMaker = Callable[..., OcpiClient]


@pytest.fixture
async def emsp() -> AsyncIterator[FakeEmsp]:
    """A test that means to be complained of clears `complaints`."""
    async with FakeEmsp() as emsp:
        yield emsp
        assert emsp.complaints == []


@pytest.fixture
async def make_client(emsp: FakeEmsp) -> AsyncIterator[ClientMaker]:
    async with AsyncExitStack() as stack:

        def make(**settings: object) -> OcpiClient:
            defaults: dict[str, object] = {"token": emsp.credentials_token, "us": US, "them": THEM}
            if "versions_url" not in settings:
                defaults["tokens_url"] = emsp.tokens_url
            client = OcpiClient("abc", **(defaults | settings))  # type: ignore[arg-type]
            stack.push_async_callback(client.aclose)
            return client

        yield make


@pytest.fixture
def client(make_client: ClientMaker) -> OcpiClient:
    return make_client()


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedPeer]:
    async with scripted_peer() as peer:
        yield peer


@pytest.fixture
async def whitelist(tmp_path: Path) -> AsyncIterator[Whitelist]:
    whitelist = await Whitelist.open(tmp_path / "whitelist.db")
    yield whitelist
    await whitelist.close()
