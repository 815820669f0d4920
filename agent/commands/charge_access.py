"""Where the commands that deal with sessions and CDRs find them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agent.commands import closed_by
from agent.config import Config
from agent.errors import ConfigError, StoreError
from agent.store.database import ReadOnlyDatabase, look_at_state, open_state
from agent.store.sessions import SessionStore


@asynccontextmanager
async def state_to_read(config: Config) -> AsyncIterator[ReadOnlyDatabase]:
    """`state.db` without changing anything of it: a worn-out disk or another user's file will do. Raises StoreError."""
    kept = await look_at_state(_path(config))
    async with closed_by(kept.close):
        yield kept


@asynccontextmanager
async def sessions_to_change(config: Config) -> AsyncIterator[SessionStore]:
    """The sessions in `state.db`, beside a running agent or without one. Raises StoreError where there is none."""
    path = _path(config)
    if not path.exists():  # opening it to write would make one
        raise StoreError(f"{path}: not there yet; the agent makes it when it first runs")
    database = await open_state(path)
    async with closed_by(database.close):
        yield SessionStore(database)


def check_evse(config: Config, evse_uid: str | None) -> None:
    """Raises ConfigError, which names those that there are, for an EVSE that is not configured."""
    evses = [evse.uid for evse in config.evse]
    if evse_uid is not None and evse_uid not in evses:
        raise ConfigError(f"no [[evse]] has the uid {evse_uid}; there are: {', '.join(evses)}")


def _path(config: Config) -> Path:
    return Path(config.storage.directory) / "state.db"
