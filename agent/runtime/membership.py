"""Who the peers are, now: those of the configuration, and those that are registered, who come and go while we run.

How a relation becomes something to ask and to pull from is the composition's; what asking and pulling mean is
`peer`'s and `token_sync`'s.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agent.errors import AgentError, ConfigError, StoreError
from agent.runtime.peer import Peer
from agent.runtime.sync_schedule import Syncing
from agent.store.peers import PeerRelation

if TYPE_CHECKING:
    from agent.ocpi.reports import ReportClient  # a charge point that bills nobody does without

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""A relation may change in another process, which can't tell us. One row is read; who registers waits this long."""

TRY_AGAIN_S = 60.0
"""How soon what failed is tried again."""


@dataclass(frozen=True, slots=True)
class Member:
    """One peer as the agent works with it."""

    peer: Peer
    sync: Syncing
    reports: "ReportClient | None"
    """Tells it of sessions and CDRs; None where nothing is billed."""
    close: Callable[[], Awaitable[None]]


class Relations(Protocol):
    """What is needed of `agent.store.peers.PeerStore`."""

    async def relations(self) -> list[PeerRelation]:
        """All of them. Raises StoreError."""
        ...

    async def changed(self) -> int:
        """Rises with every change. Raises StoreError."""
        ...

    async def withdrawn(self, name: str, ending: int) -> None:
        """Note that a peer's tokens are withdrawn, up to this ending of the relation. Raises StoreError."""
        ...


class Schedule(Protocol):
    """What is needed of `agent.runtime.sync_schedule.SyncSchedule`."""

    def add(self, sync: Syncing) -> None:
        """One more, in place of what was there of the same name."""
        ...

    async def remove(self, peer: str) -> None:
        """One less; what is under way is given up."""
        ...


