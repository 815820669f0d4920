"""Builds our own side of OCPI: who we are, who registers peers, and the server that they call.

Imported only where it is needed: the server's libraries cost the memory that a small controller has not.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from agent.config import Config
from agent.errors import BusyError, ConfigError
from agent.ocpi.server.app import create_app, versions_url
from agent.ocpi.server.certificate import Certificate
from agent.ocpi.server.gate import Limits
from agent.ocpi.server.serve import OcpiServer
from agent.runtime.exchange import Us, connect_as
from agent.runtime.reception import Reception, TokenDesk
from agent.runtime.registration import Registrar
from agent.runtime.sync_lock import locked
from agent.runtime.token_push import TokenPush
from agent.store.peers import PeerStore
from agent.store.sessions import SessionStore
from agent.store.whitelist import Whitelist

log = logging.getLogger(__name__)

_SERVING = "serving.lock"

_TRY_AGAIN_S = 60.0
"""How soon an address or a certificate that can't be had is tried again: somebody has to mend it first."""

_TURN_S = 1.0
"""How often the agent tries for an address that a command has: that takes seconds, or as long as a peer is slow."""


def require_server(config: Config) -> None:
    """Raises ConfigError where no peer could call us."""
    if not config.ocpi.server.enabled:
        raise ConfigError(
            "ocpi.server.enabled: expected true, and a public_url: in a registration the peer calls this agent"
        )


def us_of(config: Config) -> Us:
    """Who we are towards every peer."""
    party, server = config.party, config.ocpi.server
    name = party.business_name or f"{party.country_code}-{party.party_id}"
    return Us(party.country_code, party.party_id, name, versions_url(server.public_url or ""))


def registrar_of(config: Config, store: PeerStore) -> Registrar:
    """Begins exchanges of credentials."""
    us, allow_http = us_of(config), config.ocpi.server.allow_http
    return Registrar(
        store,
        us,
        connect_as(us, allow_http=allow_http),
        allow_http=allow_http,
        taken_names=frozenset(section.name for section in config.peer),
        taken_parties=_taken_parties(config),
        for_others=frozenset(config.ocpi.server.bring_for_others),
        alone=partial(_exchanging_alone, Path(config.storage.directory)),
    )


@contextmanager
def serving_alone_in(folder: Path) -> Iterator[None]:
    """For a command that serves while no agent does: another one, and an agent that starts, wait for its end.

    Raises BusyError, StoreError.
    """
    with locked(folder / _SERVING, "another command is exchanging credentials: wait for it to end"):
        yield


class Serving:
    """Our server, as a part of the agent or of a command."""

    def __init__(
        self, config: Config, config_path: Path, store: PeerStore, whitelist: Whitelist, sessions: SessionStore
    ) -> None:
        """Takes nothing yet."""
        self._make: Callable[[], OcpiServer] = partial(_server_of, config, config_path, store, whitelist, sessions)
        self._where = f"{config.ocpi.server.host} port {config.ocpi.server.port}"
        self._public_url = config.ocpi.server.public_url
        self._folder = Path(config.storage.directory)
        self._listening: OcpiServer | None = None

    def listen(self) -> None:
        """Listen from now on: for a command, which can't do without.

        Raises ConfigError for an address that can't be had, or a certificate that can't be read.
        """
        self._listening = self._make()

    async def run(self) -> None:
        """Serve until cancelled; requests under way are finished first, within a few seconds. May be run again.

        What keeps it from listening is logged and tried again: cards are decided without it.
        """
        server, self._listening = self._listening or await self._in_turn(), None
        log.info("OCPI server: listening on %s, for %s", self._where, self._public_url)
        await server.run()

    def close(self) -> None:
        """Stop listening, if it was not run."""
        if self._listening is not None:
            self._listening.close()

    async def _in_turn(self) -> OcpiServer:
        said = ""
        while True:
            try:
                return self._make()
            except ConfigError as error:
                turn_s = _TURN_S if _is_command_serving(self._folder) else _TRY_AGAIN_S
                if said != str(error):
                    said = str(error)
                    log.error("OCPI server: no peer can register or push; tried again in %g s: %s", turn_s, error)
            await asyncio.sleep(turn_s)


def _exchanging_alone(folder: Path, name: str) -> AbstractContextManager[None]:
    """The right to begin an exchange with a peer: held by a command, or by the agent, in whatever process."""
    busy = f"peer {name}: another exchange of credentials with it is under way: wait for it to end"
    return locked(folder / f"exchange-{name}.lock", busy)


def _is_exchanging(folder: Path, name: str) -> bool:
    try:
        with _exchanging_alone(folder, name):
            return False
    except BusyError:
        return True


def _is_command_serving(folder: Path) -> bool:
    try:
        with serving_alone_in(folder):
            return False
    except BusyError:
        return True


def _server_of(
    config: Config, config_path: Path, store: PeerStore, whitelist: Whitelist, sessions: SessionStore
) -> OcpiServer:
    us, settings = us_of(config), config.ocpi.server
    reception = Reception(
        store,
        us,
        connect_as(us, allow_http=settings.allow_http),
        allow_http=settings.allow_http,
        taken_parties=_taken_parties(config),
        for_others=frozenset(settings.bring_for_others),
        is_ours_under_way=partial(_is_exchanging, Path(config.storage.directory)),
    )
    app = create_app(
        public_url=settings.public_url or "",
        us=(us.country_code, us.party_id),
        callers=TokenDesk(store, push_for_others=frozenset(settings.bring_for_others)),
        credentials=reception,
        tokens=TokenPush(whitelist),
        reports=sessions if config.billing is not None else None,
        limits=Limits(
            body_bytes=settings.body_limit_kib << 10,
            requests_per_minute=settings.requests_per_minute,
            failed_logins_per_minute=settings.failed_logins_per_minute,
        ),
    )
    tls = None
    if settings.tls_certificate is not None:
        key = config_path.parent / settings.tls_key if settings.tls_key else None
        tls = Certificate(config_path.parent / settings.tls_certificate, key).context
    return OcpiServer(app, host=settings.host, port=settings.port, tls=tls)


def _taken_parties(config: Config) -> dict[tuple[str, str], str]:
    return {(section.country_code.upper(), section.party_id.upper()): section.name for section in config.peer}
