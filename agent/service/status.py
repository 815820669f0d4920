"""How a running agent stands, as one line for `systemctl status`; and the service that tells systemd all of it."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
COUNT_S = 60.0
"""How often the databases are counted at most."""
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


async def attend(
    lookout: LooksOut,
    parts: Mapping[str, Pulsing],
    notifier: Notifier,
    now: Callable[[], datetime],
    on_round: Callable[[], None] = lambda: None,
) -> NoReturn:
    """Tell systemd when the agent is ready, how it stands, and that it lives, until cancelled: then that it stops.

    `parts` are as in `Watchdog`. The databases are counted for `lookout` also where nobody else listens. `on_round` is
    called with each sign of life.
    """

    def alive() -> None:
        on_round()
        notifier.alive()

    watchdog, counted = None, asyncio.Event()
    try:
        async with asyncio.TaskGroup() as tasks:
            if notifier.watchdog_s is not None:
                watchdog = Watchdog(parts, alive, watchdog_s=notifier.watchdog_s)
                tasks.create_task(watchdog.run(), name="watchdog")
            tasks.create_task(_count(lookout, counted), name="counting")
            tasks.create_task(_tell(lookout, notifier, now, watchdog, counted), name="status")
    except asyncio.CancelledError:
        notifier.stopping()
        raise
    raise AssertionError("its tasks never end by themselves")


async def _tell(
    lookout: LooksOut,
    notifier: Notifier,
    now: Callable[[], datetime],
    watchdog: Watchdog | None,
    counted: asyncio.Event,
) -> NoReturn:
    if not notifier.is_heard:
        await asyncio.Event().wait()
    loop = asyncio.get_running_loop()
    began, told, ready = loop.time(), "", False
    while True:
        facts = lookout.facts()
        line = status_of(facts, now(), watchdog.silent if watchdog else (), is_counted=counted.is_set())
        if line != told and notifier.status(line):
            told = line
        ready = ready or (is_ready(facts, loop.time() - began) and notifier.ready())  # again until it is taken
        await asyncio.sleep(LOOK_S if ready else FIRST_LOOK_S)


async def _count(lookout: LooksOut, counted: asyncio.Event) -> NoReturn:
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await lookout.count()
            counted.set()
        except StoreError as error:
            log.debug("the databases can't be counted now: %s", error)  # whoever needs them says so louder
        await asyncio.sleep(max(COUNT_S, COUNT_SHARE * (loop.time() - began)))


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
