"""Who is asked and pulled from, while relations change in the database, where another process may change them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError, StoreError
from agent.model import LocationReferences, Outcome, Question
from agent.ocpi.client import AuthorizeReply, Failure
from agent.runtime.breaker import Breaker
from agent.runtime.membership import Member, Membership
from agent.runtime.peer import Peer, WatchTimes
from agent.runtime.sync_schedule import SyncSchedule
from agent.runtime.token_sync import SyncReport
from agent.store.peers import Exchanged, PeerEndpoint, PeerRelation, PeerRole, PeerStatus, PeerStore
from agent.store.whitelist import SyncKind

HANG_S = 30.0
"""Against hangs alone."""
QUESTION = Question("04A1B2C3", LocationReferences("LOC1", ("E1",)), "correlation-1", None)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Client:
    """A peer that answers everything with `failure`."""

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.probed = asyncio.Event()
        self.closed = asyncio.Event()

    async def authorize(
        self, uid: str, location: LocationReferences, *, correlation_id: str, to: Any = None, listed: bool = False
    ) -> AuthorizeReply:
        return self.failure or Failure(Outcome.UNREACHABLE, "nobody is there")

    async def probe(self) -> Failure | None:
        self.probed.set()
        return self.failure

    async def aclose(self) -> None:
        self.closed.set()


@dataclass
class Sync:
    """A sync that never ends."""

    peer: str
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def run_once(self) -> SyncReport:
        self.began.set()
        await asyncio.Event().wait()
        return SyncReport(self.peer, SyncKind.FULL, 1, 1, 0, 0, resumed=False)


class Watched(SyncSchedule):
    """A schedule that says when a peer is taken out."""

    on_remove: Callable[[], None] = lambda: None

    async def remove(self, peer: str) -> None:
        self.on_remove()
        await super().remove(peer)


class Sometimes:
    """The relations of a database that can't always be read."""

    def __init__(self, store: PeerStore) -> None:
        self._store = store
        self.unreadable = False

    async def relations(self) -> list[PeerRelation]:
        if self.unreadable:
            raise StoreError("state.db: disk I/O error")
        return await self._store.relations()

    async def changed(self) -> int:
        return await self._store.changed()

    async def withdrawn(self, name: str, ending: int) -> None:
        await self._store.withdrawn(name, ending)


@dataclass
class World:
    """A database with relations, and what the membership made of them."""

    store: PeerStore
    membership: Membership
    schedule: SyncSchedule
    clients: dict[str, list[Client]]
    dismissed: list[str]
    settled: list[str]
    refuses: set[str]
    """Whom `admit` can't admit."""
    relations: "Sometimes"
    unwritable: bool = False
    settling: asyncio.Event | None = None
    """Set when somebody's tokens are being settled, which then never ends."""
    on_remove: Callable[[], None] = lambda: None
    """Called when a peer is taken out of the schedule."""

    async def agree(self, name: str, **changes: Any) -> None:
        """Register `name`, or exchange its tokens."""
        if await self.store.relation(name) is None:
            until = NOON + timedelta(days=1)
            await self.store.invite(name, f"a-{name}", expires_at=until, at=NOON, ca_file=None, note="")
        relation = await self.store.relation(name)
        assert relation is not None
        values: dict[str, Any] = {
            "versions_url": "https://peer.example/versions",
            "version": "2.2.1",
            "encoding": "base64",
            "their_token": f"theirs-{name}",
            "our_token": f"ours-{name}",
            "endpoints": (PeerEndpoint("tokens", "SENDER", "https://peer.example/tokens"),),
            "roles": (PeerRole("EMSP", "DE", name.upper(), name),),
        }
        exchanged = Exchanged(**values | changes)
        await self.store.complete(name, exchanged, revision=relation.revision, at=NOON)

    async def until_withdrawn(self, name: str) -> None:
        async with asyncio.timeout(HANG_S):
            while [r.is_to_be_withdrawn for r in await self.store.relations() if r.name == name] != [False]:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_S):
            while not condition():  # noqa: ASYNC110  the membership looks into a database
                await asyncio.sleep(0.005)


def peer_of(name: str, client: Client) -> Peer:
    times = WatchTimes(every_s=0.01, retry_first_s=0.01, retry_most_s=0.01, timeout_s=HANG_S)
    return Peer(name, client, breaker=Breaker(0), times=times)


