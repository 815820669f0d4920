"""One life of the agent, from power to power cut: how it is assembled in this process, and the page that it serves.

The only place here that knows how an agent and its panel are put together.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.config import Config, PanelSection
from agent.main import Agent, agent_of
from agent.ocpi.server.asgi import Application
from agent.runtime.charge_point import Settled


@dataclass(frozen=True, slots=True)
class Life:
    """An agent that is assembled and not yet running, and its panel."""

    agent: Agent
    page: Application | None
    """None where nobody looks."""


LifeOf = Callable[[Config, Path, Application, Callable[[Settled], None]], AbstractAsyncContextManager[Life]]
"""Assembles one: from its configuration, the world's side that its panel is to mount, and who hears of its taps."""


@asynccontextmanager
async def life_without_panel(
    config: Config,
    config_path: Path,
    world: Application,  # noqa: ARG001  a LifeOf's signature
    on_settled: Callable[[Settled], None],
) -> AsyncIterator[Life]:
    """An agent that nobody looks at. Raises as `agent_of` does."""
    with open(os.devnull, "w") as nowhere:  # noqa: ASYNC230, PTH123  nothing is waited for there
        async with agent_of(config, config_path, on_settled=on_settled, display_stream=nowhere) as agent:
            yield Life(agent, None)


@asynccontextmanager
async def life_with_panel(
    config: Config, config_path: Path, world: Application, on_settled: Callable[[Settled], None]
) -> AsyncIterator[Life]:
    """An agent with a panel that mounts the world. Raises as `agent_of` does.

    The panel has an address of its own, too, which nobody is told.
    """
    config = msgspec.structs.replace(config, panel=PanelSection(listen="127.0.0.1:0"))
    with open(os.devnull, "w") as nowhere:  # noqa: ASYNC230, PTH123  nothing is waited for there
        making = agent_of(config, config_path, on_settled=on_settled, display_stream=nowhere, world=world)
        async with making as agent:
            assert agent.panel is not None, "its configuration has a [panel]"
            yield Life(agent, agent.panel.page)
