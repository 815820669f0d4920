"""How a running agent stands, as one line for `systemctl status`; and the service that tells systemd all of it."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import NoReturn, Protocol

from agent.charges import Backlog
from agent.core.glyphs import sanitise
from agent.errors import StoreError
from agent.ports import Pulsing, ReaderState
from agent.service.facts import EvseFacts, Facts, PeerFacts, ReaderFacts
from agent.service.notify import Notifier
from agent.service.watchdog import Watchdog

log = logging.getLogger(__name__)

MOST_NAMED = 4
"""EVSEs, peers or readers that are told one by one; more are counted."""
LONGEST = 400
"""Characters of a line: what a wide terminal shows in three."""

READER_S = 15.0
"""How long READY waits for the readers' first word: a serial one speaks within a second, pcscd within five, and a
charger with a dead reader must not be killed by systemd's limit for the start."""
FIRST_LOOK_S = 0.1
"""How often it is looked whether the start is over; not for long."""
LOOK_S = 3.0
"""How often it is looked how the agent stands, and so how often systemd hears of it at most."""
FIRST_COUNT_S = 5.0
"""How soon the databases are counted again after a start, with its first synchronisation; then ever more rarely …"""
COUNT_S = 60.0
"""… down to this."""
COUNT_SHARE = 100
"""Of a million tokens the counting takes a small machine a second: it is given no more than a hundredth of the time."""


class LooksOut(Protocol):
    """`agent.service.facts.Lookout` does it."""

    async def count(self) -> None:
        """Look into the databases anew. Raises StoreError."""
        ...

    def facts(self) -> Facts:
        """How it stands now."""
        ...


def status_of(facts: Facts, now: datetime, silent: Sequence[str] = (), *, is_counted: bool = True) -> str:
    """One line of at most `LONGEST` characters. `silent` are parts that have given no sign of life; see `Watchdog`.

    Unless it `is_counted`, nothing is said of what only a database knows.
    """
    parts = (
        _evses(facts.evses),
        *_readers(facts.readers),
        _few("hangs since the start", silent),
        _peers(facts.peers),
        _whitelist(facts.peers, now) if is_counted else "",
        _backlog(facts.backlog),
    )
    line = " · ".join(sanitise(part) for part in parts if part)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def is_ready(facts: Facts, waited_s: float) -> bool:
    """Whether systemd is to hear READY: the first tap would be decided.

    Readers that say nothing are waited for `READER_S` seconds, EVSEs until they work.
    """
    return facts.is_ready or (waited_s >= READER_S and all(evse.is_live for evse in facts.evses))


