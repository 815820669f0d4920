"""`sessions stop`: has the agent that runs here end what runs at one of its EVSEs."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import click

from agent.charges import STOPPED
from agent.commands.charge_access import check_evse, sessions_to_change
from agent.commands.terminal import harmless, json_text
from agent.config import Config
from agent.errors import AgentError, BusyError
from agent.storage import alone_in, storage_folder
from agent.store.sessions import SessionStore

TAKEN_BACK: Final = "taken back: not answered in time"

ANSWER_S: Final = 15.0
"""How long a running agent is waited for: it looks for requests many times in this, but a tap goes first."""

LOOK_S: Final = 0.1


async def stop(config: Config, evse_uid: str, *, as_json: bool, answer_s: float = ANSWER_S) -> bool:
    """Have the running agent end what runs at an EVSE, and print what came of it. False when it did not stop anything.

    Raises ConfigError for an unknown EVSE; AgentError where no agent runs, or it does not answer.
    """
    check_evse(config, evse_uid)
    _check_agent_runs(config)
    async with sessions_to_change(config) as store:
        number = await store.request_stop(evse_uid, datetime.now(UTC))
        try:
            await _answered(store, number, answer_s)
        finally:
            # After Ctrl-C as well: nobody must be stopped by what was asked long ago. An answer that is there stays.
            await store.stopped(number, TAKEN_BACK)
        outcome = await store.stop_outcome(number)
    if outcome in {None, TAKEN_BACK}:
        _check_agent_runs(config)
        raise AgentError(
            f"{evse_uid}: the agent has not answered within {answer_s:.0f} s, and is asked no longer; "
            "chargepoint-agent sessions shows whether it stopped all the same"
        )
    if as_json:
        click.echo(json_text({"evse_uid": evse_uid, "stopped": outcome == STOPPED, "outcome": outcome}))
    else:
        click.echo(harmless(f"{evse_uid}: {outcome}"))
    return outcome == STOPPED


def _check_agent_runs(config: Config) -> None:
    try:
        with alone_in(storage_folder(config)):
            pass
    except BusyError:
        return
    raise AgentError("no agent is running on this configuration's databases, so nothing runs that could be stopped")


async def _answered(store: SessionStore, number: int, answer_s: float) -> None:
    """Return when the agent has noted what came of it, or has noted nothing for too long."""
    until = time.monotonic() + answer_s
    while await store.stop_outcome(number) is None and time.monotonic() < until:  # noqa: ASYNC110  of another process
        await asyncio.sleep(LOOK_S)
