"""The panel as a part of the agent: what it stands between, and what it serves.

Taps never wait for it. On their way it takes note, in memory; it looks at its notes, and into `state.db` through
connections of its own, while a page is open, and never more than five times a second however many are.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, Protocol

from agent.charges import Backlog, Charge
from agent.core.evse_state import Plug
from agent.core.glyphs import sanitise
from agent.core.uid import canonical
from agent.errors import ConfigError, StoreError
from agent.model import ListedToken, MeterReading, Policy, Recorded, Uid
from agent.ocpi.server.asgi import Application
from agent.panel.app import PanelApp
from agent.panel.board import About, Books, Outlet, Runs, board, moment
from agent.panel.exchange import json_bytes
from agent.panel.explain import explained
from agent.panel.guard import Guard
from agent.panel.login import Login
from agent.panel.pages import Page, pages_of
from agent.panel.place import Place
from agent.panel.reveals import Reveals
from agent.panel.server import PanelServer
from agent.panel.stream import Stream
from agent.panel.watch import TAPS, Watch
from agent.ports import Backend, Display, Indicator
from agent.runtime.charge_point import EvseTapLoop, Settled
from agent.runtime.clock import Clock
from agent.service.facts import EvseFacts, Facts, Lookout
from agent.service.status import status_of

log = logging.getLogger(__name__)

SESSIONS = 10
"""The newest ones that are shown."""

BOOKS_S = 1.0
"""Between two looks into `state.db`, each of which opens and closes some connections."""

COUNT_S = 10.0
"""Between two counts of the tokens while somebody watches; more where counting takes longer than a hundredth of it."""

_COUNT_SHARE = 100

_READING_S = 300.0
"""A power that was read longer ago says nothing of what flows now."""

_TRY_AGAIN_S = 60.0
"""How soon an address that can't be had is tried again: somebody has to mend it first."""


class Finds(Protocol):
    """`agent.store.whitelist.Whitelist` does."""

    async def find(self, uid: Uid) -> tuple[ListedToken, ...]:
        """Every RFID token with this uid. Raises StoreError."""
        ...


class Recalls(Protocol):
    """`agent.store.journal.Journal` does."""

    async def recent(self, limit: int) -> list[Recorded]:
        """The newest records first. Raises StoreError."""
        ...


class KeepsCharges(Protocol):
    """`agent.store.sessions.SessionStore` does."""

    def commits(self) -> int | None:
        """Another number after every change."""
        ...

    async def recent(self, limit: int) -> list[Charge]:
        """The newest sessions first. Raises StoreError."""
        ...

    async def backlog(self) -> Backlog:
        """How much the peers have not acknowledged. Raises StoreError."""
        ...


