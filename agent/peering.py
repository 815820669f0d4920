"""Builds what one peer needs, from the configuration or from a registration: a client, a sync, a peer to ask.

Both kinds of peer become the same `PeerTerms` first, so that nothing behind here knows where one came from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agent.config import Config, PeerSection, credentials_token, policy_of
from agent.ocpi.client import OcpiClient, tls_context
from agent.runtime.breaker import Breaker
from agent.runtime.peer import Peer, WatchTimes
from agent.runtime.token_sync import SyncSettings, TokenSync
from agent.store.peers import PeerRelation, PeerRole, PeerStatus, Relations
from agent.store.whitelist import Whitelist

if TYPE_CHECKING:
    from agent.ocpi.reports import ReportClient

Party = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PeerTerms:
    """How one peer is spoken to, and whose tokens it may bring."""

    name: str
    token: str = field(repr=False)
    them: Party
    versions_url: str | None
    tokens_url: str | None
    sessions_url: str | None
    cdrs_url: str | None
    encoding: Literal["base64", "plain"]
    trailing_slash: bool
    hub: bool
    ca_file: Path | None
    owners: frozenset[Party] | None
    """None: everybody's."""
    page_size: int
    renewal: str
    """How our credentials token is renewed, for whoever reads that it is rejected."""


def configured(config: Config, config_path: Path) -> list[PeerTerms]:
    """Those that have a table of their own. Raises ConfigError for a credentials token that can't be read."""
    return [
        PeerTerms(
            section.name,
            credentials_token(section, config_path),
            (section.country_code, section.party_id),
            section.versions_url,
            section.tokens_url,
            section.sessions_url,
            section.cdrs_url,
            section.token_encoding,
            section.trailing_slash,
            section.hub,
            config_path.parent / section.ca_file if section.ca_file else None,
            _owners(section),
            section.page_size,
            "ask its operator for a new one and put it into the configuration",
        )
        for section in config.peer
    ]


async def read_relations(folder: Path) -> list[PeerRelation]:
    """Every relation that `state.db` in `folder` knows; none where there is no such file. Raises StoreError."""
    path = folder / "state.db"
    if not path.exists():
        return []
    kept = await Relations.open_read_only(path)
    try:
        return await kept.relations()
    finally:
        await kept.close()


async def parties(config: Config) -> list[tuple[str, tuple[str, ...]]]:
    """Every peer that is asked about cards, with its parties as `DE-ABC`. Raises StoreError."""
    named = [(section.name, (f"{section.country_code}-{section.party_id}",)) for section in config.peer]
    relations = await read_relations(Path(config.storage.directory))
    theirs = {relation.name: relation.roles for relation in relations}
    return named + [
        (terms.name, tuple(f"{role.country_code}-{role.party_id}" for role in theirs[terms.name]))
        for terms in registered(relations, config)
    ]


def registered(relations: Iterable[PeerRelation], config: Config) -> list[PeerTerms]:
    """Those that are registered and have no table in the configuration."""
    fixed = {section.name for section in config.peer}
    return [
        terms_of(relation, config)
        for relation in relations
        if relation.name not in fixed and relation.status in {PeerStatus.REGISTERED, PeerStatus.ROTATING}
    ]


def terms_of(relation: PeerRelation, config: Config) -> PeerTerms:
    """What a registration says. Whose tokens it may bring beside its own is not for the peer to say, hub or not."""
    hub = any(role.role == "HUB" for role in relation.roles)
    for_others = relation.name in config.ocpi.server.bring_for_others
    return PeerTerms(
        relation.name,
        relation.their_token or "",
        _their_party(relation.roles),
        relation.versions_url,
        relation.endpoint("tokens", "SENDER"),
        relation.endpoint("sessions", "RECEIVER"),
        relation.endpoint("cdrs", "RECEIVER"),
        "plain" if relation.encoding == "plain" else "base64",
        relation.trailing_slash,
        hub,
        Path(relation.ca_file) if relation.ca_file else None,
        None if for_others else frozenset((r.country_code.upper(), r.party_id.upper()) for r in relation.roles),
        250,
        f"chargepoint-agent peers rotate {relation.name}; if that fails, unregister it and register anew",
    )


def client_of(terms: PeerTerms, config: Config) -> OcpiClient:
    """Speaks to the peer; the caller closes it. Raises ConfigError for a CA or a URL that can't be used."""
    return OcpiClient(
        terms.name,
        token=terms.token,
        us=(config.party.country_code, config.party.party_id),
        them=terms.them,
        versions_url=terms.versions_url,
        tokens_url=terms.tokens_url,
        encoding=terms.encoding,
        trailing_slash=terms.trailing_slash,
        hub=terms.hub,
        tls=tls_context(terms.ca_file) if terms.ca_file else None,
    )


def reports_of(terms: PeerTerms, config: Config) -> "ReportClient":
    """Tells the peer of sessions and CDRs; the caller closes it. Raises ConfigError as `client_of` does."""
    from agent.ocpi.reports import ReportClient  # noqa: PLC0415  a charge point that bills nobody does without

    return ReportClient(
        terms.name,
        token=terms.token,
        us=(config.party.country_code, config.party.party_id),
        them=terms.them,
        versions_url=terms.versions_url,
        sessions_url=terms.sessions_url,
        cdrs_url=terms.cdrs_url,
        encoding=terms.encoding,
        trailing_slash=terms.trailing_slash,
        hub=terms.hub,
        tls=tls_context(terms.ca_file) if terms.ca_file else None,
    )


def peer_of(terms: PeerTerms, client: OcpiClient, config: Config) -> Peer:
    """Asks the peer in real time, and watches it."""
    breaker, policy = config.breaker, policy_of(config.policy)
    times = WatchTimes(
        every_s=breaker.probe_every_s,
        retry_first_s=breaker.retry_first_s,
        retry_most_s=breaker.retry_most_s,
        timeout_s=policy.peers_have_s,
    )
    return Peer(
        terms.name,
        client,
        breaker=Breaker(breaker.failures, trial_first_s=breaker.retry_first_s),
        times=times,
        renewal=terms.renewal,
    )


def sync_of(terms: PeerTerms, client: OcpiClient, config: Config, whitelist: Whitelist, folder: Path) -> TokenSync:
    """Pulls the peer's tokens into the whitelist in `folder`, one peer at a time over all processes."""
    return TokenSync(
        terms.name,
        client,
        whitelist,
        lock_file=sync_lock(folder),
        settings=SyncSettings(
            full_every=timedelta(hours=config.sync.full_every_h),
            overlap=timedelta(seconds=config.sync.overlap_s),
            page_size=terms.page_size,
        ),
        owners=terms.owners,
    )


def sync_lock(folder: Path) -> Path:
    """Held by whoever changes the whitelist in bulk."""
    return folder / "sync.lock"


def _their_party(roles: Sequence[PeerRole]) -> Party:
    """Whom requests are addressed to: who issues tokens, or who routes to them, or whoever there is."""
    for wanted in ("EMSP", "HUB"):
        for role in roles:
            if role.role == wanted:
                return role.country_code, role.party_id
    return roles[0].country_code, roles[0].party_id


def _owners(section: PeerSection) -> frozenset[Party] | None:
    """Whose tokens a peer may bring: its own and those that are named; a hub, unless some are named, everybody's."""
    named = {(party[:2].upper(), party[3:].upper()) for party in section.owners}
    if section.hub:
        return frozenset(named) or None
    return frozenset({(section.country_code.upper(), section.party_id.upper()), *named})