class Membership:
    """Keeps `peers` and the schedule as the relations are. `run` watches every peer until cancelled."""

    def __init__(
        self,
        relations: Relations,
        schedule: Schedule,
        *,
        admit: Callable[[PeerRelation], Member],
        settle: Callable[[str], Awaitable[object]],
        dismiss: Callable[[str], Awaitable[int]],
        supervise: Callable[[str, Callable[[], Awaitable[None]]], Awaitable[None]],
        linger_s: float,
        look_every_s: float = LOOK_EVERY_S,
        try_again_s: float = TRY_AGAIN_S,
    ) -> None:
        """`admit` raises ConfigError; `settle` finds which of two tokens a peer takes; `dismiss` withdraws its tokens.

        A peer that leaves is closed after `linger_s`: a card may have been put to it just before.
        """
        self._relations = relations
        self._schedule = schedule
        self._admit = admit
        self._settle = settle
        self._dismiss = dismiss
        self._supervise = supervise
        self._linger_s = linger_s
        self._answer_within_s: float | None = None
        self._look_every_s = look_every_s
        self._try_again_s = try_again_s
        self._members: dict[str, Member] = {}
        self._peers: dict[str, Peer] = {}
        self._fixed: set[str] = set()
        self._overruled: set[str] = set()
        self._registered: dict[str, PeerRelation] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._errands: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._leaving: dict[asyncio.Task[None], Member] = {}
        self._seen: int | None = None
        self._due = False
        self._running = False
        self._looking = asyncio.Lock()

    @property
    def peers(self) -> Mapping[str, Peer]:
        """By name, and always as they are."""
        return self._peers

    @property
    def syncs(self) -> list[Syncing]:
        """One of each peer."""
        return [member.sync for member in self._members.values()]

    def reports(self, name: str) -> "ReportClient | None":
        """Who tells a peer of sessions and CDRs; None where there is no such peer now."""
        member = self._members.get(name)
        return member.reports if member else None

    def add_fixed(self, name: str, member: Member) -> None:
        """A peer of the configuration: it stays, and no registered one can take its name."""
        self._fixed.add(name)
        self._put(name, member)
        self._schedule.add(member.sync)

    def use(self, *, linger_s: float, answer_within_s: float) -> None:
        """From now on; also for those who join later. A probe that takes longer than `answer_within_s` has failed."""
        self._linger_s, self._answer_within_s = linger_s, answer_within_s
        for peer in self._peers.values():
            peer.use(answer_within_s=answer_within_s)

    async def change_fixed(self, name: str, member: Member) -> None:
        """A peer of the configuration is another one now, or new; as `add_fixed`, while all others go on."""
        async with self._looking:
            before = self._members.get(name)
            self._registered.pop(name, None)
            self._fixed.add(name)
            self._put(name, member)  # at once: no card finds nobody to ask
            await self._clear_away(name, before)
            self._schedule.add(member.sync)
            if self._running:
                self._watch(name)

    async def remove_fixed(self, name: str) -> None:
        """A peer is no longer in the configuration. A registered one of its name, if there is one, takes its place."""
        async with self._looking:
            self._fixed.discard(name)
            self._overruled.discard(name)
            await self._leave(name)
            self._due = True

    async def run(self) -> None:
        """Watch the peers, and see who comes and goes, until cancelled."""
        self._running = True
        try:
            for name in self._members:
                self._watch(name)
            while True:
                await asyncio.sleep(self._look_every_s)
                await self._look_again()
        finally:
            self._running = False
            watching = list(self._watching.values())
            self._watching.clear()
            await _stop(watching)

    async def close(self) -> None:
        """Close every peer."""
        members = [*self._members.values(), *self._leaving.values()]
        await _stop([*self._errands.values(), *self._leaving])
        self._members.clear()
        self._peers.clear()
        for member in members:
            await member.close()

    async def look(self) -> None:
        """See now who is registered. Raises StoreError."""
        async with self._looking:
            self._due = False  # an errand that ends meanwhile makes it due again
            try:
                number = await self._relations.changed()
                relations = await self._relations.relations()
                for relation in relations:
                    await self._see(relation)
                for name in self._registered.keys() - {relation.name for relation in relations}:
                    await self._leave(name)
                self._seen = number
            except BaseException:
                self._due = True
                raise

    async def successor(self, peer: Peer) -> Peer | None:
        """Who has taken the place of a peer that rejects our token: new ones may have been agreed a moment ago."""
        await self._look_again()
        now = self._peers.get(peer.name)
        return None if now is peer else now

    async def _look_again(self) -> None:
        try:
            if self._due or self._is_to_be_settled() or await self._relations.changed() != self._seen:
                await self.look()
        except StoreError as error:
            # The database that every tap is recorded in: whoever holds a card will see to it, and hear of it.
            log.warning("who is registered can't be read now: %s", error)

    async def _see(self, relation: PeerRelation) -> None:
        name = relation.name
        if name in self._fixed:
            self._overrule(relation)
            return
        if relation.is_to_be_withdrawn:
            # Before it may come back: what it brings from then on is good again.
            await self._leave(name)
            self._begin("withdraw", name, lambda: self._withdraw(relation))
        elif not _is_of_use(relation):
            await self._leave(name)
        elif name not in self._registered or _terms(self._registered[name]) != _terms(relation):
            await self._join(relation)
        else:
            self._registered[name] = relation
            if self._is_rejected(name) and relation.their_previous_token is not None:
                self._begin("settle", name, lambda: self._settle_tokens(name))

    def _overrule(self, relation: PeerRelation) -> None:
        if relation.name not in self._overruled and _is_of_use(relation):
            self._overruled.add(relation.name)
            log.error(
                "peer %s: a [[peer]] of the configuration and a registered one; the former is used", relation.name
            )

    async def _join(self, relation: PeerRelation) -> None:
        name = relation.name
        try:
            member = self._admit(relation)
        except ConfigError as error:
            log.error("peer %s: is registered, but can't be used: %s", name, error)
            self._begin("wait", name, self._wait)
            return
        before = self._members.get(name)
        self._registered[name] = relation
        self._put(name, member)  # at once: no card finds nobody to ask
        await self._clear_away(name, before)
        self._schedule.add(member.sync)
        if self._running:
            self._watch(name)
        log.info("peer %s: registered; it is asked about cards from now on, and its tokens are pulled", name)

    def _put(self, name: str, member: Member) -> None:
        member.peer.succeeded_by(self.successor)
        if self._answer_within_s is not None:
            member.peer.use(answer_within_s=self._answer_within_s)
        self._members[name] = member
        self._peers[name] = member.peer

    async def _leave(self, name: str) -> None:
        self._registered.pop(name, None)
        self._peers.pop(name, None)
        await self._clear_away(name, self._members.pop(name, None))

    async def _clear_away(self, name: str, member: Member | None) -> None:
        """Nobody is to use it any more; what is on its way has its time."""
        if member is None:
            return
        await self._schedule.remove(name)
        watching = self._watching.pop(name, None)
        await _stop([watching] if watching else [])
        leaving = asyncio.create_task(self._close_later(member), name=f"closing peer {name}")
        self._leaving[leaving] = member
        leaving.add_done_callback(lambda done: self._leaving.pop(done, None))

    async def _close_later(self, member: Member) -> None:
        await asyncio.sleep(self._linger_s)
        await member.close()

    # ---- what takes longer than a look

    def _begin(self, what: str, name: str, errand: Callable[[], Awaitable[None]]) -> None:
        """Once at a time; when it is over, everything is looked at again."""
        if (what, name) not in self._errands:
            doing = self._do(what, name, errand)
            self._errands[what, name] = asyncio.create_task(doing, name=f"{what} peer {name}")

    async def _do(self, what: str, name: str, errand: Callable[[], Awaitable[None]]) -> None:
        try:
            await errand()
        except AgentError as error:
            log.warning("peer %s: %s; it is tried again in %g s", name, error, self._try_again_s)
            await self._wait()
        finally:
            self._errands.pop((what, name), None)
            self._due = True

    async def _wait(self) -> None:
        await asyncio.sleep(self._try_again_s)

    async def _withdraw(self, relation: PeerRelation) -> None:
        """Who had no contract with us, be it for a moment, vouches for no card from before."""
        withdrawn = await self._dismiss(relation.name)
        await self._relations.withdrawn(relation.name, relation.endings)
        log.warning("peer %s: its relation has ended; %d tokens of it are withdrawn", relation.name, withdrawn)

    async def _settle_tokens(self, name: str) -> None:
        """An exchange was cut off, and the peer rejects the newer of two tokens: it may take the older one."""
        await self._settle(name)
        await self._wait()  # where it helped, the peer is another one from the next look on

    def _is_to_be_settled(self) -> bool:
        return any(
            relation.their_previous_token is not None
            and self._is_rejected(name)
            and ("settle", name) not in self._errands
            for name, relation in self._registered.items()
        )

    def _is_rejected(self, name: str) -> bool:
        peer = self._peers.get(name)
        return peer is not None and peer.rejects_credentials

    def _watch(self, name: str) -> None:
        watching = self._supervise(f"peer {name}", self._members[name].peer.watch)
        self._watching[name] = asyncio.create_task(_until_done(watching), name=f"peer {name}")


async def _until_done(awaitable: Awaitable[None]) -> None:
    await awaitable


async def _stop(tasks: Iterable[asyncio.Task[None]]) -> None:
    stopping = list(tasks)
    for task in stopping:
        task.cancel()
    await asyncio.gather(*stopping, return_exceptions=True)


def _is_of_use(relation: PeerRelation) -> bool:
    """Whether it can be asked: also while new tokens are being exchanged, with those that there are."""
    return relation.is_registered and relation.their_token is not None


def _terms(relation: PeerRelation) -> tuple[object, ...]:
    """What makes a new member of it where it changes."""
    return (
        relation.their_token,
        relation.encoding,
        relation.trailing_slash,
        relation.ca_file,
        relation.endpoints,
        relation.roles,
    )
