"""A process of its own for each life of a party: it does as it is told, until it kills itself at the moment given.

    python -m tests.ocpi_server.exchange_until_killed FD

The process that this starts has everything imported and no loop or thread; each life is a fork of it. Over FD, a
`SOCK_SEQPACKET`, it gets orders: `{"live": …}` with the socket over which that life is spoken to, and `{"reap": pid}`.
A life reads `[verb, argument, …]` a line, and answers `{"done": …}` or `{"refused": …}`. Its last words are
`{"killed_at": …}`; they carry what an eMSP knows, as if every store of its own were on its disk at once. What we know
is on our files alone.
"""

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from agent.errors import AgentError, PeerError
from agent.model import LocationReferences
from agent.ocpi.addressing import Encoding
from agent.ocpi.client import OcpiClient
from agent.ocpi.failures import Failure
from agent.ocpi.server.app import create_app, versions_url
from agent.ocpi.server.serve import OcpiServer
from agent.runtime.exchange import Connect, Us, connect_as
from agent.runtime.reception import Reception, TokenDesk
from agent.runtime.registration import Registrar
from agent.runtime.token_push import TokenPush
from agent.store.peers import PeerStore
from agent.store.whitelist import Whitelist
from fakes.emsp import ExchangeFailedError, FakeEmsp, NoAnswer, Part, Relation, slow
from tests.ocpi_server.exchange_locks import Locks
from tests.ocpi_server.sudden_death import Death

NAME = "emsp"
OUR_TOKENS = "issued-by-us-"
"""What every token begins with that we issue, so that one is found wherever it lies in clear."""
CARD = "04A1B2C3"

Verbs = dict[str, Callable[..., Awaitable[Any]]]


class Party(NamedTuple):
    """What a process is."""

    verbs: Verbs
    remembered: Callable[[], Any]
    """What of it survives it beside its files."""


def our_token() -> str:
    return OUR_TOKENS + secrets.token_urlsafe(24)


@asynccontextmanager
async def ours(death: Death, *, folder: str, port: int) -> AsyncIterator[Party]:
    """Our side on the files in `folder`: server, reception and registrar, as the agent has them."""
    store = await PeerStore.open(Path(folder) / "state.db")
    whitelist = await Whitelist.open(Path(folder) / "whitelist.db")
    url = f"http://127.0.0.1:{port}/ocpi"
    us = Us("NL", "CPO", "A charge point operator", versions_url(url))
    connect, locks = connect_as(us, allow_http=False), Locks(Path(folder))
    app = create_app(
        public_url=url,
        us=("NL", "CPO"),
        callers=TokenDesk(store),
        credentials=Reception(store, us, connect, is_ours_under_way=locks.is_held, make_token=our_token),
        tokens=TokenPush(whitelist),
    )

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        await death.watch(app(scope, receive, send))

    registrar = Registrar(store, us, connect, alone=locks.alone, make_token=our_token)
    serving = asyncio.create_task(OcpiServer(watched, host="127.0.0.1", port=port).run())
    try:
        yield Party(_our_verbs(death, registrar, store, connect), lambda: None)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await store.close()
        await whitelist.close()


def _our_verbs(death: Death, registrar: Registrar, store: PeerStore, connect: Connect) -> Verbs:
    async def invite() -> dict[str, str]:
        invitation = await death.watch(registrar.invite(NAME))
        return {"versions_url": invitation.versions_url, "token": invitation.token}

    async def register(their_versions_url: str, token_a: str) -> None:
        await death.watch(registrar.register(NAME, their_versions_url, token_a))

    async def rotate() -> None:
        await death.watch(registrar.rotate(NAME))

    async def unregister(*, force: bool = False) -> None:
        await death.watch(registrar.unregister(NAME, force=force))

    async def relation() -> dict[str, str] | None:
        found = await store.relation(NAME)
        return None if found is None else {"status": str(found.status), "note": found.note}

    return {
        "invite": invite,
        "register": register,
        "rotate": rotate,
        "unregister": unregister,
        "relation": relation,
        "talk": lambda: _talk(registrar, connect),
    }


async def _talk(registrar: Registrar, connect: Connect) -> None:
    """Ask the peer for its versions and about a card. Raises PeerError where it does not answer either."""
    relation = await registrar.settle(NAME)
    token, tokens_url = relation.their_token or "", relation.endpoint("tokens", "SENDER")
    encoding: Encoding = "plain" if relation.encoding == "plain" else "base64"
    async with connect(NAME, token, encoding, relation.ca_file) as platform:
        versions = await platform.versions(relation.versions_url or "")
    if isinstance(versions, Failure):
        raise PeerError(f"versions: {versions.detail}")
    them = (relation.roles[0].country_code, relation.roles[0].party_id)
    client = OcpiClient(NAME, token=token, us=("NL", "CPO"), them=them, tokens_url=tokens_url, encoding=encoding)
    try:
        answer = await client.authorize(CARD, LocationReferences("LOC", ("EVSE",)), correlation_id=str(uuid4()))
    finally:
        await client.aclose()
    if isinstance(answer, Failure):
        raise PeerError(f"authorize: {answer.detail}")