class Attendance:
    """Tells systemd when the agent is ready, how it stands, and that it lives. Remembers through a fault of its own.

    `run` tells and counts, `watch` feeds the watchdog; they are services apart, so that no fault of the one lets a part
    that hangs go unnoticed by the other.
    """

    def __init__(
        self,
        lookout: LooksOut,
        parts: Mapping[str, Pulsing],
        notifier: Notifier,
        now: Callable[[], datetime],
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        """`parts` are as in `Watchdog`; `on_round` is called with each sign of life."""
        self._lookout = lookout
        self._notifier = notifier
        self._now = now
        self._on_round = on_round
        limit_s = notifier.watchdog_s
        self._watchdog = None if limit_s is None else Watchdog(parts, self._alive, watchdog_s=limit_s)
        self._began: float | None = None
        self._is_counted = False
        self._has_started = False
        """READY was sent once: from then on a reload alone takes it back."""
        self._owes_ready = True
        self._reloads = 0
        """Under way."""
        self._news = asyncio.Event()

    @property
    def silent(self) -> Sequence[str]:
        """The parts that have given no sign of life since the start."""
        return self._watchdog.silent if self._watchdog else ()

    async def run(self) -> NoReturn:
        """Tell how it stands, until cancelled: then that it stops. Counts the databases also where nobody listens."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._count(), name="counting")
                tasks.create_task(self._tell(), name="status")
        except asyncio.CancelledError:
            self._notifier.stopping()
            raise
        raise AssertionError("its tasks never end by themselves")

    async def watch(self) -> NoReturn:
        """Feed the watchdog, where there is one, until cancelled."""
        if self._watchdog is not None:
            await self._watchdog.run()
        await asyncio.Event().wait()
        raise AssertionError("nothing ends this wait")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Within this, the configuration is read anew; during the start systemd waits for READY anyway."""
        self._reloads += 1
        if self._has_started:
            self._owes_ready = True
            self._notifier.reloading()
        try:
            yield
        finally:
            self._reloads -= 1
            self._news.set()

    def _alive(self) -> None:
        self._on_round()
        self._notifier.alive()

    async def _tell(self) -> NoReturn:
        if not self._notifier.is_heard:
            await asyncio.Event().wait()
        loop = asyncio.get_running_loop()
        self._began = loop.time() if self._began is None else self._began
        told = ""
        while True:
            facts = self._lookout.facts()
            line = status_of(facts, self._now(), self.silent, is_counted=self._is_counted)
            if line != told and self._notifier.status(line):
                told = line
            if self._owes_ready and not self._reloads and self._is_ready(facts, loop.time() - self._began):
                self._owes_ready = not self._notifier.ready()  # again until it is taken
                self._has_started = self._has_started or not self._owes_ready
            await self._pause(FIRST_LOOK_S if self._owes_ready else LOOK_S)

    def _is_ready(self, facts: Facts, waited_s: float) -> bool:
        return self._has_started or is_ready(facts, waited_s)

    async def _pause(self, seconds: float) -> None:
        """That long, or until a reload is over."""
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def _count(self) -> NoReturn:
        loop = asyncio.get_running_loop()
        wait_s = FIRST_COUNT_S
        while True:
            began = loop.time()
            try:
                await self._lookout.count()
                self._is_counted = True
            except StoreError as error:
                log.debug("the databases can't be counted now: %s", error)  # whoever needs them says so louder
            except Exception:  # READY and STATUS must not hang on it: it is tried again
                log.exception("the databases can't be counted now")
            await asyncio.sleep(max(wait_s, COUNT_SHARE * (loop.time() - began)))
            wait_s = min(2 * wait_s, COUNT_S)


def _evses(evses: Sequence[EvseFacts]) -> str:
    head = _count_of(len(evses), "EVSE", "").strip()
    if len(evses) <= MOST_NAMED:
        return f"{head}: " + ", ".join(f"{evse.uid} {_phase(evse)}{_lacks(evse)}" for evse in evses)
    counts = Counter(_phase(evse) for evse in evses).most_common()
    impaired = [evse.uid for evse in evses if _lacks(evse)]
    return f"{head}: " + ", ".join(f"{count} {phase}" for phase, count in counts) + _named(impaired, "out of order")


def _phase(evse: EvseFacts) -> str:
    return evse.phase.replace("-", " ") if evse.is_live else "not at work"


def _lacks(evse: EvseFacts) -> str:
    lost = {*evse.lost, *(("relay",) if evse.relay_fault else ())}
    return f" ({', '.join(sorted(lost))} lost)" if lost else ""


def _readers(readers: Sequence[ReaderFacts]) -> tuple[str, str]:
    return (
        _few("missing", [f"reader {reader.name}" for reader in readers if reader.state is ReaderState.MISSING]),
        _few("silent", [f"reader {reader.name}" for reader in readers if reader.state is None]),
    )


def _few(what: str, names: Sequence[str]) -> str:
    """`reader door missing`; of many only how many."""
    if len(names) > MOST_NAMED:
        return f"{len(names)} of {names[0].partition(' ')[0]} and others {what}"
    return f"{', '.join(names)} {what}" if names else ""


def _named(names: Sequence[str], what: str) -> str:
    if not names:
        return ""
    return f" ({', '.join(names[:MOST_NAMED])}{' and more' if len(names) > MOST_NAMED else ''} {what})"


def _peers(peers: Sequence[PeerFacts]) -> str:
    if not peers:
        return "no peers"
    if len(peers) <= MOST_NAMED:
        return "peers: " + ", ".join(f"{peer.name} {_standing(peer)}" for peer in peers)
    counts = Counter(_standing(peer) for peer in peers).most_common()
    down = [peer.name for peer in peers if _standing(peer) != "up"]
    return f"{len(peers)} peers: " + ", ".join(f"{count} {word}" for word, count in counts) + _named(down, "not up")


def _standing(peer: PeerFacts) -> str:
    if peer.rejects_credentials:
        return "rejects our token"
    return "up" if peer.is_asked else "down"


def _whitelist(peers: Sequence[PeerFacts], now: datetime) -> str:
    tokens = f"whitelist {sum(peer.tokens for peer in peers):,} tokens"
    never = [peer.name for peer in peers if peer.synced_at is None]
    ages = [now - peer.synced_at for peer in peers if peer.synced_at is not None]
    oldest = f", oldest list {_age(max(ages))}" if ages else ""
    return tokens + oldest + _named(never, "never synced")


def _age(age: timedelta) -> str:
    """In whole units; 0 min where the clock was wrong when it began."""
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} d"


def _backlog(backlog: Backlog) -> str:
    due, rejected = backlog.sessions + backlog.cdrs, backlog.parked
    parts = (_count_of(due, "report", "due"), _count_of(rejected, "CDR", "rejected"))
    return ", ".join(part for part in parts if part)


def _count_of(number: int, noun: str, state: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''} {state}" if number else ""