@asynccontextmanager
async def world_in(folder: Path, *, linger_s: float = 0.0) -> AsyncIterator[World]:
    store = await PeerStore.open(folder / "state.db")
    schedule = Watched(every=timedelta(hours=1))

    def admit(relation: PeerRelation) -> Member:
        if relation.name in world.refuses:
            raise ConfigError("ca.pem: no such file")
        client = Client()
        world.clients.setdefault(relation.name, []).append(client)
        return Member(peer_of(relation.name, client), Sync(relation.name), None, client.aclose)

    async def dismiss(name: str) -> int:
        if world.unwritable:
            raise StoreError("whitelist.db: disk is full")
        world.dismissed.append(name)
        return 3

    async def settle(name: str) -> None:
        world.settled.append(name)
        if world.settling is not None:
            world.settling.set()
            await asyncio.Event().wait()

    async def supervise(_name: str, part: Callable[[], Awaitable[None]]) -> None:
        await part()

    relations = Sometimes(store)
    membership = Membership(
        relations,
        schedule,
        admit=admit,
        settle=settle,
        dismiss=dismiss,
        supervise=supervise,
        linger_s=linger_s,
        look_every_s=0.005,
        try_again_s=0.01,
    )
    world = World(store, membership, schedule, {}, [], [], set(), relations)

    def on_remove() -> None:
        world.on_remove()

    schedule.on_remove = on_remove
    try:
        yield world
    finally:
        await membership.close()
        await store.close()


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(world.membership.run()), asyncio.create_task(world.schedule.run())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_registered_peer_is_there_from_the_first_look_on(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.agree("abc")
        await world.membership.look()
        assert list(world.membership.peers) == ["abc"]
        assert [sync.peer for sync in world.membership.syncs] == ["abc"]


async def test_peer_that_registers_elsewhere_is_watched_and_pulled_from_while_running(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, running(world):
        await world.agree("abc")
        await world.until(lambda: "abc" in world.membership.peers)
        async with asyncio.timeout(HANG_S):
            await world.clients["abc"][0].probed.wait()
        [sync] = world.membership.syncs
        assert isinstance(sync, Sync)
        async with asyncio.timeout(HANG_S):
            await sync.began.wait()


async def test_invited_peer_is_not_asked_before_it_registers(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        until = NOON + timedelta(days=1)
        await world.store.invite("abc", "token-a", expires_at=until, at=NOON, ca_file=None, note="")
        await world.membership.look()
        assert dict(world.membership.peers) == {}


async def test_new_tokens_make_a_new_member_and_close_the_old_one(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, running(world):
        await world.agree("abc")
        await world.until(lambda: "abc" in world.membership.peers)
        before = world.membership.peers["abc"]
        await world.agree("abc", their_token="another", our_token="another-of-ours")
        await world.until(lambda: len(world.clients["abc"]) == 2)
        async with asyncio.timeout(HANG_S):
            await world.clients["abc"][0].closed.wait()
        assert world.membership.peers["abc"] is not before
        assert not world.clients["abc"][1].closed.is_set()


async def test_change_that_does_not_touch_the_terms_leaves_the_member_alone(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.agree("abc")
        await world.membership.look()
        await world.store.confirm_used("ours-abc", NOON)
        await world.membership.look()
        assert len(world.clients["abc"]) == 1


async def test_peer_that_unregisters_is_asked_no_more_and_its_tokens_are_withdrawn_once(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, running(world):
        await world.agree("abc")
        await world.until(lambda: "abc" in world.membership.peers)
        await world.store.end("abc", NOON)
        await world.until(lambda: world.dismissed == ["abc"])
        assert dict(world.membership.peers) == {}
        await world.agree("def")
        await world.until(lambda: "def" in world.membership.peers)
        assert world.dismissed == ["abc"]


async def test_peer_that_left_is_closed_only_after_questions_on_their_way_had_their_time(tmp_path: Path) -> None:
    async with world_in(tmp_path, linger_s=3600.0) as world:
        await world.agree("abc")
        await world.membership.look()
        await world.store.end("abc", NOON)
        await world.membership.look()
        assert not world.clients["abc"][0].closed.is_set()
        await world.membership.close()
        assert world.clients["abc"][0].closed.is_set()


async def test_withdrawal_that_fails_is_tried_again(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.agree("abc")
        await world.store.end("abc", NOON)
        world.unwritable = True
        await world.membership.look()
        await asyncio.sleep(0)
        assert world.dismissed == []
        world.unwritable = False
        async with running(world):
            await world.until(lambda: world.dismissed == ["abc"])


async def test_peer_that_can_not_be_admitted_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with world_in(tmp_path) as world:
        world.refuses.add("abc")
        await world.agree("abc")
        await world.membership.look()
        assert dict(world.membership.peers) == {}
        assert "peer abc: is registered, but can't be used: ca.pem: no such file" in caplog.text
        world.refuses.clear()
        async with running(world):
            await world.until(lambda: "abc" in world.membership.peers)


async def test_peer_of_the_configuration_keeps_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with world_in(tmp_path) as world:
        client = Client()
        fixed = peer_of("abc", client)
        world.membership.add_fixed("abc", Member(fixed, Sync("abc"), None, client.aclose))
        await world.agree("abc")
        await world.membership.look()
        assert world.membership.peers["abc"] is fixed
        assert "a [[peer]] of the configuration and a registered one; the former is used" in caplog.text
        await world.store.end("abc", NOON)
        await world.membership.look()
        assert world.membership.peers["abc"] is fixed
        assert world.dismissed == []


async def test_rejected_token_of_two_is_settled(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.agree("abc")
        await world.agree("abc", their_token="newer", our_token="newer-of-ours")
        await world.membership.look()
        world.clients["abc"][0].failure = Failure(Outcome.UNAUTHORIZED, "HTTP 401")
        async with running(world):
            await world.until(lambda: world.settled == ["abc"])


async def test_rejected_token_without_another_is_left_to_the_operator(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, running(world):
        await world.agree("abc")
        await world.until(lambda: "abc" in world.membership.peers)
        world.clients["abc"][0].failure = Failure(Outcome.UNAUTHORIZED, "HTTP 401")
        await world.until(lambda: world.membership.peers["abc"].rejects_credentials)
        await world.membership.look()
        assert world.settled == []


async def test_question_that_meets_a_rejected_token_is_put_again_with_the_one_that_was_agreed_meanwhile(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world:
        await world.agree("abc")
        await world.membership.look()
        asked = world.membership.peers["abc"]
        world.clients["abc"][0].failure = Failure(Outcome.UNAUTHORIZED, "HTTP 401")
        await world.agree("abc", their_token="newer", our_token="newer-of-ours")
        assert (await asked.authorize(QUESTION, None)).outcome is Outcome.UNREACHABLE  # the new client's answer


async def test_question_that_meets_a_rejected_token_without_a_new_one_is_unauthorized(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.agree("abc")
        await world.membership.look()
        world.clients["abc"][0].failure = Failure(Outcome.UNAUTHORIZED, "HTTP 401")
        answer = await world.membership.peers["abc"].authorize(QUESTION, None)
        assert answer.outcome is Outcome.UNAUTHORIZED
        assert len(world.clients["abc"]) == 1


async def test_peer_that_comes_back_before_its_tokens_are_withdrawn_waits_for_that(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.agree("abc")
        await world.store.end("abc", NOON)
        await world.agree("abc", our_token="another-of-ours")
        await world.membership.look()
        assert dict(world.membership.peers) == {}
        async with running(world):
            await world.until(lambda: "abc" in world.membership.peers)
        assert world.dismissed == ["abc"]


async def test_tokens_that_are_withdrawn_once_are_left_alone_by_the_next_start(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.agree("abc")
        await world.store.end("abc", NOON)
        async with running(world):
            await world.until(lambda: world.dismissed == ["abc"])
            await world.until_withdrawn("abc")
    async with world_in(tmp_path) as world, running(world):
        await world.agree("def")
        await world.until(lambda: "def" in world.membership.peers)
        assert world.dismissed == []


async def test_change_that_could_not_be_read_is_seen_at_the_next_look(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.agree("abc")
        world.relations.unreadable = True
        with pytest.raises(StoreError):
            await world.membership.look()
        world.relations.unreadable = False
        async with running(world):
            await world.until(lambda: "abc" in world.membership.peers)


async def test_peer_of_the_configuration_outlives_a_registration_of_its_name(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        client = Client()
        fixed = peer_of("abc", client)
        world.membership.add_fixed("abc", Member(fixed, Sync("abc"), None, client.aclose))
        begun = await world.store.begin("abc", "b", status=PeerStatus.REGISTERING, at=NOON, note="", revision=None)
        await world.membership.look()
        await world.store.give_up("abc", "b", before=None, revision=begun.revision)
        await world.membership.look()
        assert world.membership.peers["abc"] is fixed


async def test_peer_that_hangs_while_its_tokens_are_settled_holds_up_nobody_elses_question(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        world.settling = asyncio.Event()
        for name in ("abc", "def"):
            await world.agree(name)
            await world.agree(name, their_token=f"newer-{name}", our_token=f"newer-{name}-of-ours")
        await world.membership.look()
        world.clients["abc"][0].failure = world.clients["def"][0].failure = Failure(Outcome.UNAUTHORIZED, "HTTP 401")
        async with running(world), asyncio.timeout(HANG_S):
            await world.settling.wait()
            answer = await world.membership.peers["def"].authorize(QUESTION, None)
        assert answer.outcome is Outcome.UNAUTHORIZED


async def test_peer_that_changes_is_never_missing_meanwhile(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.agree("abc")
        await world.membership.look()
        seen = []
        world.on_remove = lambda: seen.append(list(world.membership.peers))
        await world.agree("abc", their_token="newer", our_token="newer-of-ours")
        await world.membership.look()
        assert seen == [["abc"]]
