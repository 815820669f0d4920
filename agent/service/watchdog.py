"""Feeds systemd's watchdog as long as everything really turns: asked are the loops and threads that do the work.

No timer of its own keeps the agent alive: a part that hangs starves the watchdog, and systemd starts the agent again.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Set
from typing import NoReturn

from agent.ports import Pulsing, Reader
from agent.runtime.charge_point import EvseTapLoop
from agent.storage import Stores

log = logging.getLogger(__name__)

ROUNDS = 3
"""Rounds within systemd's time: one may be missed, and one be late."""


class Watchdog:
    """Asks every part for its pulse, all at once, and says that the agent lives when all have answered.

    Nobody is waited for who has not answered once since the start, such as a driver whose daemon hangs from the first
    call: another start would not mend it, and would open the contactors of running charges again and again.
    """

    def __init__(self, parts: Mapping[str, Pulsing], alive: Callable[[], object], *, watchdog_s: float) -> None:
        """`parts` by the names that the log gives them; it may change meanwhile. `watchdog_s` is systemd's time."""
        self._parts = parts
        self._alive = alive
        self._watchdog_s = watchdog_s
        self._turned: set[str] = set()
        self._starving: set[str] = set()
        self._fed_at = -math.inf
        self.silent: tuple[str, ...] = ()
        """The parts that have been asked, and have not answered once since the start."""

    async def run(self) -> NoReturn:
        """Until cancelled. Time is the event loop's: a suspended machine or a clock that jumps makes no difference."""
        loop = asyncio.get_running_loop()
        every_s = self._watchdog_s / ROUNDS
        if self._fed_at == -math.inf:
            self._fed_at = loop.time()
        while True:
            began = loop.time()
            await self._round(every_s)
            self._alive()
            self._fed_at = loop.time()
            await asyncio.sleep(began + every_s - loop.time())

    async def _round(self, limit_s: float) -> None:
        """Return when every part that ever turned has done so again; whoever hangs is asked again each `limit_s`.

        Again, for what it was asked for may be gone: a reader that was opened anew, a file that was set aside.
        """
        began = asyncio.get_running_loop().time()
        missing = await self._ask(frozenset(self._parts), limit_s)
        while hanging := missing & self._turned & self._parts.keys():
            self._tell(hanging, began)
            missing = (missing - hanging) | await self._ask(hanging, limit_s)
        self._tell_silent(missing & self._parts.keys())

    async def _ask(self, names: Iterable[str], limit_s: float) -> frozenset[str]:
        """The parts that did not answer in time."""
        pulses = {
            asyncio.create_task(part.pulse(), name=f"pulse of {name}"): name
            for name in names
            if (part := self._parts.get(name)) is not None
        }
        if not pulses:
            return frozenset()
        try:
            answered, _ = await asyncio.wait(pulses, timeout=limit_s)
        finally:
            for pulse in pulses:
                pulse.cancel()
        for pulse in answered:
            pulse.result()  # a fault of ours ends this: nothing is fed until it is run again
            self._answered(pulses[pulse])
        return frozenset(name for pulse, name in pulses.items() if pulse not in answered)

    def _answered(self, name: str) -> None:
        self._turned.add(name)
        if name in self._starving:
            self._starving.discard(name)
            log.warning("%s turns again: the agent is not restarted", name)

    def _tell(self, hanging: Iterable[str], since: float) -> None:
        """Before systemd ends the agent: afterwards nobody could say why."""
        now = asyncio.get_running_loop().time()
        for name in sorted(set(hanging) - self._starving):
            self._starving.add(name)
            log.critical(
                "ALARM %s hangs: no sign of life for %.0f s; systemd restarts the agent unless it comes within %.0f s",
                name, now - since, max(0.0, self._fed_at + self._watchdog_s - now),
            )  # fmt: skip

    def _tell_silent(self, silent: Set[str]) -> None:
        for name in sorted(silent - set(self.silent)):
            log.error("%s has given no sign of life since the start; the agent goes on without it", name)
        self.silent = tuple(sorted(silent))


def parts_of(evses: Iterable[EvseTapLoop], readers: Iterable[Reader], stores: Stores) -> dict[str, Pulsing]:
    """Everything of an agent that works in a loop or a thread of its own, by the name that the log gives it."""
    return {
        **{f"EVSE {evse.evse_uid}": evse for evse in evses},
        **{f"reader {reader.name}": reader for reader in readers if isinstance(reader, Pulsing)},
        "database whitelist.db": stores.whitelist,
        "database state.db": stores.journal,
    }
