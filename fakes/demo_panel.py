"""The demo's page: the agent's own panel, with the world's side to it, on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.errors import ConfigError
from agent.ocpi.server.asgi import Application
from agent.panel.place import place_of
from agent.panel.server import PanelServer
from fakes.pins import WatchedFactory
from fakes.world import LifeOf, world_in

USUAL, ANY = "127.0.0.1:8470", "127.0.0.1:0"
"""Where a panel is unless configured otherwise, and where there is room when somebody has that."""


class OpenPanel:
    """A page that is served."""

    def __init__(self, url: str, records: Path, serving: "asyncio.Task[None]") -> None:
        self.url = url
        """What a browser is given."""
        self.records = records
        """The `state.db` of its agents."""
        self._serving = serving

    async def served(self) -> None:
        """Until cancelled. Raises what the server fails of."""
        await asyncio.shield(self._serving)


@asynccontextmanager
async def open_panel(pins: WatchedFactory, life_of: LifeOf) -> AsyncIterator[OpenPanel]:
    """A world on these pins, with the page of each of its agent's lives. Raises AgentError where that can't start."""
    with TemporaryDirectory(prefix="chargepoint-agent-demo-") as folder:
        async with world_in(Path(folder), life_of=life_of, pins=lambda: pins) as world:
            server, url = _server(world.front)
            serving = asyncio.create_task(server.run(), name="the demo's panel")
            try:
                yield OpenPanel(url, world.bench.storage / "state.db", serving)
            finally:
                world.front.close()
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)


def _server(app: Application) -> tuple[PanelServer, str]:
    try:
        place = place_of(USUAL)
        server = PanelServer(app, place)
    except ConfigError:
        place = place_of(ANY)
        server = PanelServer(app, place)
    return server, place.url(server.port)
