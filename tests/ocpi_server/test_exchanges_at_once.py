"""Two exchanges with one peer at once, of one process or of two: one waits its turn, and no token is lost."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from agent.errors import BusyError, PeerError, StoreError
from agent.ocpi.addressing import Encoding
from agent.ocpi.client import tls_context
from agent.ocpi.credentials import Credentials
from agent.ocpi.failures import Failure
from agent.ocpi.handshake import Handshake
from agent.runtime.exchange import Connect
from agent.runtime.registration import Registrar
from agent.store.database import Database
from agent.store.peers import PeerRelation, PeerStatus
from tests.ocpi.scripted import ScriptedPeer
from tests.ocpi_server.exchange_locks import Locks
from tests.ocpi_server.hostile import TOKEN_A, TOKEN_C, credentials, enveloped
from tests.ocpi_server.site import NAME, Site, client_of, site_in

Doing = Callable[[], Awaitable[object]]


@pytest.fixture
def locks(tmp_path: Path) -> Locks:
    return Locks(tmp_path)


@pytest.fixture
async def locked_site(tmp_path: Path, locks: Locks) -> AsyncIterator[Site]:
    """As the agent and its commands have it, with a lock for each peer."""
    async with site_in(tmp_path, serve=False, locks=locks) as site:
        yield site


class Interrupted(Handshake):
    """Something happens between the peer's answer to our credentials and our storing it."""

    doing: Doing

    async def exchange(self, method: str, url: str, ours: Credentials) -> Credentials | Failure:
        answer = await super().exchange(method, url, ours)
        await self.doing()
        return answer


def interrupted_by(doing: Doing) -> Connect:
    def connect(peer: str, token: str, encoding: Encoding, ca_file: str | None) -> Handshake:
        platform = Interrupted(peer, token, us=("NL", "CPO"), encoding=encoding, tls=tls_context())
        platform.doing = doing
        return platform

    return connect


async def relation_of(site: Site) -> PeerRelation:
    found = await site.store.relation(NAME)
    assert found is not None
    return found


async def registered(site: Site, peer: ScriptedPeer) -> str:
    """Register with the peer; returns the token that it has of us."""
    await site.registrar.register(NAME, f"{peer.url}/versions", TOKEN_A)
    return site.issued[-1]


async def put(site: Site, token: str, body: object) -> httpx.Response:
    async with client_of(site, token) as client:
        return await client.put("/2.2.1/credentials", json=body)


@pytest.mark.parametrize("verb", ["register", "rotate", "settle", "unregister"])
async def test_command_finds_another_one_at_the_same_peer_and_changes_nothing(
    locked_site: Site, scripted: ScriptedPeer, locks: Locks, verb: str
) -> None:
    await registered(locked_site, scripted)
    before, asked = await relation_of(locked_site), list(scripted.requests)
    arguments = (f"{scripted.url}/versions", TOKEN_A) if verb == "register" else ()
    with locks.alone(NAME), pytest.raises(BusyError, match=f"another exchange with peer {NAME}"):
        await getattr(locked_site.registrar, verb)(NAME, *arguments)
    assert await relation_of(locked_site) == before
    assert scripted.requests == asked


async def test_command_does_not_keep_one_at_another_peer_waiting(
    locked_site: Site, scripted: ScriptedPeer, locks: Locks
) -> None:
    with locks.alone("another-peer"):
        await registered(locked_site, scripted)
    assert (await relation_of(locked_site)).status is PeerStatus.REGISTERED


async def test_command_that_failed_lets_the_next_one_at_the_peer(locked_site: Site, scripted: ScriptedPeer) -> None:
    good = scripted.answers["/versions"]
    scripted.says("/versions", {"status_code": 3000})
    with pytest.raises(PeerError):
        await registered(locked_site, scripted)
    scripted.answers["/versions"] = good
    await registered(locked_site, scripted)
    assert (await relation_of(locked_site)).status is PeerStatus.REGISTERED


_HOLDS_IT = """
import sys
from pathlib import Path
from tests.ocpi_server.exchange_locks import Locks
with Locks(Path(sys.argv[1])).alone("emsp"):
    print("held", flush=True)
    sys.stdin.read()
"""