class Panel:
    """Watches from the moment it is made; `run` serves until cancelled. `look_at` comes before `run`."""

    def __init__(
        self,
        place: Place | None,
        *,
        policy: Policy,
        clock: Clock,
        version: str,
        whitelist: Finds,
        journal: Recalls,
        sessions: KeepsCharges,
        folder: Path,
        refuse_random: Mapping[str, bool] = MappingProxyType({}),
        world: Application | None = None,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        """Without a `place` somebody else on this machine serves `page`: the demo, which outlives its agents.

        `folder` is the databases'; `refuse_random` says by reader whether it refuses random uids; `world` answers
        below `/world/`, in the demo alone.

        Raises ConfigError for a login file that can't be used, and where the page's files are missing.
        """
        self._place = place
        where = place or Place("127.0.0.1", 0)
        self._policy = policy
        self._clock = clock
        self._version = version
        self._whitelist = whitelist
        self._journal = journal
        self._sessions = sessions
        self._refuse_random = refuse_random
        self._reveals = Reveals(folder)
        self._stream = Stream(self._look)
        self._watch = Watch(self._stream.changed)
        self._app = PanelApp(
            guard=Guard(scheme=where.scheme, is_loopback=where.is_loopback),
            login=Login(where.login_file, secure=where.tls_certificate is not None, time=clock.monotonic),
            stream=self._stream,
            pages=pages_of() if pages is None else pages,
            explains=self._explain,
            reveals=self._reveal,
            world=world,
        )
        self._lookout: Lookout | None = None
        self._evses: Mapping[str, EvseTapLoop] = {}
        self._began = clock.monotonic()
        self._books = Books()
        self._booked: tuple[int | None, float] | None = None
        """Which state of `state.db` the books are of, and when they were read."""
        self._url = ""
        self._listens = asyncio.Event()

    # ---- on a tap's way

    def displays(self, evse_uid: str, display: Display) -> Display:
        """The same display, watched."""
        return self._watch.displays(evse_uid, display)

    def indicators(self, evse_uid: str) -> Indicator:
        """One more light for the EVSE: the page's."""
        return self._watch.indicators(evse_uid)

    def backend(self, backend: Backend) -> Backend:
        """The same, watched for how long each peer takes."""
        return self._watch.backend(backend)

    def settled(self, tap: Settled) -> None:
        """A tap is over."""
        self._watch.settled(tap)

    def read(self, evse_uid: str, reading: MeterReading) -> None:
        """The EVSE's meter has said something: without it the page shows no power."""
        self._watch.read(evse_uid, reading)

    # ---- as a part of the agent

    def look_at(self, lookout: Lookout, evses: Mapping[str, EvseTapLoop]) -> None:
        """The parts that the page shows, by their uid; before anything works."""
        self._lookout = lookout
        self._evses = evses

    def use(self, policy: Policy) -> None:
        """The policy is another one from now on."""
        self._policy = policy
        self._stream.changed()

    @property
    def clients(self) -> int:
        """How many pages are open."""
        return self._stream.clients

    @property
    def page(self) -> Application:
        """What answers its requests, while it runs."""
        return self._app

    async def url(self) -> str:
        """What a browser is given, once it is served there; never for a panel without a place."""
        await self._listens.wait()
        return self._url

    async def run(self) -> None:
        """Serve until cancelled; may be run again. What keeps it from listening is logged once and tried again."""
        await self._recall()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stream.run(), name="panel's stream")
            tasks.create_task(self._count(), name="panel's counting")
            if self._place is not None:
                tasks.create_task(self._serve(self._place), name="panel's server")

    async def _serve(self, place: Place) -> None:
        server = await self._server(place)
        try:
            self._url = place.url(server.port)
            self._listens.set()
            log.info("panel: %s", self._url)
            await server.run()
        finally:
            self._listens.clear()
            server.close()

    async def _server(self, place: Place) -> PanelServer:
        said = ""
        while True:
            try:
                return PanelServer(self._app, place)
            except ConfigError as error:
                if said != str(error):
                    said = str(error)
                    log.error("nobody can see the panel; tried again in %g s: %s", _TRY_AGAIN_S, error)
            await asyncio.sleep(_TRY_AGAIN_S)

    async def _recall(self) -> None:
        try:
            self._watch.recall(await self._journal.recent(TAPS))
        except StoreError as error:
            log.warning("panel: the taps before this start can't be shown: %s", error)

    async def _count(self) -> NoReturn:
        while True:
            await self._stream.watched()
            began = self._clock.monotonic()
            try:
                await self._shown.count()
            except StoreError as error:
                log.debug("panel: the databases can't be counted now: %s", error)
            self._stream.changed()
            await asyncio.sleep(max(COUNT_S, _COUNT_SHARE * (self._clock.monotonic() - began)))

    # ---- what is shown

    @property
    def _shown(self) -> Lookout:
        assert self._lookout is not None, "look_at comes before run"
        return self._lookout

    async def _look(self) -> bytes:
        await self._read_books()
        now = self._clock.now()
        facts = replace(self._shown.facts(), backlog=self._books.backlog)  # as new as what stands beside it
        about = About(
            self._version,
            self._clock.monotonic() - self._began,
            status_of(facts, now),
            self._policy.deadline_s * 1000,
        )
        state = board(
            now,
            about,
            facts,
            outlets=self._outlets(facts),
            taps=self._watch.taps,
            latency_ms=self._watch.latency_ms,
            books=self._books,
        )
        return json_bytes(state)[1:]

    async def _read_books(self) -> None:
        now, commits = self._clock.monotonic(), self._sessions.commits()
        if self._booked is not None:
            before, read_at = self._booked
            if now - read_at < BOOKS_S or (commits is not None and commits == before):
                return
        self._booked = commits, now
        try:
            self._books = Books(await self._sessions.recent(SESSIONS), await self._sessions.backlog())
        except StoreError as error:
            self._booked = None, now
            log.debug("panel: the sessions can't be read now: %s", error)

    def _outlets(self, facts: Facts) -> Sequence[Outlet]:
        return [self._outlet(evse) for evse in facts.evses]

    def _outlet(self, facts: EvseFacts) -> Outlet:
        evse = self._evses.get(facts.uid)
        plug = evse.state.plug if evse else Plug.UNKNOWN
        runs = self._runs(evse) if evse else None
        return Outlet(facts, plug, self._watch.glass(facts.uid), self._watch.signal(facts.uid), runs)

    def _runs(self, evse: EvseTapLoop) -> Runs | None:
        running, account = evse.state.running, evse.ledger.account
        if running is None or account is None:
            return None
        reading = self._watch.reading(evse.evse_uid)
        is_fresh = reading is not None and self._clock.monotonic() - reading.at < _READING_S
        return Runs(
            running.id, account.started_at, account.energy_wh, reading.power_w if reading and is_fresh else None
        )

    # ---- what is asked for

    async def _explain(self, text: str) -> object:
        uid = canonical(text)
        rows = await self._whitelist.find(uid)
        peers = {peer.name: peer.is_asked for peer in self._shown.facts().peers}
        now = self._clock.now()
        return explained(uid, rows, self._policy, now, peers=peers, refuse_random=self._refuse_random)

    async def _reveal(self, number: int, user: str, client: str) -> str | None:
        tap = self._watch.tap(number)
        if tap is None:
            return None
        entry = tap.entry
        who = {"at": moment(self._clock.now()), "user": user, "from": client}
        which = {"tap": number, "evse": entry.evse_uid, "tapped_at": moment(entry.tapped_at)}
        await asyncio.to_thread(self._reveals.add, {**who, **which})
        log.warning(
            "panel: %s was shown the number of the card of authorization %d, evse=%s, from %s; see %s",
            *(user, number, entry.evse_uid, sanitise(client) or "a socket", "reveals.jsonl"),
        )
        return entry.uid