@asynccontextmanager
async def theirs(
    death: Death, *, port: int, lenient: bool, relation: dict[str, Any] | None = None
) -> AsyncIterator[Party]:
    """An eMSP that knows `relation` from an earlier life.

    A lenient one accepts all that may be in use: the old token until the new one has been used, and a new one of
    which it does not know whether we have taken it. Another accepts only what has been agreed on.
    """
    emsp = FakeEmsp(port=port, lenient_rotation=lenient)
    emsp.device.credentials_token = ""
    # It would answer without an await point between storing and sending, and could not die there.
    emsp.set_weather(slow(0.001), on=Part.CREDENTIALS)
    if relation is not None:
        _remember(emsp.relation, relation)
        _be_sure(emsp)
    await death.watch(emsp.start())  # with every connection that it is going to take
    try:
        yield Party(_their_verbs(death, emsp), lambda: _remembered(emsp.relation))
    finally:
        await emsp.stop()


def _their_verbs(death: Death, emsp: FakeEmsp) -> Verbs:
    card = emsp.card(CARD)

    async def register_with(our_versions_url: str, token_a: str) -> None:
        try:
            await death.watch(emsp.register_with(our_versions_url, token_a))
        finally:
            _be_sure(emsp)

    async def rotate() -> None:
        try:
            await death.watch(emsp.rotate())
        finally:
            _be_sure(emsp)

    async def unregister() -> None:
        await death.watch(emsp.unregister())

    async def put() -> None:
        answer = await emsp.put_token(card)
        if not answer.succeeded:
            raise ExchangeFailedError(f"PUT of a token: {answer}")

    async def invite() -> str:
        return emsp.invite()

    async def end() -> None:
        emsp.relation.end()

    async def registered() -> bool:
        return bool(emsp.relation.our_token and emsp.relation.their_token)

    async def complaints() -> list[str]:
        return emsp.complaints

    verbs = (register_with, rotate, unregister, put, invite, end, registered, complaints)
    return {verb.__name__: verb for verb in verbs}


def _be_sure(emsp: FakeEmsp) -> None:
    if not emsp.device.lenient_rotation:
        emsp.relation.pending_token = ""


def _remembered(relation: Relation) -> dict[str, Any]:
    return asdict(relation) | {"endpoints": [[*key, url] for key, url in relation.endpoints.items()]}


def _remember(relation: Relation, kept: dict[str, Any]) -> None:
    for field in fields(relation):
        setattr(relation, field.name, kept[field.name])
    relation.endpoints = {(identifier, role): url for identifier, role, url in kept["endpoints"]}


_PARTIES: dict[str, Callable[..., AbstractAsyncContextManager[Party]]] = {"ours": ours, "theirs": theirs}


async def _live(order: dict[str, Any], line: socket.socket) -> None:
    """Do as the line says until it is closed, or death strikes."""
    alive: list[Party] = []
    last_words = line.dup()

    def strike(moment: int, where: str) -> None:
        state = [party.remembered() for party in alive]
        last_words.send(json.dumps({"killed_at": moment, "where": where, "state": state}).encode() + b"\n")
        os.kill(os.getpid(), signal.SIGKILL)

    death = Death(strike)
    death.watch_tasks_of(asyncio.get_running_loop())
    reader, writer = await asyncio.open_connection(sock=line)
    async with _PARTIES[order.pop("party")](death, **order) as party:
        alive.append(party)
        while words := await reader.readline():
            verb, *arguments = json.loads(words)
            writer.write(json.dumps(await _done(death, party.verbs, verb, arguments)).encode() + b"\n")
            await writer.drain()
    writer.close()
    last_words.close()


async def _done(death: Death, verbs: Verbs, verb: str, arguments: list[Any]) -> dict[str, Any]:
    if verb == "arm":
        death.arm(*arguments)
        return {"done": None}
    if verb == "disarm":
        death.disarm()
        return {"done": death.moments}
    if verb == "quiet":
        await death.quiet()
        return {"done": None}
    named: dict[str, Any] = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
    try:
        return {"done": await verbs[verb](*arguments, **named)}
    except (AgentError, ExchangeFailedError, NoAnswer) as error:
        return {"refused": str(error)}


def _be_born(order: dict[str, Any], line: socket.socket) -> None:
    code = 1
    try:
        asyncio.run(_live(order, line))
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)  # nothing of the mother's is this process's to clean up


def main(orders: socket.socket) -> None:
    """Give birth until the test has gone."""
    while True:
        words, lines, _, _ = socket.recv_fds(orders, 1 << 16, 1)
        if not words:
            return
        order = json.loads(words)
        if "reap" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["reap"], 0)[1])
        elif (answer := os.fork()) == 0:
            orders.close()
            _be_born(order["live"], socket.socket(fileno=lines[0]))
        for line in lines:
            os.close(line)
        orders.send(json.dumps(answer).encode())


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