async def test_command_that_is_killed_keeps_nobody_waiting(
    locked_site: Site, scripted: ScriptedPeer, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _HOLDS_IT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:  # noqa: ASYNC220  (no wait)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError):
            await registered(locked_site, scripted)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    await registered(locked_site, scripted)
    assert (await relation_of(locked_site)).status is PeerStatus.REGISTERED


async def test_peers_put_while_we_rotate_is_put_off_however_long_that_takes(
    locked_site: Site, scripted: ScriptedPeer, locks: Locks
) -> None:
    site = locked_site
    token = await registered(site, scripted)
    codes = []

    async def the_peer_puts() -> None:
        for days in (0, 1):
            site.clock.passed += timedelta(days=days)
            answer = await put(site, token, credentials(scripted, token="of-its-earlier-put"))
            codes.append(answer.json()["status_code"])

    scripted.says("PUT /credentials", enveloped(credentials(scripted, token="answer-to-our-put")))
    connect = interrupted_by(the_peer_puts)
    relation = await Registrar(site.store, site.us, connect, alone=locks.alone, now=site.clock.now).rotate(NAME)
    assert codes == [3000, 3000]
    assert (relation.status, relation.their_token) == (PeerStatus.REGISTERED, "answer-to-our-put")


@pytest.mark.parametrize("seconds", [-149, -1, 0, 61, 121, 149])
async def test_without_locks_our_exchange_counts_as_under_way_as_long_as_it_may_take_either_way_of_the_clock(
    site: Site, scripted: ScriptedPeer, seconds: int
) -> None:
    token = await registered(site, scripted)
    before = await relation_of(site)
    await site.store.begin(
        NAME, "b", status=PeerStatus.ROTATING, revision=before.revision, at=site.clock.now(), note=""
    )
    site.clock.passed += timedelta(seconds=seconds)
    assert (await put(site, token, credentials(scripted, token="new"))).json()["status_code"] == 3000
    assert (await relation_of(site)).their_token == TOKEN_C


@pytest.mark.parametrize("minutes", [3, -3])
async def test_without_locks_our_exchange_that_was_cut_off_does_not_keep_the_peer_out_for_ever(
    site: Site, scripted: ScriptedPeer, minutes: int
) -> None:
    token = await registered(site, scripted)
    before = await relation_of(site)
    await site.store.begin(
        NAME, "b", status=PeerStatus.ROTATING, revision=before.revision, at=site.clock.now(), note=""
    )
    site.clock.passed += timedelta(minutes=minutes)
    assert (await put(site, token, credentials(scripted, token="new"))).json()["status_code"] == 1000


async def test_with_locks_the_peer_heals_a_rotation_that_was_cut_off_at_once(
    locked_site: Site, scripted: ScriptedPeer
) -> None:
    site = locked_site
    token = await registered(site, scripted)
    before = await relation_of(site)
    await site.store.begin(
        NAME, "b", status=PeerStatus.ROTATING, revision=before.revision, at=site.clock.now(), note="cut off"
    )
    assert (await put(site, token, credentials(scripted, token="new"))).json()["status_code"] == 1000
    after = await relation_of(site)
    assert (after.status, after.their_token) == (PeerStatus.REGISTERED, "new")


async def test_token_of_a_rotation_that_another_one_overtook_is_kept_and_found(
    site: Site, scripted: ScriptedPeer
) -> None:
    await registered(site, scripted)

    async def another_rotates() -> None:
        scripted.says("PUT /credentials", {"status_code": 2001, "status_message": "busy"})
        with pytest.raises(PeerError, match="busy"):
            await site.registrar.rotate(NAME)

    scripted.says("PUT /credentials", enveloped(credentials(scripted, token="newest-token-of-the-peer")))
    first = Registrar(site.store, site.us, interrupted_by(another_rotates), now=site.clock.now)
    with pytest.raises(BusyError, match="rotate again"):
        await first.rotate(NAME)
    kept = await relation_of(site)
    assert {kept.their_token, kept.their_previous_token} == {TOKEN_C, "newest-token-of-the-peer"}
    assert "rotate again" in kept.note


async def test_token_of_a_rotation_that_could_not_be_stored_is_kept_and_found(
    site: Site, scripted: ScriptedPeer
) -> None:
    await registered(site, scripted)

    async def fails_once() -> None:
        database = site.store._database
        assert isinstance(database, Database)
        await database.writer.write(
            "make the next exchange fail",
            "CREATE TRIGGER fails BEFORE INSERT ON accepted_token BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
        )

    scripted.says("PUT /credentials", enveloped(credentials(scripted, token="newest-token-of-the-peer")))
    registrar = Registrar(site.store, site.us, interrupted_by(fails_once), now=site.clock.now)
    with pytest.raises(StoreError, match=r"the peer has agreed to the exchange: .* rotate again"):
        await registrar.rotate(NAME)
    kept = await relation_of(site)
    assert (kept.status, kept.their_token) == (PeerStatus.ROTATING, TOKEN_C)
    assert kept.their_previous_token == "newest-token-of-the-peer"


async def test_registration_that_is_refused_leaves_what_another_one_began_meanwhile(
    site: Site, scripted: ScriptedPeer
) -> None:
    async def another_registers() -> None:
        scripted.says("/credentials", enveloped(credentials(scripted)))
        await registered(site, scripted)

    scripted.says("/credentials", {"status_code": 2001, "status_message": "busy"})
    first = Registrar(site.store, site.us, interrupted_by(another_registers), now=site.clock.now)
    with pytest.raises(PeerError, match="busy"):
        await first.register(NAME, f"{scripted.url}/versions", TOKEN_A)
    relation = await relation_of(site)
    assert (relation.status, relation.their_token) == (PeerStatus.REGISTERED, TOKEN_C)
    assert await site.desk.caller(site.issued[-1:]) is not None
