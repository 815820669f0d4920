"""Ends what an operator wants ended: the command is another process and leaves its wish in `state.db`."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from agent.charges import STOPPED, StopRequest
from agent.errors import StoreError
from agent.model import EndReason
from agent.runtime.charge_point import EvseTapLoop

log = logging.getLogger(__name__)

TOO_OLD = timedelta(seconds=15)
"""The command has given up by then: it was killed, or no agent ran."""
DISK_S = 10.0
"""How long the record of an end is waited for: others may have wishes, too."""
LOOK_EVERY_S = 0.25
"""How often the file is looked at: it takes microseconds, and an operator waits."""


class StopRequests(Protocol):
    """What is needed of `agent.store.sessions.SessionStore`."""

    def commits(self) -> int | None:
        """Another number after every change of the file; None when that can't be told."""
        ...

    async def stop_requests(self) -> list[StopRequest]:
        """Those that nobody has answered. Raises StoreError."""
        ...

    async def stopped(self, number: int, outcome: str) -> None:
        """Answer one. Raises StoreError."""
        ...


class StopDesk:
    """Looks for wishes and fulfils them."""

    def __init__(
        self, requests: StopRequests, evses: Mapping[str, EvseTapLoop], *, now: Callable[[], datetime]
    ) -> None:
        self._requests = requests
        self._evses = evses
        self._now = now
        self._outcomes: dict[int, str] = {}
        """Of wishes whose answer the disk has not taken: fulfilled again, they would end the next driver's charge."""

    async def run(self) -> None:
        """Until cancelled. A wish that nobody can be waiting for any more is not fulfilled."""
        seen: int | None = None
        while True:
            try:
                number = self._requests.commits()
                if number is None or number != seen:
                    for request in await self._requests.stop_requests():
                        await self._answer(request)
                    seen = number
            except StoreError as error:
                log.warning("whether an operator wants a charge ended can't be read now: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _answer(self, request: StopRequest) -> None:
        if request.number not in self._outcomes:
            self._outcomes[request.number] = await self._fulfil(request)
        await self._requests.stopped(request.number, self._outcomes[request.number])
        del self._outcomes[request.number]

    async def _fulfil(self, request: StopRequest) -> str:
        if not timedelta(0) <= self._now() - request.asked_at <= TOO_OLD:
            return "that was asked too long ago, or the clock was put right meanwhile"
        evse = next((e for uid, e in self._evses.items() if uid.casefold() == request.evse_uid.casefold()), None)
        if evse is None:
            return f"there is no EVSE {request.evse_uid} here"
        running = evse.active_authorization
        try:
            async with asyncio.timeout(DISK_S):
                ended = await evse.end(EndReason.OPERATOR)
        except TimeoutError:
            return "it has ended, and the relay is open; but the disk does not take the record yet"
        if not ended:
            return "nothing was running"
        log.warning("evse=%s authorization %d was ended by the operator", evse.evse_uid, running)
        return STOPPED
