"""Killed at every await point of register and rotate, on either side: the parties still talk, or say how to go on."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import PeerError
from agent.runtime.exchange import Us, connect_as
from agent.runtime.reception import Reception
from agent.runtime.registration import Registrar
from agent.store.peers import PeerStatus, PeerStore
from fakes.emsp import FakeEmsp, NoAnswer
from fakes.emsp.discovery import ExchangeFailedError
from tests.ocpi_server.crashes import Fuse, Killed
from tests.ocpi_server.site import NAME, Site, card, site_in

MOST_POINTS = 60


def us_of(site: Site) -> Us:
    return Us("NL", "CPO", "A charge point operator", site.versions_url)


def doomed(site: Site, fuse: Fuse) -> Registrar:
    """A process of its own on the same file, which dies when the fuse says so."""
    connect = connect_as(us_of(site), allow_http=False)
    return Registrar(fuse.guard(site.store), us_of(site), fuse.guard_all(connect), now=site.clock.now)


def make_reception_doomed(site: Site, fuse: Fuse) -> None:
    store: PeerStore = fuse.guard(site.store)
    site.reception._store = store
    site.reception._connect = fuse.guard_all(connect_as(us_of(site), allow_http=False))


def heal(site: Site) -> None:
    """The agent has been started again."""
    again = Reception(site.store, us_of(site), connect_as(us_of(site), allow_http=False), now=site.clock.now)
    site.reception._store, site.reception._connect = again._store, again._connect
    site.reception._under_way.clear()


async def survived(doing: Awaitable[object]) -> None:
    with suppress(Killed):
        await doing


async def cut_off(doing: Awaitable[object]) -> None:
    """What the peer sees of our death: a connection that breaks, or an exchange that failed."""
    with suppress(NoAnswer, ExchangeFailedError):
        await doing


async def both_talk(site: Site, emsp: FakeEmsp) -> None:
    assert (await emsp.put_token(card())).succeeded
    assert (await site.registrar.settle(NAME)).their_token in emsp.relation.tokens


async def register_again(site: Site, emsp: FakeEmsp, token_a: str) -> None:
    """As an operator does it: the same command, and where that says so, with a new token from the peer's operator."""
    try:
        await site.registrar.register(NAME, emsp.versions_url, token_a)
    except PeerError:
        relation = await site.store.relation(NAME)
        assert relation is not None
        assert "new token" in relation.note
        await site.registrar.register(NAME, emsp.versions_url, emsp.invite())


async def count_points(
    folder: Path, scene: Callable[[Site, FakeEmsp, Fuse], Awaitable[None]], *, lenient: bool = False
) -> int:
    """Play `scene` with a death at the first await point, then at the second, until it comes through alive."""
    for point in range(MOST_POINTS):
        (folder / str(point)).mkdir()
        fuse = Fuse(point)
        async with site_in(folder / str(point)) as site, FakeEmsp(lenient_rotation=lenient) as emsp:
            await scene(site, emsp, fuse)
            await both_talk(site, emsp)
        if not fuse.killed:
            return point
    raise AssertionError("it never came through alive")


async def test_our_registration_killed_anywhere_can_be_done_again(tmp_path: Path) -> None:
    async def scene(site: Site, emsp: FakeEmsp, fuse: Fuse) -> None:
        token_a = emsp.invite()
        await survived(doomed(site, fuse).register(NAME, emsp.versions_url, token_a))
        relation = await site.store.relation(NAME)
        if relation is None or relation.their_token is None:
            await register_again(site, emsp, token_a)

    assert await count_points(tmp_path, scene) >= 14


async def test_our_rotation_killed_anywhere_leaves_both_talking_and_can_be_done_again(tmp_path: Path) -> None:
    async def scene(site: Site, emsp: FakeEmsp, fuse: Fuse) -> None:
        await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
        await survived(doomed(site, fuse).rotate(NAME))
        assert (await emsp.put_token(card())).succeeded
        await site.registrar.rotate(NAME)

    assert await count_points(tmp_path, scene, lenient=True) >= 14


async def test_our_rotation_with_a_peer_that_keeps_no_old_token_killed_anywhere_says_how_to_go_on(
    tmp_path: Path,
) -> None:
    async def scene(site: Site, emsp: FakeEmsp, fuse: Fuse) -> None:
        await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
        await survived(doomed(site, fuse).rotate(NAME))
        # It can talk to us in any case, and so mend what we lost.
        assert (await emsp.put_token(card())).succeeded
        try:
            await site.registrar.rotate(NAME)
        except PeerError:
            relation = await site.store.relation(NAME)
            assert relation is not None
            assert "register anew" in relation.note
            site.clock.passed += timedelta(minutes=3)  # whether we are still at it is told by the time alone here
            await emsp.rotate()

    assert await count_points(tmp_path, scene) >= 14


async def test_their_registration_killed_anywhere_can_be_done_again(tmp_path: Path) -> None:
    async def scene(site: Site, emsp: FakeEmsp, fuse: Fuse) -> None:
        invitation = await site.registrar.invite(NAME)
        make_reception_doomed(site, fuse)
        await cut_off(emsp.register_with(invitation.versions_url, invitation.token))
        heal(site)
        relation = await site.store.relation(NAME)
        assert relation is not None
        if relation.status is PeerStatus.INVITED:
            await emsp.register_with(invitation.versions_url, invitation.token)
        elif not emsp.relation.their_token:
            assert "new invitation" in relation.note
            invitation = await site.registrar.invite(NAME)
            await emsp.register_with(invitation.versions_url, invitation.token)

    assert await count_points(tmp_path, scene) >= 10


@pytest.mark.parametrize("lenient", [True, False])
async def test_their_rotation_killed_anywhere_leaves_both_talking_and_can_be_done_again(
    tmp_path: Path, *, lenient: bool
) -> None:
    async def scene(site: Site, emsp: FakeEmsp, fuse: Fuse) -> None:
        await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
        make_reception_doomed(site, fuse)
        await cut_off(emsp.rotate())
        heal(site)
        await both_talk(site, emsp)
        await emsp.rotate()

    assert await count_points(tmp_path, scene, lenient=lenient) >= 10
