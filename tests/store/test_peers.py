"""What is remembered of a peer."""

from pathlib import Path

from agent.store.peers import PeerEndpoint, PeerStore
from tests.store.samples import NOON, at

VERSIONS = "https://emsp.example/ocpi/versions"
TOKENS = "https://emsp.example/ocpi/2.2.1/tokens"


async def test_endpoint_survives_reopening(tmp_path: Path) -> None:
    first = await PeerStore.open(tmp_path / "state.db")
    await first.save_endpoint("emsp", VERSIONS, "2.2.1", TOKENS, NOON)
    await first.close()
    second = await PeerStore.open(tmp_path / "state.db")
    assert await second.endpoint("emsp") == PeerEndpoint(VERSIONS, "2.2.1", TOKENS, NOON)
    assert await second.endpoint("hub") is None
    await second.close()


async def test_endpoint_discovered_again_replaces_the_first(tmp_path: Path) -> None:
    peers = await PeerStore.open(tmp_path / "state.db")
    await peers.save_endpoint("emsp", VERSIONS, "2.2.1", TOKENS, NOON)
    await peers.save_endpoint("emsp", VERSIONS, "2.2.1", TOKENS + "/new", at(1))
    assert await peers.endpoint("emsp") == PeerEndpoint(VERSIONS, "2.2.1", TOKENS + "/new", at(1))
    await peers.close()
