"""A charge point's OCPI side as it runs: stores on disk, registrar, reception, and the server on loopback."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from agent.model import Token, TokenType, WhitelistType
from agent.ocpi.server.app import create_app, versions_url
from agent.ocpi.server.gate import DEFAULT_LIMITS, Limits
from agent.ocpi.server.ports import ReportsSender
from agent.ocpi.server.serve import OcpiServer
from agent.runtime.exchange import Connect, Us, connect_as, new_token
from agent.runtime.reception import Reception, TokenDesk
from agent.runtime.registration import Registrar
from agent.runtime.token_push import TokenPush
from agent.store.peers import Exchanged, PeerEndpoint, PeerRole, PeerStore
from agent.store.whitelist import Whitelist
from tests.ocpi_server.crashes import Killed
from tests.ocpi_server.exchange_locks import Locks

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAME = "emsp"


class Clock:
    """Wall and loop time that a test turns by hand."""

    def __init__(self) -> None:
        self.passed = timedelta()

    def now(self) -> datetime:
        return NOON + self.passed

    def seconds(self) -> float:
        return self.passed.total_seconds()


@dataclass
class Site:
    """Everything of one site; `url` is its public URL."""

    url: str
    store: PeerStore
    whitelist: Whitelist
    registrar: Registrar
    reception: Reception
    desk: TokenDesk
    app: Any
    clock: Clock
    us: Us
    connect: Connect
    ca_file: str | None = None
    issued: list[str] = field(default_factory=list)
    """Every credentials token that the site has made."""

    @property
    def versions_url(self) -> str:
        return versions_url(self.url)

    async def agreed(self, token: str = "current-token", **changes: Any) -> str:
        """Have a registered peer that may send `token`; returns the token."""
        now = self.clock.now()
        if await self.store.relation(NAME) is None:
            until = now + timedelta(days=1)
            await self.store.invite(NAME, f"a-{token}", expires_at=until, at=now, ca_file=None, note="")
        relation = await self.store.relation(NAME)
        assert relation is not None
        values: dict[str, Any] = {
            "versions_url": "http://127.0.0.1:9/versions",
            "version": "2.2.1",
            "encoding": "base64",
            "their_token": "their-token",
            "our_token": token,
            "endpoints": (PeerEndpoint("credentials", "SENDER", "http://127.0.0.1:9/credentials"),),
            "roles": (PeerRole("EMSP", "DE", "ABC", "A name"),),
        }
        await self.store.complete(NAME, Exchanged(**values | changes), revision=relation.revision, at=now)
        return token


def header(token: str, *, plain: bool = False) -> dict[str, str]:
    return {"Authorization": f"Token {token if plain else b64encode(token.encode()).decode()}"}


@asynccontextmanager
async def site_in(
    folder: Path,
    *,
    path: str = "/ocpi",
    tls: ssl.SSLContext | None = None,
    limits: Limits = DEFAULT_LIMITS,
    push_for_others: frozenset[str] = frozenset(),
    taken_parties: Mapping[tuple[str, str], str] | None = None,
    for_others: frozenset[str] = frozenset(),
    locks: Locks | None = None,
    reports: ReportsSender | None = None,
    head_s: float = 15.0,
    serve: bool = True,
) -> AsyncIterator[Site]:
    clock = Clock()
    store, whitelist = await PeerStore.open(folder / "state.db"), await Whitelist.open(folder / "whitelist.db")
    desk = TokenDesk(store, push_for_others=push_for_others, now=clock.now)
    callers: Any = desk
    relay: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await relay["app"](scope, receive, send)
        except Killed:
            # Death closes the connection without a word; uvicorn would apologise.
            receive.__self__.transport.abort()
            await receive()

    server = OcpiServer(app, host="127.0.0.1", port=0, tls=tls, head_s=head_s)
    url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}{path}"
    us = Us("NL", "CPO", "A charge point operator", versions_url(url))
    connect = connect_as(us, allow_http=False)
    issued: list[str] = []

    def make_token() -> str:
        issued.append(new_token())
        return issued[-1]

    taken = taken_parties or {}
    reception = Reception(
        store,
        us,
        connect,
        taken_parties=taken,
        for_others=for_others,
        is_ours_under_way=locks.is_held if locks else None,
        now=clock.now,
        make_token=make_token,
    )
    relay["app"] = create_app(
        public_url=url,
        us=("NL", "CPO"),
        callers=callers,
        credentials=reception,
        tokens=TokenPush(whitelist),
        reports=reports,
        limits=limits,
        clock=clock.seconds,
    )
    registrar = Registrar(
        store,
        us,
        connect,
        taken_parties=taken,
        for_others=for_others,
        alone=locks.alone if locks else lambda _name: nullcontext(),
        now=clock.now,
        make_token=make_token,
    )
    running = asyncio.create_task(server.run()) if serve else None
    try:
        yield Site(url, store, whitelist, registrar, reception, desk, relay["app"], clock, us, connect, issued=issued)
    finally:
        if running is None:
            server.close()
        else:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await store.close()
        await whitelist.close()


def client_of(site: Site, token: str | None = None, *, plain: bool = False) -> httpx.AsyncClient:
    """Straight into the application, without a network; errors of the application come out as they are."""
    headers = header(token, plain=plain) if token else {}
    transport = httpx.ASGITransport(app=site.app)
    return httpx.AsyncClient(transport=transport, base_url=site.url, headers=headers)


def card(uid: str = "04A1B2C3", **changes: Any) -> dict[str, Any]:
    """A Token object as an eMSP sends it."""
    return {
        "country_code": "DE",
        "party_id": "ABC",
        "uid": uid,
        "type": "RFID",
        "contract_id": "DEABCC12345678",
        "issuer": "An issuer",
        "valid": True,
        "whitelist": "ALLOWED",
        "last_updated": "2026-03-01T12:00:00Z",
    } | changes


def stored_card(uid: str = "04A1B2C3", **changes: Any) -> Token:
    values = {
        "country_code": "DE",
        "party_id": "ABC",
        "uid": uid,
        "type": TokenType.RFID,
        "contract_id": "DEABCC12345678",
        "issuer": "An issuer",
        "valid": True,
        "whitelist": WhitelistType.ALLOWED,
        "last_updated": NOON,
    }
    return Token(**values | changes)  # type: ignore[arg-type]
